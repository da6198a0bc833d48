# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from trytond.model import ModelSQL, fields
from trytond.modules.company.tests import create_company, set_company
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, check_access

from .fixtures import (
    DUE, DatabaseTestCase, create, create_email, create_hit, create_link,
    create_marketer, create_party, create_record, create_record_activity,
    create_scenario, erase, file_email, forget)

ADDRESS = 'Anna@müller.example'
REPORTED = 'anna@xn--mller-kva.example'


class PrivacyTestCase(DatabaseTestCase):
    "Test what is known about a party that has left everything it can"
    modules = ['marketing_automation', 'sale']

    def entered(self, resource):
        "Return the record of the resource in a scenario of its own"
        return create_record(
            create_scenario(model=resource.__name__), resource)

    def sent(self, record):
        "Return what was done for the record, with all that came back"
        activity = create_email(record.scenario)
        sent = create_record_activity(
            record, activity, state='done', detail="550 anna is unknown")
        for link in [None, create_link(activity)]:
            create_hit(sent, link)
        create(
            'marketing.automation.bounce',
            at=DUE, kind='soft', recipient=REPORTED, reason="Anna is full",
            matched=True, record_activity=sent.id, activity=activity.id)
        file_email(record, activity, "Anna", ADDRESS)
        return sent

    def everything(self):
        "Return a party, its sale, and the records of both"
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        party = create_party("Anna", ADDRESS)
        sale = create(
            'sale.sale', party=party.id, state='cancelled')
        records = list(map(self.entered, [party, sale]))
        for record in records:
            self.sent(record)
        Unsubscription.stop(records[0], everything=True)
        # Nobody knows whose it is, but for the address
        create(
            'marketing.automation.bounce',
            at=DUE, kind='hard', recipient=REPORTED, reason="Anna is gone")
        return party, sale, records

    def report(self, party):
        Report = Pool().get('marketing.automation.party_data', type='report')
        _, content, _, _ = Report.execute([party.id], {})
        return content

    def erase(self, party):
        Party = Pool().get('party.party')
        Party.write([party], {'active': False})
        erase(party)

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
                if (not isinstance(field, fields.Function)
                        and field.sql_type()):
                    cursor.execute(*table.select(getattr(table, column)))
                    if any(text in str(v).lower() for v, in cursor):
                        found.add(f'{name},{column}')
        return found

    @with_transaction()
    def test_report(self):
        "Test the report tells everything to who may not read the sales"
        Sale = Pool().get('sale.sale')
        company = create_company()
        with set_company(company):
            party, sale, _ = self.everything()
            user = create_marketer()
            with Transaction().set_user(user.id), check_access():
                content = self.report(party)
                with self.assertRaises(Exception):
                    Sale.read([sale.id], ['number'])
        for text in [
                ADDRESS, sale.rec_name, "Hello Anna", "https://example.org/",
                "Person", "Soft Bounce", "Anna is full",
                "Hard Bounce", "Anna is gone",
                "Unsubscribed from all marketing automation."]:
            with self.subTest(text=text):
                self.assertIn(text, content)
        # Two subjects, and the text of what the party itself got
        self.assertEqual(content.count("Hello Anna"), 3)

    @with_transaction()
    def test_report_other(self):
        "Test the report tells nothing of others"
        with set_company(create_company()):
            self.everything()
            other = create_party("Bert", 'bert@example.com')
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
            other = create(
                'sale.sale', party=party.id, state='cancelled')
            self.sent(self.entered(other))
            Sale.delete([other])
            self.erase(party)
            self.assertEqual(self.stored('@'), set())
            self.assertNotIn('ir.email,subject', self.stored('anna'))

    def anonymous(self, records):
        Record = Pool().get('marketing.automation.record')
        forget()
        return [bool(r.anonymous) for r in Record.browse(records)]

    @with_transaction()
    def test_refused(self):
        "Test the hits of who refuses tracking are anonymous in all records"
        pool = Pool()
        Party = pool.get('party.party')
        with set_company(create_company()):
            party, _, records = self.everything()
            other = self.entered(create_party("Bert", 'bert@example.com'))
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
