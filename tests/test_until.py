# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Activities that wait until a condition is fulfilled"""
import datetime as dt
from unittest.mock import patch

from trytond.model.exceptions import (
    DomainValidationError, RequiredValidationError)
from trytond.modules.marketing_automation import clock, delivery, entry
from trytond.modules.marketing_automation.exceptions import (
    ActivityError, DomainError)
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .delivering import CommittedTestCase
from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_marketer,
    create_party, create_scenario, forget)
from .tools import received

DAY = dt.timedelta(days=1)
NOW = dt.datetime(2031, 1, 8, 10)
VIP = "[('name', '=', 'VIP')]"


def criteria(*lines):
    return [('create', [
                {'field': field, 'operator': operator, **values}
                for field, operator, values in lines])]


def create_wait(parent=None, **values):
    "Return a new activity that waits for two weeks"
    if 'until_criteria' not in values:
        values = {'until_mode': 'expert', 'until_source': VIP, **values}
    return create_activity(parent or create_scenario(), **{
            'name': "Wait", 'timing': 'until', 'delay': 14 * DAY, **values})


class UntilTestCase(CommittedTestCase):
    "Test what waits, with a real mail server"

    def setUp(self):
        super().setUp()
        self.scenario = create_scenario(state='running')
        self.wait = create_wait(self.scenario)
        self.thanks = create_email(
            self.wait, name="Thanks", event='fulfilled')
        self.reminder = create_email(
            self.wait, name="Reminder", event='fulfilled', negative=True)
        self.party = create_party("Zoë", 'zoe@example.com')

    def _forget(self):
        Transaction().rollback()
        cursor = Transaction().connection.cursor()
        for name in [
                'marketing.automation.record.activity',
                'marketing.automation.record',
                'marketing.automation.activity',
                'marketing.automation.scenario', 'party.party']:
            cursor.execute(*Pool().get(name).__table__().delete())
        Transaction().commit()

    def _enter(self):
        Transaction().commit()
        with clock.stopped(NOW):
            entry.enter_running()
        return self._process()

    def _process(self, now=NOW):
        "Return {activity: (state, at, reason)} after what the cron does"
        RecordActivity = Pool().get('marketing.automation.record.activity')
        Transaction().commit()
        with clock.stopped(now):
            RecordActivity.settle_waiting()
            for _ in range(2):
                delivery.drain(now)
        Transaction().commit()
        forget()
        return {
            s.activity.name: (s.state, s.at)
            for s in RecordActivity.search([])}

    def _fulfil(self, *parties):
        "Let the condition be fulfilled past the models, as others may"
        table = self.party.__table__()
        cursor = Transaction().connection.cursor()
        for party in parties or [self.party]:
            cursor.execute(*table.update(
                    [table.name], ['VIP'], where=table.id == party.id))

    def _explanation(self):
        RecordActivity = Pool().get('marketing.automation.record.activity')
        step, = RecordActivity.search([('activity', '=', self.wait.id)])
        return step.explanation

    def test_fulfilled(self):
        "Test what follows as soon as the condition is fulfilled"
        self.assertEqual(
            self._enter(), {"Wait": ('waiting', NOW + 14 * DAY)})
        self.assertEqual(
            self._explanation(),
            "Waits until the condition is fulfilled or the time is up.")
        later = NOW + 3 * DAY
        self.assertEqual(
            self._process(later), {"Wait": ('waiting', NOW + 14 * DAY)})
        self._fulfil()
        self.assertEqual(self._process(later), {
                "Wait": ('done', later), "Thanks": ('done', later)})
        self.assertEqual(
            self._explanation(), "The condition was fulfilled.")
        # Its time does not come any more
        self._process(NOW + 20 * DAY)
        self.assertEqual(len(received(self.server)), 1)

    def test_timed_out(self):
        "Test what follows when the time is up"
        self._enter()
        later = NOW + 14 * DAY
        self.assertEqual(self._process(later), {
                "Wait": ('done', later), "Reminder": ('done', later)})
        self.assertEqual(
            self._explanation(),
            "The time was up before the condition was fulfilled.")
        # It comes too late
        self._fulfil()
        self.assertEqual(len(self._process(later + DAY)), 2)
        self.assertEqual(len(received(self.server)), 1)

    def test_at_once(self):
        "Test a condition that is fulfilled from the beginning"
        self._fulfil()
        self.assertEqual(self._enter(), {
                "Wait": ('done', NOW), "Thanks": ('done', NOW)})

    def test_claimed(self):
        "Test a wait that a worker is ending is left to it"
        self._enter()
        RecordActivity = Pool().get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update([table.lease], [NOW + DAY]))
        self._fulfil()
        self.assertEqual(self._process()["Wait"][0], 'waiting')
        self.assertEqual(self._process(NOW + 2 * DAY)["Thanks"][0], 'done')

    def test_blocked(self):
        "Test nothing follows for who has unsubscribed"
        self._enter()
        Record = Pool().get('marketing.automation.record')
        Record.block(Record.search([]))
        self._fulfil()
        self.assertEqual(list(self._process()), ["Wait"])

    def test_many(self):
        "Test more than are ended in a transaction"
        parties = [create_party(f"P{i}") for i in range(7)]
        self._enter()
        self._fulfil(*parties[:5])
        with patch(
                'trytond.modules.marketing_automation.until.SLICE', 2):
            self._process()
        RecordActivity = Pool().get('marketing.automation.record.activity')
        for fulfilled, count in [(True, 5), (False, 3)]:
            self.assertEqual(
                RecordActivity.search([
                        ('activity', '=', self.wait.id),
                        ('fulfilled', '=', fulfilled)], count=True), count)

    def test_broken(self):
        "Test a condition that fails hinders no other"
        broken = create_wait(self.scenario, name="Broken")
        table = broken.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.until_domain], ['[["lost", "=", 1]]'],
                where=table.id == broken.id))
        self._fulfil()
        with self.assertLogs(
                'trytond.modules.marketing_automation', 'ERROR'):
            steps = self._enter()
        self.assertEqual(steps["Broken"][0], 'waiting')
        self.assertEqual(steps["Thanks"][0], 'done')

    def test_catch_up(self):
        "Test a new branch gets those that went its way"
        other = create_party("Other", 'other@example.com')
        self._enter()
        self._fulfil(other)
        self._process()
        self._process(NOW + 14 * DAY)
        with Transaction().set_context(_skip_warnings=True):
            create_email(self.wait, name="More", event='fulfilled')
            create_email(
                self.wait, name="Less", event='fulfilled', negative=True)
        self._enter()
        RecordActivity = Pool().get('marketing.automation.record.activity')
        self.assertEqual({
                (s.activity.name, s.record.record)
                for s in RecordActivity.search([
                        ('activity.name', 'in', ["More", "Less"])])},
            {("More", other), ("Less", self.party)})

    def _rehearse(self, *events):
        Rehearsal = Pool().get('marketing.automation.rehearsal')
        Transaction().commit()
        with clock.stopped(NOW):
            rehearsal = Rehearsal(scenario=self.scenario, record=self.party)
            rehearsal.begin()
            for name in events:
                rehearsal.add(name, self.wait.id)
        return [(s.activity, s.what) for s in rehearsal.steps][1:]

    def test_rehearsal(self):
        "Test both ways in a rehearsal"
        waits = (
            "Wait",
            "Waits until the condition is fulfilled, for at most 2 weeks.")
        sent = "The e-mail is sent to zoe@example.com."
        self.assertEqual(
            self._rehearse('fulfilled', 'next', 'next'), [
                waits,
                ("Wait", "The condition is fulfilled."),
                ("Wait", "The condition was fulfilled."),
                ("Thanks", sent)])
        self.assertEqual(
            self._rehearse('next', 'next'), [
                waits,
                ("Wait",
                    "The time was up before the condition was fulfilled."),
                ("Reminder", sent)])

    def test_run(self):
        "Test who runs a scenario is told when both ways begin"
        with Transaction().set_user(1):
            steps = dict(self.scenario.first_steps(NOW))
        self.assertEqual(steps, {
                self.wait: NOW + 14 * DAY,
                self.thanks: NOW,
                self.reminder: NOW + 14 * DAY,
                })

    def test_estimate(self):
        "Test an e-mail comes either way"
        Estimate = Pool().get('marketing.automation.estimate')
        with Transaction().set_user(1):
            estimate = Estimate(
                scenario=self.scenario, weeks='12', date_field='create_date',
                open_rate=0, click_rate=0)
            estimate.show()
        self.assertEqual(estimate.first_emails, 0)
        self.assertIn("Half of the waits", estimate.notes)


