# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import unittest

from trytond.model import ModelSQL
from trytond.modules.company.tests import create_company, set_company
from trytond.pool import Pool
from trytond.tests.test_tryton import (
    activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction, check_access

ADDRESS = 'Anna@müller.example'
REPORTED = 'anna@xn--mller-kva.example'
NOW = dt.datetime(2026, 1, 1)


class PrivacyTestCase(unittest.TestCase):
    "Test what is known about a party that has left everything it can"

    @classmethod
    def setUpClass(cls):
        drop_db()
        activate_module(['marketing_automation', 'sale'])

    @classmethod
    def tearDownClass(cls):
        drop_db()

    def create(self, model, /, **values):
        record, = Pool().get(model).create([values])
        return record

    def party(self, name, address):
        return self.create(
            'party.party', name=name,
            contact_mechanisms=[('create', [{
                            'type': 'email',
                            'value': address,
                            }])])

    def entered(self, resource):
        "Return the record of the resource in a scenario of its own"
        scenario = self.create(
            'marketing.automation.scenario',
            name="Scenario", model=resource.__name__)
        return self.create(
            'marketing.automation.record',
            scenario=scenario.id, record=str(resource))

    def sent(self, record):
        "Return what was done for the record, with all that came back"
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        activity = self.create(
            'marketing.automation.activity',
            name="E-mail", parent=str(record.scenario), action='send_email',
            email_title="Title",
            email_template='<html><body></body></html>')
        sent = self.create(
            'marketing.automation.record.activity',
            record=record.id, activity=activity.id, state='done', at=NOW,
            detail="550 anna is unknown")
        pair = activity.id, 'https://example.org/'
        for link in [None, Link.get_ids({pair})[pair]]:
            self.create(
                'marketing.automation.hit',
                at=NOW, activity=activity.id, record_activity=sent.id,
                link=link, verdict='human', settled=True)
        self.create(
            'marketing.automation.bounce',
            at=NOW, kind='soft', recipient=REPORTED, reason="Anna is full",
            matched=True, record_activity=sent.id, activity=activity.id)
        self.file(record, activity, ADDRESS)
        return sent

    def file(self, record, activity, address):
        Email = Pool().get('ir.email')
        Email.file_marketing([{
                    'resource': str(record.record),
                    'recipients': f"Anna <{address}>",
                    'address': address,
                    'subject': "Hello Anna",
                    'message_id': f'<{record.id}@example.com>',
                    'marketing_automation_activity': activity.id,
                    'marketing_automation_record': record.id,
                    }])

    def everything(self):
        "Return a party, its sale, and the records of both"
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        party = self.party("Anna", ADDRESS)
        sale = self.create(
            'sale.sale', party=party.id, state='cancelled')
        records = list(map(self.entered, [party, sale]))
        for record in records:
            self.sent(record)
        Unsubscription.stop(records[0], everything=True)
        # Nobody knows whose it is, but for the address
        self.create(
            'marketing.automation.bounce',
            at=NOW, kind='hard', recipient=REPORTED, reason="Anna is gone")
        return party, sale, records

    def report(self, party):
        Report = Pool().get('marketing.automation.party_data', type='report')
        _, content, _, _ = Report.execute([party.id], {})
        return content

    def erase(self, party):
        pool = Pool()
        Erase = pool.get('party.erase', type='wizard')
        Party = pool.get('party.party')
        Party.write([party], {'active': False})
        session, _, _ = Erase.create()
        wizard = Erase(session)
        wizard.ask.party = party
        wizard.transition_erase()
        for cache in Transaction().cache.values():
            cache.clear()

    def stored(self, text):
        "Return the columns in which the text is stored in any case"
        cursor = Transaction().connection.cursor()
        found = set()
        for name, Model in Pool().iterobject():
            if (not issubclass(Model, ModelSQL) or Model.table_query
                    or not name.startswith(
                        ('marketing.', 'ir.email', 'party.party'))):
                continue
            table = Model.__table__()
            for column, field in Model._fields.items():
                if field.sql_type() and column != 'last_modified_at':
                    cursor.execute(*table.select(getattr(table, column)))
                    if any(text in str(v).lower() for v, in cursor):
                        found.add(f'{name},{column}')
        return found

    @with_transaction()
    def test_report(self):
        "Test the report tells everything to who may not read the sales"
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        Sale = pool.get('sale.sale')
        company = create_company()
        with set_company(company):
            party, sale, _ = self.everything()
            user = self.create(
                'res.user', name="Marketing", login='marketing',
                groups=[('add', [
                            ModelData.get_id('marketing.group_marketing')])])
            with Transaction().set_user(user.id), check_access():
                content = self.report(party)
                with self.assertRaises(Exception):
                    Sale.read([sale.id], ['number'])
        for text in [
                ADDRESS, sale.rec_name, "Hello Anna", "https://example.org/",
                "Human", "Soft Bounce", "Anna is full",
                "Hard Bounce", "Anna is gone",
                "Unsubscribed from all marketing automation."]:
            with self.subTest(text=text):
                self.assertIn(text, content)
        self.assertEqual(content.count("Hello Anna"), 2)

    @with_transaction()
    def test_report_other(self):
        "Test the report tells nothing of others"
        with set_company(create_company()):
            self.everything()
            other = self.party("Bert", 'bert@example.com')
            self.sent(self.entered(other))
            content = self.report(other)
        self.assertIn('bert@example.com', content)
        self.assertNotIn("Anna is gone", content)
        self.assertEqual(content.count("Hello Anna"), 1)

    @with_transaction()
    def test_erase(self):
        "Test nothing that tells of an erased party stays"
        with set_company(create_company()):
            party, *_ = self.everything()
            self.assertGreater(len(self.stored('anna')), 6)
            self.erase(party)
            self.assertEqual(self.stored('anna'), set())

    @with_transaction()
    def test_erase_deleted(self):
        "Test neither where records and resources were deleted before"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Sale = pool.get('sale.sale')
        with set_company(create_company()):
            party, _, records = self.everything()
            Record.delete(records)
            other = self.create(
                'sale.sale', party=party.id, state='cancelled')
            self.sent(self.entered(other))
            Sale.delete([other])
            self.erase(party)
            self.assertEqual(self.stored('@'), set())
            self.assertNotIn('ir.email,subject', self.stored('anna'))

    def anonymous(self, records):
        Record = Pool().get('marketing.automation.record')
        for cache in Transaction().cache.values():
            cache.clear()
        return [bool(r.anonymous) for r in Record.browse(records)]

    @with_transaction()
    def test_refused(self):
        "Test the hits of who refuses tracking are anonymous in all records"
        pool = Pool()
        Party = pool.get('party.party')
        with set_company(create_company()):
            party, _, records = self.everything()
            other = self.entered(self.party("Bert", 'bert@example.com'))
            for refused in [True, False]:
                Party.write([party], {'marketing_tracking_refused': refused})
                self.assertEqual(
                    self.anonymous([*records, other]),
                    [refused, refused, False])

    @with_transaction()
    def test_erased(self):
        "Test the hits of an erased party are anonymous from then on"
        with set_company(create_company()):
            party, _, records = self.everything()
            self.erase(party)
            self.assertEqual(self.anonymous(records), [True, True])
            self.assertTrue(
                party.__class__(party.id).marketing_tracking_refused)
