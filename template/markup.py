# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the source of XHTML or MJML to the function that yields its events"""
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

from .compiler import MAX_DEPTH, Compiler
from .error import TemplateRenderError, TemplateSyntaxError
from .expression import constant, load

MAX_ELEMENTS = 10_000
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
VOID_TAGS = {
    'area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link',
    'meta', 'param', 'source', 'track', 'wbr'}

_entity = re.compile(r'&([A-Za-z][\w.:-]*);')
_attribute_name = re.compile(r'[A-Za-z_:][\w:.-]{0,100}')
_closing_tag = re.compile(r'</\s*([\w:.-]+)')


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


class MarkupCompiler(Compiler):
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
        body = partial(self._nodes, events)
        if tag.namespace != self.directives_namespace:
            body = partial(
                self._tag, tag, others, directives, position, events)
        for name in reversed(DIRECTIVES):
            if name not in directives or DIRECTIVES[name] is None:
                continue
            if name == 'replace':
                body = partial(
                    self._replace, name, directives[name], line, events)
            else:
                body = partial(
                    self.directive, name, directives[name], line, body)
        body()

    def _replace(self, name, value, line, events):
        "Show the value in place of all until the end of the element"
        if not (value or '').strip():
            self.error('directive_value', line, name=name)
        depth = 1
        while depth:
            kind, _, _ = next(events)
            depth += (kind is START) - (kind is END)
        self.value(value, line)

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
            stripped = self.expressions.variable('stripped')
            test = constant(True)
            if directives['strip'].strip():
                test = self.expressions.compile(directives['strip'], line)
            self.assign(stripped, test)
        with self._unless(stripped):
            self._start(tag, attrs, directives.get('attrs'), position)
        is_literal = tag.localname in LITERAL
        is_closed = tag.localname in CLOSED
        self.literal += is_literal
        self.closed += is_closed
        if 'content' in directives:
            self._replace('content', directives['content'], line, events)
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
            args.append(self.expressions.compile(extra, line))
        start = self.constant(_StartTag(tag, fixed, position))
        self.add(ast.Expr(ast.Yield(
                    ast.Call(func=start, args=args, keywords=[]))))

    def _joined(self, parts):
        return self.expressions.guard('_join', *[
                constant(text) if source is None
                else self.expressions.compile(source, line)
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
