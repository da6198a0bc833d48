# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the expressions of a template may do while they run

The code made by expression.py reaches values only through a Guard, which
knows for each type what can be read and called, and which counts what an
operation costs before the operation: nothing can interrupt a call into C.
"""
import datetime
import re
from decimal import Decimal
from time import monotonic

from genshi.core import Markup

from .error import TemplateRenderError

INTERVAL = 256  # steps between two looks at the clock
MAX_BITS = 1024  # of an integer
MAX_DIGITS = 1000  # of a decimal once written without exponent
MAX_WIDTH = 1000  # of a formatted value
MAX_PRECISION = 100
HASH_BITS = 60  # of an integer that is its own hash
COLLISION = 64  # steps for a key whose hash may be that of others
MAX_DEPTH = 50  # of containers in containers
MAX_SHORT = 1000  # characters of what is parsed: numbers, dates, formats


class Limits:
    """What rendering may use

    time -- seconds
    steps -- operations; with more than some millions, what one call of a
        builtin does can outlast the time
    output -- characters of the result, and of any text on the way to it
    """
    __slots__ = ('time', 'steps', 'output')

    def __init__(self, time=2, steps=300_000, output=1_000_000):
        self.time = time
        self.steps = steps
        self.output = output


class Guarded:
    "Base of the values that decide themselves what a template reads"
    __slots__ = ()

    def _read(self, name):
        raise NotImplementedError

    def _call(self, name, args, kwargs):
        raise NotImplementedError


class Namespace(Guarded):
    "Values and functions by name, and maybe a function to call it"
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


class _Callable:
    __slots__ = ('function',)

    def __init__(self, function):
        self.function = function

    def __repr__(self):
        return '<function>'


class Helper(_Callable):
    "A function of the context"
    __slots__ = ()


class Builtin(_Callable):
    "A function that receives the guard first"
    __slots__ = ()


class Lambda(_Callable):
    "A function of the template, only for a builtin to call it"
    __slots__ = ()


NUMBERS = {int, float, bool, Decimal}
TEXTS = {str, Markup}
SEQUENCES = {list, tuple}
SETS = {set, frozenset}
CONTAINERS = SEQUENCES | SETS | {dict}
DATES = {datetime.date, datetime.datetime, datetime.time}
TIMES = DATES | {datetime.timedelta}
_SHOWN = NUMBERS | TIMES | TEXTS | {type(None), range}

_SPEC = re.compile(
    r'(?:.?[<>=^])?[-+ ]?z?#?0?(\d{0,30})[,_]?(?:\.(\d{1,30}))?'
    r'[bcdeEfFgGnosxX%]?', re.DOTALL)
_PERCENT = re.compile(
    r'%(?:\((?P<key>[^()]*)\))?[#0\- +]*(?P<width>\d*)'
    r'(?:\.(?P<precision>\d*))?(?P<type>.?)', re.DOTALL)
_STRFTIME = re.compile(r'(?:[^%]|%[-_0^#]?[EO]?[A-Za-z%])*')


def check_strftime(format):
    """Raise an error for a format of dates that could produce a long text

    The C library pads a conversion to any width written in the format.
    """
    if (not isinstance(format, str)
            or len(format) > MAX_SHORT
            or not _STRFTIME.fullmatch(format)):
        raise TemplateRenderError('format', format=str(format)[:100])


def check_width(width, limit=MAX_WIDTH):
    if not isinstance(width, int) or abs(width) > limit:
        raise TemplateRenderError('limit_number')


def check_number(number):
    "Raise an error for a number that is long without exponent"
    if (isinstance(number, Decimal)
            and number.is_finite()
            and abs(number.adjusted()) > MAX_DIGITS
            or isinstance(number, int)
            and number.bit_length() > MAX_BITS):
        raise TemplateRenderError('limit_number')
    return number


def check_short(text, limit=MAX_SHORT):
    if len(text) > limit:
        raise TemplateRenderError('limit_text', limit=limit)


class Guard:
    """The only way of an expression to values, for one rendering

    The compiled code names the methods by GUARDS.
    """
    __slots__ = ('limits', 'context', 'steps', 'alarm', 'deadline', 'size')

    # By type, filled by builtin.py
    attributes = {}
    methods = {}

    lambda_ = Lambda

    def __init__(self, limits, context):
        self.limits = limits
        self.context = context
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

    def measure(self, value, depth=0):
        """Return about how many characters show the value

        Walking costs what comparing, hashing or showing the value costs:
        shared parts are counted each time.
        """
        type_ = type(value)
        if type_ in TEXTS:
            return len(value)
        if type_ is int:
            return 8 + (value.bit_length() >> 1)
        if type_ is Decimal:
            return len(str(value))
        if type_ not in CONTAINERS:
            return 64
        if depth > MAX_DEPTH:
            raise TemplateRenderError('limit_depth')
        self.tick(len(value) + 1)
        if type_ is dict:
            value = (*value.keys(), *value.values())
        return 2 + sum(self.measure(v, depth + 1) + 2 for v in value)

    def weigh(self, *values):
        "Count what walking through the values costs"
        for value in values:
            self.tick(self.measure(value) >> 6)

    def shown(self, value, quoted=False):
        "Return the longest the text of the value can be, in characters"
        self._check_shown(value)
        size = self.measure(value)
        if quoted or type(value) in CONTAINERS:
            size *= 10  # '\\U0001f600'
        return size

    def key(self, value):
        """Return the value after having counted its hash

        The hash of what is neither a text nor a small number may be chosen,
        and each key is compared with all those of the same hash.
        """
        type_ = type(value)
        if type_ not in TEXTS and (
                type_ is not int or value.bit_length() > HASH_BITS):
            self.tick(COLLISION)
            self._check_shown(value)  # an error shows it
            if type_ in CONTAINERS:
                self.weigh(value)
        return value

    def keep(self, container):
        "Return the new container after having counted its items"
        self.tick(len(container) + 1)
        return container

    def items(self, value):
        "Return what to loop over, which is finite and counted"
        type_ = type(value)
        if type_ in SEQUENCES or type_ in TEXTS or type_ is range:
            pass
        elif type_ in SETS or type_ is dict:
            value = list(value)
        else:
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

    # Names

    def defined(self, name):
        return name in self.context

    def value_of(self, name, default=None):
        value = self.context.get(name, default)
        return Helper(value) if is_callable(value) else value

    # Members

    def attribute(self, value, name):
        self.steps -= 1
        if self.steps < self.alarm:
            self.check()
        if isinstance(value, Guarded):
            return value._read(name)
        type_ = type(value)
        if name in self.attributes.get(type_, ()):
            return getattr(value, name)
        if type_ is dict and name in value:
            return value[name]
        raise TemplateRenderError(
            'empty' if value is None else 'attribute',
            name=name, type=type_name(value))

    def method(self, value, name, /, *args, **kwargs):
        self.tick()
        if isinstance(value, Guarded):
            result = value._call(name, args, kwargs)
            self.check()
            return result
        try:
            function = self.methods[type(value)][name]
        except KeyError:
            raise TemplateRenderError(
                'empty' if value is None else 'method',
                name=name, type=type_name(value)) from None
        return function(self, value, *args, **kwargs)

    def call(self, function, /, *args, **kwargs):
        self.tick()
        type_ = type(function)
        if type_ is Builtin:
            return function.function(self, *args, **kwargs)
        if type_ is not Helper:
            raise TemplateRenderError('call', type=type_name(function))
        for value in (*args, *kwargs.values()):
            if isinstance(value, _Callable):
                raise TemplateRenderError('call', type=type_name(value))
            self.weigh(value)
        result = function.function(*args, **kwargs)
        self.check()
        return result

    def apply(self, function, *args):
        if type(function) is Lambda:
            self.tick()
            return function.function(*args)
        return self.call(function, *args)

    def item(self, value, key):
        self.steps -= 1
        if self.steps < self.alarm:
            self.check()
        type_ = type(value)
        if type_ is dict:
            return value[self.key(key)]
        if type_ in SEQUENCES or type_ in TEXTS or type_ is range:
            return value[key]
        if isinstance(value, Guarded) and type(key) is str:
            return value._read(key)
        raise TemplateRenderError(
            'attribute', name=str(key)[:100], type=type_name(value))

    def slice(self, value, *bounds):
        type_ = type(value)
        if type_ not in SEQUENCES and type_ not in TEXTS:
            raise TemplateRenderError(
                'attribute', name='[:]', type=type_name(value))
        self.tick(len(value) if type_ in SEQUENCES else len(value) >> 4)
        return value[slice(*bounds)]

    # Operators

    def add(self, left, right):
        type_ = type(left)
        if type_ in NUMBERS and type(right) in NUMBERS:
            return left + right
        if type_ in TEXTS or type(right) in TEXTS:
            self._charge_text(left, right)
        elif type_ in SEQUENCES and type(right) is type_:
            self.tick(len(left) + len(right))
        return left + right

    def _charge_text(self, left, right):
        for value in [left, right]:
            if type(value) not in TEXTS:
                raise TypeError(
                    'can only concatenate text to text, '
                    f'not {type_name(value)}')
        size = len(left) + len(right)
        if type(left) is not type(right):  # escaped
            size *= 6
        self.charge(size)

    def multiply(self, left, right):
        types = type(left), type(right)
        if types == (int, int):
            bits = left.bit_length() + right.bit_length()
            if bits > MAX_BITS:
                raise TemplateRenderError('limit_number')
            return left * right
        for value, count, type_ in [
                (left, right, types[0]), (right, left, types[1])]:
            if isinstance(count, int):
                if type_ in TEXTS:
                    self.charge(len(value) * max(count, 0))
                elif type_ in SEQUENCES:
                    self.tick(len(value) * max(count, 0))
        return left * right

    def power(self, left, right):
        if isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > MAX_BITS:
                raise TemplateRenderError('limit_number')
        elif type(left) not in NUMBERS or type(right) not in NUMBERS:
            raise TypeError('only numbers have powers')
        else:
            check_number(left)
            check_width(int(check_number(right)), MAX_BITS)
        return left ** right

    def shift(self, left, right):
        check_width(right, MAX_BITS)
        return check_number(left << right)

    def subtract(self, left, right):
        self._count_sets(left, right)
        return left - right

    def bit_and(self, left, right):
        self._count_sets(left, right)
        return left & right

    def bit_or(self, left, right):
        self._count_sets(left, right)
        return left | right

    def bit_xor(self, left, right):
        self._count_sets(left, right)
        return left ^ right

    def _count_sets(self, left, right):
        if type(left) in CONTAINERS:
            self.weigh(left, right)

    def modulo(self, left, right):
        if type(left) in TEXTS:
            return self._percent(left, right)
        return left % right

    def _percent(self, text, values):
        "Count what text % values shows before it does"
        size = len(text)
        single = values if isinstance(values, tuple) else (values,)
        rest = iter(single)
        for match in _PERCENT.finditer(text):
            self.tick()
            type_ = match['type']
            if type_ == '%':
                continue
            if type_ not in set('sradiuoxXeEfFgGc') or not type_:
                raise TemplateRenderError('format', format=match[0][:100])
            width = int(match['width'] or 0)
            precision = int(match['precision'] or 0)
            check_width(width)
            check_width(precision)
            if match['key'] is not None and isinstance(values, dict):
                value = values[match['key']]
            else:
                value = next(rest, None)
            if type_ not in {'s', 'r', 'a'}:
                check_number(value)
            size += width + precision + self.shown(value, type_ in 'ra')
        if type(text) is Markup:
            self.charge(size * 6)
            return self._percent_markup(text, values)
        self.charge(size)
        return text % values

    def _percent_markup(self, text, values):
        "As Genshi has it, and also for numbers"
        def escape(value):
            if type(value) in NUMBERS:
                return value
            if type(value) not in TEXTS:
                value = self.string(value)
            return Markup.escape(value)

        if type(values) is dict:
            values = {k: escape(v) for k, v in values.items()}
        elif type(values) is tuple:
            values = tuple(map(escape, values))
        else:
            values = escape(values)
        return Markup(str(text) % values)

    def compare(self, left, operators, *rights):
        for operator, right in zip(operators, rights):
            if not self._compare(operator, left, right):
                return False
            left = right
        return True

    def _compare(self, operator, left, right):
        self.tick()
        if operator in {'in', 'not in'}:
            contained = self.contains(right, left)
            return contained if operator == 'in' else not contained
        if type(left) in CONTAINERS and type(right) in CONTAINERS:
            self.weigh(left, right)
        elif type(left) in TEXTS and type(right) in TEXTS:
            self.tick(min(len(left), len(right)) >> 6)
        return OPERATORS[operator](left, right)

    def contains(self, container, value):
        type_ = type(container)
        if type_ in TEXTS:
            self.charge(len(container))
            return value in container
        if type_ is not range and type_ not in CONTAINERS:
            raise TemplateRenderError('iterate', type=type_name(container))
        size = self.measure(value) >> 6
        if type_ in SEQUENCES:
            self.tick(len(container) * (size + 1))
            if type(value) in CONTAINERS:
                self.weigh(container)
        elif type_ is range and type(value) is not int:
            self.tick(len(container))
        else:
            self.tick(size + 1)
        return value in container

    # Texts

    def _check_shown(self, value, depth=0):
        type_ = type(value)
        if type_ in _SHOWN or isinstance(value, (Guarded, _Callable)):
            return
        if type_ not in CONTAINERS:
            raise TemplateRenderError('show', type=type_name(value))
        if depth > MAX_DEPTH:
            raise TemplateRenderError('limit_depth')
        self.tick(len(value))
        for item in value:
            self._check_shown(item, depth + 1)
        if type_ is dict:
            for item in value.values():
                self._check_shown(item, depth + 1)

    def string(self, value=''):
        type_ = type(value)
        if type_ in TEXTS:
            return str(value)
        size = self.shown(value)
        if type_ in CONTAINERS:
            self.charge(size)
        return str(value)

    def text(self, value):
        "Return the text to put in the output, None to put nothing"
        type_ = type(value)
        if type_ not in TEXTS:
            if value is None:
                return None
            if type_ in CONTAINERS or type_ is range:
                return Markup('').join(
                    filter(None, map(self.text, self.items(value))),
                    escape_quotes=False)
            value = self.string(value)
        self.emit(len(value))
        return value

    def cdata(self, value):
        "Return the text to put in a CDATA section, which it must not end"
        value = self.text(value)
        return value and str(value).replace(']]>', ']] >')

    def join(self, *values):
        "Return the texts as one, None if there is none"
        texts = [t for t in map(self.text, values) if t is not None]
        return ''.join(texts) if texts else None

    def concat(self, *texts):
        self.charge(sum(map(len, texts)))
        return ''.join(texts)

    def format(self, value, spec='', conversion=None):
        if conversion:
            value = self._convert(value, conversion)
        type_ = type(value)
        if type_ in DATES and spec:
            check_strftime(spec)
        elif type_ in NUMBERS or type_ in TEXTS:
            match = _SPEC.fullmatch(spec)
            if not match:
                raise TemplateRenderError('format', format=spec[:100])
            check_width(int(match[1] or 0))
            check_width(int(match[2] or 0), MAX_PRECISION)
            check_number(value)
        else:
            return self._format_text(value, spec)
        return format(value, spec)

    def _format_text(self, value, spec):
        if spec:
            raise TemplateRenderError('format', format=spec[:100])
        return self.string(value)

    def _convert(self, value, conversion):
        if conversion == 's':
            return self.string(value)
        if conversion not in {'r', 'a'}:
            raise TemplateRenderError('format', format=f'!{conversion}')
        self.charge(self.shown(value, quoted=True))
        return repr(value) if conversion == 'r' else ascii(value)


def type_name(value):
    if isinstance(value, Guarded):
        return str(value)
    if isinstance(value, _Callable):
        return 'function'
    return type(value).__name__


def is_callable(value):
    return callable(value) and not isinstance(value, (Guarded, _Callable))


OPERATORS = {
    '==': lambda left, right: left == right,
    '!=': lambda left, right: left != right,
    '<': lambda left, right: left < right,
    '<=': lambda left, right: left <= right,
    '>': lambda left, right: left > right,
    '>=': lambda left, right: left >= right,
    'is': lambda left, right: left is right,
    'is not': lambda left, right: left is not right,
    }

# The compiled code calls these by name
GUARDS = {
    '_add': 'add', '_and': 'bit_and', '_attribute': 'attribute',
    '_call': 'call', '_cdata': 'cdata', '_compare': 'compare',
    '_concat': 'concat', '_defined': 'defined', '_emit': 'emit',
    '_format': 'format', '_item': 'item', '_items': 'items', '_join': 'join',
    '_keep': 'keep', '_key': 'key', '_lambda': 'lambda_', '_loop': 'loop',
    '_method': 'method', '_modulo': 'modulo', '_multiply': 'multiply',
    '_or': 'bit_or', '_power': 'power', '_shift': 'shift', '_slice': 'slice',
    '_subtract': 'subtract', '_text': 'text',
    '_value_of': 'value_of', '_xor': 'bit_xor',
    }
