#!/usr/bin/env python3
# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
Measure this module, the published one and the limits, side by side.

All processes are real and measured from here: the time of a run goes from
the order to the child until its answer, so it has the reading, composing,
delivery and storing of all that was due.  With workers it goes from the start
of the cron until the last message is at the server and nothing waits.
The mail server is a process of its own that counts.  As the clock depends on
what else the machine does, processor time is told as well.  What is compared
is run in turns, and of several runs the median counts.
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import cycle

from ..tests.system.installation import free_port
from ..tests.system.smtp import Process
from .environment import (
    BUILD, FOLDER, Child, Environment, PostgreSQL, SQLite, Timeout, peer,
    running)
from .hits import CONNECTIONS, Visits, paths
from .results import Results, median

SECTIONS = [
    'templates', 'delivery', 'rules', 'statements', 'workers', 'latency',
    'hits', 'entry', 'split', 'business', 'million', 'waiting']
# How many e-mails are sent before, so that nobody pays for the first time
WARM_UP = 20
LATENCY = 0.02  # seconds
CONTROL = re.compile(
    r'(BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)\b', re.IGNORECASE)


class Bench:
    "What the sections need"

    def __init__(self, options, stack):
        self.options = options
        self.stack = stack
        self.module = Environment('module', sys.executable)
        self.peer = None if options.no_peer else peer(options.peer)
        self.sink = stack.enter_context(Process(store='count'))
        self.results = Results(**conditions(self))
        self._stores = {}

    def store(self, class_):
        "Return the store of the class, made when first needed"
        if class_ not in self._stores:
            BUILD.mkdir(exist_ok=True)
            folder = tempfile.mkdtemp(prefix='benchmark-', dir=BUILD)
            # The server of the database runs as somebody else
            os.chmod(folder, 0o755)
            store = self._stores[class_] = class_(folder)
            self.stack.callback(store.stop)
        return self._stores[class_]

    @property
    def environments(self):
        return [e for e in [self.module, self.peer] if e]

    def is_bearable(self, environment, store, size):
        return (environment is self.module
            or size <= self.options.peer_limit[store.name])

    @contextmanager
    def open(self, store, environment, name=None, **options):
        "Yield a child on a new database, or on the named one"
        database = name or store.copy(environment)
        installation = store.installation(
            environment, database, **{'uri': self.sink.uri, **options})
        with Child(installation) as child:
            yield child
        if not name:
            store.drop(database)


def conditions(bench):
    result = {
        'date': time.strftime('%Y-%m-%d %H:%M'),
        'processors': os.cpu_count(),
        'load before': ' '.join(f'{v:.2f}' for v in os.getloadavg()),
        'python': platform.python_version(),
        'module': ' on trytond '.join(bench.module.version()),
        'mode': 'quick' if bench.options.quick else 'full',
        }
    if bench.peer:
        result['published module'] = ' on trytond '.join(bench.peer.version())
    return result


def due(child, count):
    "Let so many e-mails be due"
    child.call('parties', count=count)
    child.call('analyze')
    child.call('cron', name='trigger')


def run(bench, child, count, timeout=3600, **arguments):
    "Do what is due and return the answer, all must have been sent"
    before = bench.sink.count
    answer = child.call('cron', name='process', timeout=timeout, **arguments)
    sent = bench.sink.count - before
    if sent != count:
        raise RuntimeError(
            f"{sent} of {count} sent: {child.call('states').result}")
    return answer


class Rates:
    "The rates of several runs of the same"

    def __init__(self):
        self.seconds = []
        self.processor = []
        self.server = []
        self.count = None

    def add(self, count, answer, server=None):
        self.count = count
        self.seconds.append(answer.seconds)
        self.processor.append(answer.processor)
        if server is not None:
            self.server.append(server)

    @property
    def rate(self):
        return self.count / median(self.seconds) if self.seconds else None

    @property
    def per_processor(self):
        "Per second of processor time of the process alone"
        if self.seconds:
            return self.count / median(self.processor)

    @property
    def per_all_processors(self):
        "Per second of processor time of the process and the database"
        if self.seconds:
            server = median(self.server) if self.server else 0
            return self.count / (median(self.processor) + server)

    def note(self, results, section, what, **details):
        if self.seconds:
            details['runs'] = len(self.seconds)
        if any(self.processor):
            details['per CPU s'] = self.per_processor
        if self.server:
            details['database CPU ms each'] = (
                1000 * median(self.server) / self.count)
        return results.value(section, what, self.rate, '/s', **details)


