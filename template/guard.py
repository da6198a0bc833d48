# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the expressions of a template may do while they run

The code made by expression.py reaches values only through a Guard.  It takes
only the types it knows, arguments that are small, and counts: steps, time and
the characters of the output.
"""
import datetime
import operator
import re
from time import monotonic

from genshi.core import Markup

from .error import TemplateRenderError
from .values import (
    CONTAINERS, DATES, MAX_ITEMS, MAX_SHORT, NUMBERS, SCALARS, SEQUENCES,
    TEXTS, Guarded, check_number, check_strftime, check_width, type_name)

INTERVAL = 256  # steps between two looks at the clock

_DATE_ATTRIBUTES = {'year', 'month', 'day'}
_TIME_ATTRIBUTES = {'hour', 'minute', 'second', 'microsecond'}
ATTRIBUTES = {
    datetime.date: _DATE_ATTRIBUTES,
    datetime.datetime: _DATE_ATTRIBUTES | _TIME_ATTRIBUTES,
    datetime.time: _TIME_ATTRIBUTES,
    datetime.timedelta: {'days', 'seconds', 'microseconds'},
    }
_DATE_METHODS = {
    'isoformat', 'isoweekday', 'replace', 'strftime', 'weekday'}
METHODS = {
    # No rfind and rsplit, whose time is the product of the lengths
    str: {
        'capitalize', 'count', 'endswith', 'find', 'isalpha', 'isdigit',
        'islower', 'isspace', 'isupper', 'join', 'lower', 'lstrip',
        'partition', 'removeprefix', 'removesuffix', 'replace', 'rstrip',
        'split', 'splitlines', 'startswith', 'strip', 'title', 'upper'},
    datetime.date: _DATE_METHODS,
    datetime.datetime: _DATE_METHODS | {'date', 'time'},
    datetime.time: {'isoformat', 'replace', 'strftime'},
    datetime.timedelta: {'total_seconds'},
    dict: {'get', 'items', 'keys', 'values'},
    }
_OF_ITEMS = {f.__name__: f for f in [
        all, any, enumerate, len, list, reversed, zip]}
_OF_SCALARS = {f.__name__: f for f in [
        abs, bool, float, int, max, min, round, sorted, sum]}
_FUNCTIONS = _OF_ITEMS | _OF_SCALARS
BUILTINS = {*_FUNCTIONS, 'Markup', 'range', 'str'}
_ITERATORS = {
    enumerate, reversed, zip, type(iter([])), type({}.items()),
    type({}.keys()), type({}.values()), type(reversed([]))}
OPERATORS = {
    '+': operator.add, '-': operator.sub, '*': operator.mul,
    '/': operator.truediv, '//': operator.floordiv, '%': operator.mod,
    '==': operator.eq, '!=': operator.ne, '<': operator.lt,
    '<=': operator.le, '>': operator.gt, '>=': operator.ge,
    'is': operator.is_, 'is not': operator.is_not,
    'in': lambda left, right: left in right,
    'not in': lambda left, right: left not in right,
    }
_SPEC = re.compile(
    r'(?:.?[<>=^])?[-+ ]?#?0?\d{0,2}[,_]?(?:\.\d{1,2})?[deEfFgGnsxX%]?',
    re.DOTALL)
_PERCENT = re.compile(
    r'(?:[^%]|%%|%[-+ 0#]*\d{0,2}(?:\.\d{0,2})?[sdixXeEfFgG])*')

# The compiled code calls these by name
GUARDS = {f'_{name}': name for name in [
        'attribute', 'binary', 'builtin', 'call', 'compare', 'concat', 'emit',
        'format', 'item', 'join', 'keep', 'loop', 'method', 'slice', 'text']}


class Limits:
    """What rendering may use

    time -- seconds
    steps -- operations
    output -- characters of the result, and of any text on the way to it
    """
    __slots__ = ('time', 'steps', 'output')

    def __init__(self, time=2, steps=300_000, output=1_000_000):
        self.time = time
        self.steps = steps
        self.output = output


class Guard:
    "The only way of an expression to values, for one rendering"
    __slots__ = ('limits', 'steps', 'alarm', 'deadline', 'size')

    def __init__(self, limits):
        self.limits = limits
        self.steps = limits.steps
        self.alarm = max(self.steps - INTERVAL, 0)
        self.deadline = monotonic() + limits.time
        self.size = limits.output

    # Counting

    def tick(self, steps=1):
        self.steps -= steps
        if self.steps < self.alarm:
            self.check()

    def check(self):
        if self.steps < 0:
            raise TemplateRenderError('limit_steps', limit=self.limits.steps)
        if monotonic() > self.deadline:
            raise TemplateRenderError('limit_time', limit=self.limits.time)
        self.alarm = max(self.steps - INTERVAL, 0)

    def charge(self, size):
        "Count a text of size characters"
        if size > self.limits.output:
            raise TemplateRenderError('limit_text', limit=self.limits.output)
        self.tick((size >> 4) + 1)

    def emit(self, size):
        "Count size characters of output"
        self.size -= size
        if self.size < 0:
            raise TemplateRenderError(
                'limit_output', limit=self.limits.output)
        self.tick()

    def keep(self, value):
        "Return the value after having counted its size"
        type_ = type(value)
        if type_ in TEXTS:
            self.charge(len(value))
        elif type_ in CONTAINERS:
            self.tick(len(value) + 1)
        else:
            self.tick()
            if type_ in NUMBERS:
                check_number(value)
        return value

    def items(self, value):
        "Return what to loop over, which is finite and counted"
        type_ = type(value)
        if type_ in {dict, set}:
            value = list(value)
        elif type_ not in SEQUENCES and type_ is not str:
            raise TemplateRenderError('iterate', type=type_name(value))
        self.tick(len(value) + 1)
        return value

    def loop(self, value):
        "Return the items for the loop of a template"
        value = self.items(value)
        return value if len(value) <= INTERVAL else self._watched(value)

    def _watched(self, values):
        for i, value in enumerate(values):
            if not i % INTERVAL:
                self.check()
            yield value

    def scalar(self, value):
        """Return the value, which must not be long nor contain others

        What walks through shared parts can take any time.
        """
        type_ = type(value)
        if type_ not in SCALARS and not isinstance(value, Guarded):
            raise TemplateRenderError('show', type=type_name(value))
        if type_ in TEXTS and len(value) > MAX_SHORT:
            raise TemplateRenderError('limit_text', limit=MAX_SHORT)
        if type_ in NUMBERS:
            check_number(value)
        return value

    def arguments(self, *values):
        "Check what a function of Python receives"
        for value in values:
            if type(value) not in SEQUENCES:
                self.scalar(value)
            elif len(value) > MAX_ITEMS:
                raise TemplateRenderError('limit_steps', limit=MAX_ITEMS)
            else:
                for item in value:
                    self.scalar(item)

    # Members

    def attribute(self, value, name):
        self.steps -= 1
        if self.steps < self.alarm:
            self.check()
        if isinstance(value, Guarded):
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
        self.steps -= 1
        if self.steps < self.alarm:
            self.check()
        type_ = type(value)
        if type_ is dict:
            return value[self.scalar(key)]
        if type_ in SEQUENCES or type_ is str:
            return value[key]
        if isinstance(value, Guarded) and type(key) is str:
            return value._read(key)
        raise TemplateRenderError(
            'attribute', name=str(self.scalar(key))[:100],
            type=type_name(value))

    def slice(self, value, *bounds):
        if type(value) not in SEQUENCES and type(value) is not str:
            raise TemplateRenderError(
                'attribute', name='[:]', type=type_name(value))
        return self.keep(value[slice(*bounds)])

    def method(self, value, name, /, *args, **kwargs):
        type_ = type(value)
        if isinstance(value, Guarded):
            self.arguments(*args, *kwargs.values())
            result = value._call(name, args, kwargs)
            self.check()
        elif name not in METHODS.get(type_, ()):
            raise TemplateRenderError(
                'empty' if value is None else 'method',
                name=name, type=type_name(value))
        else:
            self.keep(value)
            if name == 'join':
                args = [self._joined(value, *args)]
            else:
                self.arguments(*args, *kwargs.values())
            if name == 'strftime':
                check_strftime(*args)
            elif name == 'replace' and type_ is str:
                self.charge(value.count(args[0]) * len(args[1]))
            result = getattr(value, name)(*args, **kwargs)
        return self._result(result)

    def _joined(self, text, values):
        values = self.items(values)
        self.charge(sum(map(len, values)) + len(text) * len(values))
        return values

    def _result(self, result):
        return self.keep(
            list(result) if type(result) in _ITERATORS else result)

    def call(self, function, /, *args, **kwargs):
        "Call a function of the context"
        if not callable(function):
            raise TemplateRenderError('call', type=type_name(function))
        self.arguments(*args, *kwargs.values())
        result = function(*args, **kwargs)
        self.tick()
        self.check()
        return result

    def builtin(self, name, /, *args, **kwargs):
        if name not in _FUNCTIONS:
            return getattr(self, f'builtin_{name.lower()}')(*args, **kwargs)
        for value in (*args, *kwargs.values()):
            if type(value) not in CONTAINERS:
                self.keep(value) if name == 'len' else self.scalar(value)
                continue
            items = self.items(value)
            if name in _OF_SCALARS:
                for item in items:
                    self.scalar(item)
        if name == 'round':
            for digits in (*args[1:], *kwargs.values()):
                check_width(digits)
        return self._result(_FUNCTIONS[name](*args, **kwargs))

    def builtin_markup(self, value=''):
        return self.keep(Markup(self.string(value)))

    def builtin_range(self, *args):
        result = range(*args)
        # len() fails for more than an index can be
        self.tick(max((result.stop - result.start) // result.step, 0))
        return list(result)

    def builtin_str(self, value=''):
        return self.keep(self.string(value))

    # Operators

    def binary(self, operator, left, right):
        types = {type(left), type(right)}
        if operator == '%' and type(left) is str:
            self._percent(left, right)
        elif operator == '*' and not types <= NUMBERS | {datetime.timedelta}:
            raise TypeError('only numbers can be multiplied')
        elif Markup in types:
            raise TypeError('Markup is only to be shown')
        return self.keep(OPERATORS[operator](left, right))

    def _percent(self, text, values):
        if not _PERCENT.fullmatch(text):
            raise TemplateRenderError('format', format=text[:100])
        for value in values if type(values) is tuple else [values]:
            self.scalar(value)
        if text.count('%') * MAX_SHORT > self.limits.output:
            raise TemplateRenderError('limit_text', limit=self.limits.output)

    def compare(self, operator, left, right):
        self.tick()
        if operator in {'in', 'not in'}:
            if type(right) not in CONTAINERS and type(right) is not str:
                raise TemplateRenderError('iterate', type=type_name(right))
            self.keep(right)
            self.scalar(left)
        elif operator not in {'is', 'is not'}:
            self.scalar(left)
            self.scalar(right)
        return OPERATORS[operator](left, right)

    # Texts

    def string(self, value):
        type_ = type(value)
        if type_ not in SCALARS and not isinstance(value, Guarded):
            raise TemplateRenderError('show', type=type_name(value))
        return str(value)

    def text(self, value):
        "Return the text to put in the output, None to put nothing"
        type_ = type(value)
        if type_ not in TEXTS:
            if value is None:
                return None
            if type_ in CONTAINERS:
                return Markup('').join(
                    filter(None, map(self.text, self.items(value))),
                    escape_quotes=False)
            value = self.string(value)
        self.emit(len(value))
        return value

    def join(self, *values):
        "Return the texts as one, None if there is none"
        texts = [t for t in map(self.text, values) if t is not None]
        return ''.join(texts) if texts else None

    def concat(self, *texts):
        self.charge(sum(map(len, texts)))
        return ''.join(texts)

    def format(self, value, spec):
        if type(value) in DATES and spec:
            check_strftime(spec)
        elif not _SPEC.fullmatch(spec):
            raise TemplateRenderError('format', format=spec[:100])
        elif type(value) in NUMBERS:
            check_number(value)
        elif type(value) is not str:
            value = self.string(value)
        return self.keep(format(value, spec))
