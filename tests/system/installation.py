# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""An installation of Tryton: configuration, database and processes"""
import os
import signal
import socket
import subprocess
import sys
import time
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import urlsplit

# Seconds a process has to start or to end
PATIENCE = 90


class InstallationError(Exception):
    "A program has failed, with the path of its log"


class Installation:
    """The programs of one environment at work on one database

    folder -- where configuration, logs and SQLite databases are
    database -- name of the database
    uri -- of [database], as trytond takes it
    python -- interpreter of the environment
    """

    def __init__(
            self, folder, database='test', uri='sqlite://',
            python=sys.executable):
        self.folder = Path(folder)
        self.database = database
        self.uri = uri
        self.python = str(python)
        self.config = self.folder / 'trytond.conf'
        self.logs = self.folder / 'log'
        self.logs.mkdir(parents=True, exist_ok=True)
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes.copy()):
            self.end(process)

    def configure(self, **sections):
        "Write the configuration, a dictionary of options for each section"
        parser = ConfigParser(interpolation=None)
        parser.read_dict({
                'database': {'uri': self.uri, 'path': self.folder},
                **sections})
        with open(self.config, 'w', encoding='utf-8') as file:
            parser.write(file)

    def program(self, name):
        "Return the path of a program of the environment"
        return str(Path(self.python).parent / name)

    def create(self):
        "Create the empty database"
        if urlsplit(self.uri).scheme == 'sqlite':
            (self.folder / f'{self.database}.sqlite').touch()
            return
        import psycopg
        from psycopg import sql
        with psycopg.connect(
                self.uri + 'postgres', autocommit=True) as connection:
            connection.execute(sql.SQL('CREATE DATABASE {}').format(
                    sql.Identifier(self.database)))

    def activate(self, *modules, languages=(), password='secret'):
        "Activate the modules and those they depend on"
        secret = self.folder / 'password'
        secret.touch(mode=0o600)
        secret.write_text(password)
        options = ['-u', *modules, '--activate-dependencies']
        if languages:
            options += ['-l', *languages]
        process = self._open(
            'trytond-admin', *options,
            env={**os.environ, 'TRYTONPASSFILE': str(secret)},
            stdin=subprocess.PIPE)
        # The e-mail address of the administrator: none
        process.communicate(b'\n')
        secret.unlink()
        self._check('trytond-admin', process.returncode)

    def run(self, program, *args):
        "Run the program to its end"
        process = self.start(program, *args)
        process.wait()
        self.processes.remove(process)
        self._check(program, process.returncode)

    def start(self, program, *args):
        "Start the program and return its process"
        process = self._open(program, *args, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def start_python(self, code, **options):
        """Start the code, its arguments are configuration and database

        options -- of Popen
        """
        process = subprocess.Popen(
            [self.python, '-c', code, str(self.config), self.database],
            start_new_session=True, **options)
        self.processes.append(process)
        return process

    def _open(self, program, *args, **options):
        with open(self.log(program), 'ab') as log:
            return subprocess.Popen(
                [self.program(program), '-c', str(self.config),
                    '-d', self.database, *args],
                stdout=log, stderr=log,
                # An interrupt at the terminal is for who has started it
                start_new_session=True, **options)

    def log(self, program):
        return self.logs / f'{program}.log'

    def _check(self, program, status):
        if status:
            raise InstallationError(
                f"{program} has failed, see {self.log(program)}.")

    def start_server(self, port):
        "Start trytond and return its process once it answers on the port"
        process = self.start('trytond')
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(('127.0.0.1', port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return process
        raise InstallationError(
            f"trytond does not start, see {self.log('trytond')}.")

    def end(self, process):
        "Let the process and what it has started come to an end"
        for number in [signal.SIGTERM, signal.SIGKILL]:
            try:
                os.killpg(process.pid, number)
                process.wait(PATIENCE)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._forget(process)

    def kill(self, process):
        "End the process and what it has started at once"
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._forget(process)

    def _forget(self, process):
        process.wait()
        for stream in filter(None, [process.stdin, process.stdout]):
            stream.close()
        if process in self.processes:
            self.processes.remove(process)


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]
