# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the source of an expression to code that only works through a Guard

Names bound by the template become variables of the compiled function, all
other names become its globals, which rendering fills with the context.
"""
import ast
import builtins
import keyword
import re
import warnings

from .error import TemplateSyntaxError
from .guard import BUILTINS, OPERATORS, REFUSED
from .values import check_number

FILENAME = '<template>'
MAX_LENGTH = 5_000  # characters of an expression
MAX_NODES = 6_000  # of all the expressions of a template

_UNARY = {'Not': 'not ', 'UAdd': '+', 'USub': '-'}
_SYMBOLS = {
    'Eq': '==', 'NotEq': '!=', 'Lt': '<', 'LtE': '<=', 'Gt': '>', 'GtE': '>=',
    'Is': 'is', 'IsNot': 'is not'}
# Names that exist in Python or Genshi, but not as values here
_REFUSED = {*dir(builtins), *BUILTINS, 'defined', 'value_of'}
# What Python says about the style of a template is of no use in a log
warnings.filterwarnings(
    'ignore', category=SyntaxWarning, module=re.escape(FILENAME))


class ExpressionCompiler:
    """Write the code of the expressions of one template

    names -- the names the template does not bind itself
    paths -- the attributes read from them, as tuples of names
    guards -- the methods of the Guard that the code calls
    scope -- for each name the template binds here, its Python name and the
        path it stands for
    nodes -- how much the expressions have in them
    """

    def __init__(self):
        self.names = set()
        self.paths = set()
        self.guards = set()
        self.scope = {}
        self.nodes = 0
        self.variables = 0
        self.inner = None
        self.line = None
        self.source = ''

    def compile(self, source, line):
        return self.visit(self._parse(source, line))

    def loop(self, target, source, line):
        "Return the code of the target and of the items, and bind its names"
        node = self._parse(source, line)
        items = self.visit(node)
        return self.bind(self._parse(target, line), self.path(node)), items

    def assignments(self, source, line):
        "Yield the code of each assignment, and bind its name"
        for statement in self._parse(source, line, 'exec'):
            if (not isinstance(statement, ast.Assign)
                    or len(statement.targets) > 1):
                self.invalid()
            value = self.visit(statement.value)
            target = self.bind(
                statement.targets[0], self.path(statement.value))
            yield f'{target} = {value}'

    def _parse(self, source, line, mode='eval'):
        self.source, self.line = source, line
        if len(source) > MAX_LENGTH:
            self.error('too_complex')
        try:
            return ast.parse(
                ' '.join(source.splitlines()).strip(), FILENAME, mode).body
        except (RecursionError, MemoryError):
            self.error('too_complex')
        except (SyntaxError, ValueError):
            self.invalid()

    def error(self, reason, **variables):
        raise TemplateSyntaxError(reason, line=self.line, **variables)

    def invalid(self):
        self.error('invalid', source=self.source[:100])

    def refuse(self, kind):
        self.error('refused', kind=kind)

    def guard(self, name, *codes):
        "Return the code that calls the method of the Guard"
        self.guards.add(name)
        return f'_{name}({", ".join(codes)})'

    # Names

    def check_name(self, name):
        if name.startswith('_'):
            self.error('underscore', name=name[:100])
        if keyword.iskeyword(name):
            # In characters that Python takes for the same
            self.invalid()

    def variable(self, name):
        "Return a new Python name"
        self.variables += 1
        return f'_{self.variables}_{name}'

    def bind(self, node, path=None):
        "Return the code of the target, and bind its names from now on"
        if isinstance(node, ast.Name):
            self.check_name(node.id)
            name = self.variable(node.id)
            self.scope = {**self.scope, node.id: (name, path)}
            return name
        if isinstance(node, (ast.Tuple, ast.List)) and node.elts:
            return '(' + ''.join(self.bind(n) + ', ' for n in node.elts) + ')'
        self.invalid()

    def path(self, node):
        "Return the names of the chain of attributes from a free name"
        if isinstance(node, ast.Name):
            return self.scope.get(node.id, (None, (node.id,)))[1]
        if isinstance(node, ast.Attribute):
            path = self.path(node.value)
            return path and (*path, node.attr)
        if isinstance(node, ast.Subscript) and not (
                isinstance(node.slice, ast.Constant)
                and isinstance(node.slice.value, str)):
            return self.path(node.value)

    # Expressions

    def visit(self, node):
        "Return the code of the node"
        kind = type(node).__name__
        visitor = getattr(self, f'visit_{kind}', None)
        if not visitor:
            self.refuse(kind)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.error('too_many')
        return visitor(node)

    def visit_all(self, nodes):
        return list(map(self.visit, nodes))

    def visit_Constant(self, node):
        if type(node.value) not in {str, int, float, bool, type(None)}:
            self.invalid()
        if type(node.value) in {int, float}:
            check_number(node.value)
        return repr(node.value)

    def visit_Name(self, node):
        self.check_name(node.id)
        if node.id in self.scope:
            return self.scope[node.id][0]
        if node.id in _REFUSED:
            self.refuse(node.id)
        self.names.add(node.id)
        return node.id

    def visit_Attribute(self, node):
        self.check_name(node.attr)
        path = self.path(node)
        if path and node is not self.inner:
            self.paths.add(path)
        self.inner = node.value  # only the longest path is kept
        return self.guard(
            'attribute', self.visit(node.value), repr(node.attr))

    def visit_Subscript(self, node):
        return self.guard('item', *self.visit_all([node.value, node.slice]))

    def visit_Slice(self, node):
        return '_slice(%s, %s, %s)' % tuple(
            self.visit(b) if b else None
            for b in [node.lower, node.upper, node.step])

    def visit_Call(self, node):
        function = node.func
        if isinstance(function, ast.Attribute):
            self.check_name(function.attr)
            if function.attr in REFUSED:
                self.refuse(f'{function.attr}()')
            callee = [
                'method', self.visit(function.value), repr(function.attr)]
        elif not isinstance(function, ast.Name) or function.id in self.scope:
            self.refuse('()')
        elif function.id in BUILTINS:
            callee = ['builtin', repr(function.id)]
        else:
            callee = ['call', self.visit(function)]
        return self.guard(
            *callee, *self.visit_all([*node.args, *node.keywords]))

    def visit_keyword(self, node):
        if not node.arg:
            self.refuse('**')
        self.check_name(node.arg)
        return f'{node.arg}={self.visit(node.value)}'

    def visit_IfExp(self, node):
        return '(%s if %s else %s)' % tuple(
            self.visit_all([node.body, node.test, node.orelse]))

    def visit_BoolOp(self, node):
        operator = f' {type(node.op).__name__.lower()} '
        return f'({operator.join(self.visit_all(node.values))})'

    def visit_UnaryOp(self, node):
        kind = type(node.op).__name__
        if kind not in _UNARY:
            self.refuse(kind)
        return f'({_UNARY[kind]}{self.visit(node.operand)})'

    def visit_BinOp(self, node):
        kind = type(node.op).__name__
        if kind not in OPERATORS:
            self.refuse(kind)
        if kind == 'Mod' and isinstance(
                getattr(node.left, 'value', None), str):
            self.refuse('%')  # of a text
        return self.guard(
            'binary', repr(kind), *self.visit_all([node.left, node.right]))

    def visit_Compare(self, node):
        if len(node.ops) > 1:
            self.refuse('< <')
        kind = type(node.ops[0]).__name__
        codes = self.visit_all([node.left, *node.comparators])
        if kind in _SYMBOLS and any(
                isinstance(n, ast.Constant)
                for n in [node.left, *node.comparators]):
            # It takes no longer than the constant is long
            return f'({codes[0]} {_SYMBOLS[kind]} {codes[1]})'
        return self.guard('compare', repr(kind), *codes)

    def visit_List(self, node):
        return f'[{", ".join(self.visit_all(node.elts))}]'

    def visit_Tuple(self, node):
        return '(' + ''.join(f'{e}, ' for e in self.visit_all(node.elts)) + ')'

    def visit_ListComp(self, node):
        scope, nodes = self.scope, self.nodes
        loops = []
        for generator in node.generators:
            if generator.is_async:
                self.refuse('async')
            items = self.visit(generator.iter)
            target = self.bind(generator.target, self.path(generator.iter))
            loops.append((target, items, self.visit_all(generator.ifs)))
        code = self.visit(node.elt)
        for target, items, conditions in loops:
            items = self.guard('loop', items, str(self.nodes - nodes))
            code += f' for {target} in {items}'
            code += ''.join(f' if {c}' for c in conditions)
        self.scope = scope
        return f'[{code}]'

    # What is evaluated at once leaves no generator behind
    visit_GeneratorExp = visit_ListComp

    def visit_JoinedStr(self, node):
        return self.guard('method', "''", "'join'", self.visit_List(
                ast.List(node.values)))

    def visit_FormattedValue(self, node):
        if node.format_spec or node.conversion not in {-1, ord('s')}:
            self.refuse("f'{:}'")
        return self.guard('builtin', "'str'", self.visit(node.value))
