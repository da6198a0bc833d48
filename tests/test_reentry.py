# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import json
import threading
import unittest
import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from trytond import backend
from trytond.modules.marketing_automation import clock, entry
from trytond.modules.marketing_automation.exceptions import (
    ScenarioRunningError)
from trytond.modules.marketing_automation.mail.message import Draft
from trytond.modules.marketing_automation.transaction import retry
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME, with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_party,
    create_record_activity, create_scenario, forget)
from .tools import count_statements

DAY = dt.timedelta(days=1)
START = dt.datetime(2026, 3, 1, 9)


def at(days):
    "Return a context in which so many days have passed"
    return clock.stopped(START + days * DAY)


class ReentryTestCase(DatabaseTestCase):
    "Test records that enter a scenario again"

    def _scenario(self, **values):
        return create_scenario(
            state='running', domain=json.dumps([('code', 'like', 'IN%')]),
            **values)

    def _passes(self, scenario):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        forget()
        return Record.search(
            [('scenario', '=', scenario.id)], order=[('id', 'ASC')])

    def _numbers(self, scenario):
        return [r.pass_number for r in self._passes(scenario)]

    def _match(self, party, is_in=True):
        party.code = f'{"IN" if is_in else "OUT"}{party.id}'
        party.save()

    def _add(self, parent):
        "Return a new activity in the running scenario"
        with Transaction().set_context(_skip_warnings=True):
            return create_activity(parent)

    def _trigger(self, scenario, days):
        with at(days):
            scenario.trigger([scenario])

    def _finish(self, scenario):
        "Let all that waits be done"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        RecordActivity.write(
            RecordActivity.search([
                    ('record.scenario', '=', scenario.id),
                    ('state', '=', 'waiting'),
                    ]), {'state': 'done'})

    @with_transaction()
    def test_never(self):
        "Test by default a record enters once"
        scenario = self._scenario()
        party = create_party()
        for days, is_in in enumerate([True, False, True]):
            self._match(party, is_in)
            self._trigger(scenario, days)
        self.assertEqual(self._numbers(scenario), [1])

    @with_transaction()
    def test_left(self):
        "Test a record enters again after it did not match"
        scenario = self._scenario(reentry='left')
        party = create_party()
        self._match(party)
        self._trigger(scenario, 0)
        self._trigger(scenario, 1)
        self.assertEqual(self._numbers(scenario), [1])
        self._match(party, False)
        self._trigger(scenario, 2)
        self._match(party)
        self._trigger(scenario, 3)
        self._trigger(scenario, 4)
        first, second = self._passes(scenario)
        self.assertEqual((first.pass_number, second.pass_number), (1, 2))
        self.assertEqual(first.left_at, START + 2 * DAY)
        self.assertIsNone(second.left_at)
        self.assertNotEqual(first.uuid, second.uuid)

    @with_transaction()
    def test_left_unseen(self):
        "Test what no run has seen is not known"
        scenario = self._scenario(reentry='left')
        party = create_party()
        self._match(party)
        self._trigger(scenario, 0)
        self._match(party, False)
        self._match(party)
        self._trigger(scenario, 1)
        self.assertEqual(self._numbers(scenario), [1])

    @with_transaction()
    def test_left_inactive(self):
        "Test what is deactivated does not match"
        scenario = self._scenario(reentry='left')
        party = create_party()
        self._match(party)
        for days, active in enumerate([True, False, True]):
            party.active = active
            party.save()
            self._trigger(scenario, days)
        self.assertEqual(self._numbers(scenario), [1, 2])

    @with_transaction()
    def test_pause(self):
        "Test a record enters again after the pause"
        scenario = self._scenario(reentry='pause', reentry_days=30)
        self._match(create_party())
        counts = []
        for days in [0, 29, 30, 31, 59, 60]:
            self._trigger(scenario, days)
            counts.append(len(self._passes(scenario)))
        self.assertEqual(counts, [1, 1, 2, 2, 2, 3])
        self.assertEqual(self._numbers(scenario), [1, 2, 3])

    @with_transaction()
    def test_waiting(self):
        "Test no pass begins while a step of another waits"
        scenario = self._scenario(reentry='pause', reentry_days=1)
        activity = create_activity(scenario, delay=10 * DAY)
        self._match(create_party())
        self._trigger(scenario, 0)
        self._trigger(scenario, 5)
        self.assertEqual(self._numbers(scenario), [1])
        self._finish(scenario)
        self._trigger(scenario, 6)
        first, second = self._passes(scenario)
        self.assertEqual(
            [[s.activity for s in r.activities] for r in [first, second]],
            [[activity], [activity]])
        self.assertEqual(second.activities[0].at, START + 16 * DAY)

    @with_transaction()
    def test_unsubscribed(self):
        "Test who unsubscribes in one pass leaves all, until it comes back"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        scenario = self._scenario(reentry='pause', reentry_days=1)
        activity = create_activity(scenario)
        self._match(create_party())
        for days in range(2):
            self._trigger(scenario, days)
            self._finish(scenario)
        later = self._add(activity)
        first, second = self._passes(scenario)
        step = create_record_activity(first, later)
        Unsubscription.stop(second)
        self._trigger(scenario, 9)
        first, second = self._passes(scenario)
        self.assertEqual((first.blocked, second.blocked), (True, True))
        step = RecordActivity(step.id)
        self.assertEqual((step.state, step.reason), ('cancelled', 'blocked'))
        self.assertEqual(
            (scenario.record_count, scenario.record_count_blocked), (2, 1))
        # By the link in an older e-mail
        Unsubscription.undo(first)
        first, second = self._passes(scenario)
        self.assertEqual((first.blocked, second.blocked), (False, False))
        self.assertEqual(RecordActivity(step.id).state, 'waiting')
        self._finish(scenario)
        self._trigger(scenario, 9)
        self.assertEqual(len(self._passes(scenario)), 3)

    @with_transaction()
    def test_new_activity(self):
        "Test what is new in the scenario is done for the last pass only"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        scenario = self._scenario(reentry='pause', reentry_days=1)
        activity = create_activity(scenario)
        self._match(create_party())
        for days in range(2):
            self._trigger(scenario, days)
            self._finish(scenario)
        activities = [self._add(scenario), self._add(activity)]
        self._trigger(scenario, 1)
        _, second = self._passes(scenario)
        for activity in activities:
            step, = RecordActivity.search([('activity', '=', activity.id)])
            self.assertEqual(step.record, second)

    @with_transaction()
    def test_counts(self):
        "Test who may enter again is not counted as being in already"
        scenario = self._scenario(reentry='pause', reentry_days=30)
        self._match(create_party("Alice", 'alice@example.com'))
        self._trigger(scenario, 0)
        for days, entered in [(1, 1), (30, 0)]:
            with at(days):
                counts = scenario.count_reach()
                self.assertEqual(
                    (counts['entered_count'], counts['reached_count']),
                    (entered, 1 - entered))
        self._trigger(scenario, 30)
        with at(31):
            counts = scenario.count_reach()
        self.assertEqual(
            (counts['matching_count'], counts['entered_count']), (1, 1))

    @with_transaction()
    def test_shared_address(self):
        "Test who shares an address gets a second pass, but not both"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        scenario = self._scenario(reentry='left')
        email = create_email(scenario)
        alice = create_party("Alice", 'family@example.com')
        bob = create_party("Bob", 'family@example.com')
        for party in [alice, bob]:
            self._match(party)
        self._trigger(scenario, 0)
        states = []

        def work(days):
            "Send to all that wait and note which get it"
            forget()
            steps = RecordActivity.search(
                [('state', '=', 'waiting'), ('activity', '=', email.id)],
                order=[('record', 'ASC')])
            drafts = [
                Draft(email, s, s.record.record, s.record.party)
                for s in steps]
            repeated = scenario.repeated(email, drafts)
            for step in steps:
                RecordActivity.write([step], {
                        'state': (
                            'skipped' if step.id in repeated else 'done'),
                        'at': START + days * DAY,
                        })
            states.append([s.state for s in steps])

        work(0)
        self._match(bob, False)
        self._trigger(scenario, 1)
        self._match(bob)
        self._trigger(scenario, 2)
        work(2)
        for is_in in [False, True]:
            for party in [alice, bob]:
                self._match(party, is_in)
            self._trigger(scenario, 4 - is_in)
        work(4)
        self.assertEqual(
            states, [['done', 'skipped'], ['done'], ['done', 'skipped']])

    @with_transaction()
    def test_running(self):
        "Test whether records enter again can not change while it runs"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenario = self._scenario()
        with self.assertRaises(ScenarioRunningError):
            Scenario.write([scenario], {'reentry': 'left'})
        Scenario.stop([scenario])
        Scenario.write([scenario], {'reentry': 'left'})

    @with_transaction()
    def test_statements(self):
        "Test one statement looks for what has left, whatever its number"
        counts = []
        for count, reentry in [(1, 'never'), (1, 'left'), (20, 'left')]:
            scenario = self._scenario(reentry=reentry)
            for _ in range(count):
                self._match(create_party())
            self._trigger(scenario, 0)
            counts.append(
                count_statements(scenario.trigger, [scenario]))
        never, one, many = counts
        self.assertEqual(one, many)
        # The query of what matches has a cursor too
        self.assertLessEqual(one, never + 2)

    @settings(max_examples=30, deadline=None)
    @given(
        st.sampled_from(['never', 'left', 'pause']),
        st.lists(st.tuples(
                st.booleans(), st.booleans(), st.booleans(),
                st.integers(0, 3)), max_size=12))
    def test_property(self, reentry, days):
        "Test passes are never doubled and begin only when they may"
        with Transaction().start(DB_NAME, 0) as transaction:
            scenario = self._scenario(reentry=reentry, reentry_days=2)
            create_activity(scenario)
            party = create_party()
            began, left, waits, expected, now = None, False, False, 0, 0
            for is_in, finishes, runs, delay in days:
                now += delay
                self._match(party, is_in)
                if finishes:
                    self._finish(scenario)
                    waits = False
                if not runs:
                    continue
                self._trigger(scenario, now)
                left |= not is_in
                may = began is None or not waits and {
                    'never': False,
                    'left': left,
                    'pause': began is not None and now - began >= 2,
                    }[reentry]
                if is_in and may:
                    began, left, waits = now, False, True
                    expected += 1
                self.assertEqual(
                    self._numbers(scenario), list(range(1, expected + 1)))
            transaction.rollback()


