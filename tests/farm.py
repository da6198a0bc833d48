# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A small system of real processes to break: database, workers, SMTP server

Everything runs on loopback and in a folder of its own.  The farm counts what
the SMTP server accepted against the record activities that were due.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from trytond.modules.marketing_automation.tests import postgresql, smtp

SETUP = '''
from trytond.pool import Pool
from trytond.transaction import Transaction

def records(count):
    "Insert parties with addresses, which no DNS could confirm"
    pool = Pool()
    party = pool.get('party.party').__table__()
    mechanism = pool.get('party.contact_mechanism').__table__()
    cursor = Transaction().connection.cursor()
    for start in range(1, count + 1, 500):
        numbers = range(start, min(start + 500, count + 1))
        cursor.execute(*party.insert(
                [party.id, party.name, party.code, party.active],
                [[1000 + i, 'Party %s' % i, 'P%s' % i, True]
                    for i in numbers]))
        cursor.execute(*mechanism.insert(
                [mechanism.party, mechanism.type, mechanism.value,
                    mechanism.value_compact, mechanism.active],
                [[1000 + i, 'email', *['p%s@example.com' % i] * 2, True]
                    for i in numbers]))

def scenario(template):
    pool = Pool()
    Activity = pool.get('marketing.automation.activity')
    Scenario = pool.get('marketing.automation.scenario')
    scenario, = Scenario.create([{
                'name': "Scenario",
                'model': 'party.party',
                'domain': '[["contact_mechanisms.type", "=", "email"]]',
                }])
    Activity.create([{
                'name': "E-mail",
                'parent': str(scenario),
                'action': 'send_email',
                'email_title': "Hello ${record.name}",
                'email_template': template,
                }])
    Scenario.run([scenario])
    return scenario
'''
TEMPLATE = (
    '<html><body><p>Hello ${record.name}</p>'
    '<a href="https://example.com/">Visit us</a>'
    '<a href="unsubscribe">Unsubscribe</a></body></html>')


