# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The values of templates: their types, and what is too big of them"""
import datetime
import re
from decimal import Decimal

from genshi.core import Markup

from .error import TemplateRenderError

MAX_BITS = 1024  # of an integer
MAX_DIGITS = 1000  # of a decimal once written without exponent
MAX_WIDTH = 100  # of a formatted value, and of its precision
MAX_SHORT = 2000  # characters of an argument
MAX_ITEMS = 100  # of an argument

NUMBERS = {int, float, bool, Decimal}
DATES = {datetime.date, datetime.datetime, datetime.time}
TEXTS = {str, Markup}
SCALARS = NUMBERS | DATES | TEXTS | {datetime.timedelta, type(None)}
SEQUENCES = {list, tuple}
CONTAINERS = SEQUENCES | {dict, set}

_STRFTIME = re.compile(r'(?:[^%]|%[-_0^#]?[EO]?[A-Za-z%])*')


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

    def __init__(self, name, members=None, functions=None):
        self._name = name
        self._members = members or {}
        self._functions = functions or {}

    def _read(self, name):
        try:
            return self._members[name]
        except KeyError:
            raise TemplateRenderError(
                'attribute', name=name, type=self._name) from None

    def _call(self, name, args, kwargs):
        try:
            function = self._functions[name]
        except KeyError:
            raise TemplateRenderError(
                'method', name=name, type=self._name) from None
        return function(*args, **kwargs)

    def __repr__(self):
        return f'<{self._name}>'


def check_strftime(format):
    """Raise an error for a format of dates that could produce a long text

    The C library pads a conversion to any width written in the format.
    """
    if (not isinstance(format, str)
            or len(format) > MAX_SHORT
            or not _STRFTIME.fullmatch(format)):
        raise TemplateRenderError('format', format=str(format)[:100])


def check_width(width):
    if not isinstance(width, int) or abs(width) > MAX_WIDTH:
        raise TemplateRenderError('limit_number')


def check_number(number):
    "Raise an error for a number that is long without exponent"
    if (isinstance(number, Decimal)
            and number.is_finite()
            and abs(number.adjusted()) > MAX_DIGITS
            or isinstance(number, int)
            and number.bit_length() > MAX_BITS):
        raise TemplateRenderError('limit_number')


def type_name(value):
    return str(value) if isinstance(value, Guarded) else type(value).__name__


# The datetime of templates


def _with_numbers(function):
    "What C code takes for the state of a pickle is a text"
    def checked(*args, **kwargs):
        for value in (*args, *kwargs.values()):
            if type(value) not in NUMBERS:
                raise TypeError(f'{type_name(value)} is not a number')
        return function(*args, **kwargs)
    return checked


def _class_namespace(name, *functions):
    class_ = getattr(datetime, name)
    return Namespace(
        name, {n: getattr(class_, n) for n in ['min', 'max']},
        {n: getattr(class_, n) for n in functions})


DATETIME = Namespace(
    'datetime', {
        'datetime': _class_namespace(
            'datetime', 'combine', 'fromisoformat', 'now', 'today', 'utcnow'),
        'date': _class_namespace('date', 'fromisoformat', 'today'),
        'time': _class_namespace('time', 'fromisoformat'),
        'timedelta': _class_namespace('timedelta'),
        }, {
        n: _with_numbers(getattr(datetime, n))
        for n in ['datetime', 'date', 'time', 'timedelta']})