# The limits


def bound(bench, program, count):
    "Send without database and return the answer"
    process = subprocess.run(
        [bench.module.python, str(FOLDER / 'bound.py'), program,
            '127.0.0.1', str(bench.sink.port), str(count)],
        check=True, text=True, stdout=subprocess.PIPE)
    values = json.loads(process.stdout)
    return Times(values['seconds'], values['processor'])


class Times:

    def __init__(self, seconds, processor=0):
        self.seconds = seconds
        self.processor = processor


# What the guard of templates costs


def templates(bench):
    print('\nTemplates, per second of processor time')
    process = subprocess.run(
        [bench.module.python, str(FOLDER / 'templates.py')],
        check=True, text=True, stdout=subprocess.PIPE)
    labels = {
        'genshi': "Genshi as it comes", 'guarded': "guarded",
        'message': "guarded, what is common made once"}
    for source, rates in json.loads(process.stdout).items():
        for name, rate in rates.items():
            bench.results.value(
                'templates', f'{source}, {labels[name]}', rate, '/s',
                of_genshi=rate / rates['genshi'])


# E-mails per second, one process without workers


def delivery(bench):
    for class_ in [PostgreSQL] + [SQLite] * (not bench.options.no_sqlite):
        store = bench.store(class_)
        print(f'\nE-mails, one process without workers, {store.name}')
        for size in bench.options.sizes:
            rates = _delivery_rates(bench, store, size)
            _note_delivery(bench, store, size, rates)


def _delivery_rates(bench, store, size):
    "Return {name: Rates} of runs in turns"
    rates = {n: Rates() for n in ['module', 'peer', 'stock', 'parts']}
    with ExitStack() as stack:
        children = {}
        for environment in bench.environments:
            if not bench.is_bearable(environment, store, size):
                continue
            child = stack.enter_context(bench.open(store, environment))
            children[environment.name] = child
            due(child, WARM_UP)
            run(bench, child, WARM_UP)
        for turn in range(bench.options.repeat):
            for name, child in list(children.items()):
                if name == 'peer' and turn >= bench.options.peer_repeat:
                    continue
                due(child, size)
                server = _processor(store)
                try:
                    answer = run(
                        bench, child, size, timeout=bench.options.timeout)
                except Timeout as timeout:
                    print(f"  {name}: {size} not done after {timeout} s")
                    del children[name]
                    continue
                rates[name].add(
                    size, answer,
                    server is not None and _processor(store) - server or None)
            for name in ['stock', 'parts']:
                rates[name].add(size, bound(bench, name, size))
    return rates


def _processor(store):
    if isinstance(store, PostgreSQL):
        return store.processor()


def _note_delivery(bench, store, size, rates):
    labels = {
        'module': "this module", 'peer': "published module",
        'stock': "bound, the libraries as they come",
        'parts': "bound, this module's parts"}
    for name, label in labels.items():
        rates[name].note(
            bench.results, f'e-mails/s {store.name}', f'{label}, {size} due',
            size=size, who=name)
    if size != 500:
        return
    figure = bench.results.figure
    module = rates['module'].rate
    figure(f'one process against the published module, {store.name}',
        ratio(module, rates['peer'].rate), 40, '×')
    figure(f'one process against the bound, {store.name}',
        ratio(100 * module, rates['stock'].rate), 50, '%')
    figure(f"one process against this module's parts, {store.name}",
        ratio(100 * module, rates['parts'].rate), 50, '%')
    # What else runs on the machine changes the clock, but hardly these
    each = rates['module'].per_all_processors
    figure(f'– the same by processor time, published, {store.name}',
        ratio(each, rates['peer'].per_all_processors), 40, '×')
    figure(f'– the same by processor time, bound, {store.name}',
        ratio(100 * each, rates['stock'].per_all_processors), 50, '%')
    figure(f'– the same by processor time, parts, {store.name}',
        ratio(100 * each, rates['parts'].per_all_processors), 50, '%')


def ratio(value, base):
    return value / base if value and base else None


# E-mails per second where it is asked whether each is to be sent


