# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""PYSON as people write it: in the syntax of Python or of JSON, no database

What is stored is the JSON of PYSON.  What is shown is the syntax that the
documentation of Tryton uses.  The source is parsed and never executed.
"""
import ast

from trytond.pyson import (
    CONTEXT, PYSON, Date, PYSONDecoder, PYSONEncoder, TimeDelta)

MAX_LENGTH = 20_000
WIDTH = 72
NAMES = {'true': True, 'false': False, 'null': None}
METHODS = {'get', 'in_', 'contains'}
CLASSES = {n: c for n, c in CONTEXT.items() if isinstance(c, type)}
OPERATORS = {
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    }


class SourceError(ValueError):
    """What is wrong with the source, for who writes it

    reason -- 'long', 'unknown', 'syntax' or 'value'
    variables -- of the sentence for the reason
    """

    def __init__(self, reason, **variables):
        super().__init__(reason)
        self.reason = reason
        self.variables = variables


def encode(source):
    "Return the stored form of the source, or raise SourceError"
    if len(source) > MAX_LENGTH:
        raise SourceError('long', limit=MAX_LENGTH)
    try:
        value = PYSONDecoder(noeval=True).decode(source)
    except Exception:
        # Not JSON
        value = _parse(source)
    return PYSONEncoder().encode(value)


def _parse(source):
    source = source.strip()
    try:
        return _Reader(source).read(ast.parse(source, mode='eval').body)
    except SyntaxError as exception:
        line = exception.lineno or 1
        lines = source.splitlines() or ['']
        near = lines[min(line, len(lines)) - 1]
        raise SourceError(
            'syntax', line=line, near=near[:60].strip()) from exception
    except (MemoryError, RecursionError) as exception:
        raise SourceError('long', limit=MAX_LENGTH) from exception


class _Reader:
    "Make the value of a syntax tree that contains nothing but PYSON"

    def __init__(self, source):
        self.source = source

    def read(self, node):
        method = getattr(self, '_' + type(node).__name__.lower(), None)
        if not method:
            self._refuse(node)
        try:
            return method(node)
        except (AssertionError, AttributeError, TypeError, ValueError) as e:
            if isinstance(e, SourceError):
                raise
            raise SourceError('value', **self._place(node)) from e

    def _refuse(self, node):
        raise SourceError('unknown', **self._place(node))

    def _place(self, node):
        near = ast.get_source_segment(self.source, node) or ''
        return {'near': near[:60], 'line': node.lineno}

    def _constant(self, node):
        if not isinstance(node.value, (str, int, float, type(None))):
            self._refuse(node)
        return node.value

    def _list(self, node):
        return [self.read(n) for n in node.elts]

    _tuple = _list

    def _dict(self, node):
        if None in node.keys:
            self._refuse(node)
        return {
            self.read(k): self.read(v)
            for k, v in zip(node.keys, node.values)}

    def _name(self, node):
        if node.id not in NAMES:
            self._refuse(node)
        return NAMES[node.id]

    def _unaryop(self, node):
        value = self.read(node.operand)
        if isinstance(node.op, ast.Invert) and isinstance(value, PYSON):
            return ~value
        if isinstance(node.op, ast.USub) and type(value) in {int, float}:
            return -value
        self._refuse(node)

    def _binop(self, node):
        return self._operate(node, node.op, node.left, node.right)

    def _compare(self, node):
        if len(node.ops) > 1:
            self._refuse(node)
        return self._operate(
            node, node.ops[0], node.left, node.comparators[0])

    def _operate(self, node, operator, left, right):
        function = OPERATORS.get(type(operator))
        left, right = self.read(left), self.read(right)
        if not function or not any(
                isinstance(v, PYSON) for v in [left, right]):
            self._refuse(node)
        return function(left, right)

    def _call(self, node):
        function = node.func
        if isinstance(function, ast.Name) and function.id in CLASSES:
            function = CLASSES[function.id]
        elif isinstance(function, ast.Attribute) and function.attr in METHODS:
            value = self.read(function.value)
            if not isinstance(value, PYSON):
                self._refuse(node)
            function = getattr(value, function.attr)
        else:
            self._refuse(node)
        return function(
            *(self.read(a) for a in node.args),
            **{k.arg: self.read(k.value) for k in node.keywords})


def decode(value):
    "Return the stored form as people write it, itself if it is not valid"
    try:
        value = PYSONDecoder(noeval=True).decode(value)
    except Exception:
        return value
    return _clauses(value) if isinstance(value, list) else _value(value)


def write(clause):
    "Return the clause of a domain as people write it"
    return _clause(clause, '')


def _clauses(value, indent=''):
    "Return the source of the domain, on many lines if it is long"
    deeper = indent + '    '
    parts = [_clause(v, deeper) for v in value]
    line = '[' + ', '.join(parts) + ']'
    if len(indent + line) <= WIDTH and '\n' not in line:
        return line
    lines = ''.join(f'{deeper}{part},\n' for part in parts)
    return f'[\n{lines}{deeper}]'


def _clause(value, indent):
    if not isinstance(value, list):
        return _value(value)
    if (len(value) > 2 and isinstance(value[0], str)
            and value[0] not in {'AND', 'OR'}):
        return '(' + ', '.join(map(_value, value)) + ')'
    return _clauses(value, indent)


def _value(value):
    if isinstance(value, (Date, TimeDelta)):
        return _date(value)
    return repr(value)


def _date(value):
    "Return the source with the names of the arguments that matter"
    names = [n for n in vars(value) if n.startswith('_')]
    default = vars(value.__class__())
    arguments = ', '.join(
        f'{n[1:]}={_value(getattr(value, n))}' for n in names
        if getattr(value, n) is not default[n])
    return f'{value.__class__.__name__}({arguments})'
