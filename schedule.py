# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""When things are due: pure functions over naive UTC datetimes and seconds"""
import datetime as dt
import random

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


def instant(value):
    "Return the datetime of a column, which SQLite may give as text"
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    return value