def rules(bench):
    store = bench.store(PostgreSQL)
    print('\nE-mails with window, cap, stay and goal, PostgreSQL')
    size = max(bench.options.sizes)
    rates = {'without': Rates(), 'with': Rates()}
    with ExitStack() as stack:
        children = {
            name: stack.enter_context(bench.open(store, bench.module))
            for name in rates}
        children['with'].call('rules')
        for child in children.values():
            due(child, WARM_UP)
            run(bench, child, WARM_UP)
        for _ in range(bench.options.repeat):
            for name, child in children.items():
                due(child, size)
                rates[name].add(size, run(bench, child, size))
    for name, rate in rates.items():
        rate.note(bench.results, 'e-mails/s rules',
            f'{name} window, cap, stay and goal, {size} due')
    bench.results.figure(
        'e-mails with window, cap, stay and goal against without',
        ratio(100 * rates['with'].rate, rates['without'].rate), 80, '%')


# What is asked of the database


def statements(bench):
    store = bench.store(PostgreSQL)
    print('\nStatements and rows per e-mail, PostgreSQL')
    for environment in bench.environments:
        size = 500 if environment is bench.module else 100
        _statements(bench, store, environment, size)
    for archive in [True, False]:
        _rows(bench, store, bench.module, 500, archive)
    if bench.peer:
        _rows(bench, store, bench.peer, 100, True)


def _statements(bench, store, environment, size):
    with bench.open(store, environment) as child:
        due(child, WARM_UP)
        run(bench, child, WARM_UP)
        due(child, size)
        with store.log_statements(child.installation.database) as found:
            # The setting is for new sessions
            with bench.open(
                    store, environment, child.installation.database) as other:
                run(bench, other, size)
    control = [s for s in found if CONTROL.match(s)]
    value = bench.results.value
    each = value('statements',
        f'{environment.name}: statements per e-mail, {size} due',
        (len(found) - len(control)) / size, '')
    value('statements',
        f'{environment.name}: BEGIN, COMMIT and such per e-mail',
        len(control) / size, '')
    _save_statements(environment, found, size)
    if environment is bench.module:
        bench.results.figure(
            'SQL statements per e-mail, without BEGIN and COMMIT',
            each, 2, at_most=True)


def _save_statements(environment, found, size):
    "Write the kinds of statements, by number"
    kinds = Counter(_kind(s) for s in found)
    path = BUILD / f'statements-{environment.name}.txt'
    with open(path, 'w') as file:
        for kind, number in kinds.most_common():
            file.write(f'{number / size:9.4f}  {number:6}  {kind}\n')


def _kind(statement):
    statement = re.sub(r'\$\d+', '?', statement)
    statement = re.sub(
        r'\((\s*(\?|NULL|nextval\([^)]*\))\s*,?)+\)', '(?)', statement)
    statement = re.sub(r'(\(\?\)(, )?){2,}', '(?)…', statement)
    return statement[:300]


def _rows(bench, store, environment, size, archive):
    name = store.copy(environment)
    options = {} if archive else {'automation_archive': False}
    with bench.open(store, environment, name, **options) as child:
        due(child, WARM_UP)
        run(bench, child, WARM_UP)
        due(child, size)
    before = Counter(store.inserted(name))
    with bench.open(store, environment, name, **options) as child:
        run(bench, child, size)
    after = Counter(store.inserted(name))
    store.drop(name)
    rows = after - before
    text = 'with' if archive else 'without'
    each = bench.results.value('rows',
        f'{environment.name}: rows per e-mail {text} archive',
        sum(rows.values()) / size, '',
        **{t: n for t, n in rows.most_common(6)})
    if environment is bench.module:
        bench.results.figure(
            f'rows inserted per e-mail, {text} archive',
            each, 3 if archive else 1, at_most=True)


# Worker processes


def workers_(bench):
    store = bench.store(PostgreSQL)
    print('\nE-mails, trytond-worker, PostgreSQL')
    rates = {}
    cases = [
        (bench.module, 1, bench.options.worker_size),
        (bench.module, 2, bench.options.worker_size),
        (bench.module, 2, 500),
        ]
    if bench.peer:
        cases.append((bench.peer, 2, 500))
    for environment, count, size in cases:
        label = (environment.name, count, size)
        rates[label] = _worker_rates(bench, store, *label[1:], environment)
        rates[label].note(bench.results, 'workers',
            f'{environment.name}, {count} processes, {size} due')
    module = {k[1:]: r.rate for k, r in rates.items() if k[0] == 'module'}
    peer_rate = rates.get(('peer', 2, 500), Rates()).rate
    size = bench.options.worker_size
    bench.results.figure(
        'two workers against the published module with two',
        ratio(module[2, 500], peer_rate), 10, '×')
    bench.results.figure(
        f'two workers against one, {size:,} due',
        ratio(module[2, size], module[1, size]), 1.7, '×')


