# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Folder, configuration and processes of the demo, all of it in .build"""
import fcntl
import logging
import shutil
import socket
from pathlib import Path

from ..tests.system import smtp
from ..tests.system.installation import Installation

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / '.build'
FOLDER = BUILD / 'demo'
MAIL = FOLDER / 'mail'
LOG = FOLDER / 'log'
DATABASE = 'demo'
# The translations to load besides English
LANGUAGES = ['de', 'fr', 'es']
SENDER = 'Meridian Coffee <hello@meridian.example.com>'
# The same address on each run, unless something else is there
PORT = 8000


class DemoError(Exception):
    "What stops the demo, in words for who has started it"


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


def _port():
    "Return the first port that nobody listens to"
    for port in range(PORT, PORT + 100):
        try:
            socket.create_server(('127.0.0.1', port)).close()
        except OSError:
            continue
        return port
    raise DemoError(f"No port is free from {PORT} on.")


class Processes:
    "What runs beside the demo; leaving the context ends it"

    def __init__(self):
        self.smtp = None
        self.installation = Installation(FOLDER, DATABASE)
        self.runs = 0  # of the cron, all by itself
        self.port = _port()
        self.base = f'http://127.0.0.1:{self.port}/'

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.installation.__exit__(*args)
        if self.smtp:
            try:
                self.smtp.stop()
            except OSError:
                # Ctrl-C has ended it first
                pass

    def start_smtp(self):
        self.smtp = smtp.Process(maildir=MAIL)

    def configure(self, web_client):
        "Write the configuration of trytond and use it in this process, too"
        import trytond.config as config
        host = f'127.0.0.1:{self.port}'
        self.installation.configure(
            web={'listen': host, 'hostname': host, 'root': web_client or ''},
            email={'uri': self.smtp.uri, 'from': SENDER},
            queue={'worker': False},
            marketing={'automation_base': self.base})
        config.update_etc([str(self.installation.config)])

    def activate(self, password, modules):
        self.installation.create()
        self.installation.activate(
            *modules, languages=LANGUAGES, password=password)

    def start_server(self):
        self.installation.start_server(self.port)

    def start_cron(self):
        self.installation.start('trytond-cron', '-n', '1')

    def run_cron(self):
        "Run the real cron once, as the system would"
        self.installation.run('trytond-cron', '-n', '1', '--once')
        self.runs += 1
