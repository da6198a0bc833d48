# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""An installation to break: database, workers, SMTP server

The farm counts what the SMTP server accepted against the record activities
that were due.
"""
import json
import random
import subprocess
import tempfile
import textwrap
import time
from contextlib import ExitStack

from . import postgresql, smtp
from .installation import Installation

# What all the processes begin with: arguments are configuration and database
HEAD = '''
import datetime as dt
import json
import sys
import time

import trytond.config as config

config.update_etc([sys.argv[1]])

from sql.aggregate import Count
from trytond import backend
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.worker import run_task

database = sys.argv[2]
Pool.start()
pool = Pool(database)
with Transaction().start(database, 0):
    pool.init()


def table(name):
    return pool.get(name).__table__()


def run_tasks(transaction):
    "Run what there is no worker for"
    while transaction.tasks:
        run_task(pool, transaction.tasks.pop())


def records(count):
    "Insert parties with addresses, which no DNS could confirm"
    party = table('party.party')
    mechanism = table('party.contact_mechanism')
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
'''
# Runs what comes line by line, each in a transaction of its own
CONSOLE = '''
def execute(task, retry=20):
    "Run the code, again after a conflict with the other processes"
    names = {**globals(), **task['variables'], 'result': None}
    while True:
        try:
            with Transaction().start(database, 0) as transaction:
                names['transaction'] = transaction
                exec(task['code'], names)
            run_tasks(transaction)
            return names
        except backend.DatabaseOperationalError:
            if not retry:
                raise
            retry -= 1
            time.sleep(0.1)


for line in sys.stdin:
    try:
        names = execute(json.loads(line))
        answer = {'result': names['result']}
    except Exception as exception:
        answer = {'error': repr(exception)}
    print(json.dumps(answer), flush=True)
'''
PROCESS = '''
pool.get('marketing.automation.record.activity').process()
'''
DUE = '''
cursor = transaction.connection.cursor()
waiting = table('marketing.automation.record.activity')
cursor.execute(*waiting.update(
        [waiting.at], [dt.datetime.now() - dt.timedelta(seconds=1)],
        where=(waiting.state == 'waiting')
        & (waiting.at > dt.datetime.now())))
throttle = table('marketing.automation.throttle')
cursor.execute(*throttle.update([throttle.open_until], [None]))
'''
STATES = '''
cursor = transaction.connection.cursor()
states = table('marketing.automation.record.activity')
cursor.execute(*states.select(
        states.state, Count(), group_by=[states.state]))
result = dict(cursor.fetchall())
'''
SUPPRESSED = '''
Mechanism = pool.get('party.contact_mechanism')
result = [
    [m.value, m.marketing_suppressed] for m in Mechanism.search(
        [('marketing_suppressed', '!=', None)], order=[('value', 'ASC')])]
'''
RESET = '''
cursor = transaction.connection.cursor()
for name in [
        'ir.queue', 'ir.email.address', 'ir.email',
        'marketing.automation.bounce',
        'marketing.automation.throttle',
        'marketing.automation.record.activity',
        'marketing.automation.record', 'marketing.automation.link',
        'marketing.automation.activity', 'marketing.automation.scenario',
        'party.contact_mechanism', 'party.party']:
    cursor.execute(*table(name).delete())
'''
TEMPLATE = (
    '<html><body><p>Hello ${record.name}</p>'
    '<a href="https://example.com/">Visit us</a>'
    '<a href="unsubscribe">Unsubscribe</a></body></html>')


class Farm:
    """The processes of one installation

    backend -- 'postgresql' or 'sqlite'
    store -- what the SMTP server keeps of messages
    options -- of the section marketing
    """

    def __init__(
            self, backend='postgresql', workers=0, timeout=3, store='ids',
            **options):
        self.backend = backend
        self.worker_count = workers
        self.timeout = timeout
        self.store = store
        self.options = {'automation_lease': 6, **options}
        self.cluster = None
        self.workers = []
        self.runner = None
        self.console = None

    def __enter__(self):
        with ExitStack() as stack:
            self.folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix='marketing-'))
            self.sink = smtp.Process(store=self.store)
            stack.callback(self.sink.stop)
            uri = 'sqlite://'
            if self.backend == 'postgresql':
                self.cluster = stack.enter_context(postgresql.Cluster())
                uri = self.cluster.uri
            self.installation = stack.enter_context(
                Installation(self.folder, 'farm', uri))
            self._prepare_installation()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _prepare_installation(self):
        has_workers = self.backend == 'postgresql' and self.worker_count
        self.installation.configure(
            cache={'clean_timeout': 86400},
            queue={'worker': bool(has_workers)},
            email={
                'uri': f'{self.sink.uri}?timeout={self.timeout}',
                'from': 'shop@example.com',
                },
            marketing={
                'automation_base': 'https://example.com/', **self.options})
        self.installation.create()
        self.installation.activate('marketing_automation')

    def run(self, code, **variables):
        "Run the code in a transaction and return its variable result"
        if not self.console:
            self.console = self._open_console(CONSOLE)
        self.console.stdin.write(
            json.dumps({'code': code, 'variables': variables}) + '\n')
        self.console.stdin.flush()
        line = self.console.stdout.readline()
        if not line:
            raise RuntimeError("the console has died")
        answer = json.loads(line)
        if 'error' in answer:
            raise RuntimeError(answer['error'])
        return answer['result']

    def _open_console(self, code):
        return self.installation.start_python(
            HEAD + code, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)

    def prepare(self, count, template=TEMPLATE):
        "Create the parties and enter them into a running scenario"
        self.run(
            'records(count)\n'
            'scenario(template)\n'
            'transaction.commit()\n'
            'pool.get("marketing.automation.scenario").trigger()\n',
            count=count, template=template)

    def process(self):
        "Run what the cron runs, and its tasks where there is no worker"
        self.run(PROCESS)

    def start_process(self, code=PROCESS):
        "Run the code in a process of its own"
        return self._open_console(
            'with Transaction().start(database, 0) as transaction:\n'
            + textwrap.indent(code, '    ')
            + 'run_tasks(transaction)\n')

    def process_all(self):
        "Run what is due and wait until it is done"
        self.process()
        if self.worker_count:
            self.start_workers()
            self._wait_tasks()

    def _wait_tasks(self, timeout=60):
        "Wait until the workers have finished their tasks"
        end = time.monotonic() + timeout
        while self.run(
                'result = pool.get("ir.queue").search('
                '[("finished_at", "=", None)], count=True)'):
            if time.monotonic() > end:
                raise TimeoutError("the workers have not finished")
            time.sleep(0.1)

    @property
    def sessions(self):
        "How many SMTP sessions all processes have at most"
        return 16 * max(1, self.worker_count)

    def start(self):
        "Start processes that send what is due"
        if self.worker_count:
            self.make_due()
            self.process()
            self.start_workers()
        else:
            self.make_due()
            self.runner = self.start_process()

    def kill(self):
        "Kill a process that sends, return how many messages are uncertain"
        if self.worker_count:
            worker = self.workers.pop(random.randrange(len(self.workers)))
        else:
            worker = self.runner
        self.installation.kill(worker)
        return 1

    def start_workers(self):
        for _ in range(self.worker_count - len(self.workers)):
            self.workers.append(self.installation.start(
                    'trytond-worker', '-n', '1', '-t', '1'))

    def stop_workers(self):
        for worker in self.workers:
            self.installation.kill(worker)
        self.workers.clear()

    def reset(self):
        "Forget everything but the database itself"
        self.stop_workers()
        self.sink.reset()
        self.sink.listen()
        self.sink.clear()
        self.run(RESET)

    def make_due(self):
        "Let everything that waits be due now, and the server be tried"
        self.run(DUE)

    @property
    def states(self):
        "Return {state: count} of the record activities"
        return self.run(STATES)

    @property
    def suppressed(self):
        "Return a list of [address, why] sorted by the address"
        return self.run(SUPPRESSED)

    def run_until(self, count, timeout=None, due=True):
        "Go on processing until so many are done, return the states"
        end = time.monotonic() + (timeout or 60 + count / 5)
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
            taken = self.sink.count
            if taken >= count:
                break
            if taken != last:
                last, since = taken, time.monotonic()
            time.sleep(0.02)

    @property
    def unique(self):
        return self.sink.count - self.surplus

    @property
    def surplus(self):
        "How many messages were accepted once too often"
        return sum(n - 1 for n in self.sink.duplicates.values())
