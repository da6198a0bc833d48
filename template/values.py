# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The values of templates: their types, and what is too big of them"""
import datetime
import math
from decimal import Decimal

from genshi.core import Markup

from .error import TemplateRenderError

MAX_BITS = 60  # of an integer
MAX_DIGITS = 1000  # of a decimal once written without exponent
MAX_TEXT = 1_000_000  # characters
MAX_SHORT = 2000  # characters of what leaves the template

NUMBERS = {int, float, bool, Decimal}
DATES = {datetime.date, datetime.datetime, datetime.time}
TEXTS = {str, Markup}
SCALARS = NUMBERS | DATES | TEXTS | {datetime.timedelta, type(None)}
SEQUENCES = {list, tuple, range}
CONTAINERS = SEQUENCES | {dict, set}


class Guarded:
    "Base of the values that decide themselves what a template reads"
    __slots__ = ()

    def _read(self, name):
        raise NotImplementedError

    def _call(self, name, args, kwargs):
        raise NotImplementedError


class Namespace(Guarded):
    "Values and functions by name"
    __slots__ = ('_name', '_members', '_functions')

    def __init__(self, name, members, functions=()):
        self._name = name
        self._members = members
        self._functions = dict(functions)

    def _read(self, name):
        if name not in self._members:
            raise TemplateRenderError('attribute', name=name, type=self._name)
        return self._members[name]

    def _call(self, name, args, kwargs):
        if name not in self._functions:
            raise TemplateRenderError('method', name=name, type=self._name)
        if str in map(type, (*args, *kwargs.values())):
            # Classes of datetime take it for the state of a pickle
            raise TypeError('a text is not a number')
        return self._functions[name](*args, **kwargs)

    def __repr__(self):
        return self._name


def check_number(number):
    "Raise an error for a number that is long without exponent"
    if isinstance(number, int):
        is_big = number.bit_length() > MAX_BITS
    elif isinstance(number, Decimal):
        is_big = (
            not number.is_finite() or abs(number.adjusted()) > MAX_DIGITS)
    else:
        is_big = not math.isfinite(number)
    if is_big:
        raise TemplateRenderError('limit_number')


def check_size(size, limit=MAX_TEXT):
    if size > limit:
        raise TemplateRenderError('limit_text', limit=limit)


def type_name(value):
    return str(value) if isinstance(value, Guarded) else type(value).__name__


def _class(name, *functions):
    class_ = getattr(datetime, name)
    return Namespace(name, {}, {n: getattr(class_, n) for n in functions})


_CLASSES = [
    _class('datetime', 'combine', 'now', 'today'), _class('date', 'today'),
    _class('time'), _class('timedelta')]
# The datetime of templates
DATETIME = Namespace(
    'datetime', {str(c): c for c in _CLASSES},
    {str(c): getattr(datetime, str(c)) for c in _CLASSES})
