# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""At which hours e-mails are sent, by the clock of the recipient"""
import datetime as dt
import unittest
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from trytond.modules.marketing_automation import clock, delivery
from trytond.modules.marketing_automation.exceptions import WindowError
from trytond.modules.marketing_automation.schedule import Window
from trytond.pool import Pool
from trytond.transaction import Transaction

from .delivering import CommittedTestCase
from .fixtures import (
    create_email, create_party, create_record, create_record_activity,
    create_scenario, forget)
from .tools import received

ZONES = [
    'America/New_York', 'Australia/Lord_Howe', 'Europe/Berlin',
    'Pacific/Apia', 'UTC']
MINUTE = dt.timedelta(minutes=1)
# A Wednesday, 11 hours in Berlin
NOW = dt.datetime(2031, 1, 8, 10)

hours = st.tuples(*[st.none() | st.times().map(
            lambda t: t.replace(second=0, microsecond=0))] * 2).filter(
    lambda t: None in t or t[0] < t[1])
windows = st.builds(
    lambda days, hours: Window(days, *hours),
    st.sets(st.integers(0, 6)), hours)


def is_open(window, instant, zone):
    "Look at the clock in the zone"
    local = instant.replace(tzinfo=dt.timezone.utc).astimezone(zone)
    return ((not window.days or local.weekday() in window.days)
        and (window.start or dt.time.min) <= local.time()
        and (window.end in {None, dt.time.min} or local.time() < window.end))


class WindowTestCase(unittest.TestCase):
    "Test when a window opens"

    @given(
        windows, st.sampled_from(ZONES),
        st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2036, 1, 1)))
    # The clock goes forward and back
    @example(Window(set(), dt.time(2, 30), dt.time(3, 30)), 'Europe/Berlin',
        dt.datetime(2031, 3, 30, 0, 45))
    @example(Window(set(), dt.time(2, 30), dt.time(2, 45)), 'Europe/Berlin',
        dt.datetime(2031, 10, 26, 0, 50))
    def test_opening(self, window, zone, now):
        "Test it is open then, and was at no minute before"
        zone = ZoneInfo(zone)
        now = now.replace(second=0, microsecond=0)

        opening = window.opening(now, zone)

        self.assertGreaterEqual(opening, now)
        self.assertLess(opening - now, dt.timedelta(days=15))
        local = opening.replace(tzinfo=dt.timezone.utc).astimezone(zone)
        # The start may be among the minutes that the clock leaves out, and
        # some minutes come twice
        if local.fold == 0 and not self._is_changing(opening, zone):
            self.assertTrue(is_open(window, opening, zone))
        for minutes in {1, 7, 61, 601}:
            before = opening - minutes * MINUTE
            if before >= now and not any(
                    self._is_changing(t, zone) for t in [opening, before]):
                self.assertFalse(is_open(window, before, zone))

    @staticmethod
    def _is_changing(instant, zone):
        "Return if the clock changes around the instant"
        instant = instant.replace(tzinfo=dt.timezone.utc)
        offsets = {
            (instant + h * dt.timedelta(hours=1)).astimezone(zone).utcoffset()
            for h in [-26, -3, 0, 3, 26]}
        return len(offsets) > 1

    def test_summer_time(self):
        "Test nine o'clock stays nine o'clock when the clock changes"
        window = Window(set(), dt.time(9), dt.time(17))
        zone = ZoneInfo('Europe/Berlin')
        for day, hour in [
                (dt.datetime(2031, 3, 29), 8), (dt.datetime(2031, 3, 30), 7),
                (dt.datetime(2031, 10, 25), 7),
                (dt.datetime(2031, 10, 26), 8)]:
            with self.subTest(day=day):
                self.assertEqual(
                    window.opening(day, zone), day.replace(hour=hour))

    def test_night(self):
        "Test what is due on Friday evening waits until Monday"
        window = Window({0, 1, 2, 3, 4}, dt.time(9), dt.time(17))
        self.assertEqual(
            window.opening(dt.datetime(2031, 1, 10, 17), ZoneInfo('UTC')),
            dt.datetime(2031, 1, 13, 9))


