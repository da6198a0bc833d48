# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What activities change, and what they must not"""
import datetime as dt
from contextlib import contextmanager
from decimal import Decimal
from unittest.mock import patch

from trytond.model.exceptions import ValidationError
from trytond.modules.marketing_automation import delivery
from trytond.modules.marketing_automation.action_value import OPERATORS
from trytond.modules.marketing_automation.exceptions import ActionError
from trytond.pool import Pool
from trytond.transaction import Transaction

from .delivering import CommittedTestCase
from .fixtures import (
    DUE, create, create_activity, create_marketer, create_party, create_record,
    create_record_activity, create_scenario, forget)


class ActionTestCase(CommittedTestCase):
    "Has rows to do, by transactions of their own"
    modules = ['marketing_automation', 'sale']

    def row(self, resource=None, model=None, **values):
        "Return a due row of a running scenario with the activity"
        resource = resource or create_party("Zoë")
        scenario = create_scenario(
            state='running', model=model or resource.__name__)
        activity = create_activity(scenario, **values)
        row = create_record_activity(
            create_record(scenario, resource), activity, at=DUE)
        Transaction().commit()
        return row

    @contextmanager
    def marketing(self):
        "Be a user who is only in the group Marketing"
        User = Pool().get('res.user')
        user = create_marketer(f'user{len(User.search([]))}')
        with Transaction().set_user(user.id), \
                Transaction().set_context(
                    User.get_preferences(context_only=True),
                    _check_access=True):
            yield user

    def deny(self, model='party.party', field=None):
        "Take the right to write from everybody"
        if field:
            access = create(
                'ir.model.field.access', model=model, field=field,
                perm_read=True, perm_write=False)
            return self._forget_later(access)
        return self.grant(model, None, perm_write=False)

    def grant(self, model, group, **values):
        access = create(
            'ir.model.access', model=model, group=group and int(group),
            **{'perm_read': True, 'perm_write': True, **values})
        return self._forget_later(access)

    def _forget_later(self, record):
        Transaction().commit()
        self.addCleanup(self._delete, record)
        return record

    @staticmethod
    def _delete(record):
        Transaction().rollback()
        record.delete(record.search([('id', '=', record.id)]))
        Transaction().commit()

    def sale(self, **values):
        Company = Pool().get('company.company')
        companies = Company.search([], limit=1)
        if not companies:
            currency = create('currency.currency',
                name="Euro", code='EUR', symbol="€")
            companies = [create('company.company',
                    party=create_party("Company").id, currency=currency.id)]
        return create('sale.sale',
            company=companies[0].id, party=create_party("Zoë").id,
            currency=companies[0].currency.id, **values)

    def drain(self, row):
        "Return what has become of the row"
        delivery.drain(dt.datetime.now())
        Transaction().commit()
        forget()
        row = row.__class__(row.id)
        return row.state, row.reason, row.detail


def lines(*values):
    "Return the values of lines: (field, operator, values)"
    return [('create', [
                {'field': field, 'operator': operator, **values}
                for field, operator, values in values])]


def set_fields(*values):
    return {'action': 'set_fields', 'action_values': lines(*values)}