def _worker_rates(bench, store, count, size, environment):
    rates = Rates()
    repeat = (bench.options.repeat if environment is bench.module
        else bench.options.peer_repeat)
    warm_up = 200 * count if environment is bench.module else 40 * count
    with bench.open(store, environment, worker=True) as child:
        start = child.installation.start
        with running(start, 'trytond-worker', '-n', str(count)):
            for i, number in enumerate([warm_up, *[size] * repeat]):
                due(child, number)
                try:
                    answer, server = _work(bench, child, number)
                except Timeout as timeout:
                    print(f"  {environment.name}: not done after {timeout}")
                    break
                if i:
                    rates.add(number, answer, server)
    return rates


def _work(bench, child, count):
    "Wake the workers and wait until they have done all"
    before = bench.sink.count
    server = bench.store(PostgreSQL).processor()
    started = time.perf_counter()
    child.call('cron', name='process')
    end = started + bench.options.timeout
    while time.perf_counter() < end:
        if bench.sink.count - before >= count:
            states = child.call('states').result
            if not states.get('waiting') and not states.get('delivered'):
                break
        time.sleep(0.02)
    else:
        raise Timeout(bench.options.timeout)
    seconds = time.perf_counter() - started
    if bench.sink.count - before != count:
        raise RuntimeError("More e-mails than due")
    server = bench.store(PostgreSQL).processor() - server
    # The time of the workers' own processors is not seen from here
    return Times(seconds), server


# A mail server that takes its time


def latency(bench):
    store = bench.store(PostgreSQL)
    print('\nE-mails, mail server with a latency, PostgreSQL')
    size = bench.options.worker_size
    rates = {0: Rates(), LATENCY: Rates()}
    with bench.open(store, bench.module) as child:
        due(child, WARM_UP)
        run(bench, child, WARM_UP)
        for _ in range(bench.options.repeat):
            for seconds, rate in rates.items():
                due(child, size)
                if seconds:
                    bench.sink.slow(seconds, at='message')
                try:
                    rate.add(size, run(bench, child, size))
                finally:
                    bench.sink.reset()
    for seconds, rate in rates.items():
        rate.note(bench.results, 'latency',
            f'module, {seconds * 1000:.0f} ms per message, {size:,} due')
    bench.results.figure(
        f'{LATENCY * 1000:.0f} ms per message against none',
        ratio(100 * rates[LATENCY].rate, rates[0].rate), 80, '%')


# Entry


def entry(bench):
    store = bench.store(PostgreSQL)
    print('\nEntry of records, PostgreSQL')
    rates = {}
    for environment in bench.environments:
        for size in bench.options.entry_sizes:
            rates[environment.name, size] = rate = Rates()
            with bench.open(store, environment) as child:
                # Both enter nobody first, to have loaded what they need
                child.call('cron', name='trigger')
                child.call('parties', count=size)
                child.call('analyze')
                try:
                    rate.add(size, child.call(
                            'cron', name='trigger',
                            timeout=bench.options.timeout))
                except Timeout as timeout:
                    print(f"  {environment.name}: not done after {timeout} s")
                    continue
                if environment is bench.module:
                    limits = child.call('insert_rates', count=10000).result
            rate.note(bench.results, 'records/s entry',
                f'{environment.name}, {size:,} parties',
                size=size, who=environment.name)
    for name, value in limits.items():
        bench.results.value(
            'entry', f'bound: {name} INSERT, rows', value, '/s')
    size = max(bench.options.entry_sizes)
    bench.results.figure(
        f'entry against the published module, {size:,} parties',
        ratio(rates['module', size].rate,
            rates.get(('peer', size), Rates()).rate), 30, '×')


# What it costs to go down one of several branches


