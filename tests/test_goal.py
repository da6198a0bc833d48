# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who reaches the goal of a scenario, and what comes of it"""
import datetime as dt
import logging
from decimal import Decimal

from trytond.modules.company.tests import create_company, set_company
from trytond.modules.marketing_automation import clock
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .delivering import LATER, DeliveryTestCase
from .fixtures import (
    DUE, DatabaseTestCase, create, create_activity, create_email,
    create_marketer, create_party, create_record, create_record_activity,
    create_scenario, forget)
from .tools import received

# Who has a code has reached the goal
CODED = {
    'goal_mode': 'expert',
    'goal_domain': '[["code", "like", "yes%"]]',
    }
DAY = dt.timedelta(days=1)


def reach(*rows):
    "Let the parties of the rows reach the goal"
    for row in rows:
        party = row.record.record
        party.code = f'yes{party.id}'
        party.save()


def trigger(now=LATER):
    Scenario = Pool().get('marketing.automation.scenario')
    Transaction().commit()
    with clock.stopped(now):
        Scenario.trigger()
    Transaction().commit()
    forget()


class GoalTestCase(DeliveryTestCase):
    "Test the goal ends journeys and counts"

    def setUp(self):
        super().setUp()
        self.scenario = create_scenario(
            state='running', domain='[["id", "=", -1]]', **CODED)
        self.first = create_email(self.scenario, name="First")
        self.second = create_email(
            self.first, name="Second", delay=DAY)

    def _record(self, row):
        forget()
        return row.record.__class__(row.record.id)

    def test_trigger(self):
        "Test who has reached it is found without any step"
        rows = self.enter(self.scenario, self.first, "Ada", "Bob")
        self._age(rows)
        self.drain()
        reach(rows[0])
        trigger(LATER + DAY / 2)
        ada, bob = map(self._record, rows)
        self.assertEqual(
            [ada.ended, ada.ended_at, ada.goal_activity],
            ['goal', LATER + DAY / 2, self.first])
        self.assertIsNone(bob.ended)
        self.assertEqual(
            [[(s.state, s.reason) for s in r.activities] for r in [ada, bob]],
            [[('done', None), ('cancelled', 'goal')],
                [('done', None), ('waiting', None)]])
        self.assertIn(
            "Reached the goal after “First”.",
            [e.description for e in ada.journey])
        # Nothing happens a second time
        trigger(LATER + DAY)
        self.assertEqual(self._record(rows[0]).ended_at, LATER + DAY / 2)

    def _age(self, rows, at=DUE):
        "Let the records have entered at the time"
        table = rows[0].record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update([table.create_date], [at]))
        Transaction().commit()

    def test_step(self):
        "Test who has reached it gets nothing, whenever it is looked for"
        rows = self.enter(self.scenario, self.second, "Ada", "Bob")
        create_record_activity(
            rows[0].record, self.first, state='done', at=DUE)
        reach(rows[0])
        self.drain()
        self.assertEqual(
            self.states(rows), [('cancelled', 'goal'), ('done', None)])
        self.assertEqual(
            rows[0].__class__(rows[0].id).explanation,
            "Cancelled because the goal of the scenario has been reached.")
        self.assertEqual(len(received(self.server)), 1)
        self.assertEqual(self._record(rows[0]).goal_activity, self.first)

    def test_stay(self):
        "Test who has reached it has not left, though it may not stay either"
        scenario = self.scenario
        for values in [
                {'state': 'draft'},
                {'stay_mode': 'expert',
                    'stay_source': "[('code', '=', None)]"},
                {'state': 'running'}]:
            scenario.__class__.write([scenario], values)
        row, = self.enter(scenario, self.first, "Ada")
        reach(row)
        self.drain()
        self.assertEqual(self._record(row).ended, 'goal')

    def test_before(self):
        "Test what was reached before the first step does not count"
        row, = self.enter(self.scenario, self.first, "Ada")
        reach(row)
        trigger()
        record = self._record(row)
        self.assertEqual([record.ended, record.goal_activity], ['goal', None])
        self.assertEqual(self.scenario.goals, 0)
        self.assertIn(
            "Had reached the goal before the first step, "
            "which does not count.",
            [e.description for e in record.journey])

    def test_split(self):
        "Test the goal follows the e-mail, and not the split after it"
        scenario = create_scenario(domain='[["id", "=", -1]]', **CODED)
        first = create_email(scenario, name="First")
        split = create_activity(first, name="Split", action='split')
        create_email(split, name="Branch", delay=DAY)
        scenario.state = 'running'
        scenario.save()
        row, = self.enter(scenario, first, "Ada")
        self._age([row])
        self.drain()
        reach(row)
        trigger(LATER + DAY / 2)
        record = self._record(row)
        self.assertIn(split, [s.activity for s in record.activities])
        self.assertEqual(record.goal_activity, first)

    def test_days(self):
        "Test a goal that is reached too late does not count"
        row, = self.enter(self.scenario, self.first, "Ada")
        self._age([row])
        reach(row)
        trigger(DUE + 91 * DAY)
        self.assertIsNone(self._record(row).ended)
        trigger(DUE + 89 * DAY)
        self.assertEqual(self._record(row).ended, 'goal')

    def test_results(self):
        "Test goals are counted by scenario and by activity"
        rows = self.enter(self.scenario, self.first, "Ada", "Bob", "Eve")
        self._age(rows)
        self.drain()
        reach(rows[0])
        trigger(LATER)
        self.drain(LATER + 2 * DAY)
        reach(rows[1])
        trigger(LATER + 2 * DAY)
        scenario, first, second = [
            r.__class__(r.id)
            for r in [self.scenario, self.first, self.second]]
        self.assertEqual(
            [(r.goals, r.goal_rate) for r in [scenario, first, second]],
            [(2, .667), (1, .333), (1, .5)])
        self.assertEqual(scenario.funnel_steps()[-1], ('goals', 2))
        for record in [scenario, first]:
            self.assertIn(
                f'Goals:\N{NO-BREAK SPACE}{record.goals}',
                record.flow_numbers()[-1])

    def test_broken(self):
        "Test a scenario whose goal can not be looked for stops no other"
        broken = create_scenario(state='running', **CODED)
        table = broken.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.goal_domain], ['[["nope", "=", 1]]'],
                where=table.id == self.scenario.id))
        row, = self.enter(broken, create_email(broken), "Ada")
        reach(row)
        with self.assertLogs(
                'trytond.modules.marketing_automation.goal', logging.ERROR):
            trigger()
        self.assertEqual(self._record(row).ended, 'goal')


