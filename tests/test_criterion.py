# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who enters, as chosen by criteria"""
import datetime as dt
import json
from decimal import Decimal
from unittest.mock import patch

from trytond.modules.marketing_automation.audience import Audience
from trytond.modules.marketing_automation.exceptions import (
    CriterionError, DomainError, EverybodyWarning, ExpertFilterWarning,
    ScenarioRunningError)
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, without_check_access

from .fixtures import (
    DatabaseTestCase, create, create_email, create_marketer, create_party,
    create_scenario, forget)

EXPERT = [['name', '=', "Zoë"]]


def change(record, **values):
    "Store what no user can write"
    table = record.__table__()
    Transaction().connection.cursor().execute(*table.update(
            [getattr(table, n) for n in values], list(values.values()),
            where=table.id == record.id))
    forget()


def days_ago(days):
    return dt.datetime.now() - dt.timedelta(days=days)


def choose(*criteria, **values):
    "Return a new scenario with the criteria: (field, operator, values)"
    return create_scenario(criteria=[('create', [
                    {'field': field, 'operator': operator, **values}
                    for field, operator, values in criteria])], **values)


class ChoosingTestCase(DatabaseTestCase):
    "Test what the criteria of parties and sales choose"

    def check(self, model, cases):
        "Check for each (field, operator, values, names) who is chosen"
        tested = set()
        for field, operator, values, expected in cases:
            with self.subTest(field=field, operator=operator, **values):
                scenario = choose((field, operator, values), model=model)
                self.assertEqual(
                    ' '.join(sorted(
                            r.marketing_party.name
                            for r in Audience(scenario).search())),
                    expected)
                criterion, = scenario.criteria
                tested.add((criterion.kind, operator))
        return tested


class PartyCriterionTestCase(ChoosingTestCase):
    "Test the criteria of parties"

    def _prepare(self):
        pool = Pool()
        Lang = pool.get('ir.lang')
        self.german, = Lang.search([('code', '=', 'de')])
        self.france, self.spain = [
            create('country.country', name=name) for name in ["A", "B"]]
        self.customers = create('party.category', name="Customers")
        self.retail = create(
            'party.category', name="Retail", parent=self.customers.id)
        self.press = create('party.category', name="Press")
        ada = create_party("Ada", 'ada@example.com', code='A_1',
            addresses=[('create', [
                        {'country': self.france.id, 'city': "Lyon",
                            'postal_code': '69001'},
                        {'country': self.spain.id, 'city': "León"},
                        ])],
            categories=[('add', [self.retail.id])])
        ada.lang = self.german
        ada.save()
        bob = create_party("Bob", code='A11',
            addresses=[('create', [{
                            'country': self.spain.id, 'city': "100% Lyon",
                            }])],
            categories=[('add', [self.customers.id, self.press.id])])
        eve = create_party("Eve", 'eve@example.com', code='B1')
        for party, days in [(ada, 1), (bob, 10), (eve, 40)]:
            change(party, create_date=days_ago(days))
        self.parties = [ada, bob, eve]

    @with_transaction()
    def test_operators(self):
        "Test each operator of each kind of field"
        self._prepare()
        day = days_ago(10).date()
        before, after = day - dt.timedelta(1), day + dt.timedelta(1)
        self.check('party.party', [
                ('name', 'is', {'text': "ada"}, "Ada"),
                ('name', 'is', {'text': "a%"}, ""),
                ('name', 'is_not', {'text': "Ada"}, "Bob Eve"),
                ('code', 'contains', {'text': "a_"}, "Ada"),
                ('code', 'contains_not', {'text': "A_"}, "Bob Eve"),
                ('code', 'starts', {'text': "a"}, "Ada Bob"),
                ('marketing_city', 'is', {'text': "lyon"}, "Ada"),
                ('marketing_city', 'is_not', {'text': "Lyon"}, "Bob Eve"),
                ('marketing_city', 'contains', {'text': "lyon"}, "Ada Bob"),
                ('marketing_city', 'contains', {'text': "0%"}, "Bob"),
                ('marketing_city', 'contains_not', {'text': "eó"}, "Bob Eve"),
                ('marketing_city', 'empty', {}, "Eve"),
                ('marketing_city', 'not_empty', {}, "Ada Bob"),
                ('marketing_postal_code', 'starts', {'text': "69"}, "Ada"),
                ('marketing_postal_code', 'empty', {}, "Bob Eve"),
                ('marketing_language', 'is', {'language': self.german.id},
                    "Ada"),
                ('marketing_language', 'is_not', {'language': self.german.id},
                    "Bob Eve"),
                ('marketing_language', 'empty', {}, "Bob Eve"),
                ('marketing_language', 'not_empty', {}, "Ada"),
                ('marketing_country', 'is', {'country': self.spain.id},
                    "Ada Bob"),
                ('marketing_country', 'is_not', {'country': self.france.id},
                    "Bob Eve"),
                ('marketing_country', 'empty', {}, "Eve"),
                ('marketing_country', 'not_empty', {}, "Ada Bob"),
                ('categories', 'is', {'category': self.customers.id},
                    "Ada Bob"),
                ('categories', 'is', {'category': self.retail.id}, "Ada"),
                ('categories', 'is_not', {'category': self.retail.id},
                    "Bob Eve"),
                ('categories', 'is_not', {'category': self.customers.id},
                    "Eve"),
                ('categories', 'empty', {}, "Eve"),
                ('categories', 'not_empty', {}, "Ada Bob"),
                ('marketing_has_email', 'yes', {}, "Ada Eve"),
                ('marketing_has_email', 'no', {}, "Bob"),
                ('create_date', 'last', {'days': 15}, "Ada Bob"),
                ('create_date', 'last', {'days': 5}, "Ada"),
                ('create_date', 'ago', {'days': 5}, "Bob Eve"),
                ('create_date', 'ago', {'days': 50}, ""),
                ('create_date', 'from', {'date': day}, "Ada Bob"),
                ('create_date', 'from', {'date': after}, "Ada"),
                ('create_date', 'until', {'date': day}, "Bob Eve"),
                ('create_date', 'until', {'date': before}, "Eve"),
                ])

    @with_transaction()
    def test_together(self):
        "Test that all the criteria must hold"
        self._prepare()
        country = ('marketing_country', 'is', {'country': self.spain.id})
        has_email = ('marketing_has_email', 'yes', {})
        self.assertEqual(choose(country).matching_count, 2)
        self.assertEqual(choose(country, has_email).matching_count, 1)

    @with_transaction()
    def test_relative(self):
        "Test that what is relative is stored so and moves with the days"
        self._prepare()
        scenario = choose(('create_date', 'last', {'days': 15}))
        ((field, operator, value),) = json.loads(scenario.domain)
        self.assertEqual(
            (value['__class__'], value['dd'], value['d']),
            ('DateTime', -15, None))
        self.assertEqual(scenario.matching_count, 2)
        bob = self.parties[1]
        change(bob, create_date=days_ago(16))
        self.assertEqual(
            scenario.__class__(scenario.id).matching_count, 1)