def split(bench):
    store = bench.store(PostgreSQL)
    size = max(bench.options.entry_sizes)
    print(f'\n{size:,} parties enter and come to a branch, PostgreSQL')
    shapes = {'one follower': (1, None), 'split of three': (3, 'split')}
    rates = {(s, c): Rates() for s in shapes for c in ['trigger', 'process']}
    for _ in range(bench.options.repeat):
        for shape, (count, action) in shapes.items():
            with bench.open(store, bench.module) as child:
                child.call('branches', count=count, action=action)
                child.call('cron', name='trigger')
                child.call('parties', count=size, email=False)
                child.call('analyze')
                for cron in ['trigger', 'process']:
                    rates[shape, cron].add(size, child.call(
                            'cron', name=cron, timeout=bench.options.timeout))
    for (shape, cron), rate in rates.items():
        rate.note(bench.results, 'split', f'{cron}, {shape}')
    for cron, what in [
            ('trigger', 'entry with a split of three branches'),
            ('process', 'going on in three branches')]:
        bench.results.figure(
            f'{what} against without', ratio(
                100 * rates['split of three', cron].rate,
                rates['one follower', cron].rate), 70, '%')


# What a business transaction pays for scenarios that enter at once


def business(bench):
    store = bench.store(PostgreSQL)
    count = bench.options.business
    print(f'\n{count} parties, created one a transaction, PostgreSQL')
    times, found, children = {}, {}, {}
    with ExitStack() as stack:
        for scenarios in [0, 3]:
            # Only who leaves a task is measured, not who does it
            child = children[scenarios] = stack.enter_context(
                bench.open(store, bench.module, worker=True))
            child.call('at_once', count=scenarios)
            child.call('create', count=WARM_UP)
            times[scenarios] = []
        # What else the machine does changes all of it in turns
        for _ in range(bench.options.repeat):
            for scenarios, child in children.items():
                times[scenarios] += child.call('create', count=count).result
        for scenarios, child in children.items():
            found[scenarios] = _business_statements(bench, store, child)
    _note_business(bench, times, found)


def _business_statements(bench, store, child, count=20):
    "Return how many statements a transaction has"
    name = child.installation.database
    numbers = []
    for size in [1, 1 + count]:
        with store.log_statements(name) as found, \
                bench.open(store, bench.module, name, worker=True) as other:
            other.call('create', count=size)
        numbers.append(len([s for s in found if not CONTROL.match(s)]))
    few, many = numbers
    return (many - few) / count


def _note_business(bench, times, found):
    value, figure = bench.results.value, bench.results.figure
    milliseconds = {s: 1000 * median(times[s]) for s in found}
    for scenarios in found:
        value('business', f'{scenarios} scenarios at once, a transaction',
            milliseconds[scenarios], 'ms', statements=found[scenarios])
    figure('transaction with three scenarios at once: statements more',
        found[3] - found[0], 2, at_most=True)
    figure('transaction with three scenarios at once: time more',
        milliseconds[3] - milliseconds[0], 3, 'ms', at_most=True)


# One million


def million(bench):
    store = bench.store(PostgreSQL)
    many, few = bench.options.million, 10000
    print(f'\n{many:,} parties, PostgreSQL')
    small, large = (_enter_many(bench, store, n) for n in [few, many])
    value, figure = bench.results.value, bench.results.figure
    for size, result in [(few, small), (many, large)]:
        for name, (number, unit) in result.items():
            value('million', f'{size:,}: {name}', number, unit)
    memory, each = 'resident memory', 'time per record'
    figure(f'entry of {many:,}: resident memory against {few:,}',
        ratio(100 * large[memory][0], small[memory][0]), 120, '%',
        at_most=True)
    figure(f'entry of {many:,}: time per record against {few:,}',
        ratio(100 * large[each][0], small[each][0]), 130, '%', at_most=True)
    idle = 'process with nothing due'
    figure(f'process, nothing due, {many:,} waiting, against none',
        ratio(large[idle][0], small['process with no row'][0]), 10, '×',
        at_most=True)


def _enter_many(bench, store, size):
    "Return {name: (value, unit)} of a database with so many parties"
    result = {}
    name = store.copy(bench.module)
    with bench.open(store, bench.module, name) as child:
        child.call('delay', days=30)
        child.call('cron', name='process')
        result['process with no row'] = (
            _median_ms(child, 'process'), 'ms')
        child.call('cron', name='trigger')
        child.call('parties', count=size)
        child.call('analyze')
    # Without what the preparation has left in memory
    with bench.open(store, bench.module, name) as child:
        answer = child.call('cron', name='trigger', timeout=3600)
        result['time per record'] = 1e6 * answer.seconds / size, 'µs'
        result['resident memory'] = child.call('memory').result, 'MiB'
        entered = child.call('states').result
        if entered != {'waiting': size}:
            raise RuntimeError(f"entered: {entered}")
        child.call('analyze')
        result['process with nothing due'] = (
            _median_ms(child, 'process'), 'ms')
        result['entry with nothing new'] = _median_ms(child, 'trigger'), 'ms'
    with store.log_statements(name) as found:
        with bench.open(store, bench.module, name) as child:
            child.call('cron', name='trigger')
    # Without those of the start of the process
    entry_ = [s for s in found if not CONTROL.match(s)
        and 'marketing_automation_' in s]
    result['statements with nothing new'] = len(entry_), ''
    store.drop(name)
    return result


