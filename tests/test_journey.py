# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt

from trytond.model.exceptions import AccessError
from trytond.modules.company.tests import create_company, set_company
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, check_access

from .fixtures import (
    DUE, URL, DatabaseTestCase, create, create_activity, create_email,
    create_hit, create_link, create_marketer, create_party, create_record,
    create_record_activity, create_scenario, file_email, forget)
from .tools import count_statements


class JourneyTestCase(DatabaseTestCase):
    "Test the time line tells all that has happened"
    modules = ['marketing_automation', 'sale']

    def journey(self, name="Anna", resource=None, **values):
        "Return a record to which everything has happened"
        party = create_party(name, f'{name.lower()}@example.com')
        scenario = create_scenario(name="Welcome", **values)
        record = create_record(scenario, resource or party)
        self.entered_at(record, DUE)
        activity = create_email(scenario, name="First")
        sent = self.step(record, activity, 0, state='done')
        link = create_link(activity)
        for hours, link_, verdict in [
                (1, None, 'machine'), (2, None, 'human'),
                (3, link, 'machine'), (4, link, 'human')]:
            create_hit(
                sent, link_, verdict=verdict,
                at=DUE + dt.timedelta(hours=hours))
        create(
            'marketing.automation.bounce',
            at=DUE + dt.timedelta(hours=5), kind='soft', reason="Full",
            matched=True, record_activity=sent.id, activity=activity.id)
        create(
            'marketing.automation.bounce',
            at=DUE + dt.timedelta(hours=6), kind='complaint',
            matched=True, record_activity=sent.id, activity=activity.id)
        file_email(record, activity, name, f'{name.lower()}@example.com')
        for hours, values in [
                (7, {'state': 'skipped', 'reason': 'condition'}),
                (8, {
                        'state': 'failed', 'reason': 'refused',
                        'detail': "550 no",
                        }),
                (9, {'state': 'cancelled', 'reason': 'event'}),
                (10, {'state': 'done'}),
                (12, {'state': 'waiting'}),
                (None, {'state': 'waiting'})]:
            self.step(record, create_activity(scenario), hours, **values)
        create(
            'marketing.automation.unsubscription', party=party.id,
            record=record.id, scenario=scenario.id, everything=True,
            at=DUE + dt.timedelta(hours=11),
            undone_at=DUE + dt.timedelta(hours=13))
        return record

    @staticmethod
    def entered_at(record, at):
        table = record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.create_date], [at], where=table.id == record.id))

    @staticmethod
    def step(record, activity, hours, **values):
        at = None if hours is None else DUE + dt.timedelta(hours=hours)
        return create_record_activity(record, activity, **values, at=at)

    @with_transaction()
    def test_everything(self):
        "Test what is told, in the order in which it has happened"
        record = self.journey()
        self.journey("Bert")
        self.assertEqual(
            [(e.kind, e.description) for e in record.journey], [
                ('entered', 'Entered the scenario "Welcome".'),
                ('sent', "Sent: Hello Anna"),
                ('opened', "Opened by a machine, which does not count."),
                ('opened', "Opened."),
                ('clicked',
                    f"Clicked by a machine, which does not count: {URL}"),
                ('clicked', f"Clicked: {URL}"),
                ('bounced', "Came back (Soft Bounce): Full"),
                ('complained', "The recipient has complained."),
                ('skipped',
                    "Skipped because the condition was not fulfilled."),
                ('failed', "The mail server has refused the e-mail: 550 no"),
                ('cancelled', "Cancelled because the event has happened."),
                ('done', "Done."),
                ('unsubscribed', "Unsubscribed from all scenarios."),
                ('waiting', "Planned."),
                ('resubscribed', "Took the unsubscription back."),
                ('waiting', "Waits for the event."),
                ])
        self.assertEqual(
            [e.at for e in record.journey[:3]],
            [DUE, DUE, DUE + dt.timedelta(hours=1)])
        self.assertTrue(all(e.icon for e in record.journey))

    @with_transaction()
    def test_search(self):
        "Test the time line is sorted, cut and searched by the database"
        Journey = Pool().get('marketing.automation.journey')
        record = self.journey()
        domain = [('record', '=', record.id)]
        last, = Journey.search(
            [*domain, ('kind', '=', 'opened')],
            order=[('at', 'DESC')], limit=1)
        self.assertFalse(last.by_machine)
        self.assertEqual(
            Journey.search([*domain, ('by_machine', '=', True)], count=True),
            2)
        self.assertEqual(
            Journey.search(
                [*domain, ('scenario.name', '=', "Welcome")], count=True), 16)
        ids = [e.id for e in Journey.search([])]
        self.assertEqual(len(ids), len(set(ids)))

    @with_transaction()
    def test_statements(self):
        "Test a page takes as many statements for few entries as for many"
        Journey = Pool().get('marketing.automation.journey')
        record = self.journey()
        sent, = [e.record_activity for e in record.journey
            if e.kind == 'sent']
        counts = []
        for _ in range(3):
            ids = [e.id for e in record.__class__(record.id).journey]
            forget()
            counts.append(count_statements(
                    Journey.read, ids, ['description', 'kind', 'icon']))
            for _ in range(50):
                create_hit(sent)
        # The first fills the caches
        self.assertEqual(counts[1], counts[2])

    @with_transaction()
    def test_party(self):
        "Test a party has what has happened to it in all scenarios"
        with set_company(create_company()):
            record = self.journey()
            party = record.record
            sale = create('sale.sale', party=party.id)
            other = self.journey(
                "Other", resource=sale, model='sale.sale')
            self.journey("Bert")
            party = party.__class__(party.id)
            self.assertEqual(
                set(party.marketing_records), {record, other})
            self.assertEqual(
                {e.record for e in party.marketing_journey}, {record, other})
            self.assertEqual(len(party.marketing_journey), 32)

    @with_transaction()
    def test_search_party(self):
        "Test records and what has happened to them are found by their party"
        pool = Pool()
        Journey = pool.get('marketing.automation.journey')
        Record = pool.get('marketing.automation.record')
        with set_company(create_company()):
            record = self.journey()
            party = record.record
            sale = create('sale.sale', party=party.id)
            other = self.journey("Other", resource=sale, model='sale.sale')
            bert = self.journey("Bert")
            for clause, expected in [
                    (('party', '=', party.id), {record, other}),
                    (('party', 'in', [party.id]), {record, other}),
                    (('party', '=', "Bert"), {bert}),
                    (('party.name', '=', "Anna"), {record, other}),
                    ]:
                with self.subTest(clause=clause):
                    self.assertEqual(set(Record.search([clause])), expected)
                    entries = Journey.search([clause])
                    self.assertEqual({e.record for e in entries}, expected)
                    self.assertEqual(
                        {e.party for e in entries},
                        {r.party for r in expected})

    @with_transaction()
    def test_suppressions(self):
        "Test the addresses of a party that get nothing"
        party = create_party("Anna", 'anna@example.com')
        mechanism, = party.contact_mechanisms
        self.assertEqual(party.marketing_suppressions, ())
        mechanism.marketing_suppress('hard', "550")
        party = party.__class__(party.id)
        self.assertEqual(party.marketing_suppressions, (mechanism,))

    @with_transaction()
    def test_access(self):
        "Test marketing reads it, others do not, and what it may not read"
        Journey = Pool().get('marketing.automation.journey')
        nobody = create('res.user', name="Nobody", login='nobody')
        marketer = create_marketer()
        with set_company(create_company()):
            party = create_party("Anna", 'anna@example.com')
            sale = create('sale.sale', party=party.id)
            record = self.journey(resource=sale, model='sale.sale')
            ids = [e.id for e in record.journey]
            with Transaction().set_user(nobody.id), check_access(), \
                    self.assertRaises(AccessError):
                Journey.read(ids, ['description'])
            with Transaction().set_user(marketer.id), check_access():
                descriptions = [
                    r['description']
                    for r in Journey.read(ids, ['description'])]
            # The subject tells of the sale, the name of the activity does not
            self.assertIn("Sent: First", descriptions)
            self.assertNotIn('Hello', ' '.join(descriptions))
