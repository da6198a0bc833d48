# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the events of a source to the function that yields those of a template

Genshi puts what a directive applies to together.
"""
import re
from contextlib import contextmanager
from functools import partial

from genshi.core import (
    COMMENT, DOCTYPE, END, END_CDATA, PI, START, START_CDATA, TEXT, Attrs,
    Markup, Stream)
from genshi.template import MarkupTemplate
from genshi.template import TemplateSyntaxError as GenshiSyntaxError
from genshi.template.base import EXPR, SUB
from genshi.template.interpolation import lex

from .error import TemplateSyntaxError
from .expression import FILENAME, ExpressionCompiler
from .guard import CHARACTERS

MAX_EVENTS = 50_000
MAX_DEPTH = 100  # of elements
# Elements whose text is more than what a person reads between two tags
LITERAL = {'pre', 'textarea'}
# Where escaping does not help
CLOSED = {'mj-style', 'mj-title', 'script', 'style'}


def _own(class_):
    "Return the directive of Genshi that keeps the source of its value"
    return type(class_.__name__, (class_,), {
            '__slots__': ['line'],
            '__init__': _init,
            '_parse_expr': classmethod(lambda cls, expr, *args: expr),
            })


def _init(self, value, template, namespaces, line, offset):
    # An element has a dictionary where nothing is expected
    self.expr = value.strip() if isinstance(value, str) else ''
    self.line = line


class _Source(MarkupTemplate):
    "Only prepares its events"
    directives = [
        (n, _own(c)) for n, c in MarkupTemplate.directives
        if n not in {'attrs', 'def', 'match'}]

    def _parse(self, source, encoding):
        for kind, data, (_, line, _) in source:
            if (kind is START
                    and data[0].namespace == self.XINCLUDE_NAMESPACE):
                raise TemplateSyntaxError('include', line)
            if kind is PI and data[0] == 'python':
                raise TemplateSyntaxError('instruction', line)
            if kind is DOCTYPE and data[2] and not data[2].startswith(
                    'http://www.w3.org/'):
                # These are only names
                raise TemplateSyntaxError('doctype', line)
        return source

    def _interpolate_attrs(self, stream):
        return stream


def prepare(events):
    "Return the events with those of directives put together"
    if len(events) > MAX_EVENTS:
        raise TemplateSyntaxError('too_many')
    try:
        return _Source(Stream(events)).stream
    except GenshiSyntaxError as error:
        name = re.search(r'"([^"]*)"|The (\w+)', error.msg)
        raise TemplateSyntaxError(
            'unknown_directive', error.lineno,
            name=(name[1] or name[2])[:100]) from None


class Static(tuple):
    "Events that are the same for all values, equal only to itself"
    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def start(element, *attrs):
    "Return the event of a start tag without the attributes that are None"
    tag, position = element
    return START, (tag, Attrs(a for a in attrs if a[1] is not None)), position


class Compiler:
    """Writes the function that yields the events

    values -- what the code reads by index
    code -- the lines of the function
    lines -- for each of them the line of the source
    """

    def __init__(self, events, is_html):
        self.is_html = is_html
        self.expressions = ExpressionCompiler()
        self.values = []
        self.code = []
        self.lines = []
        self.level = 1
        self.choices = []
        self.static = []  # events to yield before the next line
        self.size = 0  # characters of the static events of the loop
        self.depth = 0  # of elements
        self.literal = 0  # how many literal elements are open
        self.closed = 0  # how many places that take no values
        self.compile(prepare(events))

    def function(self):
        "Return the code of the function, and complete the lines"
        self.flush()
        header = ['def template(_guard):', *(
                f' _{n} = _guard.{n}' for n in self.expressions.guards)]
        code = '\n'.join([*header, *self.code, ' yield from ()'])
        self.lines[:0] = [None] * len(header)
        try:
            module = compile(code, FILENAME, 'exec')
        except (RecursionError, MemoryError, SyntaxError):
            # Python has limits too, such as 20 loops in each other
            raise TemplateSyntaxError('too_complex') from None
        function, = [c for c in module.co_consts if hasattr(c, 'co_code')]
        return function

    def error(self, reason, line, **variables):
        raise TemplateSyntaxError(reason, line=line, **variables)

    # Lines

    def write(self, code, line):
        self.flush()
        self.code.append(' ' * self.level + code)
        self.lines.append(line)

    def flush(self):
        if self.static:
            events, self.static = Static(self.static), []
            self.write(f'yield {self.constant(events)}', None)

    def constant(self, value):
        "Return the code for any value"
        self.values.append(value)
        return f'_values[{len(self.values) - 1}]'

    @contextmanager
    def block(self, header, line):
        self.write(header, line)
        self.level += 1
        yield
        self.write('pass', line)
        self.level -= 1

    # Events

    def compile(self, events):
        for event in events:
            kind, data, (_, line, _) = event
            if kind is SUB:
                self.apply(*data)
            elif kind is EXPR:
                self.value(data, line)
            elif kind is START:
                self.start(event)
                self.enter(data[0].localname, 1, line)
            elif kind is TEXT and type(data) is not Markup:
                self.text(data, line)
            elif kind is not COMMENT or not data.lstrip().startswith('!'):
                if kind is END:
                    self.enter(data.localname, -1, line)
                self.closed += (kind is START_CDATA) - (kind is END_CDATA)
                self.event(event, len(data or ''))

    def event(self, event, size):
        self.static.append(event)
        self.size += size

    def enter(self, name, count, line):
        self.depth += count
        if self.depth > MAX_DEPTH:
            self.error('too_deep', line)
        self.literal += count * (name in LITERAL)
        self.closed += count * (name in CLOSED)

    def start(self, event):
        _, (tag, attrs), position = event
        size = len(tag.localname) + sum(len(n) + len(v) for n, v in attrs)
        if not any('$' in v for _, v in attrs):
            self.event(event, size)
            return
        codes = [self.constant((tag, position))]
        for name, value in attrs:
            code = repr(value)
            if '$' in value:
                code = self.expressions.guard('join', *[
                        self.expression(part, line) if is_code else repr(part)
                        for is_code, part, line in self.interpolate(
                            value, position[1])])
            codes.append(f'({self.constant(name)}, {code})')
        self.size += size
        self.write(f'yield _start({", ".join(codes)})', position[1])

    # Texts

    def interpolate(self, text, line):
        "Yield (is expression, part, line), whose end Genshi finds"
        try:
            for is_code, part in lex(text, [None, line, 0], None):
                if part.strip() or not is_code:
                    yield is_code, part, line
                line += part.count('\n')
        except GenshiSyntaxError:
            self.error('unclosed', line)

    def text(self, text, line):
        for is_code, part, line in self.interpolate(text, line):
            if is_code:
                self.value(part, line)
                continue
            if self.is_html and self.closed:
                part = Markup(part)  # HTML knows no escaping there
            self.event((TEXT, part, (None, line, -1)), len(part))

    def expression(self, source, line):
        if self.closed:
            self.error('place', line)
        return self.expressions.compile(source, line)

    def value(self, source, line):
        "Yield the text of the expression if it is not None"
        text = self.expressions.variable('text')
        code = self.expressions.guard('text', self.expression(source, line))
        self.write(f'{text} = {code}', line)
        event = text
        if self.literal:
            event = f'(_TEXT, {text}, {(None, line, -1)})'
        self.write(f'if {text} is not None: yield {event}', line)

    # Directives: what fills the body is called inside of it

    def apply(self, directives, events):
        if not directives:
            self.compile(events)
            return
        directive, *others = directives
        name, value, line = directive.tagname, directive.expr, directive.line
        if name == 'strip' and not value:
            self.apply(others, events[1:-1])
            return
        if name == 'strip' or not value and name in {'for', 'if', 'with'}:
            self.error('directive_value', line, name=name)
        if not self.choices and name in {'otherwise', 'when'}:
            self.error('directive_outside', line, name=name)
        getattr(self, f'directive_{name}')(
            value, line, partial(self.apply, others, events))

    def directive_if(self, value, line, body):
        with self.block(f'if {self.expressions.compile(value, line)}:', line):
            body()

    def directive_for(self, value, line, body):
        target, separator, source = value.partition(' in ')
        if not separator:
            self.error('directive_value', line, name='for')
        size, scope = self.size, self.expressions.scope
        target, items = self.expressions.loop(target, source, line)
        self.flush()
        self.size, nodes, start = 0, self.expressions.nodes, len(self.code)
        with self.block('', line):
            body()
        # All its turns are counted before the first one
        steps = (
            self.expressions.nodes - nodes + len(self.code) - start
            + self.size // CHARACTERS)
        items = self.expressions.guard('loop', items, str(steps))
        self.code[start] += f'for {target} in {items}:'
        self.size, self.expressions.scope = size, scope

    def directive_with(self, value, line, body):
        scope = self.expressions.scope
        for assignment in self.expressions.assignments(value, line):
            self.write(assignment, line)
        body()
        self.expressions.scope = scope

    def directive_choose(self, value, line, body):
        matched = self.expressions.variable('matched')
        self.write(f'{matched} = False', line)
        chosen = ''
        if value:
            chosen = self.expressions.variable('chosen')
            code = self.expressions.compile(value, line)
            self.write(f'{chosen} = {code}', line)
        self.choices.append((matched, chosen))
        body()
        self.choices.pop()

    def directive_when(self, value, line, body):
        matched, chosen = self.choices[-1]
        test = value and self.expressions.compile(value, line)
        if test and chosen:
            test = self.expressions.guard('compare', "'Eq'", chosen, test)
        elif not (test or chosen):
            self.error('directive_value', line, name='when')
        with self.block(f'if not {matched} and {test or chosen}:', line):
            self.write(f'{matched} = True', line)
            body()

    def directive_otherwise(self, value, line, body):
        with self.block(f'if not {self.choices[-1][0]}:', line):
            body()
