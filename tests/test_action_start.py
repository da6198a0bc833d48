# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who is notified, what is created and which methods are called"""
from unittest.mock import patch

from trytond.model.exceptions import ValidationError
from trytond.modules.company.tests import create_company
from trytond.pool import Pool
from trytond.transaction import Transaction

from .fixtures import (
    EVERYTHING, create, create_activity, create_marketer, create_party,
    create_scenario)
from .test_action import ActionTestCase, lines


class NotifyTestCase(ActionTestCase):
    "Test users that are told"

    def _notifications(self, *users):
        Notification = Pool().get('res.notification')
        return Notification.search([
                ('user', 'in', [u.id for u in users])],
            order=[('id', 'ASC')])

    def test_user(self):
        "Test a user is told, with a link to the record"
        user = create_marketer('told')
        row = self.row(
            action='notify', notify_user=user.id,
            notify_text="Call ${record.name}")

        self.assertEqual(self.drain(row), ('done', None, None))

        notification, = self._notifications(user)
        party = row.record.record
        self.assertEqual(notification.label, party.rec_name)
        self.assertEqual(notification.description, "Call Zoë")
        self.assertEqual(notification.model, 'party.party')
        self.assertEqual(notification.records, f'[{party.id}]')
        self.assertTrue(notification.unread)
        self.assertEqual(
            row.__class__(row.id).explanation, "Done: notify told.")

    def test_group(self):
        "Test the active users of a group are told, each once"
        group = create('res.group', name="Told")
        users = [
            create('res.user', name=n, login=n, active=n != 'gone',
                groups=[('add', [group.id])])
            for n in ['first', 'second', 'gone']]
        row = self.row(
            action='notify', notify_group=group.id, notify_user=users[0].id,
            notify_text="Call")
        self.assertEqual(self.drain(row)[0], 'done')
        self.assertEqual(
            [n.user.login for n in self._notifications(*users)],
            ['first', 'second'])

    def test_unreadable(self):
        "Test nobody is told of what the user may not see"
        user = create_marketer('blind')
        row = self.row(
            self.sale(), action='notify', notify_user=user.id,
            notify_text="Call ${record.marketing_party.name}")
        self.assertEqual(self.drain(row), ('skipped', 'no_user', None))
        self.assertFalse(self._notifications(user))

    def test_invalid(self):
        "Test neither nobody nor a wrong text can be saved"
        user = create_marketer('wrong')
        for values in [
                {'notify_text': "Call"},
                {'notify_user': user.id},
                {'notify_user': user.id, 'notify_text': "${record.nam}"}]:
            with self.subTest(values), self.assertRaises(ValidationError):
                create_activity(create_scenario(), action='notify', **values)


