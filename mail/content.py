# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""HTML and plain text of messages, of which most is made only once

Messages of one template differ by some values in the text.  A Skeleton has
in their place marks, characters for private use, and goes through all that
takes time once: the serializer, the conversion of MJML and of HTML to plain
text.  Each message fills in its values.
"""
import re
from functools import cached_property
from html import escape as escape_html
from threading import Lock

from cachetools import LRUCache, cached
from cachetools.keys import hashkey
from genshi.core import START, TEXT, Attrs, escape

from trytond.i18n import gettext

from ..exceptions import Failure
from ..template import Static, limited, serialize
from .converter import (
    ConversionError, html_to_text, inline_styles, mjml_to_html)
from .link import Placeholders, substitute

FIRST_MARK = 0xF0000  # Supplementary Private Use Area-A
MAX_MARKS = 1000
_mark = re.compile('([\U000F0000-\U000FFFFD])\\1*')
# What the converter reads to find the ends of the texts of links
_link_end = re.compile(r'[\[\]]|^\(')
# Characters that are kept of what messages have in common
CACHE = 16_000_000
# What it costs to keep even an empty text
MIN_SIZE = 1000


class Content:
    """The HTML and the plain text of a message

    chunks -- what a Template yields
    own -- the Placeholders of this message
    """

    def __init__(self, chunks, own, is_mjml=False):
        options = own.kind, is_mjml
        self._own, self._options = own, options
        self._shape, self.values = _lay_out(chunks, own)
        try:
            self._skeleton = _skeleton(self._shape, *options)
        except _Collision:
            self._shape, self.values = _lay_out(chunks, own, max_marks=0)
            self._skeleton = _skeleton(self._shape, *options)
        if self._skeleton.failure:
            raise self._skeleton.failure
        self.html = limited(_fill(
                self._skeleton.html,
                [str(escape(v, quotes=False)) for v in self.values]))

    @property
    def common(self):
        "The Placeholders of all messages of the same shape"
        return self._skeleton.placeholders

    @cached_property
    def text(self):
        # Columns are as wide as what is in them
        widths = tuple(
            len(v) if self._skeleton.is_table else 1 for v in self.values)
        text = _text(self._skeleton, widths)
        if text.failure:
            raise text.failure
        return _fill(text.parts, self.values)

    @cached_property
    def targets(self):
        "Where the links lead, as substitute takes it"
        return {**self._own.targets, **self.common.targets}

    @property
    def readable(self):
        "HTML and text whose links lead straight to their targets"
        return (
            substitute(self.html, self.targets, escape_html),
            substitute(self.text, self.targets, str))

    def impersonal(self, source):
        """Return a Content with nothing of the record in it

        source -- the template with plain characters
        """
        shape = [_impersonal(c, source) for c in self._shape if c]
        kind, is_mjml = self._options
        return Content(shape, Placeholders.make('own', kind), is_mjml)


class _Collision(Exception):
    "A mark could not be told from what is in the texts"


def _lay_out(chunks, own, max_marks=MAX_MARKS):
    "Return the shape of the chunks, with None for each of the values"
    shape, values = [], []
    for chunk in chunks:
        if type(chunk) is Static:
            shape.append(chunk)
        elif len(values) < max_marks and _is_plain(chunk):
            shape.append(None)
            values.append(chunk)
        else:
            shape.append(_event(chunk, own))
    return tuple(shape), values


def _is_plain(value):
    "Test if nothing but its escaping depends on the value"
    return (type(value) is str and value and value.isprintable()
        and '  ' not in value and value == value.strip()
        and not _link_end.search(value))


def _event(chunk, own):
    """Return the hashable event of what depends on the values

    The types are in the place of the position: Markup is equal to a text, but
    is not escaped.
    """
    if isinstance(chunk, str):
        chunk = TEXT, chunk, None
    kind, data, _ = chunk
    types = type(data)
    if kind is START:
        _, data, _ = own.start(chunk)
        types = tuple(type(v) for _, v in data[1])
    return kind, data, types


def _impersonal(event, source):
    "Return the event without what does not stand in the template"
    if type(event) is Static:
        return event
    kind, data, _ = event
    if kind is START:
        tag, attrs = data
        data = tag, Attrs((n, v) for n, v in attrs if v in source)
    elif isinstance(data, str) and data not in source:
        data = ''
    return kind, data, None


class _Skeleton:
    """The HTML with marks, split at them

    failure -- why it could not be made, to be raised for each message
    size -- about how many characters it holds
    """

    def __init__(self, shape, placeholders, is_mjml):
        self.placeholders = placeholders
        # What its texts are kept under, without keeping all the rest
        self.key = object()
        self.has_marks = None in shape
        if self.has_marks and any(map(_mark.search, _texts(shape))):
            raise _Collision()
        html = serialize(
            _chunks(shape), [placeholders.rewrite],
            'xml' if is_mjml else 'xhtml')
        self.failure = None
        try:
            if is_mjml:
                html = placeholders.rewrite_anchors(mjml(html))
            elif '<style' in html:
                html = styled(html)
        except Failure as failure:
            self.failure = failure
        self.html = self.split(html)
        self.size = 3 * len(html)
        self.is_table = '<table' in html.lower()

    def split(self, content):
        "Return the list of texts and, in between, the indexes of the marks"
        if not self.has_marks:
            return [content]
        parts = _mark.split(content)
        parts[1::2] = [ord(m) - FIRST_MARK for m in parts[1::2]]
        return parts


class _Text:
    "The plain text with marks, split at them"

    def __init__(self, skeleton, widths):
        self.failure = None
        marks = [chr(FIRST_MARK + i) * w for i, w in enumerate(widths)]
        try:
            text = html_to_text(_fill(skeleton.html, marks))
        except ConversionError as error:
            self.failure = _failure(error)
            text = ''
        self.parts = skeleton.split(text)
        self.size = MIN_SIZE + len(text)


def kept(size, key=hashkey):
    "Return the decorator of functions whose results have a size to be kept"
    return cached(
        LRUCache(size, getsizeof=lambda result: result.size), key, Lock())


@kept(CACHE)
def _skeleton(shape, kind, is_mjml):
    return _Skeleton(shape, Placeholders.make('common', kind), is_mjml)


def _chunks(shape):
    "Yield the chunks of the shape with marks"
    mark = FIRST_MARK
    for chunk in shape:
        if chunk is None:
            chunk = chr(mark)
            mark += 1
        yield chunk


def _texts(shape):
    "Yield what is written in the events of the shape"
    for chunk in shape:
        events = chunk if type(chunk) is Static else filter(None, [chunk])
        for kind, data, _ in events:
            if kind is START:
                yield from (value for _, value in data[1])
            elif isinstance(data, str):
                yield data


@kept(CACHE, lambda skeleton, widths: (skeleton.key, widths))
def _text(skeleton, widths):
    return _Text(skeleton, widths)


def _fill(parts, values):
    "Return the content with the values at their indexes"
    parts = parts.copy()
    parts[1::2] = [values[i] for i in parts[1::2]]
    return ''.join(parts)


def mjml(source):
    "Return the HTML of the MJML, or raise the Failure to be shown"
    try:
        return mjml_to_html(source)
    except ConversionError as error:
        raise _failure(error) from error


def styled(source):
    "Return the HTML as mail clients need it that know no style sheets"
    try:
        return inline_styles(source)
    except ConversionError as error:
        raise _failure(error) from error


def _failure(error):
    return Failure('template', error.reason or gettext(
            'marketing_automation.msg_template_conversion'))
