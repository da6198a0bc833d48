# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the expressions of a template can read and call

Each function receives the guard of the rendering first, and counts what it
costs before it does it.
"""
import datetime
from decimal import Decimal
from functools import partial

from genshi.core import Markup

from .error import TemplateRenderError
from .sandbox import Guard
from .values import (
    CONTAINERS, NUMBERS, TEXTS, TIMES, Builtin, Guarded, Namespace,
    check_number, check_short, check_strftime, check_width, type_name)

# Functions


def _listed(function, guard, *args):
    "Return as list what function gives for the items of args"
    return list(function(*map(guard.items, args)))


def _check_numbers(*values):
    for value in values:
        if type(value) not in NUMBERS:
            raise TypeError(f'{type_name(value)} is not a number')
        check_number(value)


def _abs(guard, value):
    if type(value) is not datetime.timedelta:
        _check_numbers(value)
    return abs(value)


def _enumerate(guard, values, start=0):
    return list(enumerate(guard.items(values), start))


def _scalars(guard, values):
    return [guard.scalar(v) for v in guard.items(values)]


def _extreme(function, guard, *args, **default):
    if default.keys() - {'default'}:
        raise TypeError('unexpected argument')
    return function(
        _scalars(guard, args[0] if len(args) == 1 else args), **default)


def _number(type_, guard, value=0):
    if type(value) in TEXTS:
        check_short(value)
    elif not isinstance(value, Guarded):
        _check_numbers(value)
    elif type_ is not int:
        raise TypeError(f'{type_name(value)} is not a number')
    return check_number(type_(value))


def _len(guard, value):
    if type(value) in TEXTS | CONTAINERS | {range}:
        return len(value)
    raise TypeError(f'{type_name(value)} has no length')


def _range(guard, *args):
    result = range(*args)
    # len() fails for more than an index can be
    if (result.stop - result.start) // result.step > guard.limits.steps:
        raise TemplateRenderError('limit_steps', limit=guard.limits.steps)
    return result


def _round(guard, number, digits=None):
    if digits is not None:
        check_width(digits)
    _check_numbers(number)
    return round(number, digits)


def _sorted(guard, values, *, reverse=False):
    values = _scalars(guard, values)
    # Each is compared log2(n) times
    size = sum(len(v) >> 6 if type(v) in TEXTS else 0 for v in values)
    guard.tick((size + len(values)) * len(values).bit_length())
    return sorted(values, reverse=bool(reverse))


def _sum(guard, values, start=0):
    for value in (start, *guard.items(values)):
        if type(value) not in NUMBERS and type(value) not in TIMES:
            raise TypeError('only numbers can be summed')
    return sum(values, start)


BUILTINS = {
    'abs': _abs,
    'all': lambda guard, values: all(guard.items(values)),
    'any': lambda guard, values: any(guard.items(values)),
    'bool': lambda guard, value=False: bool(value),
    'enumerate': _enumerate,
    'float': partial(_number, float),
    'format': Guard.format,
    'int': partial(_number, int),
    'len': _len,
    'list': partial(_listed, list),
    'Markup': lambda guard, value='': Markup(guard.string(value)),
    'max': partial(_extreme, max),
    'min': partial(_extreme, min),
    'range': _range,
    'reversed': partial(_listed, reversed),
    'round': _round,
    'sorted': _sorted,
    'str': Guard.string,
    'sum': _sum,
    'zip': partial(_listed, zip),
    }
BUILTINS = {n: Builtin(f) for n, f in BUILTINS.items()}


# Methods of texts


def _text(name, guard, text, *args, **kwargs):
    "Call what may compare each character with each of the arguments"
    guard.check_arguments(args, kwargs)
    sizes = sum(len(v) for v in args if type(v) in TEXTS)
    guard.tick((len(text) * (sizes + 1) >> 8) + 1)
    guard.charge(len(text))
    result = getattr(text, name)(*args, **kwargs)
    if type(result) in {list, tuple}:
        guard.tick(len(result))
    return result


def _pad(name, guard, text, width, *fill):
    check_width(width)
    guard.charge(len(text) + width)
    return getattr(text, name)(width, *fill)


def _join(guard, text, values):
    values = guard.items(values)
    if any(type(v) not in TEXTS for v in values):
        raise TypeError('only texts can be joined')
    size = sum(map(len, values)) + len(text) * len(values)
    guard.charge(size * 6 if type(text) is Markup else size)
    return text.join(values)


def _replace(guard, text, old, new, count=-1):
    guard.tick((len(text) * (len(old) + 1) >> 8) + 1)
    found = text.count(old)
    times = found if count < 0 else min(count, found)
    guard.charge(len(text) + times * max(len(new) - len(old), 0))
    return text.replace(old, new, count)


# Methods of other values


def _plain(name, guard, value):
    return getattr(value, name)()


def _with_numbers(function):
    "What C code takes for the state of a pickle is a text"
    def checked(*args, **kwargs):
        _check_numbers(*args, *kwargs.values())
        return function(*args, **kwargs)
    return checked


def _replace_time(guard, value, *args, **kwargs):
    return _with_numbers(value.replace)(*args, **kwargs)


def _strftime(guard, value, format):
    check_strftime(format)
    return value.strftime(format)


def _get(guard, values, key, default=None):
    return values.get(guard.scalar(key), default)


def _view(name, guard, values):
    guard.tick(len(values))
    return list(getattr(values, name)())


def _named(function, *names):
    return {n: partial(function, n) for n in names}


_TEXT_METHODS = {
    **_named(
        _text, 'capitalize', 'casefold', 'count', 'endswith', 'find',
        'isalpha', 'isdecimal', 'isdigit', 'islower', 'isspace', 'isupper',
        'lower', 'lstrip', 'partition', 'removeprefix', 'removesuffix',
        'rfind', 'rpartition', 'rsplit', 'rstrip', 'split', 'splitlines',
        'startswith', 'strip', 'title', 'upper'),
    **_named(_pad, 'center', 'ljust', 'rjust', 'zfill'),
    'join': _join,
    'replace': _replace,
    }
_TIME_METHODS = {
    **_named(_plain, 'isoformat'),
    'replace': _replace_time,
    'strftime': _strftime,
    }
_DATE_METHODS = {**_TIME_METHODS, **_named(_plain, 'isoweekday', 'weekday')}

Guard.methods.update({
        str: _TEXT_METHODS,
        Markup: _TEXT_METHODS,
        datetime.date: _DATE_METHODS,
        datetime.datetime: {**_DATE_METHODS, **_named(_plain, 'date', 'time')},
        datetime.time: _TIME_METHODS,
        datetime.timedelta: _named(_plain, 'total_seconds'),
        float: _named(_plain, 'is_integer'),
        Decimal: _named(_plain, 'is_zero', 'normalize'),
        dict: {'get': _get, **_named(_view, 'items', 'keys', 'values')},
        })

_DATE_ATTRIBUTES = {'year', 'month', 'day'}
_TIME_ATTRIBUTES = {'hour', 'minute', 'second', 'microsecond'}
Guard.attributes.update({
        datetime.date: _DATE_ATTRIBUTES,
        datetime.datetime: _DATE_ATTRIBUTES | _TIME_ATTRIBUTES,
        datetime.time: _TIME_ATTRIBUTES,
        datetime.timedelta: {'days', 'seconds', 'microseconds'},
        })


# The datetime of templates


def _class_namespace(class_, *functions):
    return Namespace(
        class_.__name__,
        {n: getattr(class_, n) for n in ['min', 'max']},
        {n: getattr(class_, n) for n in functions})


DATETIME = Namespace(
    'datetime', {
        'datetime': _class_namespace(
            datetime.datetime, 'combine', 'fromisoformat', 'fromtimestamp',
            'now', 'today', 'utcnow'),
        'date': _class_namespace(
            datetime.date, 'fromisoformat', 'fromtimestamp', 'today'),
        'time': _class_namespace(datetime.time, 'fromisoformat'),
        'timedelta': _class_namespace(datetime.timedelta),
        }, {
        n: _with_numbers(getattr(datetime, n))
        for n in ['datetime', 'date', 'time', 'timedelta']})
