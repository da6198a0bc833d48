# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The function that yields the events of a template, as it is made"""
import ast
from contextlib import contextmanager

from genshi.template import TemplateSyntaxError as GenshiSyntaxError
from genshi.template.interpolation import lex

from .error import TemplateSyntaxError
from .expression import FILENAME, ExpressionCompiler, constant, load

MAX_DEPTH = 100  # of elements
MAX_LOOPS = 10  # in each other, Python has a limit too


class Static(tuple):
    "Events that are the same for all values, equal only to itself"
    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Compiler:
    "Collects the statements of the function that yields the events"

    def __init__(self):
        self.expressions = ExpressionCompiler()
        self.events = []
        self.block = []  # the statements of the innermost block
        self.static = []  # events to yield before the next statement
        self.size = 0  # characters of the static events of the loop
        self.loops = 0
        self.choices = []
        self.closed = 0  # how many places are open that take no values

    def function(self):
        "Return the code of the function"
        self.flush()
        module = ast.parse('def template(): yield from ()')
        module.body[0].body[:0] = self.block
        ast.fix_missing_locations(module)
        try:
            code = compile(module, FILENAME, 'exec')
        except (RecursionError, MemoryError):
            raise TemplateSyntaxError('too_complex') from None
        function, = [c for c in code.co_consts if hasattr(c, 'co_code')]
        return function

    def error(self, reason, line, **variables):
        raise TemplateSyntaxError(reason, line=line, **variables)

    # Statements

    def add(self, statement):
        self.flush()
        self.block.append(statement)

    def event(self, event, size):
        self.static.append(event)
        self.size += size

    def flush(self):
        if self.static:
            events = self.constant(Static(self.static))
            self.static = []
            self.block.append(ast.Expr(ast.Yield(events)))

    def constant(self, value):
        "Return the node for any value"
        self.events.append(value)
        return ast.Subscript(
            value=load('_events'), slice=constant(len(self.events) - 1),
            ctx=ast.Load())

    def assign(self, name, value):
        self.add(ast.Assign(
                targets=[ast.Name(id=name, ctx=ast.Store())], value=value))

    @contextmanager
    def nested(self):
        "Collect the statements of a block, which has its own variables"
        self.flush()
        outer, scope, self.block = self.block, self.expressions.scope, []
        block = self.block
        yield block
        self.flush()
        if not block:
            block.append(ast.Pass())
        self.block, self.expressions.scope = outer, scope

    def interpolate(self, text, line):
        """Yield (text, None, line) and (None, source, line) of the parts

        Genshi finds the end of an expression.
        """
        try:
            for is_expression, part in lex(text, [None, line, 0], None):
                if is_expression:
                    if part.strip():
                        yield None, part, line
                else:
                    yield part, None, line
                line += part.count('\n')
        except GenshiSyntaxError:
            self.error('unclosed', line)

    def text(self, text, line):
        for text, source, line in self.interpolate(text, line):
            if source is None:
                self.event(self.text_event(text, line), len(text))
            else:
                self.value(source, line)

    def text_event(self, text, line):
        return text

    def value(self, source, line):
        "Yield the text of the expression if it is not None"
        name = self.expressions.variable('text')
        if self.closed:
            self.error('place', line)
        text = self.expressions.compile(source, line)
        self.assign(name, self.expressions.located(
                self.expressions.guard('_text', text)))
        self.block.append(ast.If(
                test=ast.Compare(
                    left=load(name), ops=[ast.IsNot()],
                    comparators=[constant(None)]),
                body=[ast.Expr(ast.Yield(self.value_event(name, line)))],
                orelse=[]))

    def value_event(self, name, line):
        return load(name)

    # Directives: what fills the body is called inside of it

    def directive(self, name, value, line, body):
        value = (value or '').strip()
        if name in {'for', 'if', 'with'} and not value:
            self.error('directive_value', line, name=name)
        getattr(self, f'directive_{name}')(value, line, body)

    def directive_if(self, value, line, body):
        test = self.expressions.compile(value, line)
        with self.nested() as block:
            body()
        self.add(ast.If(test=test, body=block, orelse=[]))

    def directive_for(self, value, line, body):
        target, separator, source = value.partition(' in ')
        if not separator:
            self.error('directive_value', line, name='for')
        self.loops += 1
        if self.loops > MAX_LOOPS:
            self.error('too_deep', line)
        outer, self.size = self.size, 0
        with self.nested() as block:
            target, items = self.expressions.loop(target, source, line)
            body()
        # The output of a turn is counted before it is made
        block.insert(0, ast.Expr(
                self.expressions.guard('_emit', constant(self.size))))
        self.size = outer
        self.loops -= 1
        self.add(ast.For(target=target, iter=items, body=block, orelse=[]))

    def directive_with(self, value, line, body):
        outer = self.expressions.scope
        for target, value in self.expressions.assignments(value, line):
            self.add(ast.Assign(targets=[target], value=value))
        body()
        self.expressions.scope = outer

    def directive_choose(self, value, line, body):
        matched = self.expressions.variable('matched')
        self.assign(matched, constant(False))
        chosen = None
        if value:
            chosen = self.expressions.variable('chosen')
            self.assign(chosen, self.expressions.compile(value, line))
        self.choices.append((matched, chosen))
        body()
        self.choices.pop()

    def directive_when(self, value, line, body):
        matched, chosen = self._choice('when', line)
        if chosen and value:
            test = self.expressions.guard(
                '_compare', constant('=='), load(chosen),
                self.expressions.compile(value, line))
        elif chosen:
            test = load(chosen)
        elif value:
            test = self.expressions.compile(value, line)
        else:
            self.error('directive_value', line, name='when')
        self._choose(matched, test, body)

    def directive_otherwise(self, value, line, body):
        matched, _ = self._choice('otherwise', line)
        self._choose(matched, constant(True), body)

    def _choice(self, name, line):
        if not self.choices:
            self.error('directive_outside', line, name=name)
        return self.choices[-1]

    def _choose(self, matched, test, body):
        with self.nested() as block:
            self.assign(matched, constant(True))
            body()
        unmatched = ast.UnaryOp(op=ast.Not(), operand=load(matched))
        self.add(ast.If(
                test=ast.BoolOp(op=ast.And(), values=[unmatched, test]),
                body=block, orelse=[]))
