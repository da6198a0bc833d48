# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from trytond.modules.party.exceptions import EraseError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, inactive_records

from .fixtures import (
    DatabaseTestCase, create_email, create_hit, create_link, create_party,
    create_record, create_record_activity, create_scenario, erase, file_email,
    forget)


class PartyTestCase(DatabaseTestCase):
    "Test what becomes of parties in marketing automation"

    def _scenarios(self, count=1):
        scenarios = [create_scenario(state='running') for _ in range(count)]
        for scenario in scenarios:
            create_email(scenario)
        return scenarios

    def _party(self, name):
        return create_party(name, f'{name.lower()}@example.org')

    def _send(self, scenario, party):
        "Store what an e-mail leaves behind, return record, activity, e-mail"
        pool = Pool()
        Address = pool.get('ir.email.address')
        Email = pool.get('ir.email')
        activity, = scenario.activities
        record = create_record(scenario, party)
        address = f'{party.name.lower()}@example.org'
        record_activity = create_record_activity(
            record, activity, state='done', detail=f'250 {address}')
        for link in [None, create_link(activity)]:
            create_hit(record_activity, link)
        file_email(record, activity, party.name, address)
        email, = Email.search([
                ('marketing_automation_record', '=', record.id)])
        self.assertTrue(Address.search([('email', '=', email.id)]))
        return record, record_activity, email

    def _everything(self, *columns):
        "Return all the values of the columns (model, name)"
        pool = Pool()
        values = []
        for model, name in columns:
            table = pool.get(model).__table__()
            cursor = Transaction().connection.cursor()
            cursor.execute(*table.select(getattr(table, name)))
            values.extend(str(v) for v, in cursor if v)
        return values

    @with_transaction()
    def test_erase(self):
        "Test nothing that tells of an erased party stays"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        Party = pool.get('party.party')
        scenario, = self._scenarios()
        party, other = self._party("Erased"), self._party("Staying")
        _, record_activity, _ = self._send(scenario, party)
        _, other_activity, other_email = self._send(scenario, other)
        Party.write([party], {'active': False})
        erase(party)
        values = self._everything(
            ('ir.email', 'recipients'), ('ir.email', 'subject'),
            ('ir.email', 'message_id'), ('ir.email.address', 'address'),
            ('marketing.automation.record.activity', 'detail'),
            ('party.party', 'name'), ('party.contact_mechanism', 'value'))
        self.assertFalse([v for v in values if 'erased' in v.lower()])
        self.assertTrue([v for v in values if 'staying' in v.lower()])
        self.assertEqual(
            self._everything(('ir.email', 'message_id')),
            [other_email.message_id])
        self.assertEqual(
            Hit.search([('record_activity', '=', record_activity.id)]), [])
        self.assertEqual(
            len(Hit.search([('record_activity', '=', other_activity.id)])), 2)

    @with_transaction()
    def test_erase_counts(self):
        "Test what an erased party has done still counts"
        pool = Pool()
        Party = pool.get('party.party')
        scenario, = self._scenarios()
        party = self._party("Erased")
        self._send(scenario, party)
        activity, = scenario.activities
        Party.write([party], {'active': False})
        erase(party)
        activity = activity.__class__(activity.id)
        self.assertEqual(activity.record_count, 1)

    @with_transaction()
    def test_erase_active(self):
        "Test an active party is not erased"
        party = self._party("Active")
        with self.assertRaises(EraseError):
            erase(party)

    def _replace(self, source, destination):
        pool = Pool()
        Replace = pool.get('party.replace', type='wizard')
        session, _, _ = Replace.create()
        wizard = Replace(session)
        wizard.ask.source = source
        wizard.ask.destination = destination
        with Transaction().set_context(_skip_warnings=True):
            wizard.transition_replace()

    @with_transaction()
    def test_replace(self):
        "Test the replacement goes on where the party was"
        scenario, = self._scenarios()
        source, destination = self._party("Source"), self._party("Target")
        record, _, _ = self._send(scenario, source)
        self._replace(source, destination)
        record = record.__class__(record.id)
        self.assertEqual(record.record, destination)
        self.assertFalse(record.blocked)

    @with_transaction()
    def test_replace_both(self):
        "Test a replacement that is in the scenario already stays alone in it"
        scenario, other = self._scenarios(2)
        source, destination = self._party("Source"), self._party("Target")
        old, _, _ = self._send(scenario, source)
        own, _, _ = self._send(scenario, destination)
        moved, _, _ = self._send(other, source)
        self._replace(source, destination)
        old, own, moved = own.__class__.browse([old, own, moved])
        self.assertEqual(own.record, destination)
        self.assertFalse(own.blocked)
        self.assertEqual(moved.record, destination)
        self.assertFalse(moved.blocked)
        self.assertTrue(old.blocked)

    @with_transaction()
    def test_replace_consent(self):
        "Test the refusals of both parties count"
        pool = Pool()
        Party = pool.get('party.party')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        first, second = self._scenarios(2)
        source, destination = self._party("Source"), self._party("Target")
        record, _, _ = self._send(first, source)
        Unsubscription.stop(record)
        Party.write([source], {
                'marketing_scenario_unsubscribed': [('add', [first.id])],
                'marketing_tracking_refused': True,
                })
        Party.write([destination], {
                'marketing_scenario_unsubscribed': [('add', [second.id])],
                })
        self._replace(Party(source.id), Party(destination.id))
        destination = Party(destination.id)
        self.assertEqual(
            set(destination.marketing_scenario_unsubscribed), {first, second})
        self.assertTrue(destination.marketing_tracking_refused)
        self.assertFalse(destination.marketing_unsubscribed)
        unsubscription, = destination.marketing_unsubscriptions
        self.assertEqual(unsubscription.record, record)

    @with_transaction()
    def test_replace_anonymous(self):
        "Test who refuses tracking is not tracked under another name"
        pool = Pool()
        Party = pool.get('party.party')
        Record = pool.get('marketing.automation.record')
        for refusing in ["Source", "Target"]:
            with self.subTest(refusing=refusing):
                first, second = self._scenarios(2)
                parties = self._party("Source"), self._party("Target")
                records = [
                    self._send(scenario, party)[0]
                    for scenario, party in zip([first, second], parties)]
                Party.write(
                    [p for p in parties if p.name == refusing],
                    {'marketing_tracking_refused': True})
                self._replace(*Party.browse(parties))
                forget()
                self.assertTrue(
                    all(r.anonymous for r in Record.browse(records)))

    @with_transaction()
    def test_replace_everything(self):
        "Test who wants nothing at all gets nothing under another name"
        pool = Pool()
        Party = pool.get('party.party')
        source, destination = self._party("Source"), self._party("Target")
        Party.write([source], {'marketing_unsubscribed': True})
        self._replace(Party(source.id), destination)
        self.assertTrue(Party(destination.id).marketing_unsubscribed)

    @with_transaction()
    def test_search_marketing_party(self):
        "Test parties are found by what the mixin offers"
        pool = Pool()
        Party = pool.get('party.party')
        first, second = self._party("First"), self._party("Second")
        for clause, expected in [
                (('marketing_party', '=', first.id), [first]),
                (('marketing_party', '!=', first.id), [second]),
                (('marketing_party', 'in', [first.id]), [first]),
                (('marketing_party', '=', "First"), [first]),
                (('marketing_party.name', '=', "Second"), [second]),
                (('marketing_party.id', '=', second.id), [second]),
                (('marketing_party', '=', None), []),
                (('marketing_party', 'where', [('name', '=', "First")]),
                    [first]),
                (('marketing_party', 'not where', [('name', '=', "First")]),
                    [second]),
                ]:
            with self.subTest(clause=clause):
                self.assertEqual(
                    Party.search([
                            clause, ('id', 'in', [first.id, second.id])]),
                    expected)

    @with_transaction()
    def test_copy(self):
        "Test a copy of a party has no history, but its refusals"
        pool = Pool()
        Party = pool.get('party.party')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        scenario, = self._scenarios()
        party = self._party("Party")
        record, _, _ = self._send(scenario, party)
        Unsubscription.stop(record)
        copy, = Party.copy([party])
        self.assertEqual(list(copy.marketing_unsubscriptions), [])
        with inactive_records():
            self.assertEqual(
                len(Unsubscription.search([('record', '=', record.id)])), 1)
