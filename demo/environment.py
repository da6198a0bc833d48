# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Folder, configuration and processes of the demo, all of it in .build"""
import fcntl
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / '.build'
FOLDER = BUILD / 'demo'
MAIL = FOLDER / 'mail'
LOG = FOLDER / 'log'
CONFIG = FOLDER / 'trytond.conf'
DATABASE = 'demo'
# The translations to load besides English
LANGUAGES = ['de', 'fr', 'es']
SENDER = 'Meridian Coffee <hello@meridian.example.com>'
# Seconds a process has to start or to end
PATIENCE = 90

TEMPLATE = """\
[database]
uri = sqlite://
path = {folder}

[web]
listen = 127.0.0.1:{port}
hostname = 127.0.0.1:{port}
root = {root}

[email]
uri = {smtp}
from = {sender}

[queue]
worker = False

[marketing]
automation_base = {base}
"""


class DemoError(Exception):
    "What stops the demo, in words for who has started it"


def command(name):
    "Return the path of a command of the virtual environment"
    return str(Path(sys.executable).parent / name)


def prepare():
    "Empty the folder of the demo, return the lock that keeps it"
    BUILD.mkdir(exist_ok=True)
    lock = open(BUILD / 'demo.lock', 'w')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DemoError(
            "The demo is already running: stop it with Ctrl-C.") from None
    shutil.rmtree(FOLDER, ignore_errors=True)
    LOG.mkdir(parents=True)
    logging.basicConfig(
        filename=LOG / 'demo.log', level=logging.INFO,
        format='%(asctime)s %(levelname)s %(name)s %(message)s')
    return lock


def _smtp():
    "Return the module of the SMTP server of the tests"
    spec = spec_from_file_location('smtp', ROOT / 'tests' / 'smtp.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _free_port():
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]


def _end(process):
    "End the process and those it has started"
    for number in [signal.SIGTERM, signal.SIGKILL]:
        try:
            os.killpg(process.pid, number)
            process.wait(PATIENCE)
            break
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


class Processes:
    "What runs beside the demo; leaving the context ends it"

    def __init__(self):
        self.smtp = None
        self.children = []
        self.runs = 0  # of the cron, all by itself
        self.base = f'http://127.0.0.1:{_free_port()}/'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.children):
            _end(process)
        if self.smtp:
            try:
                self.smtp.stop()
            except OSError:
                # Ctrl-C has ended it first
                pass

    def start_smtp(self):
        self.smtp = _smtp().Process(maildir=MAIL)

    def configure(self, web_client):
        "Write the configuration of trytond and use it in this process, too"
        import trytond.config as config
        CONFIG.write_text(TEMPLATE.format(
                folder=FOLDER, port=self.base.split(':')[2].strip('/'),
                root=web_client or '', smtp=self.smtp.uri,
                sender=SENDER, base=self.base), encoding='utf-8')
        config.update_etc([str(CONFIG)])

    def start_server(self):
        process = self._start('trytond', 'server')
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            try:
                with urlopen(self.base + 'm/empty.gif', timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise DemoError(f"The server does not start, see {LOG}/server.log.")

    def start_cron(self):
        self._start('trytond-cron', 'cron', '-n', '1')

    def run_cron(self):
        "Run the real cron once, as the system would"
        process = self._start('trytond-cron', 'cron', '-n', '1', '--once')
        status = process.wait()
        self.children.remove(process)
        self.runs += 1
        if status:
            raise DemoError(f"The cron has failed, see {LOG}/cron.log.")

    def _start(self, name, log, *args):
        with open(LOG / f'{log}.log', 'ab') as file:
            process = subprocess.Popen(
                [command(name), '-c', str(CONFIG), '-d', DATABASE, '-vv',
                    *args],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                # Ctrl-C is for the demo, which ends the others in order
                start_new_session=True)
        self.children.append(process)
        return process


def activate(password, modules):
    "Create the database and activate the modules"
    (FOLDER / f'{DATABASE}.sqlite').touch()
    secret = FOLDER / 'password'
    secret.touch(mode=0o600)
    secret.write_text(password)
    with open(LOG / 'activate.log', 'ab') as log:
        status = subprocess.run([
                command('trytond-admin'), '-c', str(CONFIG), '-d', DATABASE,
                '-l', *LANGUAGES, '-u', *modules,
                '--activate-dependencies'],
            env={**os.environ, 'TRYTONPASSFILE': str(secret)},
            # The e-mail address of the administrator: none
            input=b'\n', stdout=log, stderr=log).returncode
    secret.unlink()
    if status:
        raise DemoError(
            f"The database can not be created, see {LOG}/activate.log.")
