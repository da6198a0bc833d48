# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What an action would do, without doing it"""
import json

from trytond.modules.marketing_automation.exceptions import PreviewError
from trytond.pool import Pool
from trytond.transaction import Transaction

from .fixtures import create, create_marketer, create_party
from .system.https import Receiver
from .test_action import ActionTestCase, lines, set_fields
from .tools import configure


class ActionTrialTestCase(ActionTestCase):
    "Test actions on records, nothing of which is kept"

    def what(self, row, resource=None):
        "Return what is shown to a user of the group Marketing"
        Trial = Pool().get('marketing.automation.action.trial')
        resource = resource or row.record.record
        activity = row.activity
        Transaction().commit()
        with self.marketing():
            Transaction().commit()
            trial = Trial(activity=activity.id, record=str(resource))
            trial.show()
            return trial.what

    def test_fields(self):
        "Test the old and the new values are shown, and the old ones stay"
        german, = Pool().get('ir.lang').search([('code', '=', 'de')])
        row = self.row(**set_fields(
                ('name', 'to', {'text': "Dear ${record.name}"}),
                ('lang', 'to', {'record': str(german)}),
                ('active', 'no', {})))
        other = create_party("Ada")
        for resource, name in [(row.record.record, "Zoë"), (other, "Ada")]:
            self.assertEqual(
                self.what(row, resource),
                f"Name: {name} → Dear {name}\n"
                "Language: – → German\nActive: yes → no")
            party = resource.__class__(resource.id)
            self.assertEqual((party.name, party.active), (name, True))
        RecordActivity = row.__class__
        self.assertEqual(
            RecordActivity.search([
                    ('activity', '=', row.activity.id)]), [row])

    def test_sentences(self):
        "Test what other actions would do"
        user = create_marketer('trial')
        category = create('party.category', name="Tried")
        for values, expected in [
                ({'action': 'add_category', 'category': category.id},
                    "Add the category “Tried”"),
                ({'action': 'remove_category', 'category': category.id},
                    "Remove the category “Tried”"),
                ({
                        'action': 'notify', 'notify_user': user.id,
                        'notify_text': "Call ${record.name}",
                        },
                    "Notify trial\nCall Zoë"),
                ({
                        'action': 'create_record', 'create_model': 'ir.note',
                        'action_values': lines((
                                'message', 'to', {'content': "Hi"})),
                        },
                    "Create Note\nMessage: Hi"),
                ({'action': 'call_method', 'method': 'party_unsubscribe'},
                    "Unsubscribe from All Scenarios")]:
            with self.subTest(**values):
                row = self.row(**values)
                self.assertEqual(self.what(row), expected)
                party = row.record.record
                self.assertFalse(party.categories)
                self.assertFalse(party.marketing_unsubscribed)
        self.assertFalse(Pool().get('res.notification').search([]))
        self.assertFalse(Pool().get('ir.note').search([]))

    def test_refused(self):
        "Test what would not work says why"
        row = self.row(**set_fields(('name', 'to', {'text': "X"})))
        self.deny(field='name')
        self.assertIn("not allowed to change it: Name", self.what(row))

    def test_unreadable(self):
        "Test nothing is shown of what the user may not read"
        row = self.row(self.sale(), values_of='party', **set_fields(
                ('name', 'to', {'text': "X"})))
        with self.assertRaises(Exception):
            self.what(row)

    def test_webhook(self):
        "Test the data is shown, and sent as a test"
        Trial = Pool().get('marketing.automation.action.trial')
        with Receiver() as receiver:
            configure('marketing', automation_webhook_hosts='localhost')
            webhook = create(
                'marketing.automation.webhook', name="CRM", url=receiver.url)
            row = self.row(
                action='webhook', webhook=webhook.id,
                webhook_fields=['name'])
            content = json.loads(self.what(row))
            self.assertEqual(content['data']['record']['name'], "Zoë")
            self.assertFalse(receiver.requests)
            trial = Trial(
                activity=row.activity.id, record=str(row.record.record))
            self.assertEqual(trial.send(), '204 No Content')
            received, = receiver.requests
            self.assertEqual(
                json.loads(received.body),
                {**content, 'type': 'marketing_automation.test'})
            self.assertTrue(
                received.headers['webhook-id'].startswith('msg_test_'))
            receiver.answers.append((401, {}, b"Who?"))
            with self.assertRaisesRegex(PreviewError, "401"):
                trial.send()
            self.assertEqual(row.__class__(row.id).state, 'waiting')

    def test_rehearsal(self):
        "Test a rehearsal does it, and keeps nothing"
        Rehearsal = Pool().get('marketing.automation.rehearsal')
        with Receiver() as receiver:
            configure('marketing', automation_webhook_hosts='localhost')
            webhook = create(
                'marketing.automation.webhook', name="CRM", url=receiver.url)
            row = self.row(**set_fields(('name', 'to', {'text': "X"})))
            create(
                'marketing.automation.activity', name="Call",
                parent=str(row.activity), action='webhook',
                webhook=webhook.id)
            Transaction().commit()
            rehearsal = Rehearsal(
                scenario=row.activity.scenario.id,
                record=str(row.record.record))
            rehearsal.begin()
            for _ in range(2):
                rehearsal.add('next')
            whats = [s.what for s in rehearsal.steps]
            self.assertIn("Done: set Name.", whats)
            self.assertIn("Done: call the webhook “CRM”.", whats)
            self.assertFalse(receiver.requests)
        self.assertEqual(row.record.record.name, "Zoë")


del ActionTestCase
