# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who stays in a scenario, and what happens to those who leave"""
import datetime as dt

from trytond.modules.marketing_automation import clock
from trytond.modules.marketing_automation.exceptions import (
    CriterionError, DomainError, ScenarioRunningError)
from trytond.tests.test_tryton import with_transaction

from .delivering import LATER, DeliveryTestCase
from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_record_activity,
    create_scenario)
from .tools import count_statements, received

NAMED = [('create', [{'field': 'name', 'operator': 'starts', 'text': "A"}])]


class StayTestCase(DeliveryTestCase):
    "Test records leave when they no longer match"

    def test_modes(self):
        "Test the audience, criteria and an expert filter let stay"
        for values in [
                {'stay_mode': 'audience',
                    'domain': '[["name", "like", "A%"]]'},
                {'stay_mode': 'criteria', 'stay_criteria': NAMED},
                {'stay_mode': 'expert',
                    'stay_source': "[('name', 'like', 'A%')]"},
                ]:
            with self.subTest(values['stay_mode']):
                self.server.clear()
                scenario = create_scenario(**values)
                scenario.state = 'running'
                scenario.save()
                activity = create_email(scenario)
                rows = self.enter(scenario, activity, "Ada", "Bob")
                self.drain()
                self.assertEqual(
                    self.states(rows),
                    [('done', None), ('cancelled', 'left')])
                self.assertEqual(
                    [m['To'] for m in received(self.server)],
                    ["Ada <ada@example.com>"])
                ada, bob = [r.__class__(r.id).record for r in rows]
                self.assertEqual(
                    [ada.ended, bob.ended, bob.ended_at],
                    [None, 'left', LATER])

    def _leave(self):
        "Return the rows of a record that has left"
        scenario = create_scenario(
            state='running', stay_mode='audience',
            domain='[["name", "=", "Ada"]]')
        first = create_email(scenario)
        second = create_activity(scenario, delay=dt.timedelta(days=9))
        opened = create_email(first, event='email_opened')
        row, = self.enter(scenario, first, "Bob")
        other = create_record_activity(
            row.record, second, at=LATER + dt.timedelta(days=9))
        self.drain()
        return [row, other], opened

    def test_everything(self):
        "Test nothing of who has left waits, and nothing is planned any more"
        rows, opened = self._leave()
        self.assertEqual(
            self.states(rows), [('cancelled', 'left')] * 2)
        self.assertIn("no longer matched", rows[0].explanation)
        RecordActivity = rows[0].__class__
        record = rows[0].record
        with clock.stopped(LATER):
            RecordActivity.plan(opened, [record.id], LATER)
        self.assertEqual(len(RecordActivity.search([
                        ('record', '=', record.id)])), 2)
        self.assertEqual(
            [e.kind for e in record.journey if e.at == LATER],
            ['cancelled', 'left'])

    def test_planned_meanwhile(self):
        "Test what was planned when it left is cancelled as well"
        (row, _), _ = self._leave()
        activity = create_activity(row.record.scenario)
        other = create_record_activity(row.record, activity)
        self.date([other])
        self.drain()
        self.assertEqual(self.states([other]), [('cancelled', 'left')])

    def test_resume(self):
        "Test who has left by mistake goes on"
        rows, _ = self._leave()
        record = rows[0].record
        record.record.name = "Ada"
        record.record.save()
        record.__class__.resume([record])
        self.assertEqual(
            self.states(rows), [('waiting', None)] * 2)
        self.drain(LATER + dt.timedelta(days=1))
        self.assertEqual(
            self.states(rows), [('done', None), ('waiting', None)])
        self.assertIsNone(record.__class__(record.id).ended)

    def test_blocked(self):
        "Test who is unsubscribed does not leave as well"
        scenario = create_scenario(
            state='running', stay_mode='audience',
            domain='[["name", "=", "Ada"]]')
        row, = self.enter(scenario, create_email(scenario), "Bob")
        row.record.__class__.block([row.record])
        self.drain()
        self.assertEqual(self.states([row]), [('cancelled', 'blocked')])
        self.assertIsNone(row.record.__class__(row.record.id).ended)

    def test_action(self):
        "Test also what sends nothing looks at who stays"
        scenario = create_scenario(
            state='running', stay_mode='audience',
            domain='[["name", "=", "Ada"]]')
        row, = self.enter(scenario, create_activity(scenario), "Bob")
        self.drain()
        self.assertEqual(self.states([row]), [('cancelled', 'left')])

    def test_statements(self):
        "Test all of a slice is found out together, and only where asked"
        scenario = create_scenario(state='running')
        activity = create_email(scenario)
        rows = self.enter(scenario, activity, "Ada", "Bob", "Eve")
        RecordActivity = rows[0].__class__
        ids = [r.id for r in rows]
        activity.scenario.stay_mode
        with self.assertRaises(AssertionError):
            # There is nothing to count
            count_statements(RecordActivity.facts, activity, ids)
        for values in [{'state': 'draft'}, {'stay_mode': 'audience'}]:
            scenario.__class__.write([scenario], values)
        activity = activity.__class__(activity.id)
        activity.scenario.stay_mode
        self.assertEqual(*(
                count_statements(RecordActivity.facts, activity, i)
                for i in [ids, ids[:1]]))