class SaleCriterionTestCase(ChoosingTestCase):
    "Test the criteria of sales and of what parties have bought"
    modules = ['marketing_automation', 'sale']

    def _prepare(self):
        pool = Pool()
        Lang = pool.get('ir.lang')
        self.german, = Lang.search([('code', '=', 'de')])
        currency = create(
            'currency.currency', name="Euro", code='EUR', symbol="€")
        self.company = create('company.company',
            party=create_party("Shop").id, currency=currency.id)
        with Transaction().set_context(company=self.company.id):
            for name, sales in [
                    ("Ada", [('done', 1, 100), ('processing', 40, 50)]),
                    ("Bob", [('confirmed', 40, 20), ('draft', 1, 30)]),
                    ("Eve", []),
                    ]:
                party = create_party(name, lang=(
                        self.german.id if name == "Ada" else None))
                for state, days, amount in sales:
                    self._sell(party, currency, state, days, amount)

    def _sell(self, party, currency, state, days, amount):
        sale = create('sale.sale', company=self.company.id,
            currency=currency.id, party=party.id, description=party.name)
        change(sale,
            state=state,
            number=f'{party.name}-{amount}',
            sale_date=days_ago(days).date(),
            untaxed_amount_cache=Decimal(amount))

    @with_transaction(context={'company': None})
    def test_operators(self):
        "Test the criteria of sales"
        self._prepare()
        day = days_ago(40).date()
        self.check('sale.sale', [
                ('sale_date', 'last', {'days': 30}, "Ada Bob"),
                ('sale_date', 'ago', {'days': 30}, "Ada Bob"),
                ('sale_date', 'ago', {'days': 40}, ""),
                ('sale_date', 'until', {'date': day}, "Ada Bob"),
                ('sale_date', 'from', {'date': day}, "Ada Ada Bob Bob"),
                ('sale_date', 'empty', {}, ""),
                ('state', 'is', {'choice': 'done'}, "Ada"),
                ('state', 'is_not', {'choice': 'done'}, "Ada Bob Bob"),
                ('marketing_amount', 'is', {'number': Decimal(20)}, "Bob"),
                ('marketing_amount', 'at_least', {'number': Decimal('29.9')},
                    "Ada Ada Bob"),
                ('marketing_amount', 'at_most', {'number': Decimal(50)},
                    "Ada Bob Bob"),
                ('number', 'starts', {'text': "ada-"}, "Ada Ada"),
                ('create_date', 'last', {'days': 1}, "Ada Ada Bob Bob"),
                ('marketing_party.marketing_language', 'is',
                    {'language': self.german.id}, "Ada Ada"),
                ('marketing_party.marketing_language', 'is_not',
                    {'language': self.german.id}, "Bob Bob"),
                ('marketing_party.name', 'contains', {'text': "o"},
                    "Bob Bob"),
                ('marketing_party.marketing_sale_count', 'is',
                    {'number': Decimal(1)}, "Bob Bob"),
                ])
        self.check('party.party', [
                ('marketing_last_sale', 'last', {'days': 30}, "Ada"),
                ('marketing_last_sale', 'ago', {'days': 30}, "Bob"),
                ('marketing_last_sale', 'not_empty', {}, "Ada Bob"),
                ('marketing_last_sale', 'empty', {}, "Eve Shop"),
                ('marketing_sale_count', 'at_least', {'number': Decimal(1)},
                    "Ada Bob"),
                ('marketing_sale_count', 'at_most', {'number': Decimal(0)},
                    "Eve Shop"),
                ('marketing_sale_count', 'is', {'number': Decimal(2)}, "Ada"),
                ])

    @with_transaction()
    def test_access(self):
        "Test that a marketer is offered what they may read"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        Criterion = pool.get('marketing.automation.criterion')
        scenario = choose(
            ('marketing_sale_count', 'at_least', {'number': Decimal(2)}))
        user = create_marketer()
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            criterion = Criterion(scenario=Scenario(model='party.party'))
            names = dict(criterion.get_fields())
            self.assertIn('marketing_has_email', names)
            self.assertNotIn('marketing_sale_count', names)
            # What others have chosen is shown nevertheless
            criterion = Criterion(scenario.criteria[0].id)
            self.assertIn('marketing_sale_count', dict(criterion.get_fields()))
            with self.assertRaises(DomainError):
                choose(('marketing_last_sale', 'empty', {}))


