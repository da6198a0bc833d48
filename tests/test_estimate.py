# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import uuid
from unittest.mock import patch

from trytond.modules.marketing_automation import clock
from trytond.modules.marketing_automation.estimate import expected, most
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_marketer,
    create_party, create_record, create_record_activity, create_scenario)
from .tools import configure

DAY = dt.timedelta(days=1)
# A Wednesday
NOW = dt.datetime(2026, 7, 15, 12)
MONDAY = dt.date(2026, 7, 13)
RATES = {'email_opened': 0.5, 'email_clicked': 0.1}


class EstimateTestCase(DatabaseTestCase):
    "Test how many records and e-mails there would have been"

    def setUp(self):
        super().setUp()
        self.addCleanup(patch.stopall)
        transaction = Transaction().start(DB_NAME, 1)
        self.addCleanup(transaction.stop, commit=False)
        context = clock.stopped(NOW)
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        self.mark = uuid.uuid4().hex
        self.scenario = create_scenario(
            name=self.mark, domain=f'[["name", "=", "{self.mark}"]]')

    def _tree(self):
        "Make 1 e-mail at once, 1 for openers, 2 for the others, 1 for clicks"
        self.welcome = create_email(self.scenario)
        create_email(
            self.welcome, event='email_opened', delay=2 * DAY)
        reminder = create_email(
            self.welcome, event='email_opened', negative=True, delay=3 * DAY)
        create_email(reminder, delay=4 * DAY)
        create_email(self.welcome, event='email_clicked')
        # Sends nothing
        create_activity(self.scenario, delay=1 * DAY)

    def _create(self, *days):
        "Create a party for each of the dates"
        pool = Pool()
        Party = pool.get('party.party')
        table = Party.__table__()
        cursor = Transaction().connection.cursor()
        parties = Party.create([{'name': self.mark} for _ in days])
        for party, day in zip(parties, days):
            cursor.execute(*table.update(
                    [table.create_date],
                    [dt.datetime.combine(day, dt.time(23, 30))],
                    where=table.id == party.id))
        return parties

    def _estimate(self, **values):
        pool = Pool()
        Estimate = pool.get('marketing.automation.estimate')
        estimate = Estimate(**{
                'scenario': self.scenario,
                'weeks': '12',
                'date_field': 'create_date',
                'open_rate': RATES['email_opened'],
                'click_rate': RATES['email_clicked'],
                'shown': None,
                **values})
        estimate.show()
        return estimate

    def _weeks(self, estimate):
        return {
            (MONDAY - line.week).days // 7:
            (line.entered, line.emails, line.emails_most)
            for line in estimate.lines
            if line.entered or line.emails or line.emails_most}

    def test_tree(self):
        "Test what a record gets, and when"
        self._tree()
        activities = self.scenario.activities

        self.assertEqual(expected(activities, RATES), {
                dt.timedelta(): 1.1,
                2 * DAY: 0.5,
                3 * DAY: 0.5,
                7 * DAY: 0.5,
                })
        self.assertEqual(most(activities), {
                dt.timedelta(): 1, 3 * DAY: 1, 7 * DAY: 1})
        self.assertEqual(
            most(activities, [{'email_opened', 'email_clicked'}]),
            {dt.timedelta(): 2, 2 * DAY: 1})

    def test_weeks(self):
        "Test records and e-mails by week"
        self._tree()
        # Monday and Sunday three weeks ago, and one just before the first week
        self._create(
            *[MONDAY - 21 * DAY] * 10, *[MONDAY - 15 * DAY] * 20,
            MONDAY - 78 * DAY)
        estimate = self._estimate()

        self.assertEqual(len(estimate.lines), 12)
        self.assertEqual(self._weeks(estimate), {
                3: (30, 43, 40),
                2: (0, 35, 50),
                11: (0, 2, 2),
                })
        self.assertEqual(
            (estimate.peak_week, estimate.peak_week_emails),
            (MONDAY - 21 * DAY, 43))
        self.assertEqual(
            (estimate.peak_day, estimate.peak_day_emails),
            (MONDAY - 15 * DAY, 22))

    def test_most(self):
        "Test that without rates only the most is told"
        self._tree()
        self._create(*[MONDAY] * 4)
        estimate = self._estimate(open_rate=None)

        self.assertEqual(self._weeks(estimate), {0: (4, None, 4)})
        self.assertEqual(estimate.peak_week_emails, 4)
        self.assertIn("rates", estimate.notes)

    def test_first(self):
        "Test how many enter at once, without those that are in"
        self._tree()
        parties = self._create(*[MONDAY - 400 * DAY] * 5)
        create_record(self.scenario, parties[0])
        estimate = self._estimate()

        self.assertEqual(estimate.first_count, 4)
        self.assertEqual(estimate.first_emails, 4)
        self.assertEqual(self._weeks(estimate), {})
        self.assertIsNone(estimate.peak_week)

    def test_untracked(self):
        "Test that nobody opens what is not tracked"
        self._tree()
        self.scenario.tracking = 'none'
        self.scenario.save()
        self._create(*[MONDAY - 28 * DAY] * 10)

        self.assertEqual(
            self._weeks(self._estimate()), {4: (10, 20, 20), 3: (0, 10, 10)})

    def test_limit(self):
        "Test how long it takes at the limits"
        create_email(self.scenario)
        self._create(*[MONDAY] * 5)
        self.assertIn("no sending limit", self._estimate().notes)

        configure(
            'marketing', automation_limit=2, automation_domain_limit=1)
        self.assertEqual(self._estimate().notes.splitlines()[:4], [
                "At most 2 e-mails a minute are sent, "
                "which makes 2,880 a day.",
                "Those of the first day take 00:03.",
                "Those of the busiest day take 00:03.",
                "At most 1 e-mails a minute are sent to one domain, "
                "so that recipients of the same provider may wait longer.",
                ])

    def test_date_field(self):
        "Test that only dates of the record are offered"
        names = dict(self._estimate().get_date_fields())
        self.assertIn('create_date', names)
        self.assertNotIn('write_date', names)
        # Nobody else than a client can ask for it
        self._create(MONDAY)
        self.assertEqual(
            len(self._weeks(self._estimate(date_field='id'))), 1)

    def test_rates(self):
        "Test that rates are those of what was sent"
        self.assertIsNone(self.scenario.get_rates())
        email = create_email(self.scenario)
        for values in [
                {'state': 'done', 'email_opened': True},
                {'state': 'done'}, {'state': 'waiting'}]:
            create_record_activity(
                create_record(self.scenario, create_party()), email,
                **values)
        self.assertEqual(
            self.scenario.get_rates(),
            {'email_opened': .5, 'email_clicked': 0})

    def test_marketer(self):
        "Test as a user of the group Marketing"
        self._create(MONDAY)
        create_email(self.scenario)
        user = create_marketer(self.mark)
        with Transaction().set_user(user.id):
            self.assertEqual(self._weeks(self._estimate()), {0: (1, 1, 1)})

    def test_client(self):
        "Test that what a client calls again is not computed again"
        estimate = self._estimate()
        with patch.object(estimate.__class__, 'show') as show:
            estimate.on_change_weeks()
            show.assert_not_called()
            estimate.weeks = '52'
            estimate.on_change_weeks()
            show.assert_called_once()
