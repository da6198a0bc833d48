# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import uuid
from unittest.mock import patch

from trytond.modules.marketing_automation import entry
from trytond.pool import Pool
from trytond.pyson import Eval, PYSONEncoder
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .fixtures import DatabaseTestCase, create_activity, create_scenario
from .tools import count_statements


def slices(size):
    "Return a context in which slices have the size"
    return patch.multiple(entry, FIRST_SLICE=size, SLICE=size)


class EntryTestCase(DatabaseTestCase):
    "Test how records enter, committed slice by slice"

    def setUp(self):
        super().setUp()
        # As the crons do
        transaction = Transaction().start(DB_NAME, 0)
        self.addCleanup(transaction.stop, commit=False)
        self.mark = uuid.uuid4().hex

    def _scenario(self, count, commit=True, **values):
        "Return a running scenario with parties that match"
        pool = Pool()
        Party = pool.get('party.party')
        Party.create([
                {'name': f'{self.mark} {i}', **values} for i in range(count)])
        scenario = create_scenario(
            name=self.mark, domain=f'[["name", "like", "{self.mark}%"]]',
            state='running')
        if commit:
            Transaction().commit()
        return scenario

    def _activity(self, scenario, **values):
        activity = create_activity(scenario, name=self.mark, **values)
        Transaction().commit()
        return activity

    def _error(self, scenario):
        table = scenario.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.entry_error, where=table.id == scenario.id))
        error, = cursor.fetchone()
        return error

    def _records(self, scenario):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        return Record.search(
            [('scenario', '=', scenario.id)], order=[('id', 'ASC')])

    def _states(self, activity):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        return [
            (r.state, r.reason)
            for r in RecordActivity.search(
                [('activity', '=', activity.id)],
                order=[('record', 'ASC')])]

    def test_once(self):
        "Test each record enters once, however often it is triggered"
        scenario = self._scenario(7)
        activity = self._activity(scenario)
        with slices(3):
            for _ in range(3):
                scenario.trigger([scenario])
        records = self._records(scenario)
        self.assertEqual(
            [r.record.name for r in records],
            [f'{self.mark} {i}' for i in range(7)])
        self.assertEqual(self._states(activity), [('waiting', None)] * 7)
        self.assertFalse(any(r.blocked for r in records))
        self.assertEqual(len({r.uuid for r in records}), 7)
        for record in records:
            self.assertRegex(record.uuid, r'\A[0-9a-f]{32}\Z')

    def _run_cron(self):
        "Enter in other transactions, and read what they have committed"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        Transaction().commit()
        Scenario.trigger()
        Transaction().commit()

    def test_uncommitted(self):
        "Test a scenario is entered where it is created, and rolled back"
        scenario = self._scenario(3, commit=False)
        scenario.trigger([scenario])
        self.assertEqual(len(self._records(scenario)), 3)
        Transaction().rollback()
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        self.assertEqual(
            Record.search([('scenario', '=', scenario.id)]), [])

    def test_interrupted(self):
        "Test an interrupted run is continued by the next one"
        scenario = self._scenario(10)
        activity = self._activity(scenario)
        upto = entry._Entry._upto
        calls = []

        def interrupt(self, *args):
            calls.append(args)
            if len(calls) == 3:
                raise Exception("power cut")
            return upto(self, *args)

        with slices(3), \
                patch.object(entry._Entry, '_upto', interrupt), \
                self.assertLogs(entry.logger, 'ERROR'):
            self._run_cron()
        self.assertEqual(len(self._records(scenario)), 6)
        self.assertEqual(len(self._states(activity)), 6)
        self.assertEqual(self._error(scenario), "power cut")

        with slices(3):
            self._run_cron()
        self.assertEqual(len(self._records(scenario)), 10)
        self.assertEqual(self._states(activity), [('waiting', None)] * 10)
        self.assertIsNone(self._error(scenario))

    def test_statements(self):
        "Test the number of statements does not grow with the records"
        counts = []
        for size in [5, 50]:
            self.mark = uuid.uuid4().hex
            scenario = self._scenario(size)
            self._activity(scenario)
            counts.append(
                count_statements(scenario.trigger, [scenario]))
            self.assertEqual(len(self._records(scenario)), size)
        self.assertEqual(*counts)

    def test_condition(self):
        "Test who does not fulfil the condition is skipped"
        scenario = self._scenario(5)
        condition = PYSONEncoder().encode(
            Eval('self', {}).get('name') != f'{self.mark} 2')
        activity = self._activity(scenario, condition=condition)
        with slices(2):
            scenario.trigger([scenario])
        self.assertEqual(self._states(activity), [
                ('waiting', None), ('waiting', None),
                ('skipped', 'condition'),
                ('waiting', None), ('waiting', None)])

    def test_condition_fails(self):
        "Test a condition that can not be evaluated stops no entry"
        scenario = self._scenario(4)
        # A text can not be compared with a number
        activity = self._activity(
            scenario, condition=PYSONEncoder().encode(
                Eval('self', {}).get('name', 0) > 0))
        scenario.trigger([scenario])
        self.assertEqual(self._states(activity), [('waiting', None)] * 4)
        self.assertIsNone(self._error(scenario))

    def test_delay(self):
        "Test a first activity waits for its delay"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        scenario = self._scenario(1)
        activity = self._activity(scenario, delay=dt.timedelta(days=3))
        before = dt.datetime.now().replace(microsecond=0)
        scenario.trigger([scenario])
        record_activity, = RecordActivity.search([
                ('activity', '=', activity.id)])
        wait = record_activity.at - before
        self.assertLessEqual(dt.timedelta(days=3), wait)
        self.assertLess(wait, dt.timedelta(days=3, minutes=5))

    def test_unsubscribed(self):
        "Test who has unsubscribed does not enter"
        pool = Pool()
        Party = pool.get('party.party')
        scenario = self._scenario(4)
        first, second, third, fourth = Party.search(
            [('name', 'like', self.mark + '%')], order=[('name', 'ASC')])
        first.marketing_unsubscribed = True
        second.marketing_scenario_unsubscribed = [scenario]
        other = self._scenario(0)
        third.marketing_scenario_unsubscribed = [other]
        Party.save([first, second, third])
        Transaction().commit()
        scenario.trigger([scenario])
        self.assertEqual(
            {r.record for r in self._records(scenario)}, {third, fourth})
        self.assertEqual(
            (scenario.matching_count, scenario.unsubscribed_count), (4, 2))

    def test_inactive(self):
        "Test inactive records do not enter"
        scenario = self._scenario(2, active=False)
        scenario.trigger([scenario])
        self.assertEqual(self._records(scenario), [])

    def test_not_running(self):
        "Test only running scenarios take records in"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenario = self._scenario(2)
        for state in ['draft', 'stopped']:
            Scenario.write([scenario], {'state': state})
            self._run_cron()
            self.assertEqual(self._records(scenario), [])
        Scenario.write([scenario], {'state': 'running'})
        self._run_cron()
        self.assertEqual(len(self._records(scenario)), 2)

    def test_failing(self):
        "Test a scenario that fails stops no other and says why"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenarios = [self._scenario(1) for _ in range(3)]
        table = Scenario.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.domain], ['[["nome", "=", 1]]'],
                where=table.id == scenarios[1].id))
        Transaction().commit()
        scenarios = Scenario.browse(scenarios)
        with self.assertLogs(entry.logger, 'ERROR'):
            self._run_cron()
        self.assertEqual(
            [len(self._records(s)) for s in scenarios], [3, 0, 3])
        errors = [s.entry_error for s in Scenario.browse(scenarios)]
        self.assertIn('nome', errors[1])
        self.assertEqual([errors[0], errors[2]], [None, None])
        Scenario.stop(scenarios)
        Transaction().commit()
