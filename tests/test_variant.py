# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Variants of an e-mail, of which the best goes to the rest"""
import datetime as dt
import threading
import uuid
from collections import Counter
from unittest.mock import patch

from trytond import backend
from trytond.model.exceptions import RequiredValidationError
from trytond.modules.marketing_automation import clock, delivery, entry
from trytond.modules.marketing_automation.exceptions import (
    TemplateError, VariantError)
from trytond.modules.marketing_automation.mail import sample
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME, with_transaction
from trytond.transaction import Transaction

from .delivering import CommittedTestCase
from .fixtures import (
    TEMPLATE, DatabaseTestCase, create_email, create_marketer, create_party,
    create_record, create_record_activity, create_scenario, forget)
from .tools import content, count_statements, received

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
NOW = dt.datetime(2031, 1, 8, 10)
VARIANTS = [
    {'name': "A", 'email_title': "Title A"},
    {'name': "B", 'email_title': "Title B",
        'email_template': TEMPLATE.replace("Hello", "Welcome")},
    ]


def create_test(scenario=None, variants=VARIANTS, **values):
    return create_email(scenario, **{
            'test_by': 'email_opened',
            'variants': [('create', variants)],
            **values})


class TestTestCase(CommittedTestCase):
    "Runs a test as the crons do, with a real mail server"

    def _forget(self):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        Party = pool.get('party.party')
        # See what others have written
        Transaction().rollback()
        cursor = Transaction().connection.cursor()
        cursor.execute(*Scenario.__table__().delete())
        Party.delete(Party.search([('name', '=', "variant")]))
        Transaction().commit()

    def _enter(self, count=40, **values):
        "Return an activity with a test for which parties have entered"
        scenario = create_scenario(
            state='running', domain='[["name", "=", "variant"]]')
        activity = create_test(scenario, **values)
        self._parties(count)
        self._let_in(activity)
        return activity

    def _let_in(self, activity, at=NOW):
        with clock.stopped(at):
            entry.enter([activity.scenario])
        Transaction().commit()

    def _parties(self, count):
        return [
            create_party("variant", f'{uuid.uuid4().hex}@example.org')
            for i in range(count)]

    def _process(self, at=NOW):
        "Do what the cron and a worker do at the time"
        Activity = Pool().get('marketing.automation.activity')
        # The clock of the test is ahead of that of the database
        with clock.stopped(at), patch.object(
                delivery.claim.Backlog, '_where', self._where(at)):
            Activity.decide_tests()
            delivery.drain(at)
        Transaction().commit()
        forget()

    def _where(self, at):
        def where(backlog, table):
            return (table.state.in_(['waiting', 'delivered'])
                & (table.lease == None)  # noqa: E711
                & (table.at <= at))
        return where

    def _steps(self, activity):
        RecordActivity = Pool().get('marketing.automation.record.activity')
        return RecordActivity.search([('activity', '=', activity.id)])

    def _states(self, activity):
        return Counter(
            (s.state, s.reason, s.variant and s.variant.name)
            for s in self._steps(activity))

    def _open(self, activity, name, count):
        steps = [
            s for s in self._steps(activity)
            if s.variant and s.variant.name == name and s.state == 'done']
        steps[0].__class__.happen(
            [s.id for s in steps[:count]], ['email_opened'])
        Transaction().commit()
        forget()


