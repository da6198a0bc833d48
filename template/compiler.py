# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the source of a template to the function that yields its events"""
import ast
import re
from contextlib import contextmanager
from functools import partial
from html.entities import name2codepoint
from io import StringIO

from genshi.core import (
    COMMENT, END, END_CDATA, END_NS, START, START_CDATA, START_NS, TEXT,
    XML_DECL, Attrs, QName)
from genshi.input import ParseError, XMLParser
from genshi.template import MarkupTemplate
from genshi.template import TemplateSyntaxError as GenshiSyntaxError
from genshi.template.interpolation import lex

from .error import TemplateRenderError, TemplateSyntaxError
from .expression import FILENAME, ExpressionCompiler, constant, load

MAX_DEPTH = 100  # of elements
MAX_ELEMENTS = 10_000
MAX_LOOPS = 10  # in each other, Python has a limit too
# Elements whose text is more than what a person reads between two tags
LITERAL = {'pre', 'textarea'}
# Where escaping does not help
CLOSED = {'mj-style', 'mj-title', 'script', 'style'}

# Outermost first, as Genshi has them
DIRECTIVES = {
    # name: name of the attribute that has the value in an element py:name
    'when': 'test',
    'otherwise': '',
    'for': 'each',
    'if': 'test',
    'choose': 'test',
    'with': 'vars',
    'replace': 'value',
    # Only as attributes
    'content': None,
    'attrs': None,
    'strip': None,
    }
TEXT_DIRECTIVES = {'when', 'otherwise', 'for', 'if', 'choose', 'with'}
REFUSED = {
    'def': 'unknown_directive',
    'include': 'include',
    'python': 'instruction',
    }
VOID_TAGS = {
    'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link',
    'meta', 'param', 'source', 'track', 'wbr'}

_entity = re.compile(r'&([A-Za-z][\w.:-]*);')
_attribute_name = re.compile(r'[A-Za-z_:][\w:.-]{0,100}')
_closing_tag = re.compile(r'</\s*([\w:.-]+)')
_line_directive = re.compile(r'[ \t]*#(#|[a-z]+\b)(.*)')
_mark = re.compile(r'\\?\{[%#]|\\#')


class Static(tuple):
    "Events that are the same for all values, equal only to itself"
    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class _StartTag:
    "A start tag of which attributes depend on the values"
    __slots__ = ('tag', 'attrs', 'position')

    def __init__(self, tag, attrs, position):
        self.tag = tag
        self.attrs = attrs  # (name, value), None for the next of the values
        self.position = position

    def __call__(self, guard, values, extra=None):
        guard.tick()
        values = iter(values)
        attrs = []
        for name, value in self.attrs:
            if value is None:
                value = next(values)
            if value is not None:
                attrs.append((name, value))
        attrs = Attrs(attrs)
        if extra:
            attrs |= self._extra(guard, extra)
        return START, (self.tag, attrs), self.position

    def _extra(self, guard, extra):
        "The attributes of the directive attrs, None removes one"
        if type(extra) is dict:
            extra = list(extra.items())
        attrs = []
        for name, value in guard.items(extra):
            name = guard.string(name)
            if not _attribute_name.fullmatch(name):
                raise TemplateRenderError('argument', name=name[:100])
            if value is not None:
                value = guard.text(value).strip() or None
            attrs.append((QName(name), value))
        return attrs


