# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What is shown before a scenario is run, and what may change afterwards"""
import datetime as dt

from trytond.modules.marketing_automation import clock
from trytond.modules.marketing_automation.exceptions import (
    DomainError, RunError, RunWarning, ScenarioRunningError)
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DUE, DatabaseTestCase, create_activity, create_email, create_marketer,
    create_party, create_record, create_record_activity, create_scenario,
    forget)

DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
# A Wednesday
NOW = dt.datetime(2026, 7, 1, 10)
MUTE = '<html><body><p>Hello</p></body></html>'


class RunTestCase(DatabaseTestCase):
    "Test the wizard that asks before a scenario is run"

    def setUp(self):
        super().setUp()
        stopped = clock.stopped(NOW)
        stopped.__enter__()
        self.addCleanup(stopped.__exit__, None, None, None)

    def _wizard(self, scenario):
        "Return the opened wizard"
        Wizard = Pool().get('marketing.automation.run', type='wizard')
        with Transaction().set_context(
                active_model=scenario.__name__, active_id=scenario.id,
                active_ids=[scenario.id]):
            session, start, _ = Wizard.create()
            wizard = Wizard(session)
            wizard.default_start([])
        return wizard

    def _schedule(self, at):
        Cron = Pool().get('ir.cron')
        crons = Cron.search([('method', 'like', 'marketing.automation.%')])
        Cron.write(crons, {'next_call': at})
        return crons

    @with_transaction()
    def test_reach(self):
        "Test who enters, who gets an e-mail and who is left out"
        scenario = create_email().scenario
        for name in ["Alice", "Bob"]:
            create_party(name, f'{name.lower()}@example.com')
        create_party("No Address")
        create_party(
            "Refusing", 'no@example.com', marketing_unsubscribed=True)
        create_record(scenario, create_party("In", 'in@example.com'))

        start = self._wizard(scenario).start

        self.assertEqual(start.entering_count, 3)
        self.assertEqual(start.reached_count, 2)
        self.assertEqual(start.left_out.splitlines(), [
                "Already In: 1", "Unsubscribed: 1", "No E-mail Address: 1"])

    @with_transaction()
    def test_first_steps(self):
        "Test that activities are shown up to the first e-mails"
        scenario = create_scenario(window_from=dt.time(12))
        wait = create_activity(scenario, name="Wait", delay=DAY)
        late = create_email(wait, name="Late", delay=HOUR)
        create_email(late, name="Follow-up")
        create_email(scenario, name="Welcome", sequence=2)
        create_email(
            scenario, name="Inactive", active=False)
        self._schedule(NOW + HOUR)

        start = self._wizard(scenario).start

        noon = NOW + 2 * HOUR
        self.assertEqual([(s.sentence, s.at) for s in start.steps], [
                ("At once: send “Welcome”", noon),
                ("1 day later: “Wait”", NOW + HOUR + DAY),
                ("1 hour later: send “Late”", noon + DAY),
                ])
        self.assertEqual(start.first_at, noon)

    @with_transaction()
    def test_entry_overdue(self):
        "Test that nothing leaves in the past when a cron is late"
        scenario = create_email().scenario
        self._schedule(NOW - DAY)

        self.assertEqual(self._wizard(scenario).start.first_at, NOW)

    @with_transaction()
    def test_notes(self):
        "Test that questions and findings are one list, each thing once"
        scenario = create_scenario(domain='[["name", "=", "Nobody"]]')
        for name in ["First", "Second"]:
            create_email(scenario, name=name, email_template=MUTE)

        notes = self._wizard(scenario).start.notes.splitlines()

        self.assertEqual(
            [n for n in notes if "link to unsubscribe" in n], notes[:2])
        self.assertIn('"First"', notes[0])
        self.assertIn('"Second"', notes[1])
        self.assertEqual(
            notes[2],
            "• Nobody enters now. Records enter as soon as they match.")
        self.assertTrue([n for n in notes if "postal address" in n])

    @with_transaction()
    def test_nobody_reached(self):
        "Test a scenario of which nobody gets an e-mail"
        create_party()
        scenario = create_email().scenario

        self.assertIn(
            "None of the records that enter now gets e-mails.",
            self._wizard(scenario).start.notes)

    @with_transaction()
    def test_due(self):
        "Test that it is said what is done at once"
        activity = create_email()
        scenario = activity.scenario
        scenario.state = 'stopped'
        scenario.save()
        record = create_record(scenario, create_party())
        create_record_activity(record, activity, at=DUE)
        forget()

        self.assertIn(
            "1 step of a record that is already in is due",
            self._wizard(scenario).start.notes)

    @with_transaction()
    def test_inactive(self):
        "Test that it is said when nothing does the work"
        scenario = create_email().scenario
        text = "administrator activates"
        self.assertNotIn(text, self._wizard(scenario).start.notes)

        Cron = Pool().get('ir.cron')
        Cron.write(self._schedule(NOW), {'active': False})

        self.assertIn(text, self._wizard(scenario).start.notes)

    @with_transaction()
    def test_no_activity(self):
        "Test that a scenario without activities is refused"
        scenario = create_scenario()
        create_email(scenario, active=False)

        with self.assertRaises(RunError):
            self._wizard(scenario)

    @with_transaction()
    def test_domain(self):
        "Test that a domain that can not be used is refused"
        scenario = create_email().scenario
        table = scenario.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.domain], ['[["nome", "=", "x"]]'],
                where=table.id == scenario.id))
        forget()

        with self.assertRaises(DomainError):
            self._wizard(scenario)

    @with_transaction()
    def test_answered(self):
        "Test that the confirmation answers what was shown, and only that"
        user = create_marketer()
        scenario = create_scenario()
        create_email(scenario, name="Shown", email_template=MUTE)
        with Transaction().set_user(user.id):
            with self.assertRaises(RunWarning):
                scenario.run([scenario])
            wizard = self._wizard(scenario)
            later = create_email(
                scenario, name="Later", email_template=MUTE)
            with self.assertRaisesRegex(RunWarning, "Later"):
                wizard.transition_run()
            self.assertEqual(scenario.state, 'draft')

            later.active = False
            later.save()
            wizard.transition_run()
        self.assertEqual(scenario.state, 'running')

    @with_transaction()
    def test_running(self):
        "Test that what enters a running scenario does not change"
        scenario = create_email().scenario
        scenario.state = 'running'
        scenario.save()

        for name, value in [
                ('model', 'ir.model'),
                ('domain', '[["name", "=", "x"]]'),
                ('domain_source', "[('name', '=', 'x')]"),
                ]:
            with self.subTest(field=name):
                with self.assertRaises(ScenarioRunningError):
                    scenario.write([scenario], {name: value})
        scenario.write([scenario], {
                'model': scenario.model,
                'domain_source': scenario.domain_source,
                'name': "Other",
                })

    @with_transaction()
    def test_progress(self):
        "Test that the progress is that of what is due"
        activity = create_email()
        scenario = activity.scenario
        for at, state in [
                (DUE, 'done'), (NOW + DAY, 'waiting'), (DUE, 'waiting')]:
            record = create_record(scenario, create_party())
            create_record_activity(record, activity, at=at, state=state)
            forget()
            with self.subTest(at=at, state=state):
                self.assertEqual(
                    scenario.progress,
                    .5 if (at, state) == (DUE, 'waiting') else 1)