# Waiting for more than time


def waiting(bench):
    store = bench.store(PostgreSQL)
    size, few = bench.options.million, 10
    print(f'\n{size:,} waiting, PostgreSQL')
    for timing, what in [
            ('until', f'{few} of {size:,} fulfil the condition'),
            ('date', f'{few} of {size:,} dates have moved')]:
        name = store.copy(bench.module)
        idle = _wait_many(bench, store, name, timing, size)
        bench.results.value(
            'waiting', f'{timing}: nothing changed', idle, 'ms')
        # Without what the preparation has left in memory
        with bench.open(store, bench.module, name) as child:
            before = child.call('memory').result
            child.call('change', count=few)
            answer = child.call('cron', name='process')
            memory = child.call('memory').result - before
            done = child.call('states').result.get('done', 0)
        if done != (few if timing == 'until' else 0):
            raise RuntimeError(f"{done} done")
        bench.results.figure(
            f'process, {what}', answer.seconds, 5, 's', at_most=True)
        bench.results.figure(
            f'process, {what}: more memory', memory, 20, 'MiB', at_most=True)
        store.drop(name)


def _wait_many(bench, store, name, timing, size):
    "Let so many wait, return the time of a run with nothing to do, in ms"
    value = bench.results.value
    with bench.open(store, bench.module, name) as child:
        child.call('wait', timing=timing)
        child.call('parties', count=size)
        child.call('analyze')
        child.call('cron', name='trigger', timeout=3600)
        child.call('analyze')
        seconds = child.call('cron', name='process', timeout=3600).seconds
        value('waiting', f'{timing}: planned', size / seconds, '/s')
        child.call('analyze')
        return _median_ms(child, 'process')


def _median_ms(child, name, repeat=5):
    return 1000 * median(
        child.call('cron', name=name).seconds for _ in range(repeat))


# Opens and clicks


def hits(bench):
    store = bench.store(PostgreSQL)
    print('\nOpens and clicks, one trytond with %s connections, PostgreSQL'
        % CONNECTIONS)
    rates = {}
    for environment in bench.environments:
        for kind, rate in _hits(bench, store, environment).items():
            rates[environment.name, kind] = rate.note(
                bench.results, 'hits', f'{environment.name}, {kind}')
    for kind in ['clicks', 'opens']:
        bench.results.figure(
            f'{kind} against the published module',
            ratio(rates['module', kind], rates.get(('peer', kind))), 3, '×')
    _hits_under_load(bench, store)


@contextmanager
def _sent(bench, store, environment, count, **options):
    "Yield the child, the port of a server and the paths of sent messages"
    port = free_port()
    with bench.stack.enter_context(Process(store='memory')) as sink, \
            bench.open(
                store, environment, uri=sink.uri,
                listen=f'127.0.0.1:{port}', **options) as child:
        due(child, count)
        child.call('cron', name='process', timeout=bench.options.timeout)
        found = paths(sink.messages)
        with running(child.installation.start_server, port):
            yield child, port, found


def _hits(bench, store, environment):
    "Return {kind: Rates} of the first click and the first open of messages"
    count, warm_up = bench.options.hits, 20
    rates = {}
    # Nobody is taken for a machine because the messages have just been sent
    options = {} if environment is bench.peer else {'automation_hit_early': 0}
    with _sent(
            bench, store, environment, count + warm_up, **options) as sent:
        _, port, (clicks, opens) = sent
        for kind, found in [('opens', opens), ('clicks', clicks)]:
            Visits(port, found[:warm_up]).run()
            server_ = _processor(store)
            visits = Visits(port, found[warm_up:]).run()
            rates[kind] = Rates()
            rates[kind].add(
                count, Times(visits.seconds), _processor(store) - server_)
    return rates