class CreateTestCase(ActionTestCase):
    "Test records that are created"
    modules = EVERYTHING

    def test_note(self):
        "Test a note is left on the record"
        Note = Pool().get('ir.note')
        row = self.row(
            action='create_record', create_model='ir.note',
            action_values=lines((
                    'message', 'to', {'content': "Got ${record.name}\n!"})))
        self.assertEqual(self.drain(row), ('done', None, None))
        note, = Note.search([('resource', '=', str(row.record.record))])
        self.assertEqual(note.message, "Got Zoë\n!")
        self.assertEqual(
            row.__class__(row.id).explanation, "Done: create Note.")

    def test_opportunity(self):
        "Test an opportunity is created once, with the party filled in"
        Opportunity = Pool().get('sale.opportunity')
        company = self._company()
        employee = create(
            'company.employee', company=company.id,
            party=create_party("Employee").id)
        row = self.row(
            action='create_record', create_model='sale.opportunity',
            action_values=lines(
                ('description', 'to', {'text': "Offer for ${record.name}"}),
                ('employee', 'to', {'record': str(employee)}),
                ('amount', 'to', {'number': 100}),
                ('end_date', 'today', {'days': 30})))

        self.assertEqual(self.drain(row), ('done', None, None))

        opportunity, = Opportunity.search([])
        self.assertEqual(opportunity.party, row.record.record)
        self.assertEqual(opportunity.company, company)
        self.assertEqual(opportunity.employee, employee)
        self.assertEqual(opportunity.description, "Offer for Zoë")
        self.assertEqual(opportunity.amount, 100)
        self.assertEqual(
            (opportunity.end_date - opportunity.start_date).days, 30)
        self.assertEqual(opportunity.state, 'lead')
        self.drain(row)
        self.assertEqual(Opportunity.search([], count=True), 1)
        Opportunity.write([opportunity], {'state': 'cancelled'})
        Opportunity.delete([opportunity])
        Transaction().commit()

    def test_refused(self):
        "Test what is refused says why and leaves nothing"
        Opportunity = Pool().get('sale.opportunity')
        self._company()
        row = self.row(
            action='create_record', create_model='sale.opportunity',
            action_values=lines(
                ('conversion_probability', 'to', {'number': 2})))
        state, reason, detail = self.drain(row)
        self.assertEqual((state, reason), ('failed', 'change'))
        self.assertIn("Conversion Probability", detail)
        self.assertFalse(Opportunity.search([]))

    def test_offered(self):
        "Test what can be created, with names that people read"
        Activity = Pool().get('marketing.automation.activity')
        self.assertEqual(
            dict(Activity.get_creatable_models()), {
                None: "", 'ir.note': "Note",
                'sale.opportunity': "Sale Opportunity"})
        with self.marketing():
            Value = Pool().get('marketing.automation.activity.value')
            value = Value(
                model='sale.opportunity', activity_action='create_record')
            fields = dict(value.get_fields())
            targets = dict(value.get_targets())
        self.assertEqual(fields['employee'], "Employee")
        self.assertNotIn('state', fields)
        self.assertEqual(
            targets, {None: "", 'company.employee': "Company Employee"})

    def _company(self):
        Company = Pool().get('company.company')
        companies = Company.search([], limit=1)
        return companies[0] if companies else create_company()


class MethodTestCase(ActionTestCase):
    "Test methods that modules have allowed"

    def test_unsubscribe(self):
        "Test the party gets no e-mails any more"
        row = self.row(action='call_method', method='party_unsubscribe')
        self.assertEqual(self.drain(row), ('done', None, None))
        self.assertTrue(row.record.record.marketing_unsubscribed)
        self.assertEqual(
            row.__class__(row.id).explanation,
            "Done: Unsubscribe from All Scenarios.")

    def test_offered(self):
        "Test only what is for the records of the scenario is offered"
        Activity = Pool().get('marketing.automation.activity')
        methods = {
            'sale_quote': ("Quote", 'sale.sale', 'quote'),
            'party_unsubscribe': (
                "Unsubscribe", 'party.party', 'marketing_unsubscribe'),
            }
        with patch.object(
                Activity, 'callable_methods', return_value=methods):
            for model, expected in [
                    ('party.party', {None, 'party_unsubscribe'}),
                    ('sale.sale', set(methods) | {None})]:
                activity = Activity(parent=create_scenario(model=model))
                self.assertEqual(
                    dict(activity.get_methods()).keys(), expected)

    def test_refused(self):
        "Test a method that refuses says why"
        Activity = Pool().get('marketing.automation.activity')
        methods = {'sale_quote': ("Quote", 'sale.sale', 'quote')}
        with patch.object(
                Activity, 'callable_methods', return_value=methods):
            row = self.row(
                self.sale(), action='call_method', method='sale_quote')
            state, reason, detail = self.drain(row)
        self.assertEqual((state, reason), ('failed', 'change'))
        self.assertTrue(detail)

    def test_unknown(self):
        "Test no other method can be named"
        for method in ['delete', 'party_delete']:
            with self.assertRaises(ValidationError):
                create_activity(
                    create_scenario(), action='call_method', method=method)


del ActionTestCase
