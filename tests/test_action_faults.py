# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A killed process: what is done in the database once, elsewhere maybe twice

With PostgreSQL and real processes, killed between two statements.
"""
import os
import signal
import unittest
from contextlib import ExitStack

from .system import postgresql
from .system.farm import Farm
from .system.https import Receiver

URI = os.environ.get('TRYTOND_DATABASE_URI', '')
CREATE = '''
records(3)
Scenario = pool.get('marketing.automation.scenario')
Activity = pool.get('marketing.automation.activity')
Webhook = pool.get('marketing.automation.webhook')
scenario, = Scenario.create([{
            'name': "Scenario",
            'model': 'party.party',
            'domain': '[["code", "like", "P%"]]',
            }])
if 'url' in values:
    webhook, = Webhook.create([{'name': "CRM", 'url': values['url']}])
    values = {'action': 'webhook', 'webhook': webhook.id}
else:
    values = {
        'action': 'set_fields',
        'action_values': [('create', [{
                        'field': 'name',
                        'operator': 'to',
                        'text': "${record.name}!",
                        }])],
        }
Activity.create([{
            'name': "Action", 'parent': str(scenario), **values}])
Scenario.run([scenario])
transaction.commit()
Scenario.trigger()
'''
# Ends the process as soon as it has done something but not stored it
KILLED = '''
import os
import signal

RecordActivity = pool.get('marketing.automation.record.activity')


def follow(*args):
    os.kill(os.getpid(), signal.SIGKILL)


RecordActivity.follow = follow
RecordActivity.drain([], dt.datetime.now())
'''
LEASES_END = '''
waiting = table('marketing.automation.record.activity')
transaction.connection.cursor().execute(*waiting.update(
        [waiting.lease], [dt.datetime.now() - dt.timedelta(seconds=1)]))
'''
NAMES = '''
Party = pool.get('party.party')
result = sorted(
    p.name for p in Party.search([('code', 'like', 'P%')]))
'''


@unittest.skipIf(URI.startswith('sqlite:'), "a run on SQLite")
@unittest.skipUnless(postgresql.programs(), "needs the programs of PostgreSQL")
class KilledTestCase(unittest.TestCase):
    "Test actions in a process that is killed"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with ExitStack() as stack:
            cls.receiver = stack.enter_context(Receiver())
            cls.farm = stack.enter_context(Farm(
                    automation_webhook_hosts='localhost',
                    automation_webhook_sessions=1))
            cls.addClassCleanup(stack.pop_all().close)

    def setUp(self):
        super().setUp()
        self.farm.reset()

    def _kill(self):
        process = self.farm.start_process(KILLED)
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.farm.run(LEASES_END)

    def test_database(self):
        "Test what is changed in the database is changed once"
        self.farm.run(CREATE, values={})
        for _ in range(2):
            self._kill()
        self.farm.process_all()
        self.assertEqual(self.farm.states, {'done': 3})
        self.assertEqual(
            self.farm.run(NAMES), ["Party 1!", "Party 2!", "Party 3!"])

    def test_webhook(self):
        "Test what was called but not stored is called with the same key"
        self.farm.run(CREATE, values={'url': self.receiver.url})
        self._kill()
        self.farm.process_all()
        self.assertEqual(self.farm.states, {'done': 3})
        keys = [r.headers['webhook-id'] for r in self.receiver.requests]
        self.assertEqual(len(keys), 4)
        self.assertEqual(len(set(keys)), 3)
        first, *_ = self.receiver.requests
        self.assertEqual(
            {r.body for r in self.receiver.requests
                if r.headers['webhook-id'] == keys[0]},
            {first.body})