class _Compiler:
    "Collects the statements of the function that yields the events"

    def __init__(self):
        self.expressions = ExpressionCompiler()
        self.events = []
        self.block = []  # the statements of the innermost block
        self.static = []  # events to yield before the next statement
        self.size = 0  # characters of the static events of the loop
        self.loops = 0
        self.scope = {}
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

    def variable(self, kind):
        self.expressions.variables += 1
        return f'_{self.expressions.variables}__{kind}'

    def assign(self, name, value):
        self.add(ast.Assign(
                targets=[ast.Name(id=name, ctx=ast.Store())], value=value))

    @contextmanager
    def nested(self):
        "Collect the statements of a block, which has its own variables"
        self.flush()
        outer, scope, self.block = self.block, self.scope, []
        block = self.block
        yield block
        self.flush()
        if not block:
            block.append(ast.Pass())
        self.block, self.scope = outer, scope

    def expression(self, source, line):
        return self.expressions.compile(source, line, self.scope)

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
        name = self.variable('text')
        if self.closed:
            self.error('place', line)
        text = self.expressions.guard(
            '_text', self.expression(source, line))
        self.assign(name, text)
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
        test = self.expression(value, line)
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
        items, path = self.expressions.iterable(source, line, self.scope)
        outer, self.size = self.size, 0
        with self.nested() as block:
            target, self.scope = self.expressions.target(
                target, line, self.scope, path)
            body()
        # The output of a turn is counted before it is made
        block.insert(0, ast.Expr(
                self.expressions.guard('_emit', constant(self.size))))
        self.size = outer
        self.loops -= 1
        self.add(ast.For(target=target, iter=items, body=block, orelse=[]))

    def directive_with(self, value, line, body):
        assignments, scope = self.expressions.assignments(
            value, line, self.scope)
        for targets, value in assignments:
            self.add(ast.Assign(targets=targets, value=value))
        outer, self.scope = self.scope, scope
        body()
        self.scope = outer

    def directive_choose(self, value, line, body):
        matched = self.variable('matched')
        self.assign(matched, constant(False))
        chosen = None
        if value:
            chosen = self.variable('chosen')
            self.assign(chosen, self.expression(value, line))
        self.choices.append((matched, chosen))
        body()
        self.choices.pop()

    def directive_when(self, value, line, body):
        matched, chosen = self._choice('when', line)
        if chosen and value:
            test = self.expressions.guard(
                '_compare', load(chosen), constant(('==',)),
                self.expression(value, line))
        elif chosen:
            test = load(chosen)
        elif value:
            test = self.expression(value, line)
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


class _Parser(XMLParser):
    "The XML parser of Genshi without entities and instructions"

    def __init__(self, source):
        # The encoding of the bytes the parser makes from the text
        super().__init__(StringIO(source), encoding='utf-8')
        self.opened = []
        self.count = 0

    def _handle_start(self, tag, attrib):
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise TemplateSyntaxError('too_many', line=self._getpos()[1])
        self.opened.append((QName(tag).localname, self._getpos()[1]))
        if len(self.opened) > MAX_DEPTH:
            raise TemplateSyntaxError('too_deep', line=self._getpos()[1])
        super()._handle_start(tag, attrib)

    def _handle_end(self, tag):
        self.opened.pop()
        super()._handle_end(tag)

    def _handle_doctype(self, name, sysid, pubid, has_internal_subset):
        # The public ones are only names, nothing is loaded
        if has_internal_subset or (
                sysid and not sysid.startswith('http://www.w3.org/')):
            raise TemplateSyntaxError('doctype', line=self._getpos()[1])
        super()._handle_doctype(name, sysid, pubid, has_internal_subset)

    def _handle_pi(self, target, data):
        if target == 'python':
            raise TemplateSyntaxError('instruction', line=self._getpos()[1])
        super()._handle_pi(target, data)


