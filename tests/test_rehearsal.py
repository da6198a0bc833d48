# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
from unittest.mock import patch

from sql import Literal
from sql.aggregate import Count

from trytond.model import ModelSQL
from trytond.model.exceptions import AccessError
from trytond.modules.marketing_automation.exceptions import PreviewError
from trytond.pool import Pool
from trytond.pyson import Date, Eval, PYSONEncoder
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_marketer,
    create_party, create_record, create_record_activity, create_scenario)
from .tools import configure, received, start_smtp

DAY = dt.timedelta(days=1)
LINKED = (
    '<html><body><p>Hello ${record.rec_name}</p>'
    '<a href="https://example.org/">More</a>'
    '<a href="unsubscribe">Unsubscribe</a></body></html>')


class RehearsalTestCase(DatabaseTestCase):
    "Test the walk of one record, of which nothing is kept"

    def setUp(self):
        super().setUp()
        self.addCleanup(patch.stopall)
        self.server = start_smtp()
        configure('marketing', automation_domain_limit=2)
        transaction = Transaction().start(DB_NAME, 1)
        self.addCleanup(transaction.stop, commit=False)
        self.party = create_party("Zoë", "zoe@example.com")
        self.scenario = create_scenario(
            name="Welcome", domain=f'[["id", "=", {self.party.id}]]')

    def _tree(self):
        "Make an e-mail with what follows from opening it, and from not"
        self.welcome = create_email(
            self.scenario, name="Welcome", email_template=LINKED)
        self.guide = create_email(
            self.welcome, name="Guide", event='email_opened', delay=2 * DAY,
            email_template=LINKED)
        self.offer = create_email(
            self.guide, name="Offer", event='email_clicked')
        self.reminder = create_email(
            self.welcome, name="Reminder", event='email_opened',
            negative=True, delay=3 * DAY)

    def _begin(self, record=None):
        "Return the rehearsal of the record, which has been committed"
        pool = Pool()
        Rehearsal = pool.get('marketing.automation.rehearsal')
        # With SQLite, all transactions have one connection
        Transaction().commit()
        rehearsal = Rehearsal(
            scenario=self.scenario, record=record or self.party)
        rehearsal.begin()
        return rehearsal

    def _counts(self):
        "Return how many rows each table has"
        pool = Pool()
        cursor = Transaction().connection.cursor()
        result = {}
        for name, Model in pool.iterobject():
            if issubclass(Model, ModelSQL) and not callable(
                    getattr(Model, 'table_query', None)):
                table = Model.__table__()
                cursor.execute(*table.select(Count(Literal(1))))
                result[name], = cursor.fetchone()
        return result

    def _steps(self, rehearsal):
        return [(s.kind, s.activity) for s in rehearsal.steps]

    def _ahead(self, rehearsal):
        return [
            (s.activity, s.at and (s.at - rehearsal.started_at))
            for s in rehearsal.ahead]

    def test_opened(self):
        "Test to open and click, each e-mail at its time"
        self._tree()
        walk = self._begin()
        self.assertEqual(self._steps(walk), [('entered', '')])
        self.assertEqual(
            self._ahead(walk), [("Welcome", dt.timedelta())])

        walk.add('next')
        self.assertEqual(walk.email, self.welcome)
        self.assertIn("Hello Zoë", walk.html.decode())
        self.assertIn("Hello Zoë", walk.text)
        self.assertEqual(
            self._ahead(walk), [("Reminder", 3 * DAY), ("Guide", None)])

        walk.add('opened', self.welcome.id)
        self.assertEqual(self._steps(walk)[-3:], [
                ('opened', "Welcome"), ('cancelled', "Reminder"),
                ('waiting', "Guide")])
        self.assertEqual(self._ahead(walk), [("Guide", 2 * DAY)])
        self.assertFalse(walk.can_open)
        self.assertTrue(walk.can_click)

        walk.add('next')
        self.assertEqual(walk.time - walk.started_at, 2 * DAY)
        self.assertEqual(walk.email, self.guide)

        walk.add('clicked', self.guide.id)
        walk.add('next')
        self.assertEqual(
            self._steps(walk)[-1], ('done', "Offer"))
        self.assertEqual(walk.email, self.offer)
        self.assertFalse(walk.can_go_on)
        self.assertEqual(
            walk.emails, (self.welcome, self.guide, self.offer))
        self.assertEqual(
            [s.at for s in walk.steps], sorted(s.at for s in walk.steps))

    def test_not_opened(self):
        "Test to let time pass, in vain"
        self._tree()
        walk = self._begin()
        walk.add('wait', (3 * DAY).total_seconds())

        self.assertEqual(self._steps(walk)[-2:], [
                ('waiting', "Reminder"), ('done', "Reminder")])
        self.assertEqual(walk.time - walk.started_at, 3 * DAY)
        self.assertEqual(self._ahead(walk), [])

        # It comes too late
        walk.add('opened', self.welcome.id)
        self.assertEqual(self._steps(walk)[-1], ('opened', "Welcome"))
        self.assertEqual(walk.ahead, ())

    def test_unsubscribed(self):
        "Test that nothing follows"
        self._tree()
        walk = self._begin()
        walk.add('next')
        walk.add('unsubscribed', self.welcome.id)

        self.assertEqual(self._steps(walk)[-2:], [
                ('unsubscribed', "Welcome"), ('cancelled', "Reminder")])
        self.assertEqual(walk.ahead, ())
        self.assertFalse(walk.can_unsubscribe)

    def test_nothing_kept(self):
        "Test that no table changes and nobody gets anything"
        self._tree()
        walk = self._begin()
        before = self._counts()
        walk.add('next')
        walk.add('clicked', self.welcome.id)
        walk.add('wait', (9 * DAY).total_seconds())
        walk.add('unsubscribed', self.guide.id)

        self.assertEqual(self._counts(), before)
        self.assertEqual(received(self.server), [])
        self.assertEqual(Transaction().tasks, [])
        self.assertEqual(self.scenario.state, 'draft')
        self.assertFalse(self.party.marketing_scenario_unsubscribed)

    def test_already_in(self):
        "Test a record that is in a running scenario"
        self._tree()
        self.scenario.state = 'running'
        self.scenario.save()
        record = create_record(self.scenario, self.party)
        row = create_record_activity(
            record, self.welcome, state='done', email_opened=True)
        before = self._counts()
        walk = self._begin()
        walk.add('next')

        self.assertEqual(self._steps(walk)[:2], [
                ('entered', ''), ('done', "Welcome")])
        self.assertTrue(walk.can_open)
        self.assertEqual(self._counts(), before)
        self.assertTrue(row.__class__(row.id).email_opened)

    def test_blocked(self):
        "Test a record that has been blocked"
        self._tree()
        record = create_record(self.scenario, self.party)
        record.blocked = True
        record.save()
        walk = self._begin()
        walk.add('next')

        self.assertEqual(
            self._steps(walk)[-1], ('cancelled', "Welcome"))

    def test_condition(self):
        "Test that conditions are read at the time of the walk"
        later = create_activity(
            self.scenario, name="Later", delay=10 * DAY)
        day = dt.date.today() + 5 * DAY
        for name, condition in [
                ("Before", Date() < Date(day.year, day.month, day.day)),
                ("After", Date() > Date(day.year, day.month, day.day)),
                ("Name", Eval('self.name', '') == "Bob")]:
            create_activity(
                later, name=name, condition=PYSONEncoder().encode(condition))
        walk = self._begin()
        walk.add('wait', (10 * DAY).total_seconds())

        self.assertEqual(set(self._steps(walk)[-3:]), {
                ('skipped', "Before"), ('done', "After"),
                ('skipped', "Name")})
        self.assertIn("condition", walk.steps[-1].what)

    def test_not_matching(self):
        "Test a record that would not enter"
        self._tree()
        other = create_party("Bob")
        walk = self._begin(other)
        walk.add('next')

        self.assertEqual(self._steps(walk), [
                ('not_entered', ''), ('skipped', "Welcome")])
        self.assertIn("no e-mail address", walk.steps[-1].what)

    def test_untracked(self):
        "Test that nobody opens what is not tracked"
        self._tree()
        self.scenario.tracking = 'aggregate'
        self.scenario.save()
        walk = self._begin()
        walk.add('next')
        walk.add('opened', self.welcome.id)

        self.assertFalse(walk.can_open)
        self.assertEqual(self._steps(walk)[-1], ('waiting', "Reminder"))
        self.assertEqual(walk.ahead[-1].kind, 'untracked')

    def test_sending_hours(self):
        "Test that what is due outside of the sending hours waits for them"
        self._tree()
        day = dt.date.today() + 3 * DAY
        self.scenario.window_days = [str(day.weekday())]
        self.scenario.save()
        walk = self._begin()
        walk.add('next')

        self.assertEqual(self._steps(walk)[-1], ('waiting', "Welcome"))
        self.assertIn("sending hours", walk.steps[-1].what)
        walk.add('next')
        self.assertEqual(self._steps(walk)[-2], ('done', "Welcome"))
        self.assertEqual(walk.time.date(), day)

    def test_failure(self):
        "Test an e-mail that can not be composed"
        create_email(
            self.scenario, name="Wrong", email_title="${1 / (record.id * 0)}")
        walk = self._begin()
        walk.add('next')

        self.assertEqual(self._steps(walk)[-1], ('failed', "Wrong"))

    def test_language(self):
        "Test that the steps are in the language of the user"
        pool = Pool()
        Language = pool.get('ir.lang')
        german, = Language.search([('code', '=', 'de')])
        self.party.lang = german
        self.party.save()
        self._tree()
        walk = self._begin()

        self.assertEqual(walk.steps[0].what, "The record enters the scenario.")

    def test_access(self):
        "Test that who can not read the record can not rehearse with it"
        pool = Pool()
        ModelAccess = pool.get('ir.model.access')
        self._tree()
        user = create_marketer('reader')
        walk = self._begin()
        walk.go_on()
        accesses = ModelAccess.create([{
                    'model': 'party.party',
                    'perm_read': False,
                    }])
        self.addCleanup(Transaction().commit)
        self.addCleanup(ModelAccess.delete, accesses)
        Transaction().commit()
        with Transaction().set_user(user.id), \
                self.assertRaises((AccessError, PreviewError)):
            walk.go_on()