class VariantTestCase(TestTestCase):
    "Test who gets what when"

    def test_rest(self):
        "Test the rest waits for the winner, which then goes to it"
        activity = self._enter(test_share=50)
        self._process()

        states = self._states(activity)
        self.assertEqual(
            set(states), {
                ('done', None, "A"), ('done', None, "B"),
                ('waiting', 'test', None)})
        waiting = states['waiting', 'test', None]
        self.assertAlmostEqual(waiting, 20, delta=12)
        titles = Counter(m['Subject'] for m in received(self.server))
        self.assertEqual(titles, {
                "Title A": states['done', None, "A"],
                "Title B": states['done', None, "B"]})
        for message in received(self.server):
            self.assertIn(
                "Welcome" if message['Subject'] == "Title B" else "Hello",
                content(message))

        self._open(activity, "B", 3)
        self._process(NOW + DAY - HOUR)
        self.assertEqual(self._states(activity), states)

        self._process(NOW + DAY)
        self.assertEqual(
            self._states(activity)['done', None, "B"],
            states['done', None, "B"] + waiting)
        activity = activity.__class__(activity.id)
        self.assertEqual(activity.winner.name, "B")
        self.assertEqual(activity.winner_at, NOW + DAY)
        self.assertFalse(activity.winner_chosen)
        self.assertEqual(
            len(received(self.server)), 40)

    def test_later(self):
        "Test who comes after the decision gets the winner"
        activity = self._enter(test_share=50)
        self._process()
        self._open(activity, "A", 2)
        self._process(NOW + DAY)
        self.server.clear()
        self._parties(10)
        self._let_in(activity, NOW + DAY)
        self._process(NOW + DAY)

        self.assertEqual(
            {m['Subject'] for m in received(self.server)}, {"Title A"})
        self.assertEqual(len(received(self.server)), 10)

    def test_count(self):
        "Test so many e-mails decide, an hour after they were sent"
        activity = self._enter(
            test_share=100, test_number=40, test_unit='emails')
        self._process()
        self._process(NOW + HOUR / 2)
        self.assertFalse(activity.__class__(activity.id).winner)
        self._process(NOW + HOUR)
        self.assertTrue(activity.__class__(activity.id).winner)

    def test_count_missing(self):
        "Test fewer e-mails do not decide"
        activity = self._enter(
            test_share=100, test_number=41, test_unit='emails')
        self._process()
        self._process(NOW + DAY)
        self.assertFalse(activity.__class__(activity.id).winner)

    def test_person(self):
        "Test a person decides, once"
        activity = self._enter(test_share=50, test_by='person')
        self._process()
        self._process(NOW + 100 * DAY)
        waiting = self._states(activity)['waiting', 'test', None]
        self.assertTrue(waiting)
        first, second = activity.variants
        second.__class__.choose([second])
        with self.assertRaisesRegex(VariantError, "decided already"):
            first.__class__.choose([first])
        Transaction().commit()
        self._process(NOW + 100 * DAY)

        self.assertFalse(self._states(activity)['waiting', 'test', None])
        activity = activity.__class__(activity.id)
        self.assertEqual(activity.winner, second)
        self.assertTrue(activity.winner_chosen)

    def test_missed(self):
        "Test who came to wait after the decision is not forgotten"
        activity = self._enter(test_share=50)
        self._process()
        table = self._steps(activity)[0].__table__()
        activity.win(activity.variants[0])
        Transaction().commit()
        self._process(NOW)
        # As a worker does that has read before the decision
        step = self._steps(activity)[0]
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.state, table.reason, table.at, table.variant],
                ['waiting', 'test', None, None], where=table.id == step.id))
        Transaction().commit()
        self._process(NOW)

        self.assertEqual(
            {s.state for s in self._steps(activity)}, {'done'})

    def test_no_test(self):
        "Test who waits goes on when there is no test any more"
        activity = self._enter(test_share=50)
        self._process()
        activity.test_by = None
        activity.save()
        Transaction().commit()
        self._process(NOW)

        self.assertEqual(
            {s.state for s in self._steps(activity)}, {'done'})
        self.assertIn(
            "Title", {m['Subject'] for m in received(self.server)})

    def test_expiry(self):
        "Test waiting for the winner makes nothing too late"
        activity = self._enter(test_share=50, expiry_hours=1)
        self._process()
        self._process(NOW + DAY)

        self.assertEqual(
            {s.state for s in self._steps(activity)}, {'done'})

    def test_again(self):
        "Test an e-mail that is tried again is the same variant"
        activity = self._enter(test_share=100)
        RecordActivity = Pool().get('marketing.automation.record.activity')
        variant = activity.variants[0]
        steps = self._steps(activity)
        RecordActivity.set_variants({s.id: variant.id for s in steps})
        Transaction().commit()
        RecordActivity.set_variants(
            {s.id: activity.variants[1].id for s in steps})
        Transaction().commit()
        self._process()

        self.assertEqual(
            self._states(activity), {('done', None, "A"): 40})

    def test_rehearsal(self):
        "Test a rehearsal shows what the record gets, also as one of the rest"
        pool = Pool()
        Rehearsal = pool.get('marketing.automation.rehearsal')
        activity = self._enter(test_share=50, count=0)
        parties = self._parties(6)
        Transaction().commit()
        told = {}
        with Transaction().set_user(1):
            for party in parties:
                rehearsal = Rehearsal(
                    scenario=activity.scenario, record=party)
                rehearsal.begin()
                while rehearsal.can_go_on:
                    rehearsal.add('next')
                waited = any("has won" in s.what for s in rehearsal.steps)
                told[party.id] = waited, rehearsal.title
        self.assertEqual({t for _, t in told.values()} - {
                "Title A", "Title B"}, set())
        self._let_in(activity)
        self._process()
        for step in self._steps(activity):
            waited, title = told[step.record.record.id]
            self.assertEqual(step.reason == 'test', waited)
            if not waited:
                self.assertEqual(
                    title, f'Title {step.variant.name}')

    def test_rehearsal_person(self):
        "Test a rehearsal says that a person has to decide"
        pool = Pool()
        Rehearsal = pool.get('marketing.automation.rehearsal')
        activity = self._enter(test_share=1, test_by='person', count=0)
        party, = self._parties(1)
        Transaction().commit()
        with Transaction().set_user(1):
            rehearsal = Rehearsal(scenario=activity.scenario, record=party)
            rehearsal.begin()
            rehearsal.add('next')
        if not rehearsal.title:
            self.assertIn("has won", rehearsal.steps[-1].what)
            self.assertFalse(rehearsal.can_go_on)

    def test_statements(self):
        "Test only an e-mail with variants reads them"
        activity = self._enter(count=1)
        Activity = Pool().get('marketing.automation.activity')
        counts = []
        for test_by in ['email_opened', None]:
            activity.test_by = test_by
            activity.save()
            Transaction().commit()
            forget()
            step, = self._steps(activity)
            read = Activity(activity.id)
            read.test_by
            counts.append(count_statements(
                    step.__class__.facts, read, [step.id]))
        self.assertLess(counts[1], counts[0])

    def test_two_workers(self):
        "Test two workers decide once"
        if backend.name == 'sqlite':
            self.skipTest("SQLite has one connection")
        activity = self._enter(test_share=50)
        Transaction().commit()
        won = []

        def decide(variant):
            from trytond.modules.marketing_automation.transaction import commit
            with Transaction().start(DB_NAME, 0):
                won.append(commit(
                        activity.__class__(activity.id).win, variant))

        threads = [
            threading.Thread(target=decide, args=(v,))
            for v in activity.variants]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(won), [False, True])


