# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import unittest

from hypothesis import given
from hypothesis import strategies as st

from trytond.modules.marketing_automation import schedule

instants = st.datetimes(
    dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1))


class ScheduleTestCase(unittest.TestCase):
    "Test when things are due"

    @given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
    def test_back_off(self, attempt, chance):
        "Test each retry waits longer, half of it by chance, up to four hours"
        wait = schedule.back_off(attempt, lambda: chance)
        longest = dt.timedelta(
            seconds=min(60 * 2 ** (attempt - 1), 4 * 60 * 60))
        self.assertLessEqual(longest / 2, wait)
        self.assertLessEqual(wait, longest)
        self.assertLessEqual(
            wait, schedule.back_off(attempt + 1, lambda: chance))

    def test_back_off_disperses(self):
        "Test what failed together is not tried again together"
        waits = {schedule.back_off(5) for _ in range(100)}
        self.assertGreater(len(waits), 90)

    @given(instants)
    def test_next_minute(self, now):
        "Test the next minute starts within a minute"
        minute = schedule.next_minute(now)
        self.assertEqual((minute.second, minute.microsecond), (0, 0))
        self.assertLess(now, minute)
        self.assertLessEqual(minute - now, dt.timedelta(minutes=1))

    @given(instants, st.none() | st.timedeltas(
            dt.timedelta(), dt.timedelta(days=1000)))
    def test_due(self, base, delay):
        "Test the delay starts at the second of the base"
        due = schedule.due(base, delay)
        self.assertEqual(due - (delay or dt.timedelta()),
            base.replace(microsecond=0))

    def test_due_without_delay(self):
        "Test without delay it is due at once"
        now = dt.datetime(2026, 2, 28, 23, 59, 59, 999999)
        for delay in [None, dt.timedelta()]:
            self.assertLessEqual(schedule.due(now, delay), now)
