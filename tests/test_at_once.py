# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import json
import uuid
from unittest.mock import patch

from trytond.modules.marketing_automation import at_once, clock, entry
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction
from trytond.worker import run_task

from .fixtures import (
    DatabaseTestCase, create_email, create_marketer, create_party,
    create_scenario)
from .tools import configure, count_statements, received, start_smtp


class AtOnceTestCase(DatabaseTestCase):
    "Test records that enter when a transaction commits"

    def setUp(self):
        super().setUp()
        self.addCleanup(patch.stopall)
        self.mark = uuid.uuid4().hex
        Transaction().start(DB_NAME, 0)
        self.addCleanup(self._stop_all)

    def _stop_all(self):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        Transaction().rollback()
        Scenario.write(
            Scenario.search([('state', '=', 'running')]),
            {'state': 'stopped'})
        Transaction().tasks.clear()
        Transaction().stop(commit=True)

    def _scenario(self, **values):
        scenario = create_scenario(**{
                'state': 'running',
                'domain': json.dumps([('name', 'like', f'{self.mark}%')]),
                'at_once': True,
                **values})
        Transaction().commit()
        return scenario

    def _records(self, scenario):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Transaction().commit()
        return Record.search(
            [('scenario', '=', scenario.id)], order=[('id', 'ASC')])

    def _tasks(self):
        pool = Pool()
        Queue = pool.get('ir.queue')
        return [Queue(t) for t in Transaction().tasks]

    def _run(self):
        "Run the tasks, as whoever has committed without a worker"
        transaction = Transaction()
        transaction.stop(commit=True)
        while transaction.tasks:
            run_task(DB_NAME, transaction.tasks.pop())
        Transaction().start(DB_NAME, 0)

    def _warm_up(self):
        "Let it be known which scenarios there are"
        for _ in range(2):
            create_party()
            Transaction().commit()

    def _rename(self, party, name):
        pool = Pool()
        Party = pool.get('party.party')
        Party.write([Party(party.id)], {'name': name})
        self._run()

    def _create(self, name="Party", **values):
        return create_party(f'{self.mark} {name}', **values)

    def test_create(self):
        "Test what is created enters and gets its e-mail"
        server = start_smtp()
        scenario = self._scenario()
        create_email(scenario, email_from='shop@example.com')
        Transaction().commit()
        other = create_party(address='other@example.com')
        party = self._create(address='jane@example.com')
        self._run()
        self.assertEqual(
            [r.record for r in self._records(scenario)], [party])
        self.assertNotEqual(party, other)
        message, = received(server)
        self.assertIn('jane@example.com', message['To'])

    def test_write(self):
        "Test what comes to match enters, and only once"
        scenario = self._scenario()
        party = create_party()
        self._run()
        self.assertEqual(self._records(scenario), [])
        for _ in range(2):
            self._rename(party, f'{self.mark} Jane')
        self.assertEqual(
            [r.record for r in self._records(scenario)], [party])

    def test_one_task(self):
        "Test a transaction leaves one task, however much it changes"
        scenarios = [self._scenario() for _ in range(3)]
        parties = [self._create(str(i)) for i in range(5)]
        for party in parties:
            party.code = party.name
            party.save()
        Transaction().commit()
        task, = self._tasks()
        self.assertEqual(
            (task.data['user'], task.data['context']), (0, {}))
        self.assertEqual(task.data['args'][0], [p.id for p in parties])
        self._run()
        for scenario in scenarios:
            self.assertEqual(len(self._records(scenario)), 5)

    def test_no_task(self):
        "Test what runs otherwise costs nothing"
        self._scenario(at_once=False)
        self._scenario(model='party.party', state='draft')
        self._warm_up()
        before = count_statements(create_party)
        with patch.object(at_once.Arrivals, 'commit') as commit:
            self._create()
            Transaction().commit()
        commit.assert_not_called()
        self.assertEqual(self._tasks(), [])
        Scenario = Pool().get('marketing.automation.scenario')
        with patch.object(Scenario, 'modified'):
            self.assertEqual(count_statements(create_party), before)

    def test_statements(self):
        "Test a transaction has two statements more at most"
        configure('queue', worker=True)
        counts = []

        def work():
            create_party()
            Transaction().commit()

        for count in [0, 3]:
            for _ in range(count):
                self._scenario()
            self._warm_up()
            counts.append(count_statements(work))
        without, three = counts
        self.assertLessEqual(three - without, 2)
        self.assertGreater(three, without)

    def test_rollback(self):
        "Test what is rolled back leaves no task"
        self._scenario()
        self._create()
        Transaction().rollback()
        Transaction().commit()
        self.assertEqual(self._tasks(), [])

    def test_savepoint(self):
        "Test what a savepoint takes back does not enter"
        scenario = self._scenario()
        cursor = Transaction().connection.cursor()
        self._create("First")
        cursor.execute('SAVEPOINT test')
        self._create("Second")
        cursor.execute('ROLLBACK TO SAVEPOINT test')
        self._run()
        record, = self._records(scenario)
        self.assertEqual(record.record.name, f'{self.mark} First')

    def test_turned_off(self):
        "Test it can be turned on and off while the scenario runs"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenario = self._scenario()
        for at_once_, count in [(False, 0), (True, 1)]:
            Scenario.write([scenario], {'at_once': at_once_})
            Transaction().commit()
            self._create()
            Transaction().commit()
            self.assertEqual(len(self._tasks()), count)

    def test_broken(self):
        "Test a scenario that fails harms neither the transaction nor others"
        broken, scenario = self._scenario(), self._scenario()
        table = broken.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.domain], ['[["nome", "=", 1]]'],
                where=table.id == broken.id))
        Transaction().commit()
        party = self._create()
        with self.assertLogs(entry.logger, 'ERROR'):
            self._run()
        Party = Pool().get('party.party')
        self.assertTrue(Party.search([('id', '=', party.id)]))
        self.assertEqual(len(self._records(scenario)), 1)
        self.assertEqual(self._records(broken), [])
        self.assertIn('nome', broken.__class__(broken.id).entry_error)

    def test_many(self):
        "Test many records leave a task of constant size"
        scenario = self._scenario()
        with patch.object(at_once, 'MAX_IDS', 3):
            parties = [self._create(str(i)) for i in range(4)]
            Transaction().commit()
        task, = self._tasks()
        self.assertEqual(task.data['args'], (None,))
        self._run()
        self.assertEqual(
            [r.record for r in self._records(scenario)], parties)

    def test_lost(self):
        "Test what a task did not do is left to the cron"
        scenario = self._scenario()
        self._create()
        Transaction().commit()
        Transaction().tasks.clear()
        Scenario = Pool().get('marketing.automation.scenario')
        Scenario.trigger()
        self.assertEqual(len(self._records(scenario)), 1)

    def test_left(self):
        "Test who leaves and comes back enters again"
        scenario = self._scenario(reentry='left')
        party = self._create()
        self._run()
        for name in ["Away", f'{self.mark} Jane']:
            self._rename(party, name)
        self.assertEqual(
            [r.pass_number for r in self._records(scenario)], [1, 2])

    def test_user(self):
        "Test who makes the change needs no right for scenarios"
        scenario = self._scenario()
        user = create_marketer(self.mark)
        Transaction().commit()
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            party = self._create()
            Transaction().commit()
        self._run()
        self.assertEqual(
            [r.record for r in self._records(scenario)], [party])

    def test_delay(self):
        "Test what is due later waits for the cron"

        server = start_smtp()
        scenario = self._scenario()
        create_email(scenario, delay=dt.timedelta(hours=1))
        Transaction().commit()
        self._create(address='jane@example.com')
        self._run()
        record, = self._records(scenario)
        step, = record.activities
        self.assertEqual(step.state, 'waiting')
        self.assertGreater(step.at, clock.now())
        self.assertEqual(received(server), [])
