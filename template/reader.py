# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From a source to the events of Genshi

What is well-formed is read as XML, all else but MJML as HTML.
"""
import re
from html import unescape
from html.entities import html5, name2codepoint
from html.parser import HTMLParser
from io import StringIO
from itertools import groupby

from genshi.core import (
    COMMENT, DOCTYPE, END, PI, START, TEXT, XML_DECL, Attrs, Markup, QName)
from genshi.input import ParseError, XMLParser
from genshi.template import MarkupTemplate

from .error import TemplateSyntaxError

DIRECTIVES = MarkupTemplate.DIRECTIVE_NAMESPACE
INCLUDES = MarkupTemplate.XINCLUDE_NAMESPACE
MAX_SEARCH = 100  # elements, more are not in each other
# The start of which elements ends one whose end tag may be left out
ENDED_BY = {t: set(others.split()) for t, others in {
        'dd': 'dd dt', 'dt': 'dd dt', 'head': 'body', 'li': 'li',
        'optgroup': 'optgroup', 'option': 'optgroup option',
        'p': 'address article aside blockquote center dd details div dl dt '
            'fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header '
            'hr li main menu nav ol p pre section table ul',
        'tbody': 'tbody tfoot', 'td': 'tbody td tfoot th tr',
        'tfoot': 'tbody', 'th': 'tbody td tfoot th tr',
        'thead': 'tbody tfoot', 'tr': 'tbody tfoot tr',
        }.items()}
OPTIONAL = {*ENDED_BY, 'body', 'html'}
VOID = set(
    'area base basefont br col embed frame hr img input link meta param '
    'source track wbr'.split())
TEXT_DIRECTIVES = {'choose', 'for', 'if', 'otherwise', 'when', 'with'}
# What is in them ends nothing around them
_CELLS = {'caption', 'table', 'td', 'th'}
_TABLE = {*_CELLS, 'tbody', 'tfoot', 'thead', 'tr'}
_SCOPES = {*_CELLS, 'button', 'dl', 'ol', 'select', 'tbody', 'tr', 'ul'}

_entity = re.compile(r'&([A-Za-z][\w.:-]*);')
# What looks like an entity in a URL, but is none in HTML
_parameter = re.compile(r'&(?=[A-Za-z][A-Za-z0-9]*=)')
_conditional = re.compile(r'\[(?:if\b[^\[\]<>]*|endif)\]')
_doctype = re.compile(
    r'''doctype\s+(\w+)(?:\s+public\s+(["'])([^"'<>]*)\2|\s+system)?'''
    r'''(?:\s*(["'])([^"'<>]*)\4)?\s*''', re.IGNORECASE)
_name = re.compile(r'[A-Za-z_][\w.:-]*')
_unreadable = re.compile('[\0\ud800-\udfff]')
_directive = re.compile(r'\{%([^%]*)%\}')


def is_mjml(source):
    return source.lstrip().startswith('<mjml')


def plain(source):
    "Return the source without entities"
    return unescape(_parameter.sub('&amp;', source))


def read_markup(source):
    "Return the events of the source, and if it was read as HTML"
    is_xml = is_mjml(source)
    if found := _unreadable.search(source):
        raise TemplateSyntaxError('character', _line(source, found.start()))
    entities = set(_entity.findall(source))
    known = {*name2codepoint, 'apos'}
    # The XML parser ignores unknown ones in attributes
    if is_xml or entities <= known:
        _check_entities(source, entities - known)
        try:
            events = list(_XMLReader(source))
            return [e for e in events if e[0] is not XML_DECL], False
        except ParseError as error:
            if is_xml:
                raise _xml_error(error, source) from None
    _check_entities(source, {e for e in entities if f'{e};' not in html5})
    return _HTMLReader().read(source), True


def _check_entities(source, unknown):
    for name in unknown:
        line = _line(source, source.index(f'&{name};'))
        raise TemplateSyntaxError('unknown_entity', line, name=name[:100])


def _line(source, index):
    return source.count('\n', 0, index) + 1


def _xml_error(error, source):
    "Return what a person can do about the error of the parser"
    _HTMLReader(is_strict=True).read(source)
    line, message = error.lineno, error.msg.partition(':')[0]
    if message == 'unbound prefix':
        return TemplateSyntaxError('prefix', line)
    if re.search('&(?!#?[A-Za-z0-9]+;)', source.split('\n')[line - 1]):
        return TemplateSyntaxError('ampersand', line)
    return TemplateSyntaxError('not_well_formed', line, error=message)


class _XMLReader(XMLParser):
    "Refuses entities of one's own"

    def __init__(self, source):
        # The encoding of the bytes the parser makes from the text
        super().__init__(StringIO(source), encoding='utf-8')

    def _handle_doctype(self, name, sysid, pubid, has_internal_subset):
        if has_internal_subset:
            raise TemplateSyntaxError('doctype', self._getpos()[1])
        super()._handle_doctype(name, sysid, pubid, has_internal_subset)


class _HTMLReader(HTMLParser):
    """Reads HTML as browsers do, but moves no elements

    Elements with directives end where it is written, or where HTML ends them.

    is_strict -- take it for XML, to find what is not closed
    """

    def __init__(self, is_strict=False):
        super().__init__()
        self.is_strict = is_strict
        self.void = set() if is_strict else VOID
        self.events = []
        self.opened = []  # (tag, name, line, if it must be closed)
        self.namespaces = {'py': DIRECTIVES, 'xi': INCLUDES}

    def read(self, source):
        "Return the list of events"
        try:
            self.feed(_parameter.sub('&amp;', source))
        except AssertionError as error:
            self.error('not_well_formed', error=str(error))
        # Reading on after a tag that has no end could take very long
        if self.cdata_elem or self.rawdata.startswith('<'):
            self.error('unfinished')
        self.close()
        self.end(0, None)
        return list(_merged(self.events))

    def error(self, reason, **variables):
        raise TemplateSyntaxError(reason, self.getpos()[0], **variables)

    def add(self, kind, data):
        self.events.append((kind, data, (None, *self.getpos())))

    def qualified(self, name, default=None):
        "Return the name with the namespace of its prefix"
        prefix, _, local = name.rpartition(':')
        namespace = self.namespaces.get(prefix or default)
        return QName(f'{namespace}}}{local}' if namespace else name)

    def end(self, index, found):
        "End the opened elements from the index on, because of what is found"
        while len(self.opened) > index:
            tag, name, line, is_kept = self.opened.pop()
            if is_kept and not (found and len(self.opened) == index):
                self.error(
                    'unclosed_tag' if found else 'unexpected_end',
                    tag=tag, opened=line, found=found)
            self.add(END, name)

    def search(self):
        "Yield index and tag of the opened elements, innermost first"
        count = len(self.opened)
        for i in range(count - 1, max(count - MAX_SEARCH, 0) - 1, -1):
            yield i, self.opened[i][0]

    def handle_starttag(self, tag, attrs):
        if not _name.fullmatch(tag):
            self.error('unknown_element', tag=tag[:100])
        self.end_others(tag)
        others = []
        # The first of attributes with the same name counts
        for name, value in reversed(dict(reversed(attrs)).items()):
            if value in {DIRECTIVES, INCLUDES} and name[:5] == 'xmlns':
                self.namespaces[name[6:] or 'xmlns'] = value
            elif '$' in name:
                self.error('place')
            elif _name.fullmatch(name):
                if value is None and ':' not in name:
                    value = name
                others.append((self.qualified(name), value or ''))
        name = self.qualified(tag, 'xmlns')
        self.add(START, (name, Attrs(others)))
        if tag in self.void:
            self.add(END, name)
            return
        is_kept = self.is_strict or tag not in OPTIONAL and DIRECTIVES in {
            name.namespace, *(n.namespace for n, _ in others)}
        self.opened.append((tag, name, self.getpos()[0], is_kept))

    def end_others(self, tag):
        "End the elements that the start of the tag ends"
        index = None
        for i, opened in self.search():
            if tag in ENDED_BY.get(opened, ()):
                index = i
            elif opened in _SCOPES or ':' in opened:
                break
        if index is not None and not self.is_strict:
            self.end(index, tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.end(len(self.opened) - 1, tag)

    def handle_endtag(self, tag):
        limits = {'table'} if tag in _TABLE else _CELLS
        if ':' in tag or self.is_strict:
            limits = ()
        for i, opened in self.search():
            if opened == tag:
                self.end(i, tag)
                return
            if opened in limits:
                break
        if self.qualified(tag).namespace:
            self.error('directive_end', name=tag)

    def handle_data(self, data):
        self.add(TEXT, data)

    def handle_comment(self, data):
        if _conditional.fullmatch(data):
            # <![if !mso]>, which Outlook reads
            self.add(TEXT, Markup(f'<!{data}>'))
        else:
            self.add(COMMENT, data)

    def unknown_decl(self, data):
        self.handle_comment(f'[{data}]')

    def handle_decl(self, decl):
        found = _doctype.fullmatch(decl)
        if not found:
            self.error('doctype')
        self.add(DOCTYPE, (found[1], found[3], found[5]))

    def handle_pi(self, data):
        # Others are of no use in an e-mail
        if data.lower().startswith('python'):
            self.add(PI, ('python', data))


def _merged(events):
    "Yield the events with each text in one, also if it looks like a tag"
    for is_text, group in groupby(
            events, lambda e: e[0] is TEXT and type(e[1]) is str):
        if not is_text:
            yield from group
            continue
        _, texts, positions = zip(*group)
        yield TEXT, ''.join(texts), positions[0]


def read_text(source):
    "Return the events of a plain text with {% directive %} … {% end %}"
    events, opened = [], []
    line = 1
    for i, part in enumerate(_directive.split(source)):
        position = None, line, -1
        name, value = (part.split(None, 1) + ['', ''])[:2]
        if not i % 2:
            if '{%' in part:
                raise TemplateSyntaxError('directive_end', line, name='{%')
            events.append((TEXT, part, position))
        elif name != 'end':
            if name not in TEXT_DIRECTIVES:
                raise TemplateSyntaxError(
                    'unknown_directive', line, name=name[:100])
            tag = QName(f'{DIRECTIVES}}}{name}')
            opened.append((tag, line))
            attrs = Attrs((QName(n), value) for n in ['each', 'test', 'vars'])
            events.append((START, (tag, attrs), position))
        elif opened:
            events.append((END, opened.pop()[0], position))
        else:
            raise TemplateSyntaxError('directive_end', line, name=name)
        line += part.count('\n')
    for tag, line in opened:
        raise TemplateSyntaxError('directive_end', line, name=tag.localname)
    return events, False
