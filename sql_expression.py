# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""SQL expressions that python-sql and the platform do not have"""
from sql import Cast, Expression
from sql.functions import Function, Lower

from trytond import backend

__all__ = ['SetConfig', 'Unqualified', 'random_uuid']


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
