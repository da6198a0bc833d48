# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
from unittest.mock import patch
from zoneinfo import ZoneInfo

from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_email, create_hit, create_link,
    create_party, create_record, create_record_activity, create_scenario)


class ReportingTestCase(DatabaseTestCase):
    "Test counts, rates, periods and trends"

    def _activities(self, count):
        scenario = create_scenario(state='running')
        return [create_email(scenario) for _ in range(count)]

    def _records(self, scenario, count):
        return [create_record(scenario, create_party()) for _ in range(count)]

    def _sent(self, activity, at, opened=0, clicked=0, sent=0, **values):
        "Store how many have clicked, opened and only got the e-mail"
        records = self._records(activity.scenario, opened + clicked + sent)
        for i, record in enumerate(records):
            create_record_activity(
                record, activity, at=at,
                email_opened=i < opened + clicked,
                email_clicked=i < clicked,
                **{'state': 'done', **values})

    def _reports(self, *names, **context):
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.activity')
        with Transaction().set_context(**context):
            return [
                tuple(getattr(r, n) for n in names)
                for r in Reporting.search([])]

    @with_transaction()
    def test_rates(self):
        "Test rates are fractions"
        activity, = self._activities(1)
        self._sent(
            activity, dt.datetime(2026, 5, 20, 12), opened=1, clicked=1,
            sent=1)
        (count, opened, clicked, *rates), = self._reports(
            'record_count', 'email_opened', 'email_clicked',
            'email_open_rate', 'email_click_rate',
            'email_click_through_rate')
        self.assertEqual((count, opened, clicked), (3, 2, 1))
        for rate, expected in zip(rates, [2 / 3, 1 / 3, 1 / 2]):
            self.assertAlmostEqual(rate, expected, places=4)
        self.assertEqual(
            [activity.email_open_rate, activity.email_click_rate,
                activity.email_click_through_rate],
            [0.667, 0.333, 0.5])

    @with_transaction()
    def test_no_division_by_zero(self):
        "Test rates without a whole are zero"
        activity, = self._activities(1)
        self._sent(activity, dt.datetime(2026, 5, 20, 12), sent=1)
        self.assertEqual(
            self._reports('email_open_rate', 'email_click_through_rate'),
            [(0, 0)])
        self.assertEqual(activity.email_click_through_rate, 0)

    @with_transaction()
    def test_not_done(self):
        "Test what was not sent lowers no rate"
        activity, = self._activities(1)
        at = dt.datetime(2026, 5, 20, 12)
        self._sent(activity, at, clicked=1)
        for state in ['skipped', 'failed', 'cancelled', 'waiting']:
            self._sent(activity, at, sent=1, state=state)
        self.assertEqual(
            self._reports('record_count', 'email_click_rate'), [(1, 1)])
        self.assertEqual(activity.email_click_rate, 1)

    @with_transaction()
    def test_dates(self):
        "Test both ends of the dates are included"
        activity, = self._activities(1)
        days = [dt.date(2026, 5, d) for d in [19, 20, 21]]
        for day in days:
            for time in [dt.time(), dt.time(23, 59, 59)]:
                self._sent(
                    activity, dt.datetime.combine(day, time), sent=1)

        def total(from_date=None, to_date=None):
            return sum(c for c, in self._reports(
                    'record_count', from_date=from_date, to_date=to_date))

        for from_date, to_date, expected in [
                (None, None, 6),
                (days[0], days[2], 6),
                (days[1], days[1], 2),
                (days[1], None, 4),
                (None, days[1], 4),
                (days[2], days[0], 0),
                ]:
            with self.subTest(from_date=from_date, to_date=to_date):
                self.assertEqual(total(from_date, to_date), expected)

    @with_transaction()
    def test_default_context(self):
        "Test the reports reach until today"
        pool = Pool()
        Context = pool.get('marketing.automation.reporting.context')
        Date = pool.get('ir.date')
        context = Context.default_get(list(Context._fields))
        self.assertEqual(context['to_date'], Date.today())
        activity, = self._activities(1)
        self._sent(activity, dt.datetime.now(), sent=1)
        self.assertEqual(self._reports(
                'record_count', from_date=context['from_date'],
                to_date=context['to_date']), [(1,)])

    @with_transaction()
    def test_periods(self):
        "Test days, weeks, months and years"
        activity, = self._activities(1)
        for date in [
                (2025, 12, 31), (2026, 1, 1), (2026, 1, 31), (2026, 1, 31)]:
            self._sent(activity, dt.datetime(*date, 12), sent=1)
        for period, expected in [
                ('day', [
                        (dt.date(2026, 1, 31), 2), (dt.date(2026, 1, 1), 1),
                        (dt.date(2025, 12, 31), 1)]),
                ('week', [
                        (dt.date(2026, 1, 26), 2), (dt.date(2025, 12, 29), 2),
                        ]),
                ('month', [
                        (dt.date(2026, 1, 1), 3), (dt.date(2025, 12, 1), 1)]),
                ('year', [
                        (dt.date(2026, 1, 1), 3), (dt.date(2025, 1, 1), 1)]),
                ]:
            with self.subTest(period=period):
                self.assertEqual(
                    self._reports('date', 'record_count', period=period),
                    expected)

    @with_transaction()
    def test_trend(self):
        "Test the trend ends with the current period"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        first, second = self._activities(2)
        now = dt.datetime.now()
        self._sent(first, now, opened=1)
        self._sent(second, now.replace(year=now.year - 5), opened=1)
        for context in [
                {}, {'period': 'day'}, {'period': 'week'},
                {'period': 'year'}]:
            with Transaction().set_context(**context):
                first, second = Activity.browse([first, second])
                trend = first.email_open_rate_trend
                self.assertEqual(len(trend), 10)
                self.assertEqual(len(set(trend[:-1])), 1)
                self.assertNotEqual(trend[-1], trend[0])
        # Five years ago is a period only by year
        with Transaction().set_context(period='month'):
            second = Activity(second.id)
            self.assertEqual(len(set(second.email_open_rate_trend)), 1)

    @with_transaction()
    def test_trend_statements(self):
        "Test the trends of a list need as many statements as those of one"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Reporting = pool.get('marketing.automation.reporting.activity')
        names = [
            'email_open_rate_trend', 'email_click_rate_trend',
            'email_click_through_rate_trend']
        activities = self._activities(30)
        for activity in activities:
            self._sent(activity, dt.datetime.now(), opened=1)
        table_query = Reporting.table_query
        counts = []
        for ids in [[activities[0].id], [a.id for a in activities]]:
            with patch.object(
                    Reporting, 'table_query',
                    side_effect=table_query) as query:
                rows = Activity.read(ids, names)
            self.assertEqual(len(rows), len(ids))
            counts.append(query.call_count)
        self.assertEqual(counts[0], counts[1])
        self.assertLessEqual(counts[1], 3)

    @with_transaction()
    def test_blocked(self):
        "Test blocked records by scenario"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Reporting = pool.get('marketing.automation.reporting.scenario')
        activity, = self._activities(1)
        scenario = activity.scenario
        records = self._records(scenario, 3)
        Record.block(records[:1])
        report, = Reporting.search([('scenario', '=', scenario.id)])
        self.assertEqual(
            (report.record_count, report.record_count_blocked), (3, 1))
        self.assertAlmostEqual(report.block_rate, 1 / 3, places=4)
        scenario = scenario.__class__(scenario.id)
        self.assertEqual(
            (scenario.record_count, scenario.record_count_blocked,
                scenario.block_rate),
            (3, 1, 0.333))

    @with_transaction()
    def test_timezone(self):
        "Test the days start at midnight in the time zone"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        activity, = self._activities(1)
        zone = ZoneInfo('Asia/Tokyo')
        # In Tokyo it is 23:30 on the 20th and 0:30 on the 21st
        for hour in [14, 15]:
            self._sent(activity, dt.datetime(2026, 5, 20, hour, 30), sent=1)
        with patch.object(
                Scenario, 'reporting_timezone', return_value=zone):
            self.assertEqual(
                self._reports('date', 'record_count', period='day'),
                [(dt.date(2026, 5, 21), 1), (dt.date(2026, 5, 20), 1)])
            day = dt.date(2026, 5, 21)
            self.assertEqual(
                self._reports('record_count', from_date=day, to_date=day),
                [(1,)])

    @with_transaction()
    def test_back(self):
        "Test what comes back counts for the activity that has caused it"
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        first, second = self._activities(2)
        self._sent(first, dt.datetime.now(), sent=4)
        self._sent(second, dt.datetime.now(), sent=1)
        for kind in ['hard', 'hard', 'soft', 'complaint', 'unknown']:
            create(
                'marketing.automation.bounce', at=dt.datetime.now(),
                kind=kind, matched=True, activity=first.id)
        record, = self._records(second.scenario, 1)
        Unsubscription.stop(record, second)
        names = ['bounced_hard', 'bounced_soft', 'complained', 'unsubscribed']
        for activity, counts, rates in [
                (first, [2, 1, 1, 0], [0.5, 0.25, 0.0]),
                (second, [0, 0, 0, 1], [0.0, 0.0, 1.0])]:
            self.assertEqual([getattr(activity, n) for n in names], counts)
            self.assertEqual(
                [getattr(activity, n) for n in [
                        'bounce_rate', 'complaint_rate', 'unsubscribe_rate']],
                rates)
        scenario = first.scenario
        self.assertEqual(
            (scenario.email_sent, scenario.bounced_hard, scenario.complained),
            (5, 2, 1))

    @with_transaction()
    def test_machines(self):
        "Test what machines do is counted apart"
        activity, = self._activities(1)
        record, = self._records(activity.scenario, 1)
        sent = create_record_activity(record, activity, state='done')
        link = create_link(activity)
        for target, verdict in [
                (None, 'human'), (None, 'machine'), (link, 'human'),
                (link, 'machine'), (link, 'machine'), (link, 'unknown')]:
            create_hit(sent, target, verdict=verdict)
        names = ['opens', 'clicks', 'machine_opens', 'machine_clicks']
        self.assertEqual(self._reports(*names), [(1, 1, 1, 2)])
        self.assertEqual(
            (activity.machine_opens, activity.machine_clicks), (1, 2))

    @with_transaction()
    def test_links(self):
        "Test links are ranked by the people who have followed them"
        pool = Pool()
        Link = pool.get('marketing.automation.reporting.link')
        activity, = self._activities(1)
        often, popular, unused = [
            create_link(activity, f'https://example.org/{n}')
            for n in range(3)]
        records = self._records(activity.scenario, 2)
        first, second = [
            create_record_activity(r, activity, state='done')
            for r in records]
        for sent, link, verdict in [
                (first, often, 'human'), (first, often, 'human'),
                (first, often, 'human'), (first, often, 'machine'),
                (first, popular, 'human'), (second, popular, 'human')]:
            create_hit(sent, link, verdict=verdict)
        self.assertEqual(
            [(r.link.id, r.people, r.clicks, r.machine_clicks)
                for r in Link.search([])],
            [(popular, 2, 2, 0), (often, 1, 3, 1), (unused, 0, 0, 0)])
        with Transaction().set_context(from_date=dt.date(2026, 5, 1)):
            self.assertEqual({r.clicks for r in Link.search([])}, {0})

    @with_transaction()
    def test_total(self):
        "Test the counts of all scenarios are those of each of them"
        pool = Pool()
        Total = pool.get('marketing.automation.reporting.total')
        for activity in [self._activities(1)[0] for _ in range(2)]:
            self._sent(activity, dt.datetime(2026, 5, 20), opened=1, sent=1)
        total, = Total.search([])
        self.assertEqual((total.email_sent, total.email_opened), (4, 2))
        self.assertEqual(total.email_open_rate, 0.5)
        self.assertEqual(total.email_open_percent, 50)

    @with_transaction()
    def test_daily(self):
        "Test the chart of a form reads what the server has found"
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.scenario')
        activity, = self._activities(1)
        for days in [0, 29, 30]:
            self._sent(
                activity, dt.datetime.now() - dt.timedelta(days=days), sent=1)
        scenario = activity.scenario
        with Transaction().set_context(
                period='day', from_date=scenario.results_from, to_date=None):
            rows = Reporting.browse([r.id for r in scenario.daily_results])
            self.assertEqual([r.email_sent for r in rows], [1, 1])

    @with_transaction()
    def test_record(self):
        "Test a record tells its next step and what became of its e-mails"
        activity, = self._activities(1)
        later, sooner = [
            create_email(activity.scenario, name=n)
            for n in ["Later", "Sooner"]]
        record, = self._records(activity.scenario, 1)
        sent = create_record_activity(
            record, activity, state='done', email_opened=True)
        create_hit(sent, at=dt.datetime(2026, 5, 20, 12, 30, 15, 500))
        for email, day in [(later, 22), (sooner, 21)]:
            create_record_activity(
                record, email, at=dt.datetime(2026, 5, day))
        self.assertEqual(record.next_activity, sooner)
        self.assertEqual(record.next_at, dt.datetime(2026, 5, 21))
        self.assertEqual(
            (record.email_sent, record.email_opened, record.email_clicked),
            (1, 1, 0))
        self.assertEqual(
            (sent.opened_at, sent.clicked_at),
            (dt.datetime(2026, 5, 20, 12, 30, 15), None))

    @with_transaction()
    def test_many(self):
        "Test each row of a report has an id of its own"
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.activity')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        activities = self._activities(3)
        for activity in activities:
            for day in range(1, 4):
                self._sent(activity, dt.datetime(2026, 5, day, 12), sent=2)
        record = self._records(activities[0].scenario, 1)[0]
        Unsubscription.stop(record, activities[0])
        with Transaction().set_context(period='day'):
            reports = Reporting.search([])
            self.assertEqual(len({r.id for r in reports}), 10)
            self.assertEqual(sum(r.unsubscribed for r in reports), 1)
            self.assertEqual(sum(r.record_count for r in reports), 18)