class Farm:
    """The processes of one installation

    backend -- 'postgresql' or 'sqlite'
    options -- of the section marketing
    """

    def __init__(self, backend='postgresql', workers=0, timeout=3, **options):
        self.folder = tempfile.mkdtemp(prefix='marketing-')
        self.backend = backend
        self.options = {'automation_lease': 6, **options}
        self.cluster = None
        self.database = 'farm'
        self.sink = smtp.Process(store='ids')
        self.timeout = timeout
        self.workers = []
        self.worker_count = workers
        self.runner = None

    def __enter__(self):
        if self.backend == 'postgresql':
            self.cluster = postgresql.Cluster()
            self.cluster.start()
            self.uri = self.cluster.uri
        else:
            self.uri = 'sqlite://'
        self._configure()
        self._create()
        return self

    def __exit__(self, *_):
        self.stop_workers()
        self.sink.stop()
        if self.cluster:
            self.cluster.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def config(self):
        return os.path.join(self.folder, 'trytond.conf')

    def _configure(self):
        has_worker = self.backend == 'postgresql' and self.worker_count
        lines = [
            '[database]', f'uri = {self.uri}', f'path = {self.folder}',
            '[cache]', 'clean_timeout = 86400',
            '[queue]', f'worker = {bool(has_worker)}',
            '[email]', f'uri = {self.sink.uri}?timeout={self.timeout}',
            'from = shop@example.com',
            '[marketing]', 'automation_base = https://example.com/',
            *(f'{n} = {v}' for n, v in self.options.items())]
        with open(self.config, 'w') as fp:
            fp.write('\n'.join(lines) + '\n')

    def _create(self):
        if self.backend == 'sqlite':
            open(os.path.join(self.folder, 'farm.sqlite'), 'w').close()
        else:
            self.python(
                'from trytond import backend\n'
                'from trytond.transaction import Transaction\n'
                'with Transaction().start(None, 0, autocommit=True) as t:\n'
                f'    t.database.create(t.connection, "{self.database}")\n',
                pool=False)
        password = os.path.join(self.folder, 'password')
        with open(password, 'w') as fp:
            fp.write('a long password')
        subprocess.run(
            [sys.executable, '-c',
                'from trytond.cli.admin import main; main()',
                '-c', self.config, '-d', self.database,
                '-u', 'marketing_automation', '--activate-dependencies'],
            env={**os.environ, 'TRYTONPASSFILE': password},
            # The e-mail address of the administrator is asked for
            input='\n', text=True, check=True, stdout=subprocess.DEVNULL)

    def python(self, code, pool=True, check=True, wait=True):
        "Run the code in a process, in a transaction of the database"
        head = f'import trytond.config as config\nconfig.update_etc(' \
            f'{[self.config]!r})\n'
        if pool:
            head += SETUP + (
                f'Pool.start()\npool = Pool({self.database!r})\n'
                f'with Transaction().start({self.database!r}, 0):\n'
                '    pool.init()\n'
                f'with Transaction().start({self.database!r}, 0) '
                'as transaction:\n')
            code = ''.join('    ' + line for line in code.splitlines(True))
        process = subprocess.Popen(
            [sys.executable, '-c', head + code], stdout=subprocess.PIPE,
            text=True, start_new_session=True)
        if not wait:
            return process
        output, _ = process.communicate()
        if check and process.returncode:
            raise RuntimeError(f"exit status {process.returncode}")
        return output

    def prepare(self, count, template=TEMPLATE):
        "Create the parties and enter them into a running scenario"
        self.python(
            f'records({count})\nscenario({template!r})\n'
            'transaction.commit()\n'
            'pool.get("marketing.automation.scenario").trigger()\n')

    def process(self, wait=True):
        "Run what the cron runs, and its tasks where there is no worker"
        return self.python(
            'pool.get("marketing.automation.record.activity").process()\n'
            'transaction.commit()\n'
            'from trytond.worker import run_task\n'
            'while transaction.tasks:\n'
            '    run_task(pool, transaction.tasks.pop())\n',
            check=False, wait=wait)

    def process_all(self):
        "Run what is due and wait until it is done"
        self.process()
        if self.worker_count:
            self.start_workers()
            self._wait_tasks()

    def _wait_tasks(self, timeout=60):
        "Wait until the workers have finished their tasks"
        code = (
            'import time\n'
            'Queue = pool.get("ir.queue")\n'
            f'end = time.monotonic() + {timeout}\n'
            'while Queue.search([("finished_at", "=", None)], count=True):\n'
            '    assert time.monotonic() < end\n'
            '    transaction.commit()\n'
            '    time.sleep(0.1)\n')
        self.python(code)

    @property
    def boot(self):
        "Seconds from the start of a process to its first message, about"
        return 1

    def start(self):
        "Start processes that send what is due"
        if self.worker_count:
            self.make_due()
            self.process()
            self.start_workers()
        else:
            self.make_due()
            self.runner = self.process(wait=False)

    def kill(self):
        "Kill a process that sends, return how many messages are uncertain"
        if self.worker_count:
            worker = self.workers.pop(random.randrange(len(self.workers)))
        else:
            worker = self.runner
        _kill(worker)
        return 1

    def start_workers(self):
        for _ in range(self.worker_count - len(self.workers)):
            self.workers.append(subprocess.Popen(
                    [sys.executable, '-c',
                        'from trytond.cli.worker import main; main()',
                        '-c', self.config, '-d', self.database, '-n', '1',
                        '-t', '1'],
                    stderr=subprocess.DEVNULL, start_new_session=True))

    def stop_workers(self):
        for worker in self.workers:
            _kill(worker)
        self.workers.clear()

    def reset(self):
        "Forget everything but the database itself"
        self.stop_workers()
        self.sink.reset()
        self.sink.listen()
        self.sink.clear()
        self.python(
            'cursor = transaction.connection.cursor()\n'
            'for name in ["ir.queue", "marketing.automation.throttle", '
            '"marketing.automation.record.activity", '
            '"marketing.automation.record", "marketing.automation.link", '
            '"marketing.automation.activity", '
            '"marketing.automation.scenario", "party.contact_mechanism", '
            '"party.party"]:\n'
            '    table = pool.get(name).__table__()\n'
            '    cursor.execute(*table.delete())\n')

    def make_due(self):
        "Let everything that waits be due now, and the server be tried"
        self.python(
            'import datetime as dt\n'
            'table = pool.get("marketing.automation.record.activity")'
            '.__table__()\n'
            'cursor = transaction.connection.cursor()\n'
            'cursor.execute(*table.update([table.at], '
            '[dt.datetime.now() - dt.timedelta(seconds=1)], '
            'where=table.state == "waiting"))\n'
            'table = pool.get("marketing.automation.throttle").__table__()\n'
            'cursor.execute(*table.update([table.open_until], [None]))\n')

    @property
    def states(self):
        "Return {state: count} of the record activities"
        output = self.python(
            'from sql.aggregate import Count\n'
            'table = pool.get("marketing.automation.record.activity")'
            '.__table__()\n'
            'cursor = transaction.connection.cursor()\n'
            'cursor.execute(*table.select(table.state, Count(), '
            'group_by=[table.state]))\n'
            'for state, count in cursor: print(state, count)\n')
        return {
            state: int(count)
            for state, count in map(str.split, output.splitlines())}

    def run_until(self, count, timeout=120, due=True):
        "Go on processing until so many are done, return the states"
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.start_workers()
            if due:
                self.make_due()
            self.process()
            if self.workers:
                self.settle(count)
            if (states := self.states).get('done', 0) >= count:
                break
        return states

    def settle(self, count, idle=2):
        "Wait until the server has taken so many, or takes no more"
        last, since = -1, time.monotonic()
        while time.monotonic() - since < idle:
            if (taken := self.sink.count) != last:
                last, since = taken, time.monotonic()
            time.sleep(0.05)

    @property
    def unique(self):
        return self.sink.count - self.surplus

    @property
    def surplus(self):
        "How many messages were accepted once too often"
        return sum(n - 1 for n in self.sink.duplicates.values())


def _kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
