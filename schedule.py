# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""When things are due: pure functions over naive UTC datetimes and seconds"""
import datetime as dt
import random
from collections import namedtuple

BACK_OFF_BASE = 60
BACK_OFF_MAX = 4 * 60 * 60


def back_off(attempt, rand=random.random):
    """Return the timedelta to wait before the attempt-th retry (from 1)

    The wait doubles from one minute to four hours.  Half of it is random so
    that what failed together is not tried again together.
    """
    delay = min(BACK_OFF_BASE * 2 ** (attempt - 1), BACK_OFF_MAX)
    return dt.timedelta(seconds=delay / 2 + delay / 2 * rand())


def minute(now):
    "Return the start of the minute of the instant"
    return now.replace(second=0, microsecond=0)


def next_minute(now):
    "Return the start of the minute after the instant"
    return minute(now) + dt.timedelta(minutes=1)


def due(base, delay):
    "Return the instant, without microsecond, delay (or None) after base"
    return base.replace(microsecond=0) + (delay or dt.timedelta())


class Window(namedtuple('Window', ['days', 'start', 'end'])):
    """The time between start and end of the days

    days -- set of weekdays from 0 for Monday, empty for all
    start, end -- local times, None or midnight for those of the day
    """
    __slots__ = ()

    def opening(self, now, zone):
        "Return the first instant from now on in the window"
        today = now.replace(tzinfo=dt.timezone.utc).astimezone(zone).date()
        # A change of the clock may leave nothing of the window of a day
        for days in range(15):
            day = today + dt.timedelta(days=days)
            start, end = self._of_day(day, zone)
            if ((not self.days or day.weekday() in self.days)
                    and max(now, start) < end):
                return max(now, start)

    def _of_day(self, day, zone):
        start = _utc(day, self.start or dt.time.min, zone)
        end = self.end or dt.time.min
        if end == dt.time.min:
            day += dt.timedelta(days=1)
        return start, _utc(day, end, zone)


def _utc(day, time, zone):
    local = dt.datetime.combine(day, time, zone)
    return local.astimezone(dt.timezone.utc).replace(tzinfo=None)


def instant(value):
    "Return the datetime of a column, which SQLite may give as text"
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    return value
