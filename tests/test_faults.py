# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Faults on real processes: nothing lost, nothing sent once too often

Every message at the SMTP server is counted against every due row.
"""
import os
import random
import signal
import time
import unittest

from .system import postgresql
from .system.farm import Farm

# How much is sent and killed: make soak makes both bigger
COUNT = int(os.environ.get('SOAK_COUNT', 400))
KILLS = int(os.environ.get('SOAK_KILLS', 4))
# The database of the run, each has its own class here
URI = os.environ.get('TRYTOND_DATABASE_URI', '')
SEED = int(os.environ.get('SOAK_SEED', 0)) or random.randrange(2 ** 32)

# A template that ends the process while the e-mail of the party is composed
POISON = '''
import os
import signal

from trytond.modules.marketing_automation.mail.message import Draft

render = Draft.render


def deadly(draft, *args):
    if draft.address == 'p7@example.com':
        os.kill(os.getpid(), signal.SIGKILL)
    render(draft, *args)


Draft.render = deadly
RecordActivity = pool.get('marketing.automation.record.activity')
RecordActivity.drain([], dt.datetime.now())
'''
LEASES_END = '''
waiting = table('marketing.automation.record.activity')
transaction.connection.cursor().execute(*waiting.update(
        [waiting.lease], [dt.datetime.now()], where=waiting.lease != None))
'''
REASONS = '''
RecordActivity = pool.get('marketing.automation.record.activity')
result = [r.reason for r in RecordActivity.search([('state', '=', 'failed')])]
'''


class FaultTestCase:
    backend = None
    workers = 0
    options = {'automation_slice': 50}

    @classmethod
    def setUpClass(cls):
        random.seed(SEED)
        cls.farm = Farm(cls.backend, cls.workers, **cls.options)
        cls.farm.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.farm.__exit__()

    def setUp(self):
        self.farm.reset()

    def assertDelivered(self, count, duplicates=0):
        "Assert that each of count was accepted, and recorded, once"
        message = f"seed {SEED}"
        self.assertEqual(self.farm.states, {'done': count}, message)
        self.assertEqual(self.farm.unique, count, message)
        self.assertLessEqual(self.farm.surplus, duplicates, message)

    def test_refused(self):
        "Test a server that is down and comes back"
        self.farm.prepare(20)
        self.farm.sink.refuse(drop=True)
        self.farm.process_all()
        self.assertEqual(self.farm.states, {'waiting': 20})
        self.assertEqual(self.farm.sink.count, 0)

        self.farm.sink.listen()
        self.farm.run_until(20)

        self.assertDelivered(20)

    def test_temporary(self):
        "Test a server that defers for a while"
        self.farm.prepare(20)
        self.farm.sink.fail(451, at='rcpt', times=7)
        self.farm.sink.fail(452, at='message', times=3)
        self.farm.process_all()
        self.assertEqual(self.farm.states, {'waiting': 10, 'done': 10})

        self.farm.run_until(20)

        self.assertDelivered(20)

    def test_permanent(self):
        "Test some recipients that are refused for ever"
        self.farm.prepare(20)
        self.farm.sink.fail(
            550, "5.1.1 Nobody of this name", at='rcpt',
            match=['p3@example.com', 'p7@example.com'])
        self.farm.sink.fail(
            554, "5.7.1 Not from you", at='rcpt', match=['p9@example.com'])
        self.farm.process_all()

        self.assertEqual(self.farm.states, {'done': 17, 'failed': 3})
        self.assertEqual(self.farm.sink.count, 17)
        # Only the addresses that do not exist are stopped
        self.assertEqual(self.farm.suppressed, [
                ['p3@example.com', 'hard'], ['p7@example.com', 'hard']])

    def test_cut(self):
        "Test connections cut in the middle of messages"
        self.farm.prepare(30)
        self.farm.sink.cut(at='content', times=2)
        self.farm.sink.cut(at='message', times=2)
        self.farm.sink.cut(at='mail', times=2)

        self.farm.run_until(30)

        self.assertDelivered(30)

    def test_cut_accepted(self):
        "Test the answer to an accepted message is lost"
        self.farm.prepare(30)
        self.farm.sink.cut(at='accepted', times=1)

        self.farm.run_until(30)

        # Nobody can know, the Message-ID lets the recipient's server know
        self.assertDelivered(30, duplicates=1)

    def test_hang(self):
        "Test a server that does not answer"
        self.farm.prepare(10)
        self.farm.sink.hang(at='data', times=1)

        self.farm.run_until(10)

        self.assertDelivered(10)

    def test_slow(self):
        "Test a slow server, with several sessions"
        self.farm.prepare(60)
        self.farm.sink.slow(0.02)

        self.farm.run_until(60)

        self.assertDelivered(60)

    def test_stop(self):
        "Test a stopped scenario sends no further message"
        self.farm.prepare(200)
        self.farm.sink.slow(0.1)
        self.farm.start()
        self.farm.sink.wait(20, timeout=60)

        self.farm.run(
            'Scenario = pool.get("marketing.automation.scenario")\n'
            'Scenario.stop(Scenario.search([]))\n')
        # What the sessions have in hand can not be called back
        under_way = self.farm.sink.count + self.farm.sessions
        self.farm.settle(200)

        count = self.farm.sink.count
        self.assertLess(count, 200)
        self.assertLessEqual(count, under_way)
        self.assertEqual(
            self.farm.states, {'done': count, 'waiting': 200 - count})
        self.assertEqual(self.farm.surplus, 0)

    def test_bad_record(self):
        "Test records that can not be rendered harm nobody else"
        self.farm.prepare(50, template=(
                '<html><body>${1 / (record.id - 1025)}'
                '<a href="unsubscribe">Unsubscribe</a></body></html>'))
        self.farm.process_all()

        self.assertEqual(self.farm.states, {'done': 49, 'failed': 1})
        self.assertEqual(self.farm.sink.count, 49)

    def test_poisoned(self):
        "Test a record that ends the process that composes its e-mail"
        self.farm.prepare(20)
        for _ in range(3):
            process = self.farm.start_process(POISON)
            self.assertEqual(process.wait(), -signal.SIGKILL)
            self.farm.run(LEASES_END)
        self.assertLess(self.farm.sink.count, 20)
        self.assertEqual(self.farm.states.get('failed', 0), 0)

        self.assertEqual(self.farm.start_process(POISON).wait(), 0)

        self.assertEqual(self.farm.states, {'done': 19, 'failed': 1})
        self.assertEqual(self.farm.run(REASONS), ['worker'])
        self.assertEqual(self.farm.sink.count, 19)

    def test_killed(self):
        "Test processes killed at random moments"
        self.farm.prepare(COUNT)
        duplicates = 0
        for _ in range(KILLS):
            count = self.farm.sink.count + random.randint(
                1, 3 * COUNT // KILLS // 2)
            self.farm.start()
            # Longer than a lease
            self.farm.settle(count, idle=10)
            time.sleep(random.random() * 0.02)
            duplicates += self.farm.kill()

        self.farm.run_until(COUNT)

        self.assertDelivered(COUNT, duplicates)


@unittest.skipIf(URI.startswith('postgresql:'), "a run on PostgreSQL")
class SQLiteFaultTestCase(FaultTestCase, unittest.TestCase):
    "Test faults with SQLite, in one process"
    backend = 'sqlite'


@unittest.skipIf(URI.startswith('sqlite:'), "a run on SQLite")
@unittest.skipUnless(postgresql.programs(), "needs the programs of PostgreSQL")
class PostgreSQLFaultTestCase(FaultTestCase, unittest.TestCase):
    "Test faults with PostgreSQL and workers"
    backend = 'postgresql'
    workers = 2

    def test_two_crons(self):
        "Test runs at the same time"
        self.farm.prepare(COUNT)
        processes = [self.farm.start_process() for _ in range(3)]
        self.farm.start_workers()
        for process in processes:
            process.wait()
        self.farm.run_until(COUNT)

        self.assertDelivered(COUNT)

    def test_four_workers(self):
        "Test four workers"
        self.farm.prepare(COUNT)
        self.farm.worker_count = 4
        self.addCleanup(setattr, self.farm, 'worker_count', 2)

        self.farm.run_until(COUNT)

        self.assertDelivered(COUNT)

    def test_database_restart(self):
        "Test the database restarted under load"
        self.farm.prepare(COUNT)
        self.farm.start()
        self.farm.settle(COUNT // 10, idle=30)
        self.farm.cluster.restart()

        self.farm.run_until(COUNT)

        # What was under way in each worker may be sent again
        self.assertDelivered(COUNT, duplicates=self.workers)


del FaultTestCase
