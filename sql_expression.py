# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""SQL expressions that python-sql and the platform do not have"""
import datetime as dt

from sql import Cast, Expression
from sql.functions import AtTimeZone, DateTrunc, Function, Lower

from trytond import backend

__all__ = ['Excluded', 'SetConfig', 'Unqualified', 'first_day', 'random_uuid']
# How SQLite finds the first day of a period
_first_day = {
    'day': [],
    'week': ['weekday 0', '-6 days'],
    'month': ['start of month'],
    'year': ['start of year'],
    }


class Unqualified(Expression):
    """The column without its table

    In RETURNING, SQLite does not know the alias of the table.
    """
    __slots__ = ('column',)

    def __init__(self, column):
        super().__init__()
        self.column = column

    def __str__(self):
        return self.column.column_name

    @property
    def params(self):
        return ()


class Excluded(Expression):
    """The value of the column that was to be inserted, after a conflict

    PostgreSQL does not know it by the quoted name that python-sql gives it.
    """
    __slots__ = ('column',)

    def __init__(self, column):
        super().__init__()
        self.column = column

    def __str__(self):
        return f'excluded.{self.column.column_name}'

    @property
    def params(self):
        return ()


class SetConfig(Function):
    "Set a parameter of PostgreSQL (name, value, only this transaction)"
    __slots__ = ()
    _function = 'SET_CONFIG'


class GenRandomUUID(Function):
    "PostgreSQL's random UUID, version 4 (RFC 9562)"
    __slots__ = ()
    _function = 'GEN_RANDOM_UUID'


class Replace(Function):
    __slots__ = ()
    _function = 'REPLACE'


class RandomBlob(Function):
    __slots__ = ()
    _function = 'RANDOMBLOB'


class Hex(Function):
    __slots__ = ()
    _function = 'HEX'


def random_uuid():
    "Return the expression of 32 random hexadecimal digits"
    if backend.name == 'sqlite':
        return Lower(Hex(RandomBlob(16)))
    return Replace(Cast(GenRandomUUID(), 'VARCHAR'), '-', '')


class SQLiteDate(Function):
    __slots__ = ()
    _function = 'DATE'


def first_day(period, instant, timezone):
    """Return the expression of the first day of the period of an instant

    period -- day, week, month or year
    instant -- expression of a naive UTC datetime
    timezone -- ZoneInfo in which the days start

    SQLite knows no time zones: it takes the offset of now.
    """
    if backend.name == 'sqlite':
        offset = dt.datetime.now(timezone).utcoffset()
        return SQLiteDate(
            instant, f'{offset.total_seconds():+} seconds',
            *_first_day[period])
    if timezone.key != 'UTC':
        instant = AtTimeZone(AtTimeZone(instant, 'UTC'), timezone.key)
    return DateTrunc(period, instant)