class RecordFilterTestCase(DatabaseTestCase):
    "Test what is refused as filter"

    @with_transaction()
    def test_invalid(self):
        "Test what is wrong is said where it is"
        for error, message, values in [
                (CriterionError, "Choose a field in line 1", {
                        'stay_mode': 'criteria',
                        'stay_criteria': [('create', [{}])]}),
                (DomainError, "no clause", {'stay_mode': 'expert'}),
                (DomainError, "no clause", {
                        'stay_mode': 'expert', 'stay_source': "[]"}),
                (DomainError, '"Stays.*can not be understood', {
                        'stay_mode': 'expert', 'stay_source': "[("}),
                (DomainError, '"Stays.*nope', {
                        'stay_mode': 'expert',
                        'stay_source': "[('nope', '=', 1)]"}),
                ]:
            with self.subTest(message):
                with self.assertRaisesRegex(error, message):
                    create_scenario(**values)

    @with_transaction()
    def test_no_criteria(self):
        "Test that a scenario is not run without what was to be chosen"
        scenario = create_scenario(stay_mode='criteria')
        create_activity(scenario)
        self.assertIsNone(scenario.filter_domain('stay'))
        with self.assertRaisesRegex(CriterionError, "at least one line"):
            scenario.__class__.run([scenario])

    @with_transaction()
    def test_apart(self):
        "Test the criteria of who stays are not of who enters"
        scenario = create_scenario(
            stay_mode='criteria', stay_criteria=NAMED)
        self.assertFalse(scenario.criteria)
        self.assertEqual(scenario.domain, '[]')
        copy, = scenario.__class__.copy([scenario])
        self.assertEqual(len(copy.stay_criteria), 1)
        self.assertFalse(copy.criteria)
        self.assertEqual(
            copy.filter_domain('stay'), [['name', 'ilike', 'A%']])

    @with_transaction()
    def test_running(self):
        "Test who stays is not changed while the scenario runs"
        scenario = create_scenario(
            stay_mode='criteria', stay_criteria=NAMED)
        scenario.state = 'running'
        scenario.save()
        criterion, = scenario.stay_criteria
        for change in [
                lambda: scenario.__class__.write(
                    [scenario], {'stay_mode': None}),
                lambda: scenario.__class__.write(
                    [scenario], {'stay_source': "[('id', '=', 1)]"}),
                lambda: criterion.__class__.write(
                    [criterion], {'text': "B"}),
                lambda: criterion.__class__.delete([criterion])]:
            with self.assertRaisesRegex(ScenarioRunningError, "Stays as"):
                change()
        scenario.__class__.delete([scenario])


del DatabaseTestCase, DeliveryTestCase
