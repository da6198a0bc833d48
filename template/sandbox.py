# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the expressions of a template may do while they run

The code made by expression.py reaches values only through a Guard.  It knows
for each type what can be read and called, and counts: steps, time and the
characters of the output.
"""
import datetime
import re
from time import monotonic

from genshi.core import Markup

from .error import TemplateRenderError
from .values import (
    CONTAINERS, DATES, NUMBERS, SEQUENCES, SHOWN, TEXTS, Builtin, Function,
    Guarded, Helper, check_number, check_strftime, check_width, type_name)

INTERVAL = 256  # steps between two looks at the clock
MAX_ARGUMENTS = 100  # in a list for a method of a record


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


_SPEC = re.compile(
    r'(?:.?[<>=^])?[-+ ]?z?#?0?(\d{0,30})[,_]?(?:\.(\d{1,30}))?'
    r'[bcdeEfFgGnosxX%]?', re.DOTALL)
_PERCENT = re.compile(
    r'%(?:\((?P<key>[^()]*)\))?[#0\- +]*(?P<width>\d*)'
    r'(?:\.(?P<precision>\d*))?(?P<type>.?)', re.DOTALL)


class Guard:
    """The only way of an expression to values, for one rendering

    The compiled code names the methods by GUARDS.
    """
    __slots__ = ('limits', 'steps', 'alarm', 'deadline', 'size')

    # By type, filled by builtin.py
    attributes = {}
    methods = {}

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

    def keep(self, container):
        "Return the new container after having counted its items"
        self.tick(len(container) + 1)
        return container

    def items(self, value):
        "Return what to loop over, which is finite and counted"
        type_ = type(value)
        if type_ in {dict, set}:
            value = list(value)
        elif type_ not in SEQUENCES and type_ not in TEXTS | {range}:
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
        """Return the value, which must not contain others

        What walks through shared parts can take any time.
        """
        type_ = type(value)
        if type_ in TEXTS:
            self.charge(len(value))
        elif type_ not in SHOWN and not isinstance(value, Guarded):
            raise TemplateRenderError('show', type=type_name(value))
        return value

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
            self.check_arguments(args, kwargs)
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
        self.check_arguments(args, kwargs)
        result = function.function(*args, **kwargs)
        self.check()
        return result

    def check_arguments(self, args, kwargs):
        "What is called receives no more than lists of texts or numbers"
        for value in (*args, *kwargs.values()):
            if type(value) in SEQUENCES:
                if len(value) > MAX_ARGUMENTS:
                    raise TemplateRenderError(
                        'limit_steps', limit=MAX_ARGUMENTS)
                for item in value:
                    self.scalar(item)
            elif isinstance(value, Function):
                raise TemplateRenderError('call', type=type_name(value))
            else:
                self.scalar(value)

    def item(self, value, key):
        self.steps -= 1
        if self.steps < self.alarm:
            self.check()
        type_ = type(value)
        if type_ is dict:
            return value[self.scalar(key)]
        if type_ in SEQUENCES or type_ in TEXTS or type_ is range:
            return value[key]
        if isinstance(value, Guarded) and type(key) is str:
            return value._read(key)
        raise TemplateRenderError(
            'attribute', name=str(self.scalar(key))[:100],
            type=type_name(value))

    def slice(self, value, *bounds):
        type_ = type(value)
        if type_ not in SEQUENCES and type_ not in TEXTS:
            raise TemplateRenderError(
                'attribute', name='[:]', type=type_name(value))
        self.tick(len(value) if type_ in SEQUENCES else len(value) >> 4)
        return value[slice(*bounds)]

    # Operators

    def add(self, left, right):
        types = type(left), type(right)
        if types[0] in TEXTS and types[1] in TEXTS:
            # Markup escapes the other
            grown = 1 if types[0] is types[1] else 6
            self.charge((len(left) + len(right)) * grown)
        elif types[0] in SEQUENCES and types[0] is types[1]:
            self.tick(len(left) + len(right))
        elif types[0] in CONTAINERS | TEXTS or types[1] in CONTAINERS | TEXTS:
            raise TypeError(
                f'can not add {type_name(right)} to {type_name(left)}')
        return left + right

    def multiply(self, left, right):
        for value in [left, right]:
            if type(value) not in NUMBERS | {datetime.timedelta}:
                raise TypeError(f'can not multiply {type_name(value)}')
        return check_number(left * right)

    def modulo(self, left, right):
        if type(left) in TEXTS:
            return self._percent(left, right)
        return left % right

    def _percent(self, text, values):
        "Count what text % values shows before it does"
        size = len(text)
        rest = iter(values if isinstance(values, tuple) else (values,))
        for match in _PERCENT.finditer(text):
            self.tick()
            type_ = match['type']
            if type_ == '%':
                continue
            if not type_ or type_ not in 'sdioxXeEfFgG':
                raise TemplateRenderError('format', format=match[0][:100])
            width = int(match['width'] or 0)
            precision = int(match['precision'] or 0)
            check_width(width)
            check_width(precision)
            if match['key'] is not None and type(values) is dict:
                value = values[match['key']]
            else:
                value = next(rest, None)
            if type_ != 's':
                check_number(value)
            size += width + precision + len(self.string(value))
        self.charge(size * 6 if type(text) is Markup else size)
        return text % values

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
        if operator in {'is', 'is not'}:
            return OPERATORS[operator](left, right)
        if type(left) in CONTAINERS and type(right) in CONTAINERS and (
                left and right):
            raise TemplateRenderError('show', type=type_name(left))
        if type(left) in TEXTS and type(right) in TEXTS:
            self.tick(min(len(left), len(right)) >> 6)
        return OPERATORS[operator](left, right)

    def contains(self, container, value):
        type_ = type(container)
        size = len(value) >> 6 if type(value) in TEXTS else 0
        if type_ in TEXTS:
            self.tick(len(container) * (size + 1) >> 4)
        elif type_ in SEQUENCES or type_ is range:
            self.tick(len(container) * (size + 1))
        elif type_ not in {dict, set}:
            raise TemplateRenderError('iterate', type=type_name(container))
        return self.scalar(value) in container

    # Texts

    def string(self, value=''):
        type_ = type(value)
        if type_ in TEXTS:
            return str(value)
        if type_ not in SHOWN and not isinstance(value, Guarded):
            raise TemplateRenderError('show', type=type_name(value))
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

    def join(self, *values):
        "Return the texts as one, None if there is none"
        texts = [t for t in map(self.text, values) if t is not None]
        return ''.join(texts) if texts else None

    def concat(self, *texts):
        self.charge(sum(map(len, texts)))
        return ''.join(texts)

    def format(self, value, spec=''):
        type_ = type(value)
        if type_ in DATES and spec:
            check_strftime(spec)
        elif type_ in NUMBERS or type_ in TEXTS:
            match = _SPEC.fullmatch(spec)
            if not match:
                raise TemplateRenderError('format', format=spec[:100])
            check_width(int(match[1] or 0))
            check_width(int(match[2] or 0))
            check_number(value)
        elif spec:
            raise TemplateRenderError('format', format=spec[:100])
        else:
            value = self.string(value)
        result = format(value, spec)
        self.charge(len(result))
        return result


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
GUARDS = {f'_{name}': name for name in [
        'add', 'attribute', 'call', 'compare', 'concat', 'emit', 'format',
        'item', 'join', 'keep', 'loop', 'method', 'modulo', 'multiply',
        'slice', 'text']}