class VariantFormTestCase(DatabaseTestCase):
    "Test how variants are written, shown and refused"

    @with_transaction()
    def test_refused(self):
        "Test what could not win is refused"
        for values, error, message in [
                ({'variants': VARIANTS[:1]}, VariantError, "at least two"),
                ({'variants': [{**v, 'share': 0} for v in VARIANTS]},
                    VariantError, "at least two"),
                ({'test_number': None}, RequiredValidationError, "Decide"),
                ({'variants': [
                            {'name': "A"},
                            {'name': "B", 'email_title': "${record.x}"}]},
                    TemplateError, '"x"'),
                ({'variants': [
                            {'name': "A"},
                            {'name': "B",
                                'email_template': "<p>${record.x}</p>"}]},
                    TemplateError, '"x"'),
                ]:
            with self.subTest(values=values), \
                    self.assertRaisesRegex(error, message):
                create_test(name="News", **values)

    @with_transaction()
    def test_tracking(self):
        "Test a test by opens needs to know who opens"
        scenario = create_scenario(tracking='aggregate')
        activity = create_test(scenario)
        with self.assertRaisesRegex(VariantError, "does not track"):
            scenario.check_run()
        activity.test_by = 'person'
        activity.save()
        scenario.check_run()

    @with_transaction()
    def test_goal(self):
        "Test a test by goals needs a goal, and counts those after the e-mail"
        scenario = create_scenario()
        activity = create_test(scenario, test_by='goal')
        with self.assertRaisesRegex(VariantError, "has no goal"):
            scenario.check_run()
        first, second = activity.variants
        for variant, goals in [(first, 1), (second, 2)]:
            for i in range(3):
                step = create_record_activity(
                    create_record(scenario, create_party()), activity,
                    state='done', variant=variant.id)
                if i < goals:
                    step.record.goal_activity = activity
                    step.record.save()
        self.assertEqual(activity.variant_counts(), {
                first: (3, 1), second: (3, 2)})
        self.assertEqual(second.goals, 2)
        self.assertEqual(second.goal_rate, .667)
        self.assertEqual(activity.leading_variant, second)

    @with_transaction()
    def test_preview(self):
        "Test the preview shows the variant, in each language"
        pool = Pool()
        Lang = pool.get('ir.lang')
        Variant = pool.get('marketing.automation.activity.variant')
        german, = Lang.search([('code', '=', 'de')])
        german.translatable = True
        german.save()
        activity = create_test(create_scenario(domain='[]'))
        party = create_party("Zoë")
        first, second = activity.variants
        with Transaction().set_context(language='de'):
            Variant.write([Variant(second.id)], {'email_title': "Titel B"})
            activity.__class__.write(
                [activity.__class__(activity.id)],
                {'email_title': "Titel"})
        for variant, language, title in [
                (None, 'en', "Title"), (first, 'en', "Title A"),
                (second, 'en', "Title B"), (second, 'de', "Titel B"),
                (None, 'de', "Titel")]:
            with self.subTest(variant=variant, language=language):
                shown = variant.applied(activity) if variant else activity
                preview = sample.preview(shown, party, language=language)
                self.assertEqual(preview.title, title)
        self.assertIn(
            "Welcome", sample.preview(second.applied(activity), party).html)
        self.assertIn(b"Welcome", bytes(second.preview))

        activity.preview_variant = second
        activity.preview_record = party
        activity.on_change_preview_variant()
        self.assertEqual(activity.email_preview_title, "Title B")

    @with_transaction()
    def test_sentence(self):
        "Test the sentence tells that there are variants"
        activity = create_test(name="News")
        self.assertEqual(
            activity.sentence, "At once: send “News” in 2 variants")

    @with_transaction()
    def test_copy(self):
        "Test a copy starts a test of its own"
        activity = create_test()
        activity.win(activity.variants[0])
        forget()
        copy, = activity.copy([activity])
        self.assertFalse(copy.winner)
        self.assertEqual(len(copy.variants), 2)

    @with_transaction()
    def test_result(self):
        "Test the result says how sure it is"
        activity = create_test()
        first, second = activity.variants
        for counts, text in [
                ({}, "No variant has been sent yet."),
                ({first.id: (10, 3, 0, 0), second.id: (10, 4, 0, 0)},
                    "Too early to tell: “B” may be ahead by chance."),
                ({first.id: (10, 3, 0, 0), second.id: (10, 3, 0, 0)},
                    "Too early to tell: “A” is not ahead of all the others."),
                ({first.id: (1000, 300, 0, 0), second.id: (1000, 200, 0, 0)},
                    "“A” is hardly ahead by chance: the confidence is 95%."),
                ]:
            with patch.object(
                    first.__class__, 'count', lambda ids, c=counts: c):
                self.assertEqual(activity.test_result, text)
                activity = activity.__class__(activity.id)
        with patch.object(
                first.__class__, 'count',
                lambda ids: {
                    first.id: (10, 3, 0, 0), second.id: (10, 4, 0, 0)}):
            activity.win(second)
            forget()
            activity = activity.__class__(activity.id)
            self.assertRegex(
                activity.test_result,
                "“B” has won on .*\nToo early to tell")
            self.assertRegex(
                second.__class__(second.id).email_open_interval,
                r"16\.8–68\.7")

    @with_transaction()
    def test_marketer(self):
        "Test who only has the group Marketing can do all this"
        pool = Pool()
        Variant = pool.get('marketing.automation.activity.variant')
        activity = create_test()
        with Transaction().set_user(create_marketer().id), \
                Transaction().set_context(_check_access=True):
            variant, = Variant.create([{
                        'activity': activity.id, 'name': "C"}])
            values, = Variant.read([variant.id], [
                    'email_open_interval', 'is_winner', 'preview'])
            Variant.choose([variant])
            Variant.delete([Variant(activity.variants[0].id)])
            with self.assertRaisesRegex(VariantError, "Deactivate"):
                Variant.delete([variant])


del CommittedTestCase, DatabaseTestCase, TestTestCase
