# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the expressions of a template may do while they run

The code made by expression.py reaches values only through a Guard.  It knows
by type what can be read and called, and bounds in advance what can grow: a
loop costs its turns times what is in it, a function the size of what it
receives.
"""
import datetime
import operator
from time import monotonic

from genshi.core import Markup

from .error import TemplateRenderError
from .values import (
    CONTAINERS, DATES, MAX_SHORT, NUMBERS, SCALARS, SEQUENCES, TEXTS, Guarded,
    check_number, check_size, type_name)

MAX_TIME = 2  # seconds
MAX_STEPS = 300_000  # operations
CHARACTERS = 16  # that cost one step

_DATE_ATTRIBUTES = {'year', 'month', 'day'}
_TIME_ATTRIBUTES = {'hour', 'minute', 'second', 'microsecond'}
ATTRIBUTES = {
    datetime.date: _DATE_ATTRIBUTES,
    datetime.datetime: _DATE_ATTRIBUTES | _TIME_ATTRIBUTES,
    datetime.time: _TIME_ATTRIBUTES,
    datetime.timedelta: {'days', 'seconds', 'microseconds'},
    }
_DATE_METHODS = {'isoformat', 'isoweekday', 'replace', 'weekday'}
METHODS = {
    # None that makes a text as long as a number says
    str: {
        'capitalize', 'count', 'endswith', 'find', 'isalpha', 'isdigit',
        'islower', 'isspace', 'isupper', 'join', 'lower', 'lstrip',
        'partition', 'removeprefix', 'removesuffix', 'replace', 'rstrip',
        'split', 'splitlines', 'startswith', 'strip', 'title', 'upper'},
    datetime.date: _DATE_METHODS,
    datetime.datetime: _DATE_METHODS | {'date', 'time'},
    datetime.time: {'isoformat', 'replace'},
    datetime.timedelta: {'total_seconds'},
    dict: {'get', 'items', 'keys', 'values'},
    }
# What Python could call, said before anything is called
REFUSED = {n for t in [*METHODS, list] for n in dir(t)}.difference(
    ['combine', 'now', 'today'], *METHODS.values())
# Functions that look at the items themselves, and others
_OF_SCALARS = {f.__name__: f for f in [
        abs, all, any, bool, float, int, max, min, sorted, str, sum]}
_OF_SCALARS['Markup'] = Markup
_OF_ITEMS = {f.__name__: f for f in [
        enumerate, len, list, range, reversed, zip]}
BUILTINS = _OF_SCALARS | _OF_ITEMS
# By the names of their classes in ast
OPERATORS = {
    'Add': operator.add, 'Sub': operator.sub, 'Mult': operator.mul,
    'Div': operator.truediv, 'FloorDiv': operator.floordiv,
    'Mod': operator.mod}
COMPARISONS = {
    'Eq': operator.eq, 'NotEq': operator.ne, 'Lt': operator.lt,
    'LtE': operator.le, 'Gt': operator.gt, 'GtE': operator.ge,
    'Is': operator.is_, 'IsNot': operator.is_not,
    'In': lambda left, right: left in right,
    'NotIn': lambda left, right: left not in right}
_KNOWN = SCALARS | CONTAINERS
_ARITHMETIC = NUMBERS | DATES | {datetime.timedelta}


class Guard:
    "The only way of an expression to values, for one rendering"
    __slots__ = ('steps', 'deadline')

    def __init__(self):
        self.steps = MAX_STEPS
        self.deadline = monotonic() + MAX_TIME

    # Counting

    def spend(self, steps):
        self.steps -= steps
        if self.steps < 0:
            raise TemplateRenderError('limit_steps', limit=MAX_STEPS)

    def watch(self):
        if monotonic() > self.deadline:
            raise TemplateRenderError('limit_time', limit=MAX_TIME)

    def keep(self, value):
        "Return the value after having counted its size"
        type_ = type(value)
        if type_ in NUMBERS:
            check_number(value)
        elif type_ in TEXTS:
            check_size(len(value))
            self.spend(len(value) // CHARACTERS)
        elif type_ in CONTAINERS:
            self.spend(len(value))
        return value

    def measure(self, *values, of_items=True):
        """Return the size of the values: scalars, or containers of them

        What walks through shared parts could take any time.
        """
        size = 0
        for value in values:
            if type(value) not in CONTAINERS:
                size += self.measure_scalar(value)
                continue
            self.spend(len(value))
            size += len(value)
            if of_items:
                size += sum(map(self.measure_scalar, value))
        return size

    @staticmethod
    def measure_scalar(value):
        type_ = type(value)
        if type_ in TEXTS:
            return len(value)
        if type_ not in SCALARS and not isinstance(value, Guarded):
            raise TemplateRenderError('show', type=type_name(value))
        if type_ in NUMBERS:
            check_number(value)
        return 1

    def loop(self, value, steps):
        "Return what to loop over, each turn takes the steps"
        type_ = type(value)
        if type_ in {dict, set}:
            value = list(value)
        elif type_ not in SEQUENCES and type_ is not str:
            raise TemplateRenderError('iterate', type=type_name(value))
        self.spend(len(value) * steps)
        self.watch()
        return value

    # Members

    def attribute(self, value, name):
        if isinstance(value, Guarded):
            self.watch()
            return value._read(name)
        type_ = type(value)
        if name in ATTRIBUTES.get(type_, ()):
            return getattr(value, name)
        if type_ is dict and name in value:
            return value[name]
        raise TemplateRenderError(
            'empty' if value is None else 'attribute',
            name=name, type=type_name(value))

    def item(self, value, key):
        type_ = type(value)
        if type_ is dict:
            self.measure_scalar(key)
            return value[key]
        if type_ in SEQUENCES or type_ is str:
            item = value[key]
            return self.keep(item) if type(key) is slice else item
        return self.attribute(value, key if type(key) is str else '[]')

    def method(self, value, name, /, *args, **kwargs):
        size = self.measure(*args, *kwargs.values())
        type_ = type(value)
        if isinstance(value, Guarded):
            check_size(size, MAX_SHORT)
            result = value._call(name, args, kwargs)
            self.watch()
            return result
        if name not in METHODS.get(type_, ()):
            raise TemplateRenderError(
                'empty' if value is None else 'method',
                name=name, type=type_name(value))
        if type_ is str:
            # What is searched or put in at each of its places
            self.spend(len(value) * (size + 1) // CHARACTERS)
        return self.result(getattr(value, name)(*args, **kwargs))

    def call(self, function, /, *args, **kwargs):
        "Call a function of the context"
        if not callable(function):
            raise TemplateRenderError('call', type=type_name(function))
        check_size(self.measure(*args, *kwargs.values()), MAX_SHORT)
        result = function(*args, **kwargs)
        self.watch()
        return result

    def builtin(self, name, /, *args, **kwargs):
        self.spend(self.measure(
                *args, *kwargs.values(), of_items=name in _OF_SCALARS))
        return self.result(BUILTINS[name](*args, **kwargs))

    def result(self, result):
        "Return the result of Python, with a list for an iterator"
        if type(result) not in _KNOWN and not isinstance(result, Guarded):
            result = list(result)
        return self.keep(result)

    # Operators

    def binary(self, operator, left, right):
        types = {type(left), type(right)}
        if not types <= _ARITHMETIC and not (
                operator == 'Add' and types in ({str}, {list}, {tuple})):
            raise TemplateRenderError(
                'operands', left=type_name(left), right=type_name(right))
        return self.keep(OPERATORS[operator](left, right))

    def compare(self, operator, left, right):
        if operator not in {'In', 'NotIn'}:
            size = self.measure(left, right)
        elif type(right) in CONTAINERS or type(right) is str:
            size = self.measure(left) * len(right)
        else:
            raise TemplateRenderError('iterate', type=type_name(right))
        self.spend(size // CHARACTERS)
        return COMPARISONS[operator](left, right)

    # Texts

    def text(self, value):
        "Return the text to put in the output, None to put nothing"
        if type(value) not in TEXTS:
            if value is None:
                return None
            self.measure_scalar(value)
            value = str(value)
        self.spend(len(value) // CHARACTERS)
        return value

    def join(self, *values):
        "Return the texts as one, None if there is none"
        texts = [t for t in map(self.text, values) if t is not None]
        return ''.join(texts) if texts else None