class SaleGoalTestCase(DatabaseTestCase):
    "Test goals of sales"
    modules = ['marketing_automation', 'sale']

    @with_transaction()
    def test_value(self):
        "Test the goal is worth what the sale was when it was reached"
        company = create_company()
        with set_company(company):
            party = create_party("Ada", 'ada@example.com')
            sale = create(
                'sale.sale', company=company.id, party=party.id,
                currency=company.currency.id)
            self._amount(sale, 120)
            scenario = create_scenario(
                model='sale.sale', company=company.id,
                domain='[["state", "=", "draft"]]', goal_mode='criteria',
                goal_criteria=[('create', [{
                                'field': 'state', 'operator': 'is',
                                'choice': 'confirmed'}])],
                goal_field='total_amount')
            activity = create_email(scenario)
            other = create_activity(scenario)
            scenario.state = 'running'
            scenario.save()
            record = create_record(scenario, sale)
            create_record_activity(record, activity, state='done', at=DUE)
            waiting = create_record_activity(record, other, at=DUE)
            scenario.__class__.trigger([scenario])
            self.assertIsNone(record.__class__(record.id).ended)
            table = sale.__table__()
            cursor = Transaction().connection.cursor()
            cursor.execute(*table.update([table.state], ['confirmed']))
            forget()
            scenario.__class__.trigger([scenario])
        forget()
        record = record.__class__(record.id)
        self.assertEqual(record.goal_value, Decimal('120'))
        self.assertEqual(waiting.__class__(waiting.id).reason, 'goal')
        scenario = scenario.__class__(scenario.id)
        self.assertEqual(scenario.goal_total, Decimal('120.00'))
        self.assertIn(
            "Reached the goal after “Activity”, worth 120.00.",
            [e.description for e in record.journey])

    def _amount(self, sale, amount):
        "Store the amount, as a sale does that is quoted"
        table = sale.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.total_amount_cache, table.untaxed_amount_cache,
                    table.tax_amount_cache],
                [Decimal(amount), Decimal(amount), Decimal(0)]))
        forget()

    @with_transaction()
    def test_marketer(self):
        "Test a marketer without any right to sales can aim at them"
        with Transaction().set_context(_check_access=True), \
                Transaction().set_user(create_marketer().id):
            scenario = create_scenario(
                model='party.party', goal_mode='criteria',
                goal_criteria=[('create', [{
                                'field': 'marketing_last_sale',
                                'operator': 'last', 'days': 30}])])
            scenario = scenario.__class__(scenario.id)
            self.assertEqual(scenario.goals, 0)
            self.assertIsNotNone(scenario.filter_domain('goal'))
            self.assertTrue(scenario.get_goal_fields())


del DatabaseTestCase, DeliveryTestCase
