# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import email
import os

from trytond.modules.marketing_automation import signature
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

from .fixtures import (
    EVERYTHING, DatabaseTestCase, create_email, create_party, create_record,
    create_record_activity, erase, sign)

FOLDER = os.path.join(os.path.dirname(__file__), 'delivery_reports')


def sample(name, token):
    with open(os.path.join(FOLDER, name + '.eml'), 'rb') as fp:
        return fp.read().replace(b'TOKEN', token.encode())


class BounceTestCase(DatabaseTestCase):
    "Test bounces and complaints"
    modules = EVERYTHING

    def sent(self, address):
        "Return a record activity whose e-mail went to the address"
        activity = create_email()
        record = create_record(
            activity.scenario, create_party(address=address))
        return create_record_activity(
            record, activity, state='done', at=dt.datetime.now())

    def token(self, record_activity):
        return sign('bounce', record_activity.id)

    def address(self, name):
        "Return the address the sample is about"
        from trytond.modules.marketing_automation.mail.report import parse
        report, *_ = parse(sample(name, 'TOKEN'))
        return report.recipient

    def receive(self, name, token):
        Bounce = Pool().get('marketing.automation.bounce')
        return Bounce.receive(sample(name, token))

    def test_sample_token(self):
        "Test the samples return what was sent"
        message = email.message_from_bytes(
            sample('postfix_unknown_user', 'abc'))
        self.assertIn('abc', message.as_string())

    @with_transaction()
    def test_hard_bounce(self):
        "Test a hard bounce stops the address at once"
        record_activity = self.sent(
            self.address('postfix_unknown_user'))

        bounce, = self.receive(
            'postfix_unknown_user', self.token(record_activity))

        mechanism, = record_activity.record.party.contact_mechanisms
        self.assertEqual(bounce.kind, 'hard')
        self.assertTrue(bounce.matched)
        self.assertEqual(bounce.mechanism, mechanism)
        self.assertEqual(bounce.activity, record_activity.activity)
        self.assertEqual(mechanism.marketing_suppressed, 'hard')
        self.assertTrue(mechanism.marketing_suppressed_at)
        self.assertTrue(mechanism.marketing_suppressed_reason)

    @with_transaction()
    def test_international_domain(self):
        "Test the domain may be written in Unicode or in ASCII"
        for stored, reported in [
                ('Müller.example', 'xn--mller-kva.example'),
                ('xn--mller-kva.example', 'müller.example'),
                ('MÜLLER.example', 'XN--Mller-KVA.example'),
                ]:
            with self.subTest(stored=stored, reported=reported):
                record_activity = self.sent(f'Bob@{stored}')
                data = sample(
                    'postfix_unknown_user', self.token(record_activity))

                bounce, = Pool().get('marketing.automation.bounce').receive(
                    data.replace(b'Example.NET', reported.encode()))

                mechanism, = record_activity.record.party.contact_mechanisms
                self.assertEqual(bounce.mechanism, mechanism)
                self.assertEqual(mechanism.marketing_suppressed, 'hard')

    @with_transaction()
    def test_forged(self):
        "Test a report without genuine token suppresses nobody"
        record_activity = self.sent(
            self.address('postfix_unknown_user'))
        token = self.token(record_activity)

        for forged in [
                '', 'x', token[:-1], token.swapcase(), token + 'A',
                signature.sign(b'other', 'bounce', record_activity.id),
                signature.sign(b'', 'click', record_activity.id)]:
            with self.subTest(token=forged):
                bounces = self.receive('postfix_unknown_user', forged)
                self.assertFalse(any(b.matched for b in bounces))

        mechanism, = record_activity.record.party.contact_mechanisms
        self.assertFalse(mechanism.marketing_suppressed)

    @with_transaction()
    def test_other_recipient(self):
        "Test a genuine token does not stop the address of somebody else"
        victim = self.sent(self.address('postfix_unknown_user'))
        attacker = self.sent('attacker@example.com')

        self.receive('postfix_unknown_user', self.token(attacker))

        for record_activity in [victim, attacker]:
            mechanism, = record_activity.record.party.contact_mechanisms
            self.assertFalse(mechanism.marketing_suppressed)

    @with_transaction()
    def test_soft_bounces(self):
        "Test soft bounces stop an address when they go on for too long"
        pool = Pool()
        Bounce = pool.get('marketing.automation.bounce')
        record_activity = self.sent(self.address('postfix_mailbox_full'))
        token = self.token(record_activity)
        mechanism, = record_activity.record.party.contact_mechanisms

        for _ in range(5):
            self.receive('postfix_mailbox_full', token)
        self.assertFalse(mechanism.marketing_suppressed)

        bounce, *_ = Bounce.search([], order=[('id', 'ASC')])
        bounce.at -= dt.timedelta(days=8)
        bounce.save()
        self.receive('postfix_mailbox_full', token)
        mechanism = mechanism.__class__(mechanism.id)
        self.assertEqual(mechanism.marketing_suppressed, 'soft')

        mechanism.marketing_lift([mechanism])
        self.receive('postfix_mailbox_full', token)
        mechanism = mechanism.__class__(mechanism.id)
        self.assertFalse(mechanism.marketing_suppressed)

    @with_transaction()
    def test_change_lifts(self):
        "Test another address lifts the suppression"
        record_activity = self.sent(
            self.address('postfix_unknown_user'))
        self.receive(
            'postfix_unknown_user', self.token(record_activity))
        mechanism, = record_activity.record.party.contact_mechanisms
        self.assertTrue(mechanism.marketing_suppressed)

        mechanism.value = 'new@example.com'
        mechanism.save()

        self.assertFalse(mechanism.marketing_suppressed)

    @with_transaction()
    def test_unreadable(self):
        "Test what is no report is kept in the list of the unmatched"
        Bounce = Pool().get('marketing.automation.bounce')

        bounce, = Bounce.receive(b"Subject: Hello\n\nHow are you?\n")

        self.assertEqual(bounce.kind, 'unknown')
        self.assertFalse(bounce.matched)

    @with_transaction()
    def test_inbound_email(self):
        "Test a report through a rule of inbound email"
        pool = Pool()
        Email = pool.get('inbound.email')
        Inbox = pool.get('inbound.email.inbox')
        record_activity = self.sent(
            self.address('postfix_unknown_user'))
        inbox, = Inbox.create([{
                    'name': "Bounces",
                    'rules': [('create', [{
                                    'action': 'marketing.automation.bounce|'
                                    'receive_inbound_email',
                                    }])],
                    }])

        inbound = Email(
            inbox=inbox, data_type='raw',
            data=sample('postfix_unknown_user', self.token(record_activity)))
        inbound.save()
        Email.process([inbound])

        self.assertEqual(
            inbound.result.__name__, 'marketing.automation.bounce')
        self.assertEqual(inbound.result.kind, 'hard')
        mechanism, = record_activity.record.party.contact_mechanisms
        self.assertEqual(mechanism.marketing_suppressed, 'hard')

    @with_transaction()
    def test_erase(self):
        "Test an erased party leaves no address behind"
        pool = Pool()
        Bounce = pool.get('marketing.automation.bounce')
        record_activity = self.sent(
            self.address('postfix_unknown_user'))
        self.receive(
            'postfix_unknown_user', self.token(record_activity))
        party = record_activity.record.party
        party.active = False
        party.save()

        erase(party)

        bounce, = Bounce.search([])
        self.assertEqual((bounce.recipient, bounce.reason), (None, None))
