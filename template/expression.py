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

from .builtin import BUILTINS
from .error import TemplateSyntaxError
from .values import MAX_BITS

FILENAME = '<template>'
MAX_LENGTH = 5_000  # characters of an expression
MAX_DEPTH = 60  # of an expression
MAX_NODES = 6_000  # of all the expressions of a template

_BINARY = {
    ast.Add: '_add', ast.Mult: '_multiply', ast.Mod: '_modulo',
    # Their result is never bigger than their operands
    ast.Sub: None, ast.Div: None, ast.FloorDiv: None,
    }
_COMPARE = {
    ast.Eq: '==', ast.NotEq: '!=', ast.Lt: '<', ast.LtE: '<=', ast.Gt: '>',
    ast.GtE: '>=', ast.Is: 'is', ast.IsNot: 'is not', ast.In: 'in',
    ast.NotIn: 'not in',
    }
_UNARY = {ast.Not, ast.USub, ast.UAdd}
_CONSTANTS = {str, int, float, bool, type(None)}
# Names that exist in Python or Genshi, but not here
_REFUSED = {*dir(builtins), 'defined', 'value_of'}
# Builtins whose items are those of their argument
_SAME_ITEMS = {'list', 'max', 'min', 'reversed', 'sorted'}

# What Python says about the style of a template is of no use in a log
warnings.filterwarnings(
    'ignore', category=SyntaxWarning, module=re.escape(FILENAME))


def load(name):
    return ast.Name(id=name, ctx=ast.Load())


def constant(value):
    return ast.Constant(value=value)


class Variable:
    "A name bound by the template: its Python name and the path it stands for"
    __slots__ = ('name', 'path')

    def __init__(self, name, path=None):
        self.name = name
        self.path = path


