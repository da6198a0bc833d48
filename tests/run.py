# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
Run the tests of the module on SQLite and PostgreSQL, one process for each.

The last line is "N passed, N failed", with ", N skipped" if there are any,
over all databases. The environment may tell

    POSTGRESQL_URI, PGHOST   to use this server and no throw-away cluster
    TEST_TIMEOUT             seconds a test may take, 600 by default

Activated databases are kept in .build/cache under a fingerprint of what they
are made of, so the next run copies them. Those with only the dependencies of
the module are kept apart, as they outlast its changes.
"""
import argparse
import faulthandler
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path

from .system.postgresql import Cluster, programs, server_uri

MODULE = 'marketing_automation'
PACKAGE = f'trytond.modules.{MODULE}'
ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / '.build'
# Folders whose content has no influence on an activated database
INDIFFERENT = {'.ci', 'benchmarks', 'build', 'demo', 'dist', 'doc'}
# Of the databases with the module the newest and the recent are kept
CACHE_COUNT = 3
CACHE_AGE = 60 * 60
# Marks what has only the dependencies
BASE = 'base-'
# The cache is databases of the server and no files
TEMPLATES = 'postgresql://'
PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'
# What a process writes down when it ran all tests
END = ['end', '']


def summary(counts):
    text = f"{counts[PASSED]} passed, {counts[FAILED]} failed"
    if counts[SKIPPED]:
        text += f", {counts[SKIPPED]} skipped"
    return text


# In the process of a database


class Result(unittest.TestResult):
    "Say how each test ended, and write it down for the parent"

    def __init__(self, file, total, timeout):
        super().__init__()
        self.buffer = True
        self._file = file
        self._total = total
        self._timeout = timeout
        self._number = 0
        self._started = None
        self._outcome = None

    def startTest(self, test):
        super().startTest(test)
        faulthandler.dump_traceback_later(
            self._timeout, exit=True, file=sys.__stderr__)
        self._outcome = PASSED
        self._started = time.monotonic()

    def stopTest(self, test):
        duration = time.monotonic() - self._started
        self._started = None
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        self._number += 1
        self._record(test, self._outcome, f"{duration:.2f} s")

    def _record(self, test, outcome, remark):
        name = _name(test)
        print(
            f"{self._number}/{self._total} {outcome} {name} ({remark})",
            file=sys.__stdout__, flush=True)
        self._file.write(json.dumps([outcome, name]) + '\n')
        self._file.flush()

    def _conclude(self, test, outcome, text):
        print(text, file=sys.__stdout__, flush=True)
        if self._started is None:
            # The set up or tear down of a class or module
            self._record(test, outcome, "outside of a test")
        elif self._outcome != FAILED:
            self._outcome = outcome

    def addError(self, test, err):
        super().addError(test, err)
        self._conclude(test, FAILED, self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._conclude(test, FAILED, self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        known = len(self.failures), len(self.errors)
        super().addSubTest(test, subtest, err)
        if err is not None:
            new = self.failures[known[0]:] + self.errors[known[1]:]
            self._conclude(subtest, FAILED, f"{subtest}\n{new[0][1]}")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._conclude(test, FAILED, "Unexpected success")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._conclude(test, SKIPPED, f"Skipped: {reason}")


def _name(test):
    name = str(test.id()).replace(f'{PACKAGE}.tests.', '')
    # The name of a scenario is its path
    return os.path.basename(name) if os.sep in name else name


def load(names, patterns, fast):
    "Return the suite of the named tests, of all without names"
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    if patterns:
        loader.testNamePatterns = [
            p if '*' in p else f'*{p}*' for p in patterns]
    if not names:
        folder = Path(importlib.import_module(f'{PACKAGE}.tests').__file__)
        names = sorted(p.stem for p in folder.parent.glob('test_*.py'))
        if fast:
            names.remove('test_scenario')
    for name in names:
        suite.addTests(_load(loader, name))
    return suite


def _load(loader, name):
    name = re.sub(r'^tests[./]|\.(py|rst)$', '', name)
    if not name.startswith('scenario'):
        return loader.loadTestsFromName(f'{PACKAGE}.tests.{name}')
    patterns = loader.testNamePatterns
    loader.testNamePatterns = [f'{name}.rst']
    try:
        return loader.loadTestsFromName(f'{PACKAGE}.tests.test_scenario')
    finally:
        loader.testNamePatterns = patterns


class Activation:
    """
    Replace how trytond.tests activates modules: start from a database where
    their dependencies are active already, which takes most of the time
    """

    def __init__(self):
        # The environment must be set before they are imported
        from trytond import pool

        # The checks of modules ask it of each class again and again
        pool.isregisteredby = lru_cache(None)(pool.isregisteredby)
        from trytond.tests import test_tryton, tools
        self._server = test_tryton
        self._tools = tools
        self._activate_module = test_tryton.activate_module

    def install(self):
        self._server.activate_module = self.activate_module
        self._server._db_cache_file = self.cache_file
        self._tools.activate_modules = self.activate_modules

    def activate_module(self, modules, lang='en'):
        if self._server.db_exist():
            self._activate_module(modules, lang=lang)
        else:
            self._create(modules, lang=lang)

    def activate_modules(self, modules, *setup):
        self._server.drop_db()
        self._create(modules, setup=setup)
        return self._tools._get_config()

    def cache_file(self, folder, key):
        "Return the path of a file or the URI of a template database"
        name = _digest([key.encode()])
        if key.startswith(BASE):
            name = BASE + name
        if folder == TEMPLATES:
            return f'{folder}/{self._server.DB_NAME}-{name}'
        return f'{folder}/{name}.dump'

    def _create(self, modules, lang='en', setup=()):
        modules = {modules} if isinstance(modules, str) else set(modules)
        key = ' '.join(
            [lang, *sorted(modules), *map(self._tools._func_name, setup)])
        if self._server.restore_db_cache(key):
            return
        self._create_base(self._dependencies(modules), lang)
        self._activate(modules)
        for function in setup:
            function(config=self._tools._get_config())
        self._server.backup_db_cache(key)

    def _create_base(self, modules, lang):
        key = ' '.join([BASE, lang, *sorted(modules)])
        if self._server.restore_db_cache(key):
            return
        if len(modules) > 1:
            # The one that takes the longest is what most bases share
            heaviest = max(
                sorted(modules), key=lambda m: len(self._closure(m)))
            self._create_base({heaviest}, lang)
        else:
            self._server.create_db(lang=lang)
        self._activate(modules)
        self._server.backup_db_cache(key)

    @classmethod
    def _dependencies(cls, modules):
        dependencies = modules - {MODULE}
        if MODULE in modules:
            dependencies.update(cls._depends(MODULE))
        return dependencies

    @classmethod
    def _depends(cls, module):
        from trytond.modules import get_module_info
        return get_module_info(module).get('depends', [])

    @classmethod
    def _closure(cls, module):
        return {module}.union(*map(cls._closure, cls._depends(module)))

    def _activate(self, modules):
        from trytond.pool import Pool
        from trytond.transaction import Transaction
        with Transaction().start(self._server.DB_NAME, 1) as transaction:
            pool = Pool()
            Module = pool.get('ir.module')
            ActivateUpgrade = pool.get(
                'ir.module.activate_upgrade', type='wizard')

            # The dependencies of the module may have changed since the base
            Module.update_list()
            records = Module.search([('name', 'in', list(modules))])
            assert len(records) == len(modules), (
                f"Not found: {modules - {r.name for r in records}}")
            Module.activate(records)
            transaction.commit()
            session, _, _ = ActivateUpgrade.create()
            transaction.commit()
            ActivateUpgrade(session).transition_upgrade()
            ActivateUpgrade.delete(session)
            transaction.commit()


def work(arguments):
    "Run the tests on the database of the environment"
    if 'DB_CACHE' in os.environ:
        Activation().install()
    suite = load(arguments.names, arguments.pattern, arguments.fast)
    timeout = float(os.environ.get('TEST_TIMEOUT', 600))
    with open(arguments.result, 'a') as file:
        result = Result(file, suite.countTestCases(), timeout)
        result.failfast = arguments.failfast
        result.startTestRun()
        suite.run(result)
        result.stopTestRun()
        file.write(json.dumps(END) + '\n')


# In the parent


def _digest(contents):
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:20]


def environment_fingerprint():
    "Return a digest of all the dependencies are made of"
    return _digest([
            sys.version.encode(),
            *sorted(
                f'{d.name} {d.version}'.encode() for d in distributions()
                if d.name != f'trytond_{MODULE}')])


def fingerprint():
    "Return a digest of all an activated database is made of"
    contents = [environment_fingerprint().encode()]
    for path in sorted(_sources()):
        contents.append(str(path.relative_to(ROOT)).encode())
        contents.append(path.read_bytes())
    return _digest(contents)


def _sources():
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            f for f in folders if f not in INDIFFERENT
            and not f.startswith('.') and not f.endswith('.egg-info')]
        in_tests = Path(folder).name == 'tests'
        for name in files:
            if (name.endswith(('.py', '.xml', '.cfg', '.po', '.svg', '.html'))
                    and not (in_tests and name.startswith('test_'))):
                yield Path(folder) / name


class Cache:
    """
    Activated databases, with the module (full) and without it (base).

    A run works on copies and hands over at its end what it added, so that
    runs side by side never see half a file.
    """

    def __init__(self):
        self._fingerprint = fingerprint()
        folder = BUILD / 'cache'
        self.full = folder / self._fingerprint
        self.base = folder / f'{BASE}{environment_fingerprint()}'
        for folder in [self.full, self.base]:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)

    def prune(self):
        "Remove what nobody will ask for"
        folders = set(self.full.parent.iterdir())
        bases = {f for f in folders if f.name.startswith(BASE)}
        recent = sorted(
            folders - bases, key=lambda f: f.stat().st_mtime)[-CACHE_COUNT:]
        for folder in folders - {self.base, *recent}:
            if time.time() - folder.stat().st_mtime > CACHE_AGE:
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def valid(self):
        "Whether nobody changed a file meanwhile"
        return fingerprint() == self._fingerprint

    @contextmanager
    def files(self, folder):
        "Fill the folder with the files, and take over new ones"
        folder.mkdir()
        for path in [*self.full.glob('*.dump'), *self.base.glob('*.dump')]:
            os.link(path, folder / path.name)
        yield folder
        valid = self.valid
        for path in folder.glob('*.dump'):
            base = path.name.startswith(BASE)
            target = (self.base if base else self.full) / path.name
            if (base or valid) and not target.exists():
                os.replace(path, target)


class Database:
    "A kind of database and a process that runs the tests on it"

    def __init__(self, name, folder, environment, remark=''):
        self.name = name
        self.remark = remark
        self.counts = Counter()
        self.failed = []
        self.duration = 0
        self._result = folder / f'{name}.jsonl'
        self._environment = environment
        self._folder = folder / f'{name}-data'
        self._folder.mkdir()
        self._thread = threading.Thread(target=self._run)
        self._process = None
        self._arguments = None
        self._started = None

    def start(self, arguments):
        self._arguments = arguments
        self._started = time.monotonic()
        self._thread.start()

    def join(self):
        self._thread.join()

    def kill(self):
        if self._process and self._process.poll() is None:
            self._process.kill()
            self.join()

    def _run(self):
        environment = {
            **os.environ,
            'HYPOTHESIS_STORAGE_DIRECTORY': str(BUILD / 'hypothesis'),
            'PYTHONUNBUFFERED': '1',
            'TRYTOND_DATABASE__PATH': str(self._folder),
            **self._environment}
        # What is configured on the machine is not for the tests
        environment.pop('TRYTOND_CONFIG', None)
        command = [
            sys.executable, '-m', f'{PACKAGE}.tests.run',
            '--result', str(self._result), *self._arguments]
        self._process = subprocess.Popen(
            command, env=environment, cwd=self._folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors='replace')
        for line in self._process.stdout:
            print(f"[{self.name}] {line}", end='', flush=True)
        self._process.wait()
        self.duration = time.monotonic() - self._started
        self._count(self._process.returncode)

    def _count(self, status):
        outcomes = []
        if self._result.exists():
            outcomes = list(map(
                    json.loads, self._result.read_text().splitlines()))
        if not outcomes or outcomes[-1] != END:
            outcomes.append([FAILED, f"the process ended with {status}"])
        elif len(outcomes) == 1:
            outcomes.append([FAILED, "no test was found"])
        outcomes = [o for o in outcomes if o != END]
        for outcome, name in outcomes:
            self.counts[outcome] += 1
            if outcome == FAILED:
                self.failed.append(name)

    def report(self):
        title = f"{self.name} ({self.remark})" if self.remark else self.name
        for name in self.failed:
            print(f"[{self.name}] failed: {name}")
        print(f"{title}: {summary(self.counts)} in {self.duration:.0f} s")


def sqlite(stack, folder, cache):
    files = stack.enter_context(cache.files(folder / 'sqlite'))
    return Database('sqlite', folder, {
            'TRYTOND_DATABASE_URI': 'sqlite://',
            'DB_CACHE': str(files),
            'DB_NAME': ':memory:',
            })


def postgresql(stack, folder, cache):
    "Return the database, None if there is no server to be had"
    uri = server_uri()
    if uri and not _answers(uri):
        raise OSError("The server of the environment is of no use")
    if not uri and programs():
        return _postgresql_cluster(stack, folder, cache)
    if uri or _answers(uri := 'postgresql:///'):
        return _postgresql_server(stack, folder, uri)


def _postgresql_cluster(stack, folder, cache):
    full, base = cache.full / 'postgresql', cache.base / 'postgresql'
    cluster = stack.enter_context(Cluster(
            fsync=False, template=str(full if full.exists() else base),
            min_wal_size='32MB'))
    known = _databases(cluster.uri)

    def save():
        new = _databases(cluster.uri) - known
        if new and cache.valid:
            cluster.save(str(full))
            cluster.start()
        if any(n.startswith(f'test-{BASE}') for n in new):
            _drop_databases(cluster.uri, 'test', keep=f'test-{BASE}')
            cluster.save(str(base))
    stack.callback(save)
    return _postgresql(folder, cluster.uri, 'test', "throw-away cluster")


def _postgresql_server(stack, folder, uri):
    name = f'test_{os.getpid()}_{os.urandom(4).hex()}'
    stack.callback(_drop_databases, uri, name)
    return _postgresql(folder, uri, name, "server")


def _postgresql(folder, uri, name, remark):
    return Database('postgresql', folder, {
            'TRYTOND_DATABASE_URI': uri,
            'DB_CACHE': TEMPLATES,
            'DB_NAME': name,
            }, remark)


def _connect(uri):
    import psycopg
    base, question, options = uri.partition('?')
    return psycopg.connect(
        base + 'template1' + question + options, autocommit=True,
        connect_timeout=5)


def _answers(uri):
    "Return whether a server is there and lets us create databases"
    import psycopg
    try:
        with _connect(uri) as connection:
            row = connection.execute(
                'SELECT rolcreatedb OR rolsuper FROM pg_roles '
                'WHERE rolname = current_user').fetchone()
            return bool(row and row[0])
    except psycopg.OperationalError:
        return False


def _databases(uri):
    with _connect(uri) as connection:
        return {n for n, in connection.execute(
                'SELECT datname FROM pg_database')}


def _drop_databases(uri, prefix, keep=None):
    from psycopg.sql import SQL, Identifier
    names = {n for n in _databases(uri) if n.startswith(prefix)}
    with _connect(uri) as connection:
        for name in names:
            if keep and name.startswith(keep):
                continue
            connection.execute(
                SQL('DROP DATABASE {} WITH (FORCE)').format(Identifier(name)))


OPENERS = {'sqlite': sqlite, 'postgresql': postgresql}


def run(names, arguments):
    "Run the tests on these databases, return the counts over all"
    counts = Counter()
    cache = Cache()
    cache.prune()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(
                tempfile.TemporaryDirectory(prefix='run-', dir=BUILD)))
        databases = []
        for name in names:
            try:
                database = OPENERS[name](stack, folder, cache)
            except OSError as e:
                print(f"[{name}] failed: {e}")
                counts[FAILED] += 1
                continue
            if database:
                databases.append(database)
            else:
                print(f"No {name}: no server answers, no programs found")
        for database in databases:
            stack.callback(database.kill)
            database.start(arguments)
        for database in databases:
            database.join()
        for database in databases:
            database.report()
            counts += database.counts
    print("Databases:", ", ".join(d.name for d in databases) or "none")
    return counts


def parse():
    parser = argparse.ArgumentParser(
        description="Run the tests of the module.")
    parser.add_argument('names', nargs='*',
        help="as test_smtp, test_smtp.FaultTestCase or scenario_reporting")
    parser.add_argument('-k', dest='pattern', action='append', default=[],
        help="run only the tests whose name matches")
    parser.add_argument('-f', '--failfast', action='store_true')
    parser.add_argument('--fast', action='store_true',
        help="leave out the scenarios")
    parser.add_argument('--database', action='append', choices=list(OPENERS),
        help="instead of all")
    parser.add_argument('--result', help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse()
    if arguments.result:
        work(arguments)
        return
    forwarded = list(arguments.names)
    for pattern in arguments.pattern:
        forwarded += ['-k', pattern]
    for option in ['failfast', 'fast']:
        if getattr(arguments, option):
            forwarded.append(f'--{option}')
    # So that what was opened is closed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    counts = run(arguments.database or list(OPENERS), forwarded)
    print(summary(counts))
    if counts[FAILED] or not counts[PASSED]:
        sys.exit(1)


if __name__ == '__main__':
    main()