class UntilCheckTestCase(DatabaseTestCase):
    "Test what can be entered, and the sentences"

    @with_transaction()
    def test_criteria(self):
        "Test the condition as criteria, by a user of the group Marketing"
        marketer = create_marketer()
        with Transaction().set_user(marketer.id), \
                Transaction().set_context(_check_access=True):
            wait = create_wait(until_criteria=criteria(
                    ('name', 'contains', {'text': "Zoë"}),
                    ('marketing_has_email', 'yes', {})))
        self.assertEqual(wait.awaited, [
                ['name', 'ilike', '%Zoë%'],
                ['marketing_has_email', '=', True]])

    @with_transaction()
    def test_errors(self):
        "Test what is wrong with a condition is said when it is saved"
        for values, error in [
                ({'until_source': None}, "no clause"),
                ({'until_source': "[('x', '=', 1)]"}, "\"x\" does not exist"),
                ({'until_source': "[('code', '=', "}, "Wait"),
                ({'until_criteria': []}, "no clause"),
                ({'until_criteria': criteria(
                            ('name', 'is', {}))}, "Line 1 is not complete"),
                ]:
            with self.subTest(error=error), \
                    self.assertRaisesRegex(DomainError, error):
                create_wait(**values)

    @with_transaction()
    def test_time_out(self):
        "Test a wait needs a time-out, and leaves actions to what follows"
        with self.assertRaises(RequiredValidationError):
            create_wait(delay=None)
        with self.assertRaises(DomainValidationError):
            create_wait(
                action='send_email', email_title="Title",
                email_template="<body/>")

    @with_transaction()
    def test_branches(self):
        "Test only what follows a wait can follow its end"
        with self.assertRaises(DomainValidationError):
            create_email(create_email(), event='fulfilled')
        wait = create_wait()
        child = create_email(wait, event='fulfilled', negative=True)
        self.assertEqual(child.on, 'fulfilled_not')
        with self.assertRaises(DomainValidationError):
            create_email(wait, event='email_opened')
        with self.assertRaisesRegex(ActivityError, "follows the condition"):
            wait.timing = 'delay'
            wait.save()

    @with_transaction()
    def test_copy(self):
        "Test a copy waits for the same"
        wait = create_wait(until_criteria=criteria(
                ('name', 'is', {'text': "Zoë"})))
        copy, = wait.copy([wait])
        self.assertEqual(copy.awaited, wait.awaited)

    @with_transaction()
    def test_sentence(self):
        "Test the sentences"
        wait = create_wait()
        self.assertEqual(
            wait.sentence,
            "Until the condition is fulfilled, for at most 2 weeks: “Wait”")
        for values, sentence in [
                ({}, "When fulfilled: send “News”"),
                ({'delay': DAY}, "1 day after being fulfilled: send “News”"),
                ({'negative': True}, "When the time is up: send “News”"),
                ({'negative': True, 'delay': 2 * DAY},
                    "2 days after the time is up: send “News”"),
                ]:
            with self.subTest(sentence=sentence):
                activity = create_email(
                    wait, name="News", event='fulfilled', **values)
                self.assertEqual(activity.sentence, sentence)


del CommittedTestCase, DatabaseTestCase
