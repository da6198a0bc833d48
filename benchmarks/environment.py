# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Environments, databases and processes to be measured"""
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from ..tests.system.installation import Installation
from ..tests.system.postgresql import Cluster

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
BUILD = ROOT / '.build'
PEER = 'trytond_marketing_automation >= 8.0, < 8.1'
MODULE_NAME = 'marketing_automation'
TICK = os.sysconf('SC_CLK_TCK')


class Timeout(Exception):
    "What is measured takes longer than it may"


class Environment:
    "A virtual environment with the module or with the peer"

    def __init__(self, name, python):
        self.name = name
        self.python = str(python)

    def version(self):
        "Return the versions of the module and of trytond"
        code = (
            "from importlib.metadata import version; import trytond;"
            "from trytond.modules import get_modules;"
            "from trytond.modules import get_module_info as i;"
            f"print(i('{MODULE_NAME}')['version'], trytond.__version__)")
        return subprocess.run(
            [self.python, '-c', code], check=True, text=True,
            stdout=subprocess.PIPE).stdout.split()


def peer(folder=None):
    "Return the environment of the peer, made unless the folder has it"
    folder = Path(folder or BUILD / 'peer')
    python = folder / 'bin' / 'python'
    if not python.exists():
        subprocess.run([sys.executable, '-m', 'venv', str(folder)], check=True)
    installed = subprocess.run(
        [str(python), '-m', 'pip', 'show', '-q', PEER.split()[0]],
        stderr=subprocess.DEVNULL)
    if installed.returncode:
        subprocess.run(
            [str(python), '-m', 'pip', 'install', '-q', PEER,
                'psycopg[binary,pool]>=3.2', 'html2text'],
            check=True)
    return Environment('peer', python)


class Store:
    "Where databases are made, each a copy of one prepared per environment"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepared = {}
        self._numbers = count(1)

    def stop(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def installation(
            self, environment, name, uri='smtp://127.0.0.1:9', worker=False,
            listen=None, **marketing):
        "Return the configured installation of the environment"
        installation = Installation(
            self.folder, name, self.uri, environment.python)
        installation.config = self.folder / f'{next(self._numbers)}.conf'
        installation.configure(
            email={'uri': uri, 'from': 'Shop <shop@example.com>'},
            queue={'worker': worker},
            web={
                'hostname': 'example.com',
                **({'listen': listen} if listen else {}),
                },
            marketing={
                'automation_base': 'https://example.com/', **marketing})
        return installation

    def copy(self, environment):
        "Return the name of a new database with the scenario"
        if environment.name not in self._prepared:
            self._prepare(environment)
        name = f'{environment.name}_{next(self._numbers)}'
        self.copy_database(self._prepared[environment.name], name)
        return name

    def _prepare(self, environment):
        name = f'{environment.name}_prepared'
        installation = self.installation(environment, name)
        installation.create()
        installation.activate(MODULE_NAME)
        with Child(installation) as child:
            child.call('prepare')
        self._prepared[environment.name] = name


class PostgreSQL(Store):
    name = 'postgresql'

    def __init__(self, folder):
        super().__init__(folder)
        # As installed, except that the log names the database
        self.cluster = Cluster(
            log_line_prefix='%d|', shared_buffers='512MB',
            max_wal_size='4GB')
        self.cluster.start()

    def stop(self):
        self.cluster.stop()
        super().stop()

    @property
    def uri(self):
        return self.cluster.uri

    @contextmanager
    def connect(self, name='postgres'):
        with psycopg.connect(
                self.cluster.uri + name, autocommit=True) as connection:
            yield connection

    def _execute(self, statement, *names):
        with self.connect() as connection:
            connection.execute(sql.SQL(statement).format(
                    *map(sql.Identifier, names)))

    def copy_database(self, source, name):
        self._execute('CREATE DATABASE {} TEMPLATE {}', name, source)

    def drop(self, name):
        self._execute('DROP DATABASE {} WITH (FORCE)', name)

    def inserted(self, name):
        "Return {table: rows inserted}, once all other sessions are closed"
        with self.connect(name) as connection:
            return dict(connection.execute(
                    'SELECT relname, n_tup_ins FROM pg_stat_user_tables '
                    'WHERE n_tup_ins > 0').fetchall())

    def processor(self):
        "Return the seconds of processor time of all processes of the server"
        postmaster = int(
            Path(self.cluster.data, 'postmaster.pid').read_text().split()[0])
        ticks = sum(_ticks(postmaster, ended=True))
        children = Path(
            f'/proc/{postmaster}/task/{postmaster}/children').read_text()
        for pid in children.split():
            try:
                ticks += sum(_ticks(pid))
            except OSError:
                # Its time is now with the ended
                pass
        return ticks / TICK

    @contextmanager
    def log_statements(self, name):
        "Collect the statements that the server logs for the database"
        self._execute("ALTER DATABASE {} SET log_statement = 'all'", name)
        statements = []
        start = len(self.cluster.log)
        yield statements
        self._execute("ALTER DATABASE {} RESET log_statement", name)
        statements += _statements(self.cluster.log[start:], name)


def _ticks(pid, ended=False):
    with open(f'/proc/{pid}/stat') as file:
        values = file.read().rpartition(')')[2].split()
    return map(int, values[11:15 if ended else 13])


def _statements(log, name):
    "Return the statements of the database in the log, on one line each"
    entries = re.split(r'^(\w*)\|', log, flags=re.MULTILINE)
    result = []
    for database, text in zip(entries[1::2], entries[2::2]):
        match = re.match(r'LOG:  (?:statement|execute [^:]+): (.*)', text,
            re.DOTALL)
        if database == name and match:
            result.append(' '.join(match[1].split()))
    return result


class SQLite(Store):
    name = 'sqlite'
    uri = 'sqlite://'

    def copy_database(self, source, name):
        shutil.copy(
            self.folder / f'{source}.sqlite', self.folder / f'{name}.sqlite')

    def drop(self, name):
        for path in self.folder.glob(f'{name}.sqlite*'):
            path.unlink()


class Child:
    "A process of an environment that obeys, see child.py"

    def __init__(self, installation):
        self.installation = installation
        self._process = subprocess.Popen(
            [installation.python, str(FOLDER / 'child.py'),
                str(installation.config), installation.database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1)
        self._read(120)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def call(self, name, /, timeout=3600, **arguments):
        """
        Run a command and return its result with the seconds it took, by the
        clock of this process, and the seconds of processor time of the child
        """
        started = time.perf_counter()
        self._process.stdin.write(json.dumps([name, arguments]) + '\n')
        answer = self._read(timeout)
        seconds = time.perf_counter() - started
        if 'error' in answer:
            raise RuntimeError(answer['error'])
        return Answer(answer['result'], seconds, answer['processor'])

    def _read(self, timeout):
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self._process.kill()
                raise Timeout(timeout)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The measured process has died")
        return json.loads(line)


class Answer:

    def __init__(self, result, seconds, processor):
        self.result = result
        self.seconds = seconds
        self.processor = processor


@contextmanager
def running(start, *args):
    "The process that a method of an installation starts, ended after use"
    process = start(*args)
    try:
        yield process
    finally:
        start.__self__.end(process)