class ModeTestCase(DatabaseTestCase):
    "Test how criteria and expert filter live together"

    def _marketer(self):
        "Ask what a user of the group Marketing is asked"
        user = create_marketer()
        return (
            Transaction().set_user(user.id),
            Transaction().set_context(_check_access=True))

    @with_transaction()
    def test_default(self):
        "Test that who writes a domain is an expert"
        for values, mode in [
                ({}, 'criteria'),
                ({'domain': '[]'}, 'criteria'),
                ({'domain': json.dumps(EXPERT)}, 'expert'),
                ({'domain': json.dumps(EXPERT), 'audience_mode': 'criteria'},
                    'expert'),
                ({'domain_source': str(EXPERT)}, 'expert'),
                ]:
            with self.subTest(**values):
                scenario = create_scenario(**values)
                self.assertEqual(scenario.audience_mode, mode)
                self.assertEqual(json.loads(scenario.domain),
                    EXPERT if mode == 'expert' else [])

    @with_transaction()
    def test_migration(self):
        "Test the mode of the scenarios of the published module"
        everybody = create_scenario()
        written = create_scenario(domain=json.dumps(EXPERT))
        everybody.__table_handler__('marketing_automation').not_null_action(
            'audience_mode', 'remove')
        for scenario in [everybody, written]:
            change(scenario, audience_mode=None)
        everybody.__register__('marketing_automation')
        forget()
        self.assertEqual(everybody.audience_mode, 'criteria')
        self.assertEqual(written.audience_mode, 'expert')

    @with_transaction()
    def test_follow(self):
        "Test that the domain follows each change of the criteria"
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        criterion, = scenario.criteria
        self.assertEqual(scenario.audience_mode, 'criteria')
        self.assertEqual(
            json.loads(scenario.domain), [['name', 'ilike', "Zoë"]])
        criterion.operator = 'starts'
        criterion.save()
        self.assertEqual(
            json.loads(scenario.domain), [['name', 'ilike', "Zoë%"]])
        scenario.criteria = [criterion.__class__(
                field='code', operator='empty')]
        scenario.save()
        self.assertEqual(json.loads(scenario.domain), [['code', '=', None]])
        criterion.__class__.delete(scenario.criteria)
        self.assertEqual(json.loads(scenario.domain), [])
        self.assertEqual(scenario.audience_mode, 'criteria')
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        scenario.__class__.delete([scenario])

    @with_transaction()
    def test_everybody(self):
        "Test that it is asked before the last criterion goes"
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        user, context = self._marketer()
        with user, context:
            scenario = scenario.__class__(scenario.id)
            scenario.criteria = []
            scenario.on_change_criteria()
            self.assertEqual(scenario.domain, '[]')
            with self.assertRaises(EverybodyWarning):
                scenario.save()

    @with_transaction()
    def test_domain_written(self):
        "Test that a script that writes a domain is not overruled"
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        scenario.domain = json.dumps(EXPERT)
        scenario.save()
        self.assertEqual(scenario.audience_mode, 'expert')
        criterion, = scenario.criteria
        criterion.text = "Bob"
        criterion.save()
        self.assertEqual(json.loads(scenario.domain), EXPERT)

    @with_transaction()
    def test_switch(self):
        "Test that what an expert has written is not lost silently"
        Warning = Pool().get('res.user.warning')
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        domain = scenario.domain
        user, context = self._marketer()
        with user, context:
            scenario = scenario.__class__(scenario.id)
            Scenario = scenario.__class__
            Scenario.choose_by_expert_filter([scenario])
            self.assertEqual(
                (scenario.audience_mode, scenario.domain),
                ('expert', domain))
            # Nothing is lost yet
            Scenario.choose_by_criteria([scenario])
            Scenario.choose_by_expert_filter([scenario])
            scenario.domain_source = str(EXPERT)
            scenario.save()
            with self.assertRaises(ExpertFilterWarning) as warning:
                Scenario.choose_by_criteria([scenario])
            self.assertIn("[('name', '=', 'Zoë')]", str(warning.exception))
            with without_check_access():
                Warning.skip(warning.exception.name)
            Scenario.choose_by_criteria([scenario])
            self.assertEqual(
                (scenario.audience_mode, scenario.domain),
                ('criteria', domain))

    @with_transaction()
    def test_filter(self):
        "Test that a saved filter takes the place of the criteria"
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        scenario.take_filter(json.dumps(EXPERT))
        self.assertEqual(
            (scenario.audience_mode, json.loads(scenario.domain)),
            ('expert', EXPERT))
        self.assertTrue(scenario.criteria)
        with self.assertRaises(ExpertFilterWarning):
            scenario.take_filter('[["code", "=", null]]')

    @with_transaction()
    def test_running(self):
        "Test that who enters does not change while the scenario runs"
        scenario = create_email(choose(
                ('name', 'is', {'text': "Zoë"}))).scenario
        criterion, = scenario.criteria
        change(scenario, state='running')
        criterion.text = "Bob"
        with self.assertRaises(ScenarioRunningError):
            criterion.save()

    @with_transaction()
    def test_model(self):
        "Test that no criterion stays that is of another model"
        pool = Pool()
        Party = pool.get('party.party')
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        with patch.object(Party, 'marketing_criteria', lambda: ['code']):
            with self.assertRaises(CriterionError):
                scenario.__class__.write(
                    [scenario], {'model': 'party.party'})
            scenario.__class__.write([scenario], {
                    'model': 'party.party', 'domain': json.dumps(EXPERT)})
            self.assertEqual(scenario.audience_mode, 'expert')
            self.assertFalse(scenario.criteria)

    @with_transaction()
    def test_lacking(self):
        "Test that it is said which line lacks what"
        complete = ('name', 'empty', {})
        for criterion, message in [
                ((None, None, {}), "Choose a field in line 2 "),
                (('name', None, {}),
                    'Choose how "Name" is compared in line 2 '),
                (('name', 'is', {}),
                    'Enter what "Name" is compared with in line 2 '),
                (('name', 'is', {'text': " "}),
                    'Enter what "Name" is compared with in line 2 '),
                ]:
            with self.subTest(criterion=criterion):
                with self.assertRaises(CriterionError) as error:
                    choose(complete, criterion)
                self.assertIn(message, str(error.exception))

    @with_transaction()
    def test_unsaved(self):
        "Test that the numbers follow before anything is saved"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        Criterion = pool.get('marketing.automation.criterion')
        create_party("Ada", 'ada@example.com')
        create_party("Bob")
        scenario = Scenario(model='party.party', domain='[]',
            audience_mode='criteria', once_per_address=True)
        criterion = Criterion(field='marketing_has_email')
        scenario.criteria = [criterion]
        self.assertIn(
            ('marketing_has_email', "Has E-mail"), criterion.get_fields())
        criterion.on_change_field()
        self.assertEqual(criterion.operator, 'yes')
        scenario.on_change_criteria()
        self.assertEqual(
            (scenario.matching_count, scenario.domain_source),
            (1, "[('marketing_has_email', '=', True)]"))
        criterion.field = 'name'
        criterion.on_change_field()
        scenario.on_change_criteria()
        self.assertIsNone(scenario.matching_count)

    @with_transaction()
    def test_copy(self):
        "Test that a copy has the same criteria"
        scenario = choose(('name', 'is', {'text': "Zoë"}))
        copy, = scenario.__class__.copy([scenario])
        self.assertEqual(copy.audience_mode, 'criteria')
        self.assertEqual(copy.domain, scenario.domain)
        self.assertEqual([c.text for c in copy.criteria], ["Zoë"])
        scenario.criteria = []
        scenario.save()
        self.assertTrue(copy.criteria)