def _hits_under_load(bench, store):
    "Measure how long hits wait while two workers send"
    count, rate = bench.options.hits, 50
    size = 2 * bench.options.worker_size
    with _sent(bench, store, bench.module, count, worker=False) as sent:
        child, port, (clicks, opens) = sent
        with bench.open(
                store, bench.module, name=child.installation.database,
                worker=True) as other, \
                running(
                    other.installation.start, 'trytond-worker', '-n', '2'):
            due(other, size)
            is_done = threading.Event()
            everything = cycle([*clicks, *opens])
            visits = Visits(port, everything, rate=rate, until=is_done)
            thread = threading.Thread(target=visits.run)
            thread.start()
            answer, _ = _work(bench, other, size)
            is_done.set()
            thread.join()
    if visits.errors:
        raise RuntimeError(f"failed: {visits.errors[0]}")
    bench.results.value(
        'hits', f'e-mails while {rate} hits a second come in',
        size / answer.seconds, '/s', hits=len(visits.latencies),
        **{f'p{p} ms': 1000 * visits.percentile(p) for p in [50, 90, 99]})
    bench.results.figure(
        f'p99 of {rate} hits a second while two workers send',
        1000 * visits.percentile(99), 250, 'ms', at_most=True)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--quick', action='store_true',
        help="smaller sizes, fewer runs: about three minutes")
    parser.add_argument('--only', default=','.join(SECTIONS),
        help="sections to run: %(default)s")
    parser.add_argument('--peer', default=os.environ.get('BENCHMARK_PEER'),
        help="virtual environment of the published module\n"
        "(made in .build/peer by default)")
    parser.add_argument('--no-peer', action='store_true')
    parser.add_argument('--no-sqlite', action='store_true')
    parser.add_argument('--sizes', help="how many e-mails are due: 100,500")
    parser.add_argument('--repeat', type=int, help="how many runs")
    parser.add_argument('--million', type=int, help="how many parties")
    parser.add_argument('--timeout', type=int,
        help="seconds that a run may take")
    parser.add_argument('--profile', type=int, metavar='DUE',
        help="only profile one run with so many due")
    options = parser.parse_args()
    defaults = QUICK if options.quick else FULL
    for name, value in defaults.items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    if isinstance(options.sizes, str):
        options.sizes = list(map(int, options.sizes.split(',')))
    return options


QUICK = {
    'sizes': [100, 500], 'repeat': 2, 'peer_repeat': 1, 'timeout': 120,
    'worker_size': 1000, 'entry_sizes': [2000], 'million': 100_000,
    'hits': 200, 'business': 100,
    'peer_limit': {'postgresql': 500, 'sqlite': 100},
    }
FULL = {
    'sizes': [100, 500, 2000], 'repeat': 3, 'peer_repeat': 3, 'timeout': 900,
    'worker_size': 4000, 'entry_sizes': [2000, 10_000],
    'million': 1_000_000, 'hits': 500, 'business': 100,
    'peer_limit': {'postgresql': 2000, 'sqlite': 500},
    }


def profile(bench):
    "Profile one run of this module and print where the time goes"
    import pstats
    size = bench.options.profile
    path = str(BUILD / 'benchmark.prof')
    with bench.open(bench.store(PostgreSQL), bench.module) as child:
        due(child, WARM_UP)
        run(bench, child, WARM_UP)
        due(child, size)
        run(bench, child, size, profile=path)
    pstats.Stats(path).sort_stats('cumulative').print_stats(80)


def main():
    options = arguments()
    with ExitStack() as stack:
        bench = Bench(options, stack)
        if options.profile:
            return profile(bench)
        for name, value in bench.results.conditions.items():
            print(f'{name}: {value}')
        sections = {**globals(), 'workers': workers_}
        broken = []
        try:
            for name in options.only.split(','):
                try:
                    sections[name](bench)
                except Exception:
                    # The others can still be measured
                    traceback.print_exc()
                    broken.append(name)
        finally:
            results = bench.results
            results.conditions['load after'] = ' '.join(
                f'{v:.2f}' for v in os.getloadavg())
            results.save(BUILD)
            print('', *results.growth(), '', *results.table(), sep='\n')
            print(f"\nload after: {results.conditions['load after']}")
    if broken:
        print(f"broken: {', '.join(broken)}")
    return 1 if results.failed or broken else 0


if __name__ == '__main__':
    sys.exit(main())