class ExpressionCompiler:
    """Compile the expressions of one template

    names -- the names the template does not bind itself
    builtins -- those of them that exist without a context
    paths -- the attributes read from such names, as tuples of names
    methods -- likewise for the methods called
    guards -- the guards the code calls
    """

    def __init__(self):
        self.names = set()
        self.builtins = set()
        self.paths = set()
        self.methods = set()
        self.guards = set()
        self.nodes = 0
        self.depth = 0
        self.variables = 0
        self.inner = None
        self.scope = {}
        self.line = None
        self.source = ''

    def compile(self, source, line, scope):
        "Return the node for the expression in the scope"
        self.source, self.line, self.scope = source, line, scope
        return self._located(self.visit(self._parse(source).body))

    def iterable(self, source, line, scope):
        "Return the node to loop over and the path of the items"
        self.source, self.line, self.scope = source, line, scope
        node = self._parse(source).body
        path = self.path(node)
        return self._located(
            self.guard('_loop', self.visit(node))), path

    def assignments(self, source, line, scope):
        """Return (targets, node) of each assignment and the scope after them

        Each assignment binds new variables.
        """
        self.source, self.line, self.scope = source, line, scope
        result = []
        for statement in self._parse(source, mode='exec').body:
            if not isinstance(statement, ast.Assign):
                self.invalid()
            path = self.path(statement.value)
            value = self.visit(statement.value)
            targets = [self.bind(t, path) for t in statement.targets]
            result.append((
                    [self._located(t) for t in targets],
                    self._located(value)))
        return result, self.scope

    def target(self, source, line, scope, path=None):
        "Return the target node of a loop and the scope inside of it"
        self.source, self.line, self.scope = source, line, scope
        target = self.bind(self._parse(source).body, path)
        return self._located(target), self.scope

    def _parse(self, source, mode='eval'):
        if len(source) > MAX_LENGTH:
            self.error('too_complex')
        try:
            return ast.parse(
                ' '.join(source.splitlines()).strip(), FILENAME, mode)
        except (RecursionError, MemoryError):
            self.error('too_complex')
        except (SyntaxError, ValueError):
            self.invalid()

    def _located(self, node):
        for child in ast.walk(node):
            if isinstance(child, (ast.expr, ast.arg, ast.keyword)):
                child.lineno = child.end_lineno = max(self.line or 1, 1)
                child.col_offset = child.end_col_offset = 0
        return node

    def error(self, reason, **variables):
        raise TemplateSyntaxError(reason, line=self.line, **variables)

    def invalid(self):
        self.error('invalid', source=self.source[:100])

    def guard(self, name, *args, **kwargs):
        self.guards.add(name)
        return ast.Call(
            func=load(name), args=list(args),
            keywords=[ast.keyword(arg=n, value=v) for n, v in kwargs.items()])

    # Names

    def check_name(self, name):
        if name.startswith('_'):
            self.error('underscore', name=name[:100])

    def variable(self, name, path=None):
        "Bind the name from now on, and return its Python name"
        self.check_name(name)
        self.variables += 1
        variable = Variable(f'_{self.variables}_{name}', path)
        self.scope = {**self.scope, name: variable}
        return variable.name

    def bind(self, node, path=None):
        "Bind the names of a target"
        if isinstance(node, ast.Name):
            name = self.variable(node.id, path)
            return ast.Name(id=name, ctx=ast.Store())
        if isinstance(node, (ast.Tuple, ast.List)) and node.elts:
            return ast.Tuple(
                elts=[self.bind(n) for n in node.elts], ctx=ast.Store())
        self.invalid()

    # Paths

    def path(self, node):
        "Return the names of the chain of attributes from a free name"
        if isinstance(node, ast.Name):
            variable = self.scope.get(node.id)
            return variable.path if variable else (node.id,)
        if isinstance(node, ast.Attribute):
            path = self.path(node.value)
            return path and (*path, node.attr)
        if isinstance(node, ast.Subscript):
            if (isinstance(node.slice, ast.Constant)
                    and isinstance(node.slice.value, str)):
                return
            return self.path(node.value)
        if isinstance(node, ast.Call):
            return self._call_path(node)

    def _call_path(self, node):
        function = node.func
        if (isinstance(function, ast.Name)
                and function.id not in self.scope
                and function.id in _SAME_ITEMS
                and len(node.args) == 1):
            return self.path(node.args[0])

    def add_path(self, node, paths):
        path = self.path(node)
        if path and len(path) > 1:
            paths.add(path)

    # Expressions

    def visit(self, node):
        visitor = getattr(self, f'visit_{type(node).__name__}', None)
        if not visitor:
            self.error('refused', kind=type(node).__name__)
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
            return load(self.scope[node.id].name)
        if node.id in BUILTINS:
            self.builtins.add(node.id)
        elif node.id in _REFUSED:
            self.error('refused', kind=node.id)
        else:
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
        function = node.func
        if isinstance(function, ast.Name):
            name, args = '_call', [self.visit(function)]
        elif isinstance(function, ast.Attribute):
            self.check_name(function.attr)
            self.add_path(function, self.methods)
            name = '_method'
            args = [self.visit(function.value), constant(function.attr)]
        else:
            self.error('refused', kind='()')
        args.extend(self.visit_all(node.args))
        kwargs = {}
        for keyword in node.keywords:
            if not keyword.arg:
                self.error('refused', kind='**')
            self.check_name(keyword.arg)
            kwargs[keyword.arg] = self.visit(keyword.value)
        return self.guard(name, *args, **kwargs)

    def visit_BinOp(self, node):
        try:
            guard = _BINARY[type(node.op)]
        except KeyError:
            self.error('refused', kind=type(node.op).__name__)
        operands = self.visit(node.left), self.visit(node.right)
        if guard:
            return self.guard(guard, *operands)
        return ast.BinOp(left=operands[0], op=node.op, right=operands[1])

    def visit_UnaryOp(self, node):
        if type(node.op) not in _UNARY:
            self.error('refused', kind=type(node.op).__name__)
        return ast.UnaryOp(op=node.op, operand=self.visit(node.operand))

    def visit_BoolOp(self, node):
        return ast.BoolOp(op=node.op, values=self.visit_all(node.values))

    def visit_IfExp(self, node):
        return ast.IfExp(
            test=self.visit(node.test),
            body=self.visit(node.body),
            orelse=self.visit(node.orelse))

    def visit_Compare(self, node):
        left = self.visit(node.left)
        rights = self.visit_all(node.comparators)
        if self._is_simple(node):
            return ast.Compare(left=left, ops=node.ops, comparators=rights)
        operators = [_COMPARE[type(o)] for o in node.ops]
        return self.guard(
            '_compare', left, constant(tuple(operators)), *rights)

    def _is_simple(self, node):
        "A comparison with a constant costs nothing"
        if len(node.ops) > 1:
            return False
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            return False
        operands = node.left, node.comparators[0]
        return any(isinstance(o, ast.Constant) for o in operands)

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
            self.error('refused', kind='**')
        return self._keep(ast.Dict(
                keys=[self._key(k) for k in node.keys],
                values=self.visit_all(node.values)))

    def _keep(self, node):
        return self.guard('_keep', node)

    def _key(self, node):
        if not isinstance(node, ast.Constant):
            self.error('refused', kind='{:}')
        return self.visit(node)

    def visit_ListComp(self, node):
        scope = self.scope
        generators = []
        for generator in node.generators:
            if generator.is_async:
                self.error('refused', kind='async')
            path = self.path(generator.iter)
            items = self.guard('_loop', self.visit(generator.iter))
            generators.append(ast.comprehension(
                    target=self.bind(generator.target, path), iter=items,
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
                self.error('refused', kind='{{}}')
            spec = ''.join(v.value for v in spec.values)
        if node.conversion not in {-1, ord('s')}:
            self.error('refused', kind='!')
        return self.guard(
            '_format', self.visit(node.value), constant(spec or ''))
