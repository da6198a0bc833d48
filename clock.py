# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The clock by which activities become due: a rehearsal sets its own time"""
import datetime as dt
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ['now', 'stopped']

_time = ContextVar('time', default=None)


def now():
    "Return what time it is, in naive UTC"
    return _time.get() or dt.datetime.now()


@contextmanager
def stopped(time):
    "Let it be the time, for this thread alone"
    token = _time.set(time)
    try:
        yield
    finally:
        _time.reset(token)