class ConcurrentReentryTestCase(DatabaseTestCase):
    "Test overlapping runs of entry"

    @unittest.skipUnless(
        backend.name == 'postgresql', "only one connection at a time")
    def test_overlapping(self):
        "Test two triggers at once begin each pass once"
        pool = Pool(DB_NAME)
        Party = pool.get('party.party')
        Record = pool.get('marketing.automation.record')
        mark = uuid.uuid4().hex
        with Transaction().start(DB_NAME, 0) as transaction:
            Party.create([{'name': f'{mark} {i}'} for i in range(500)])
            scenario = create_scenario(
                domain=json.dumps([('name', 'like', f'{mark}%')]),
                state='running', reentry='pause', reentry_days=1)
            transaction.commit()
        barrier = threading.Barrier(2)
        errors = []

        def run(days):
            try:
                with at(days), Transaction().start(DB_NAME, 0):
                    barrier.wait()
                    retry(entry.enter_running)
            except Exception as exception:
                errors.append(exception)

        for days in range(4):
            threads = [
                threading.Thread(target=run, args=[days]) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(errors, [])
            with Transaction().start(DB_NAME, 0):
                passes = Record.search([('scenario', '=', scenario.id)])
                self.assertEqual(len(passes), 500 * (days + 1))
                self.assertEqual(
                    len({(r.record, r.pass_number) for r in passes}),
                    500 * (days + 1))