class MarkupCompiler(_Compiler):
    directives_namespace = MarkupTemplate.DIRECTIVE_NAMESPACE
    include_namespace = MarkupTemplate.XINCLUDE_NAMESPACE

    def __init__(self):
        super().__init__()
        self.prefixes = set()  # of the namespace of directives
        self.literal = 0  # how many literal elements are open

    def compile(self, source):
        self._check_entities(source)
        parser = _Parser(source)
        try:
            events = [e for e in parser if e[0] is not XML_DECL]
        except ParseError as error:
            raise _parse_error(error, parser, source) from None
        except UnicodeError as error:
            raise TemplateSyntaxError(
                'not_well_formed', error=error.reason) from None
        self._nodes(iter(events))

    def _check_entities(self, source):
        # The parser ignores the unknown ones in attributes
        for match in _entity.finditer(source):
            if match[1] not in name2codepoint and match[1] != 'apos':
                self.error(
                    'unknown_entity', 1 + source.count('\n', 0, match.start()),
                    name=match[0][:100])

    def _nodes(self, events):
        "Compile the events until the end of the element, which is returned"
        for event in events:
            kind, data, position = event
            if kind is START:
                self._element(data, position, events)
            elif kind is END:
                return event
            elif kind is TEXT:
                self.text(data, position[1])
            elif kind is COMMENT and data.lstrip().startswith('!'):
                continue
            elif kind is START_NS and data[1] == self.directives_namespace:
                self.prefixes.add(data[0])
            elif kind is END_NS and data in self.prefixes:
                self.prefixes.remove(data)
            else:
                self.closed += (kind is START_CDATA) - (kind is END_CDATA)
                self.event(event, len(data) if kind is COMMENT else 20)

    def text_event(self, text, line):
        return TEXT, text, (None, line, -1)

    def value_event(self, name, line):
        if not self.literal:
            return load(name)
        position = self.constant((None, line, -1))
        return ast.Tuple(
            elts=[load('_TEXT'), load(name), position], ctx=ast.Load())

    def _element(self, data, position, events):
        tag, attrs = data
        line = position[1]
        if tag.namespace == self.include_namespace:
            self.error('include', line)
        directives, others = self._directives(tag, attrs, line)
        own = tag.namespace != self.directives_namespace

        def element():
            self._tag(tag, others, directives, position, events)

        def content():
            self._nodes(events)

        body = element if own else content
        for name in reversed(DIRECTIVES):
            if name in directives and name not in {
                    'content', 'attrs', 'strip', 'replace'}:
                body = self._wrap(name, directives[name], line, body)
            elif name == 'replace' and name in directives:
                body = self._replacement(
                    'replace', directives[name], line, events)
        body()

    def _wrap(self, name, value, line, body):
        return lambda: self.directive(name, value, line, body)

    def _replacement(self, name, value, line, events):
        if not (value or '').strip():
            self.error('directive_value', line, name=name)

        def body():
            self._skip(events)
            self.value(value, line)
        return body

    def _skip(self, events):
        "Consume the events until the end of the element"
        depth = 1
        for kind, _, _ in events:
            depth += (kind is START) - (kind is END)
            if not depth:
                break

    def _directives(self, tag, attrs, line):
        "Return the directives of the element and its other attributes"
        directives, others = {}, []
        if tag.namespace == self.directives_namespace:
            self._check_directive(tag.localname, line)
            attribute = DIRECTIVES[tag.localname]
            if attribute is None:
                self.error('directive_element', line, name=tag.localname)
            directives[tag.localname] = attrs.get(attribute)
        for name, value in attrs:
            if name.namespace == self.directives_namespace:
                self._check_directive(name.localname, line)
                directives[name.localname] = value
            else:
                others.append((name, value))
        return directives, others

    def _check_directive(self, name, line):
        if name not in DIRECTIVES:
            self.error('unknown_directive', line, name=f'py:{name}'[:100])

    def _tag(self, tag, attrs, directives, position, events):
        "Compile the element itself and its content"
        line = position[1]
        stripped = None
        if 'strip' in directives:
            stripped = self.variable('stripped')
            test = constant(True)
            if directives['strip'].strip():
                test = self.expression(directives['strip'], line)
            self.assign(stripped, test)
        with self._unless(stripped):
            self._start(tag, attrs, directives.get('attrs'), position)
        is_literal = tag.localname in LITERAL
        is_closed = tag.localname in CLOSED
        self.literal += is_literal
        self.closed += is_closed
        if 'content' in directives:
            self._replacement(
                'content', directives['content'], line, events)()
        else:
            self._nodes(events)
        self.literal -= is_literal
        self.closed -= is_closed
        with self._unless(stripped):
            self.event((END, tag, position), len(tag.localname) + 3)

    @contextmanager
    def _unless(self, name):
        "Make what is compiled depend on the variable, if there is one"
        if not name:
            yield
            return
        with self.nested() as block:
            yield
        test = ast.UnaryOp(op=ast.Not(), operand=load(name))
        self.add(ast.If(test=test, body=block, orelse=[]))

    def _start(self, tag, attrs, extra, position):
        line = position[1]
        fixed, values = [], []
        size = len(tag.localname) + 2
        for name, value in attrs:
            parts = list(self.interpolate(value, line))
            if any(p[1] for p in parts):
                values.append(self._joined(parts))
                value = None
            else:
                value = ''.join(p[0] for p in parts)
            fixed.append((name, value))
            size += len(name.localname) + len(value or '') + 4
        if not values and not extra:
            self.event((START, (tag, Attrs(fixed)), position), size)
            return
        self.size += size
        args = [load('_guard'), ast.Tuple(elts=values, ctx=ast.Load())]
        if extra:
            args.append(self.expression(extra, line))
        start = self.constant(_StartTag(tag, fixed, position))
        self.add(ast.Expr(ast.Yield(
                    ast.Call(func=start, args=args, keywords=[]))))

    def _joined(self, parts):
        return self.expressions.guard('_join', *[
                constant(text) if source is None
                else self.expression(source, line)
                for text, source, line in parts])


