# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How many e-mails a party gets from all the scenarios together"""
import datetime as dt
import unittest
from collections import Counter, namedtuple
from threading import Barrier, Thread

from trytond import backend
from trytond.model.exceptions import DomainValidationError
from trytond.modules.marketing_automation import clock, delivery
from trytond.modules.marketing_automation.transaction import each
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME, with_transaction
from trytond.transaction import Transaction

from .delivering import LATER, DeliveryTestCase
from .fixtures import (
    DUE, DatabaseTestCase, create_email, create_party, create_record,
    create_record_activity, create_scenario, forget)
from .tools import count_statements, received

DAY = dt.timedelta(days=1)
Wanting = namedtuple('Wanting', ['id', 'party'])


def set_cap(count, days=7, reserved=0):
    Configuration = Pool().get('marketing.automation.configuration')
    Configuration.write([Configuration(1)], {
            'cap_count': count, 'cap_days': days, 'cap_reserved': reserved})
    Transaction().commit()


class CapTestCase(DeliveryTestCase):
    "Test what is too much waits or is skipped"

    def setUp(self):
        super().setUp()
        self.party = create_party("Ada", 'ada@example.com')
        set_cap(2)

    def _forget(self):
        Cap = Pool().get('marketing.automation.cap')
        cursor = Transaction().connection.cursor()
        cursor.execute(*Cap.__table__().delete())
        super()._forget()

    def _rows(self, count, at=DUE, expiry=None, party=None, **values):
        "Return due rows of as many scenarios for the same party"
        rows = []
        for _ in range(count):
            scenario = create_scenario(state='running', **values)
            activity = create_email(scenario, expiry_hours=expiry)
            rows.append(create_record_activity(
                    create_record(scenario, party or self.party), activity,
                    at=at))
        self.date(rows)
        return rows

    def _counts(self, rows):
        return Counter(self.states(rows))

    def _at(self, rows):
        return sorted(
            r.at for r in rows[0].__class__.browse(rows)
            if r.state == 'waiting')

    def test_postpone(self):
        "Test what is too much is sent once that is allowed"
        rows = self._rows(3)
        self.drain()
        self.assertEqual(self._counts(rows), {
                ('done', None): 2, ('waiting', 'cap'): 1})
        self.assertEqual(self._at(rows), [LATER + 7 * DAY])
        waiting, = [r for r in rows if r.__class__(r.id).state == 'waiting']
        self.assertIn(
            "as many e-mails as it may get",
            waiting.__class__(waiting.id).explanation)
        self.drain(LATER + 7 * DAY)
        self.assertEqual(self._counts(rows), {('done', None): 3})
        self.assertEqual(len(received(self.server)), 3)

    def test_skip(self):
        "Test what is too much is skipped, and can be tried again"
        rows = self._rows(3, cap_over='skip')
        self.drain()
        self.assertEqual(self._counts(rows), {
                ('done', None): 2, ('skipped', 'cap'): 1})
        skipped, = [r for r in rows if r.__class__(r.id).state == 'skipped']
        with clock.stopped(LATER + 8 * DAY):
            skipped.__class__.retry([skipped])
        self.drain(LATER + 8 * DAY)
        self.assertEqual(self._counts(rows), {('done', None): 3})

    def test_expiry(self):
        "Test nothing waits longer than it is worth it"
        for hours, expected in [
                (7 * 24, ('skipped', 'cap')), (9 * 24, ('waiting', 'cap'))]:
            with self.subTest(hours=hours):
                self._rows(2, party=self.party)
                row, = self._rows(1, at=DUE + DAY / 2, expiry=hours)
                self.drain()
                self.assertEqual(self.states([row]), [expected])

    def test_exempt(self):
        "Test what is exempt neither counts nor is held back"
        rows = self._rows(3, cap='exempt') + self._rows(2)
        self.drain()
        self.assertEqual(self._counts(rows), {('done', None): 5})

    def test_priority(self):
        "Test places are kept for what has priority"
        set_cap(3, reserved=2)
        rows = self._rows(2)
        first = self._rows(3, cap='priority', at=DUE + DAY / 2)
        self.drain()
        self.assertEqual(self._counts(rows), {
                ('done', None): 1, ('waiting', 'cap'): 1})
        self.assertEqual(self._counts(first), {
                ('done', None): 2, ('waiting', 'cap'): 1})

    def test_same_slice(self):
        "Test one scenario sends no more than several"
        rows = self._rows(3)
        self.assertEqual(
            self._take(*[(r.id, self.party.id) for r in rows]),
            {rows[2].id})

    def _take(self, *wanting):
        "Return the ids that get no place"
        Cap = Pool().get('marketing.automation.cap')
        RecordActivity = Pool().get('marketing.automation.record.activity')
        activity = RecordActivity(wanting[0][0]).activity
        with clock.stopped(LATER):
            return set(Cap.beyond(
                    activity.id, [Wanting(*w) for w in wanting]))

    def test_given_back(self):
        "Test what fails for good leaves its place to others"
        rows = self._rows(3)
        ids = [r.id for r in rows]
        self.assertEqual(
            self._take(*[(i, self.party.id) for i in ids]), {ids[2]})
        # Who has a place keeps it, whatever has happened to the worker
        self.assertFalse(self._take((ids[1], self.party.id)))
        self.assertTrue(self._take((ids[2], self.party.id)))
        rows[0].__class__.write([rows[0]], {
                'state': 'failed', 'reason': 'refused'})
        self.assertFalse(self._take((ids[2], self.party.id)))
        self.assertTrue(self._take((ids[0], self.party.id)))

    def test_refused(self):
        "Test what the mail server refuses for good does not count"
        refused = self._rows(1)
        set_cap(1)
        self.server.fail(550, "5.7.1 Not this one", match='ada@*')
        self.drain()
        self.assertEqual(self.states(refused), [('failed', 'refused')])
        self.server.reset()
        ContactMechanism = Pool().get('party.contact_mechanism')
        ContactMechanism.marketing_lift(
            list(self.party.contact_mechanisms))
        rows = self._rows(2)
        self.drain()
        self.assertEqual(self._counts(rows), {
                ('done', None): 1, ('waiting', 'cap'): 1})

    def test_merged(self):
        "Test what two parties have got counts when they become one"
        other = create_party("Ada again")
        rows = self._rows(3)
        for row, party in zip(rows, [self.party, other]):
            self._take((row.id, party.id))
        Replace = Pool().get('party.replace', type='wizard')
        session, _, _ = Replace.create()
        wizard = Replace(session)
        wizard.ask.source = other
        wizard.ask.destination = self.party
        wizard.transition_replace()
        forget()
        self.assertTrue(self._take((rows[2].id, self.party.id)))

    def test_deleted(self):
        "Test an e-mail counts when its scenario has been deleted"
        rows = self._rows(3)
        self._take(*[(r.id, self.party.id) for r in rows[:2]])
        for row in rows[:2]:
            row.__class__.delete([row])
        self.assertTrue(self._take((rows[2].id, self.party.id)))

    def test_lowered(self):
        "Test what was sent under a higher limit counts"
        rows = self._rows(4)
        set_cap(3)
        self._take(*[(r.id, self.party.id) for r in rows[:3]])
        set_cap(1)
        self.assertTrue(self._take((rows[3].id, self.party.id)))

    def test_clean(self):
        "Test the past is forgotten, and what counts is not"
        Cap = Pool().get('marketing.automation.cap')
        row, = self._rows(1)
        self._take((row.id, self.party.id))
        for days, count in [(6, 1), (7, 0)]:
            with clock.stopped(LATER + days * DAY):
                Cap.clean()
            self.assertEqual(len(Cap.search([])), count)

    def test_statements(self):
        "Test as many statements whatever the number of drafts"
        Cap = Pool().get('marketing.automation.cap')
        rows = self._rows(4)
        parties = [create_party().id for _ in rows]

        def take(*rows):
            Cap.beyond(rows[0].activity.id, [
                    Wanting(r.id, p) for r, p in zip(rows, parties)])

        take(rows[0])
        self.assertEqual(
            count_statements(take, *rows), count_statements(take, rows[0]))

    @unittest.skipIf(
        backend.name == 'sqlite', "SQLite has only one writer at a time")
    def test_workers(self):
        "Test of two workers that want the last place, one gets it"
        parties = [
            create_party(f"P{i}", f'p{i}@example.com') for i in range(15)]
        set_cap(1)
        scenarios = [create_scenario(state='running') for _ in range(2)]
        rows = []
        for scenario in scenarios:
            activity = create_email(scenario)
            for party in parties:
                rows.append(create_record_activity(
                        create_record(scenario, party), activity))
        self.date(rows)
        barrier = Barrier(2)

        def work():
            with Transaction().start(DB_NAME, 0), clock.stopped(LATER):
                barrier.wait()
                delivery.drain(LATER)

        self._together([work, work])
        self.assertEqual(self._counts(rows), {
                ('done', None): 15, ('waiting', 'cap'): 15})
        self.assertEqual(
            set(Counter(m['To'] for m in received(self.server)).values()),
            {1})

    def _together(self, functions):
        threads = [Thread(target=f) for f in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        Transaction().commit()
        forget()

    @unittest.skipIf(
        backend.name == 'sqlite', "SQLite has only one writer at a time")
    def test_race(self):
        "Test four workers take no more places than there are, and no less"
        Cap = Pool().get('marketing.automation.cap')
        parties = [create_party(f"P{i}") for i in range(8)]
        for limit in [1, 3]:
            set_cap(limit)
            row, = self._rows(1)
            rows = [
                create_record_activity(
                    create_record(create_scenario(), party), row.activity)
                for party in parties for _ in range(4)]
            Transaction().commit()
            wanting = [[
                    Wanting(row.id, row.record.record.id)
                    for row in rows[i::4]] for i in range(4)]
            activity = row.activity.id
            barrier = Barrier(4)
            beyond = []

            def take(drafts):
                with Transaction().start(DB_NAME, 0), clock.stopped(LATER):
                    barrier.wait()
                    beyond.extend(each(Cap.beyond, activity, drafts))

            self._together([lambda d=d: take(d) for d in wanting])
            self.assertEqual(len(beyond), 8 * (4 - limit))
            counts = Counter(p.party for p in Cap.search([]))
            self.assertEqual(set(counts.values()), {limit})
            cursor = Transaction().connection.cursor()
            cursor.execute(*Cap.__table__().delete())
            Transaction().commit()


class ConfigurationTestCase(DatabaseTestCase):
    "Test what can be set"

    @with_transaction()
    def test_domain(self):
        "Test not all can be kept for priority, and 0 is no limit"
        for values in [
                {'cap_count': 0}, {'cap_count': 2, 'cap_reserved': 2},
                {'cap_count': 2, 'cap_days': 0}]:
            with self.subTest(values):
                with self.assertRaises(DomainValidationError):
                    set_cap(*[
                            values.get(n, d) for n, d in [
                                ('cap_count', 2), ('cap_days', 7),
                                ('cap_reserved', 0)]])

    @with_transaction()
    def test_none(self):
        "Test nothing is limited by default"
        self.assertIsNone(create_scenario().cap_rule)


del DatabaseTestCase, DeliveryTestCase
