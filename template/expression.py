# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the source of an expression to code that only works through a Guard

Names bound by the template become variables of the compiled function, all
other names become its globals, which rendering fills with the context.
"""
import ast
import builtins
import re
import warnings

from .error import TemplateSyntaxError
from .guard import BUILTINS
from .values import MAX_BITS

FILENAME = '<template>'
MAX_LENGTH = 5_000  # characters of an expression
MAX_DEPTH = 60  # of an expression
MAX_NODES = 6_000  # of all the expressions of a template

_OPERATORS = {
    ast.Add: '+', ast.Sub: '-', ast.Mult: '*', ast.Div: '/',
    ast.FloorDiv: '//', ast.Mod: '%',
    ast.Eq: '==', ast.NotEq: '!=', ast.Lt: '<', ast.LtE: '<=', ast.Gt: '>',
    ast.GtE: '>=', ast.Is: 'is', ast.IsNot: 'is not', ast.In: 'in',
    ast.NotIn: 'not in',
    }
_UNARY = {ast.Not, ast.USub, ast.UAdd}
_CONSTANTS = {str, int, float, bool, type(None)}
# Names that exist in Python or Genshi, but not here
_REFUSED = {*dir(builtins), 'defined', 'value_of'}
# What Python says about the style of a template is of no use in a log
warnings.filterwarnings(
    'ignore', category=SyntaxWarning, module=re.escape(FILENAME))


def load(name):
    return ast.Name(id=name, ctx=ast.Load())


def constant(value):
    return ast.Constant(value=value)


class ExpressionCompiler:
    """Compile the expressions of one template

    names -- the names the template does not bind itself
    paths -- the attributes read from them, as tuples of names
    methods -- likewise for the methods called
    guards -- the guards the code calls
    scope -- for each name the template binds here, its Python name and the
        path it stands for
    """

    def __init__(self):
        self.names = set()
        self.paths = set()
        self.methods = set()
        self.guards = set()
        self.scope = {}
        self.nodes = 0
        self.depth = 0
        self.variables = 0
        self.inner = None
        self.line = None
        self.source = ''

    def compile(self, source, line):
        "Return the node for the expression"
        return self.located(self.visit(self._parse(source, line)))

    def loop(self, target, source, line):
        "Return the target and the node to loop over, and bind its names"
        node = self._parse(source, line)
        items = self.guard('_loop', self.visit(node))
        target = self.bind(self._parse(target, line), self.path(node))
        return self.located(target), self.located(items)

    def assignments(self, source, line):
        "Yield target and node of each assignment, and bind its name"
        for statement in self._parse(source, line, 'exec'):
            if (not isinstance(statement, ast.Assign)
                    or len(statement.targets) > 1):
                self.invalid()
            value = self.visit(statement.value)
            target = self.bind(
                statement.targets[0], self.path(statement.value))
            yield self.located(target), self.located(value)

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

    def located(self, node):
        "Return the node at the line, as what is in it will be"
        node.lineno = node.end_lineno = max(self.line or 1, 1)
        node.col_offset = node.end_col_offset = 0
        return node

    def error(self, reason, **variables):
        raise TemplateSyntaxError(reason, line=self.line, **variables)

    def invalid(self):
        self.error('invalid', source=self.source[:100])

    def refuse(self, kind):
        self.error('refused', kind=kind)

    def guard(self, name, *args, **kwargs):
        self.guards.add(name)
        return ast.Call(
            func=load(name), args=list(args),
            keywords=[ast.keyword(arg=n, value=v) for n, v in kwargs.items()])

    # Names

    def check_name(self, name):
        if name.startswith('_'):
            self.error('underscore', name=name[:100])

    def variable(self, name):
        "Return a new Python name"
        self.variables += 1
        return f'_{self.variables}_{name}'

    def bind(self, node, path=None):
        "Bind the names of a target from now on"
        if isinstance(node, ast.Name):
            self.check_name(node.id)
            name = self.variable(node.id)
            self.scope = {**self.scope, node.id: (name, path)}
            return ast.Name(id=name, ctx=ast.Store())
        if isinstance(node, (ast.Tuple, ast.List)) and node.elts:
            return ast.Tuple(
                elts=[self.bind(n) for n in node.elts], ctx=ast.Store())
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

    def add_path(self, node, paths):
        path = self.path(node)
        if path and len(path) > 1:
            paths.add(path)

    # Expressions

    def visit(self, node):
        visitor = getattr(self, f'visit_{type(node).__name__}', None)
        if not visitor:
            self.refuse(type(node).__name__)
        self.nodes += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.error('too_complex')
        if self.nodes > MAX_NODES:
            self.error('too_many')
        node = visitor(node)
        self.depth -= 1
        return node

    def visit_all(self, nodes):
        return [self.visit(n) for n in nodes]

    def visit_Constant(self, node):
        value = node.value
        if (type(value) not in _CONSTANTS
                or isinstance(value, int)
                and value.bit_length() > MAX_BITS):
            self.invalid()
        return constant(value)

    def visit_Name(self, node):
        self.check_name(node.id)
        if node.id in self.scope:
            return load(self.scope[node.id][0])
        if node.id in _REFUSED:
            self.refuse(node.id)
        self.names.add(node.id)
        return load(node.id)

    def visit_Attribute(self, node):
        self.check_name(node.attr)
        if node is not self.inner:
            self.add_path(node, self.paths)
        self.inner = node.value  # only the longest path is kept
        value = self.visit(node.value)
        return self.guard('_attribute', value, constant(node.attr))

    def visit_Subscript(self, node):
        value = self.visit(node.value)
        if not isinstance(node.slice, ast.Slice):
            return self.guard('_item', value, self.visit(node.slice))
        bounds = [node.slice.lower, node.slice.upper, node.slice.step]
        return self.guard('_slice', value, *[
                self.visit(b) if b else constant(None) for b in bounds])

    def visit_Call(self, node):
        name, args = self._callee(node.func)
        args.extend(self.visit_all(node.args))
        kwargs = {}
        for keyword in node.keywords:
            if not keyword.arg:
                self.refuse('**')
            self.check_name(keyword.arg)
            kwargs[keyword.arg] = self.visit(keyword.value)
        return self.guard(name, *args, **kwargs)

    def _callee(self, function):
        if isinstance(function, ast.Attribute):
            self.check_name(function.attr)
            self.add_path(function, self.methods)
            return '_method', [
                self.visit(function.value), constant(function.attr)]
        if not isinstance(function, ast.Name) or function.id in self.scope:
            self.refuse('()')
        if function.id in BUILTINS:
            return '_builtin', [constant(function.id)]
        return '_call', [self.visit(function)]

    def visit_BinOp(self, node):
        if type(node.op) not in _OPERATORS:
            self.refuse(type(node.op).__name__)
        return self.guard(
            '_binary', constant(_OPERATORS[type(node.op)]),
            self.visit(node.left), self.visit(node.right))

    def visit_UnaryOp(self, node):
        if type(node.op) not in _UNARY:
            self.refuse(type(node.op).__name__)
        return ast.UnaryOp(op=node.op, operand=self.visit(node.operand))

    def visit_BoolOp(self, node):
        return ast.BoolOp(op=node.op, values=self.visit_all(node.values))

    def visit_IfExp(self, node):
        return ast.IfExp(
            test=self.visit(node.test),
            body=self.visit(node.body),
            orelse=self.visit(node.orelse))

    def visit_Compare(self, node):
        if len(node.ops) > 1:
            self.refuse('< <')
        operator, = node.ops
        left, right = self.visit_all([node.left, *node.comparators])
        if not isinstance(operator, (ast.In, ast.NotIn)) and any(
                isinstance(n, ast.Constant) for n in [left, right]):
            # It costs nothing
            return ast.Compare(left=left, ops=[operator], comparators=[right])
        return self.guard(
            '_compare', constant(_OPERATORS[type(operator)]), left, right)

    def visit_Tuple(self, node):
        result = ast.Tuple(elts=self.visit_all(node.elts), ctx=ast.Load())
        if all(isinstance(e, ast.Constant) for e in node.elts):
            return result  # made once by Python
        return self._keep(result)

    def visit_List(self, node):
        return self._keep(
            ast.List(elts=self.visit_all(node.elts), ctx=ast.Load()))

    def visit_Dict(self, node):
        if not all(node.keys):
            self.refuse('**')
        return self._keep(ast.Dict(
                keys=[self._key(k) for k in node.keys],
                values=self.visit_all(node.values)))

    def _keep(self, node):
        return self.guard('_keep', node)

    def _key(self, node):
        if not isinstance(node, ast.Constant):
            self.refuse('{:}')
        return self.visit(node)

    def visit_ListComp(self, node):
        scope = self.scope
        generators = []
        for generator in node.generators:
            if generator.is_async:
                self.refuse('async')
            items = self.guard('_loop', self.visit(generator.iter))
            target = self.bind(generator.target, self.path(generator.iter))
            generators.append(ast.comprehension(
                    target=target, iter=items,
                    ifs=self.visit_all(generator.ifs), is_async=0))
        result = ast.ListComp(
            elt=self.visit(node.elt), generators=generators)
        self.scope = scope
        return result

    # What is evaluated at once leaves no generator behind
    visit_GeneratorExp = visit_ListComp

    def visit_JoinedStr(self, node):
        return self.guard('_concat', *self.visit_all(node.values))

    def visit_FormattedValue(self, node):
        spec = node.format_spec
        if spec is not None:
            if not all(isinstance(v, ast.Constant) for v in spec.values):
                self.refuse('{{}}')
            spec = ''.join(v.value for v in spec.values)
        if node.conversion not in {-1, ord('s')}:
            self.refuse('!')
        return self.guard(
            '_format', self.visit(node.value), constant(spec or ''))