def _parse_error(error, parser, source):
    "Return what a person can do about the error of the parser"
    line, message = error.lineno, error.msg.partition(':')[0]
    lines = source.split('\n')
    text = lines[min(line, len(lines)) - 1]
    tag, opened = parser.opened[-1] if parser.opened else ('', '')
    if message == 'mismatched tag':
        found = _closing_tag.search(text, max(error.offset - 2, 0))
        reason = 'void_tag' if tag in VOID_TAGS else 'unclosed_tag'
        variables = {
            'tag': tag, 'opened': opened, 'found': found[1] if found else '?'}
    elif message in {'no element found', 'unclosed token'} and tag:
        reason, variables = 'unexpected_end', {'tag': tag, 'opened': opened}
    elif message in {
            'no element found', 'junk after document element',
            'syntax error', 'unclosed token'}:
        reason, variables = 'one_root', {}
    elif message == 'unbound prefix':
        reason, variables = 'prefix', {}
    elif _is_ampersand(text[:error.offset + 1]):
        reason, variables = 'ampersand', {}
    else:
        reason, variables = 'not_well_formed', {'error': message}
    return TemplateSyntaxError(
        reason, line=line, column=error.offset, **variables)


def _is_ampersand(text):
    "Test if the text ends in an entity that is none"
    return bool(re.search(r'&[^;<>"&]{0,40}$', text))


class TextCompiler(_Compiler):
    """Compile {% directive %} … {% end %} and lines of #directive … #end

    The first is what fits in the one line of a title, the second is what
    TextTemplate of Genshi reads.
    """

    def compile(self, source):
        self.tokens = []  # (text, None, line) or (directive, value, line)
        self.level = 0
        for line, text in enumerate(source.splitlines(keepends=True), 1):
            self._line(text, line)
        self.tokens.reverse()
        self._body(None, None)

    def _line(self, text, line):
        match = _line_directive.match(text)
        if match and match[1] in {*TEXT_DIRECTIVES, *REFUSED, 'end'}:
            self._token(match[1], match[2].strip(), line)
        elif not match or match[1] != '#':
            self._inline(text, line)

    def _inline(self, text, line):
        position = 0
        for match in _mark.finditer(text):
            start = match.start()
            if start < position:
                continue
            if match[0].startswith('\\'):
                self._text(text[position:start] + match[0][1:], line)
                position = match.end()
                continue
            end = text.find('%}' if match[0] == '{%' else '#}', match.end())
            if end < 0:
                self.error('directive_end', line, name=match[0])
            self._text(text[position:start], line)
            if match[0] == '{%':
                name, *value = text[match.end():end].split(None, 1) or ['']
                self._token(name, ''.join(value).strip(), line)
            position = end + 2
        self._text(text[position:], line)

    def _text(self, text, line):
        "Add the text to the text before, an expression may have many lines"
        if self.tokens and self.tokens[-1][1] is None:
            before, _, line = self.tokens.pop()
            text = before + text
        if text:
            self.tokens.append((text, None, line))

    def _token(self, name, value, line):
        if name in REFUSED:
            self.error(REFUSED[name], line, name=name)
        if name not in TEXT_DIRECTIVES and name != 'end':
            self.error('unknown_directive', line, name=name[:100])
        self.tokens.append((name, value, line))

    def _body(self, name, opened):
        "Compile the tokens until the end of the directive"
        self.level += 1
        if self.level > MAX_DEPTH:
            self.error('too_deep', opened)
        while self.tokens:
            token, value, line = self.tokens.pop()
            if value is None:
                self.text(token, line)
            elif token != 'end':
                self.directive(
                    token, value, line, partial(self._body, token, line))
            elif name:
                self.level -= 1
                return
            else:
                self.error('directive_end', line, name='end')
        if name:
            self.error('directive_end', opened, name=name)