class SendingHoursTestCase(CommittedTestCase):
    "Test activities that have their hours, with a real mail server"
    modules = ['marketing_automation', 'company']

    def _row(self, zone=None, at=NOW, scenario=None, **values):
        "Return a due row of a running scenario with the hours 9 to 17"
        scenario = create_scenario(state='running', **{
                'window_from': dt.time(9),
                'window_to': dt.time(17),
                **(scenario or {})})
        activity = create_email(scenario, **values)
        party = create_party(
            "Zoë", 'zoe@example.com', marketing_timezone=zone)
        row = create_record_activity(
            create_record(scenario, party), activity, at=at)
        self._date(row, at)
        Transaction().commit()
        return row

    def _date(self, row, at):
        "Let the row be as old as it is due"
        table = row.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.create_date], [at], where=table.id == row.id))

    def _drain(self, row, now=NOW):
        "Return what has become of the row"
        with clock.stopped(now):
            delivery.drain(now)
        Transaction().commit()
        forget()
        row = row.__class__(row.id)
        return row.state, row.reason, row.at

    def test_inside(self):
        "Test an e-mail leaves in the hours of the recipient"
        row = self._row('Europe/Berlin')
        self.assertEqual(self._drain(row)[0], 'done')
        self.assertEqual(len(received(self.server)), 1)

    def test_outside(self):
        "Test an e-mail waits until it is nine where the recipient lives"
        row = self._row('America/New_York')
        nine = dt.datetime(2031, 1, 8, 14)
        self.assertEqual(self._drain(row), ('waiting', 'window', nine))
        self.assertFalse(received(self.server))
        self.assertEqual(
            row.__class__(row.id).explanation,
            "Waits until the sending hours begin.")
        self.assertEqual(self._drain(row, nine)[:2], ('done', None))
        self.assertEqual(len(received(self.server)), 1)

    def test_days(self):
        "Test an e-mail waits for the day"
        row = self._row('UTC', scenario={'window_days': ['0']})
        self.assertEqual(
            self._drain(row),
            ('waiting', 'window', dt.datetime(2031, 1, 13, 9)))

    def test_company(self):
        "Test the clock of the company is the default"
        pool = Pool()
        Company = pool.get('company.company')
        Currency = pool.get('currency.currency')
        currency, = Currency.create([{
                    'name': "Euro", 'code': 'EUR', 'symbol': "€"}])
        company, = Company.create([{
                    'party': create_party("Company").id,
                    'currency': currency.id,
                    'timezone': 'Asia/Tokyo',
                    }])
        row = self._row(scenario={'company': company.id})
        self.assertEqual(
            self._drain(row), ('waiting', 'window', dt.datetime(2031, 1, 9)))

    def test_activity(self):
        "Test an activity has its own hours, or none"
        for values, expected in [
                ({'window_source': 'always'}, 'done'),
                ({'window_source': 'own'}, 'done'),
                ({'window_source': 'own', 'window_to': dt.time(9)}, 'done'),
                ({'window_source': 'own', 'window_to': dt.time(4)},
                    'waiting'),
                ({'window_source': 'own', 'window_from': dt.time(20)},
                    'waiting'),
                ({}, 'waiting')]:
            with self.subTest(values):
                row = self._row('America/New_York', **values)
                self.assertEqual(self._drain(row)[0], expected)

    def test_expired(self):
        "Test what is too late is skipped, not sent"
        for late, expected in [
                (dt.timedelta(hours=5), ('done', None)),
                (dt.timedelta(hours=7), ('skipped', 'late'))]:
            with self.subTest(late=late):
                row = self._row('Europe/Berlin', expiry_hours=6)
                self.assertEqual(self._drain(row, NOW + late)[:2], expected)

    def test_expired_window(self):
        "Test what will be too late once the hours begin is skipped at once"
        row = self._row('America/New_York', expiry_hours=3)
        self.assertEqual(self._drain(row)[:2], ('skipped', 'late'))

    def test_expired_since(self):
        "Test the time in which it had to wait counts"
        row = self._row('America/New_York', expiry_hours=5)
        nine = dt.datetime(2031, 1, 8, 14)
        self.assertEqual(self._drain(row)[:2], ('waiting', 'window'))
        late = nine + dt.timedelta(hours=2)
        self.assertEqual(self._drain(row, late)[:2], ('skipped', 'late'))

    def test_hours(self):
        "Test hours that leave no time are refused"
        with self.assertRaisesRegex(WindowError, "end after they begin"):
            create_scenario(
                window_from=dt.time(17), window_to=dt.time(9))


del CommittedTestCase
