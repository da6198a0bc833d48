# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""When things are due: pure functions over naive UTC datetimes and seconds"""
import datetime as dt
import random
from collections import namedtuple

from dateutil.relativedelta import relativedelta

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


class Appointment(namedtuple(
            'Appointment', ['number', 'unit', 'time', 'yearly'])):
    """A time that is told by a date

    number, unit -- how many hours, days, weeks or months after the date,
                    before it if negative
    time -- local time of the day, None for the one that a datetime has
    yearly -- whether it is each year on the day, the 28 February stands for
              the 29 where there is none
    """
    __slots__ = ()

    def at(self, value, zone, since):
        """Return the instant for the date or datetime

        since -- yearly, the first one from then on counts
        """
        day, time = self._local(value, zone)
        if not self.yearly:
            return self._instant(day, time, zone)
        first = (since - self._offset).year - 1
        for year in range(first, first + 4):
            at = self._instant(day + relativedelta(year=year), time, zone)
            if at >= since:
                return at

    @property
    def _offset(self):
        return relativedelta(**{self.unit: self.number})

    def _local(self, value, zone):
        "Return the day, and the time of the day"
        time = dt.time.min
        if isinstance(value, dt.datetime):
            local = value.replace(tzinfo=dt.timezone.utc).astimezone(zone)
            value, time = local.date(), local.time()
        return value, time if self.time is None else self.time

    def _instant(self, day, time, zone):
        # An hour is an hour, but a day is not always 24 of them
        if self.unit == 'hours':
            return _utc(day, time, zone) + self._offset
        return _utc(day + self._offset, time, zone)


def _utc(day, time, zone):
    local = dt.datetime.combine(day, time, zone)
    return local.astimezone(dt.timezone.utc).replace(tzinfo=None)


def instant(value):
    "Return the datetime of a column, which SQLite may give as text"
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    return value
