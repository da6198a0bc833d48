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
from string import Formatter

from genshi.core import Markup

from .error import TemplateRenderError
from .sandbox import (
    CONTAINERS, MAX_PRECISION, NUMBERS, SETS, TEXTS, TIMES, Builtin, Guard,
    Guarded, Namespace, check_number, check_short, check_strftime, check_width,
    type_name)

MAX_TAGGED = 10_000  # characters of what is searched by a regular expression


# Functions


def _container(type_, guard, values=()):
    values = guard.items(values)
    if type_ in SETS:
        values = [guard.key(v) for v in values]
    return type_(values)


def _listed(function, guard, *args, **kwargs):
    "Return as list what function gives for the items of args"
    return list(function(*map(guard.items, args), **kwargs))


def _numeric(function, guard, *args):
    for value in args:
        if type(value) not in NUMBERS | {datetime.timedelta}:
            raise TypeError(f'{type_name(value)} is not a number')
        check_number(value)
    return function(*args)


def _dict(guard, values=(), /, **kwargs):
    if type(values) is dict:
        values = values.items()
    else:
        values = [guard.items(v) for v in guard.items(values)]
    guard.tick(len(values))
    result = {guard.key(k): v for k, v in values}
    return {**result, **kwargs}


def _enumerate(guard, values, start=0):
    return list(enumerate(guard.items(values), start))


def _extreme(function, guard, *args, key=None, **default):
    if default.keys() - {'default'}:
        raise TypeError('unexpected argument')
    values = list(guard.items(args[0] if len(args) == 1 else args))
    if not values and default:
        return default['default']
    keys = _keys(guard, values, key)
    guard.weigh(keys)
    return values[function(range(len(keys)), key=keys.__getitem__)]


def _filter(guard, function, values):
    if function is None:
        return [v for v in guard.items(values) if v]
    return [v for v in guard.items(values) if guard.apply(function, v)]


def _float(guard, value=0):
    if type(value) in TEXTS:
        check_short(value)
    elif type(value) not in NUMBERS:
        raise TypeError(f'{type_name(value)} is not a number')
    return float(value)


def _int(guard, value=0, *base):
    if type(value) in TEXTS:
        check_short(value)
    elif type(value) in NUMBERS:
        check_number(value)
    elif not isinstance(value, Guarded):
        raise TypeError(f'{type_name(value)} is not a number')
    return check_number(int(value, *base))


def _keys(guard, values, key):
    if key is None:
        return values
    return [guard.apply(key, v) for v in values]


def _len(guard, value):
    type_ = type(value)
    if type_ in TEXTS or type_ in CONTAINERS or type_ is range:
        return len(value)
    raise TypeError(f'{type_name(value)} has no length')


def _map(guard, function, *values):
    return [
        guard.apply(function, *v)
        for v in zip(*map(guard.items, values))]


def _markup(guard, value=''):
    return Markup(guard.string(value))


def _range(guard, *args):
    result = range(*args)
    # len() fails for more than an index can be
    if (result.stop - result.start) // result.step > guard.limits.steps:
        raise TemplateRenderError('limit_steps', limit=guard.limits.steps)
    return result


def _round(guard, number, digits=None):
    if digits is not None:
        check_width(digits, MAX_PRECISION)
    if type(number) not in NUMBERS:
        raise TypeError(f'{type_name(number)} is not a number')
    return round(check_number(number), digits)


def _sorted(guard, values, *, key=None, reverse=False):
    values = list(guard.items(values))
    keys = _keys(guard, values, key)
    # Each is compared log2(n) times
    guard.tick(guard.measure(keys) * len(keys).bit_length() >> 6)
    order = sorted(
        range(len(keys)), key=keys.__getitem__, reverse=bool(reverse))
    return [values[i] for i in order]


def _sum(guard, values, start=0):
    for value in (start, *guard.items(values)):
        if type(value) not in NUMBERS and type(value) not in TIMES:
            raise TypeError('only numbers can be summed')
    return sum(values, start)


BUILTINS = {
    'abs': partial(_numeric, abs),
    'all': lambda guard, values: all(guard.items(values)),
    'any': lambda guard, values: any(guard.items(values)),
    'bool': lambda guard, value=False: bool(value),
    'chr': partial(_numeric, chr),
    'dict': _dict,
    'divmod': partial(_numeric, divmod),
    'enumerate': _enumerate,
    'filter': _filter,
    'float': _float,
    'format': lambda guard, value, spec='': guard.format(value, spec),
    'frozenset': partial(_container, frozenset),
    'int': _int,
    'len': _len,
    'list': partial(_container, list),
    'map': _map,
    'Markup': _markup,
    'max': partial(_extreme, max),
    'min': partial(_extreme, min),
    'ord': lambda guard, value: ord(value),
    'range': _range,
    'reversed': partial(_listed, reversed),
    'round': _round,
    'set': partial(_container, set),
    'sorted': _sorted,
    'str': Guard.string,
    'sum': _sum,
    'tuple': partial(_container, tuple),
    'zip': partial(_listed, zip),
    }
BUILTINS = {n: Builtin(f) for n, f in BUILTINS.items()}


# Methods of texts


def _linear(name, guard, value, *args, **kwargs):
    "Call what costs about the size of the value and of the arguments"
    guard.charge(guard.measure(value))
    guard.charge(guard.measure(args))
    return getattr(value, name)(*args, **kwargs)