class SetFieldsTestCase(ActionTestCase):
    "Test fields that are set"

    def test_set(self):
        "Test each type of field gets its value"
        german, = Pool().get('ir.lang').search([('code', '=', 'de')])
        row = self.row(**set_fields(
                ('name', 'to', {'text': "Dear ${record.name}"}),
                ('lang', 'to', {'record': str(german)}),
                ('marketing_timezone', 'to', {'choice': 'Europe/Berlin'}),
                ('active', 'no', {})))

        self.assertEqual(self.drain(row), ('done', None, None))

        party = row.record.record
        self.assertEqual(party.name, "Dear Zoë")
        company = row.activity.scenario.sending_company
        with Transaction().set_context(company=company):
            self.assertEqual(party.__class__(party.id).lang, german)
        self.assertEqual(party.marketing_timezone, 'Europe/Berlin')
        self.assertFalse(party.active)
        self.assertEqual(
            row.__class__(row.id).explanation,
            "Done: set Name, Language, Time Zone, Active.")

    def test_operators(self):
        "Test what becomes of a value"
        today = dt.date.today()
        for kind, operator, old, value, expected in [
                ('integer', 'increase', None, 5, 5),
                ('numeric', 'increase', Decimal('1.5'), Decimal(2),
                    Decimal('3.5')),
                ('float', 'to', 3., 4., 4.),
                ('text', 'append', "a", "b", "a\nb"),
                ('text', 'append', None, "b", "b"),
                ('date', 'today', None, 3, today + dt.timedelta(days=3)),
                ('char', 'empty', "a", None, None),
                ('boolean', 'yes', False, None, True)]:
            with self.subTest(kind=kind, operator=operator):
                _, change = OPERATORS[kind][operator]
                self.assertEqual(change(old, value), expected)

    def test_party(self):
        "Test the fields of the party of a sale are set"
        sale = self.sale()
        row = self.row(sale, values_of='party', **set_fields(
                ('name', 'to', {'text': "Customer ${record.id}"})))

        self.assertEqual(self.drain(row)[0], 'done')
        self.assertEqual(sale.party.name, f"Customer {sale.id}")

    def test_offered(self):
        "Test neither technical fields nor what people have chosen is offered"
        Value = Pool().get('marketing.automation.activity.value')
        with self.marketing():
            fields = dict(Value(
                    model='party.party',
                    activity_action='set_fields').get_fields())
        self.assertEqual(fields['name'], "Name")
        self.assertFalse(fields.keys() & {
                'id', 'create_date', 'marketing_unsubscribed', 'rec_name',
                'marketing_tracking_refused', 'full_name', 'addresses'})

    def test_not_writable(self):
        "Test nothing of a model that Marketing may not write is offered"
        Activity = Pool().get('marketing.automation.activity')
        Sale = Pool().get('sale.sale')
        self.assertEqual(Activity.value_fields('set_fields', Sale), [])
        with self.assertRaisesRegex(ValidationError, "allowed options"):
            self.row(self.sale(), **set_fields(
                    ('reference', 'to', {'text': "X"})))

    def test_denied(self):
        "Test what Marketing may no longer write is not written by root"
        for values in [
                {'model': 'party.party'},
                {'field': 'name'}]:
            with self.subTest(**values):
                row = self.row(**set_fields(('name', 'to', {'text': "X"})))
                access = self.deny(**values)
                state, reason, _ = self.drain(row)
                self.assertEqual((state, reason), ('failed', 'access'))
                self.assertEqual(row.record.record.name, "Zoë")
                self._delete(access)

    def test_denied_user(self):
        "Test a user can not let do what the user may not"
        ModelData = Pool().get('ir.model.data')
        self.deny(model='party.party')
        self.grant('party.party', ModelData.get_id(
                'marketing.group_marketing'))
        category = create('party.category', name="Denied")
        user = create('res.user', name="Other", login='other')
        activity = create_activity(
            create_scenario(), action='add_category', category=category.id)
        # Whoever may change activities
        self.assertTrue(activity.rec_name)
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True), \
                self.assertRaisesRegex(ActionError, "you are not allowed"):
            activity.check_action()

    def test_rule(self):
        "Test a record that the rules keep from Marketing is not written"
        row = self.row(**set_fields(('name', 'to', {'text': "X"})))
        rule = create('ir.rule.group', name="None", model='party.party',
            global_p=True, perm_read=False, rules=[('create', [
                        {'domain': '[["name", "=", "Nobody"]]'}])])
        self._forget_later(rule)
        self.assertEqual(self.drain(row), ('failed', 'access', "Zoë"))

    def test_readonly(self):
        "Test a field is not set when the record does not let it"
        ModelData = Pool().get('ir.model.data')
        self.grant('sale.sale', ModelData.get_id(
                'marketing.group_marketing'))
        for state, expected in [
                ('draft', ('done', None)),
                ('quotation', ('failed', 'readonly'))]:
            with self.subTest(state=state):
                sale = self.sale(state=state)
                row = self.row(sale, **set_fields(
                        ('description', 'to', {'text': "Sale"})))
                self.assertEqual(self.drain(row)[:2], expected)

    def test_refused(self):
        "Test a change that the model refuses says why"
        ModelData = Pool().get('ir.model.data')
        self.grant('sale.sale', ModelData.get_id(
                'marketing.group_marketing'))
        other = create('party.address', party=create_party("Other").id)
        row = self.row(self.sale(), **set_fields(
                ('invoice_address', 'to', {'record': str(other)})))
        state, reason, detail = self.drain(row)
        self.assertEqual((state, reason), ('failed', 'change'))
        self.assertIn('"Invoice Address"', detail)

    def test_invalid(self):
        "Test what can not be done is refused when it is saved"
        text = {'text': "X"}
        german, = Pool().get('ir.lang').search([('code', '=', 'de')])
        for values, error in [
                ([], "sets no field"),
                ([('name', 'to', text), ('name', 'empty', {})], "twice"),
                ([('name', None, {})], 'what "Name" becomes in line 1'),
                ([('name', 'to', {})], 'the new value of "Name" in line 1'),
                ([('active', 'yes', {}), (None, None, {})],
                    "the field in line 2"),
                ([('lang', 'to', {'record': 'ir.lang,-1'})],
                    'the new value of "Language"'),
                ([('lang', 'to', {'record': str(german)}),
                    ('name', 'to', {'text': "${record.nam}"})], '"nam"'),
                ([('name', 'to', {'text': "${import os}"})], "text of")]:
            with self.subTest(values), self.assertRaisesRegex(
                    ValidationError, error):
                create_activity(create_scenario(), **set_fields(*values))

    def test_other(self):
        "Test nothing is left of lines about the fields of others"
        Activity = Pool().get('marketing.automation.activity')
        category = create('party.category', name="Other action")
        row = self.row(**set_fields(('name', 'to', {'text': "X"})))
        activity = row.activity
        Activity.write([activity], {
                'action': 'add_category', 'category': category.id})
        self.assertFalse(activity.action_values)

    def test_copy(self):
        "Test the lines are copied with the scenario"
        Scenario = Pool().get('marketing.automation.scenario')
        row = self.row(**set_fields(('name', 'to', {'text': "X"})))
        copy, = Scenario.copy([row.activity.scenario])
        value, = copy.activities[0].action_values
        self.assertEqual((value.field, value.text), ('name', "X"))

    def test_once(self):
        "Test a change is made and noted together, or not at all"
        row = self.row(**set_fields(
                ('name', 'to', {'text': "${record.name}!"})))
        RecordActivity = row.__class__
        with patch.object(
                RecordActivity, 'follow', side_effect=KeyboardInterrupt):
            with self.assertRaises(KeyboardInterrupt):
                delivery.drain(dt.datetime.now())
        Transaction().commit()
        forget()
        self.assertEqual(row.record.record.name, "Zoë")
        table = RecordActivity.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.lease], [DUE], where=table.id == row.id))
        Transaction().commit()
        self.assertEqual(self.drain(row)[0], 'done')
        self.assertEqual(RecordActivity(row.id).record.record.name, "Zoë!")


class CategoryTestCase(ActionTestCase):
    "Test categories that are added and removed"

    def test_category(self):
        "Test a category is added once, and removed"
        category = create('party.category', name="VIP")
        other = create('party.category', name="Other")
        party = create_party(categories=[('add', [other.id])])
        for action, expected in [
                ('add_category', {category, other}),
                ('add_category', {category, other}),
                ('remove_category', {other}),
                ('remove_category', {other})]:
            row = self.row(party, action=action, category=category.id)
            self.assertEqual(self.drain(row)[0], 'done')
            self.assertEqual(set(party.categories), expected)
            self.assertEqual(len(party.categories), len(expected))
        self.assertEqual(
            row.__class__(row.id).explanation,
            "Done: remove the category “VIP”.")

    def test_denied(self):
        "Test no category is added to parties that Marketing may not write"
        category = create('party.category', name="Secret")
        row = self.row(action='add_category', category=category.id)
        self.deny(field='categories')
        self.assertEqual(
            self.drain(row), ('failed', 'access', "Categories"))
        with self.assertRaisesRegex(ActionError, "Categories"):
            create_activity(
                create_scenario(), action='add_category',
                category=category.id)


del CommittedTestCase