def _search(name, guard, text, *args, **kwargs):
    "Call what may compare each character with each of the argument"
    sizes = sum(
        len(v) for v in (*args, *kwargs.values()) if type(v) in TEXTS)
    guard.tick((len(text) * (sizes + 1) >> 8) + 1)
    guard.charge(len(text))
    result = getattr(text, name)(*args, **kwargs)
    if type(result) is list:
        guard.tick(len(result))
    return result


def _pad(name, guard, text, width, *fill):
    check_width(width)
    guard.charge(len(text) + max(width, 0))
    return getattr(text, name)(width, *fill)


def _expandtabs(guard, text, tabsize=8):
    check_width(tabsize)
    guard.charge(len(text) + text.count('\t') * max(tabsize, 0))
    return text.expandtabs(tabsize)


def _format(guard, text, *args, **kwargs):
    "Format without the attributes and items that str.format can reach"
    guard.charge(len(text))
    automatic = iter(args)
    parts = []
    for literal, field, spec, conversion in Formatter().parse(text):
        guard.tick()
        parts.append(literal)
        if field is None:
            continue
        if not field:
            value = next(automatic, None)
        elif field.isdecimal() and len(field) < 4:
            value = args[int(field)]
        elif field.isidentifier():
            value = kwargs[field]
        else:
            raise TemplateRenderError('format', format=field[:100])
        parts.append(guard.format(value, spec, conversion))
    return guard.concat(*parts)


def _join(guard, text, values):
    values = guard.items(values)
    if any(type(v) not in TEXTS for v in values):
        raise TypeError('only texts can be joined')
    size = sum(map(len, values)) + len(text) * len(values)
    guard.charge(size * 6 if type(text) is Markup else size)
    return text.join(values)


def _replace(guard, text, old, new, count=-1):
    guard.charge(len(text))
    found = text.count(old)
    times = found if count < 0 else min(count, found)
    guard.charge(len(text) + times * max(len(new) - len(old), 0))
    return text.replace(old, new, count)


def _strip_markup(name, guard, text):
    guard.charge(len(text))
    check_short(text, MAX_TAGGED)
    return getattr(text, name)()


# Methods of other values


def _isocalendar(guard, value):
    return tuple(value.isocalendar())


def _strftime(guard, value, format):
    check_strftime(format)
    return value.strftime(format)


def _find(name, guard, values, value, *bounds):
    guard.contains(values, value)
    return getattr(values, name)(value, *bounds)


def _get(guard, values, key, default=None):
    return values.get(guard.key(key), default)


def _view(name, guard, values):
    guard.tick(len(values))
    return list(getattr(values, name)())


def _set_operation(name, guard, values, *others):
    others = [[guard.key(v) for v in guard.items(o)] for o in others]
    guard.weigh(values)
    return getattr(values, name)(*others)


def _named(function, *names):
    return {n: partial(function, n) for n in names}


_TEXT_METHODS = {
    **_named(
        _linear, 'capitalize', 'casefold', 'endswith', 'isalnum', 'isalpha',
        'isdecimal', 'isdigit', 'islower', 'isnumeric', 'isspace', 'istitle',
        'isupper', 'lower', 'removeprefix', 'removesuffix', 'startswith',
        'swapcase', 'title', 'upper'),
    **_named(_pad, 'center', 'ljust', 'rjust', 'zfill'),
    **_named(
        _search, 'count', 'find', 'index', 'lstrip', 'partition', 'rfind',
        'rindex', 'rpartition', 'rsplit', 'rstrip', 'split', 'splitlines',
        'strip'),
    'expandtabs': _expandtabs,
    'format': _format,
    'join': _join,
    'replace': _replace,
    }
_MARKUP_METHODS = {
    **_TEXT_METHODS,
    **_named(_strip_markup, 'striptags', 'stripentities'),
    **_named(_linear, 'unescape'),
    }
_DATE_METHODS = {
    **_named(
        _linear, 'ctime', 'isoformat', 'isoweekday', 'replace', 'toordinal',
        'weekday'),
    'isocalendar': _isocalendar,
    'strftime': _strftime,
    }
_TIME_METHODS = {
    **_named(_linear, 'isoformat', 'replace'),
    'strftime': _strftime,
    }
_SEQUENCE_METHODS = _named(_find, 'count', 'index')
_DICT_METHODS = {'get': _get, **_named(_view, 'items', 'keys', 'values')}
_SET_METHODS = _named(
    _set_operation, 'difference', 'intersection', 'isdisjoint', 'issubset',
    'issuperset', 'symmetric_difference', 'union')

Guard.methods.update({
        str: _TEXT_METHODS,
        Markup: _MARKUP_METHODS,
        datetime.date: _DATE_METHODS,
        datetime.datetime: {
            **_DATE_METHODS, **_named(_linear, 'date', 'time', 'timestamp')},
        datetime.time: _TIME_METHODS,
        datetime.timedelta: _named(_linear, 'total_seconds'),
        float: _named(_linear, 'is_integer'),
        Decimal: _named(_linear, 'is_zero', 'normalize', 'quantize'),
        list: _SEQUENCE_METHODS,
        tuple: _SEQUENCE_METHODS,
        dict: _DICT_METHODS,
        set: _SET_METHODS,
        frozenset: _SET_METHODS,
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
        'datetime': datetime.datetime,
        'date': datetime.date,
        'time': datetime.time,
        'timedelta': datetime.timedelta,
        })
