# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Genshi templates written by people who must gain nothing by it

What may be written: XML, HTML, or plain text, with the directives of Genshi
choose, content, for, if, otherwise, replace, strip, when and with.
Expressions have names, attributes, items and slices, calls, + - * / // %,
comparisons, conditions, lists, comprehensions that make lists, and f''
without formats.

What is refused, with its line: all else of Python, names that start with an
underscore, documents that refer to others, and values where escaping does
not help.

How it is held: parsers of XML and HTML give the events of a Genshi stream
(reader.py), these become one function that yields what the values make of
them (compiler.py), in which each expression works through a Guard
(expression.py).  The Guard knows by type what is read and called, and pays in
advance for what can grow: with steps, time and characters (guard.py).  Nothing
here knows records: what is given decides itself what it shows, as Guarded.
The texts of errors are elsewhere.
"""
from traceback import walk_tb
from types import FunctionType

from genshi.core import TEXT
from genshi.output import get_serializer

from trytond import backend
from trytond.transaction import TransactionError

from .compiler import Compiler, Static, start
from .error import TemplateError, TemplateRenderError, TemplateSyntaxError
from .expression import FILENAME
from .guard import Guard
from .reader import is_mjml, plain, read_markup, read_text
from .values import DATETIME, MAX_TEXT

__all__ = [
    'DATETIME', 'Template', 'TemplateError', 'TemplateRenderError',
    'Static', 'TemplateSyntaxError', 'compile_markup', 'compile_text',
    'is_mjml', 'limited', 'plain', 'serialize']

MAX_MARKUP = 500_000  # characters of a source
MAX_PLAIN = 20_000


def compile_markup(source):
    "Return the Template of the HTML or MJML source"
    return _compile(read_markup, source, MAX_MARKUP)


def compile_text(source):
    "Return the Template of the plain text"
    return _compile(read_text, source, MAX_PLAIN)


def _compile(read, source, limit):
    if len(source) > limit:
        raise TemplateSyntaxError('too_long', limit=limit)
    try:
        return Template(
            Compiler(*read(source)),
            serialize if read is read_markup else _join)
    except RecursionError:
        raise TemplateSyntaxError('too_complex') from None


class Template:
    """A compiled template, to be rendered any number of times

    names -- the names the template expects from its context
    paths -- what it reads from them, such as ('record', 'party', 'name');
        the variables of loops stand for what they loop over
    """

    def __init__(self, compiler, finish):
        self.names = frozenset(compiler.expressions.names)
        self.paths = frozenset(compiler.expressions.paths)
        self._finish = finish
        self._code = compiler.function()
        self._lines = compiler.lines
        self._globals = {
            '__builtins__': {},
            '_TEXT': TEXT,
            '_slice': slice,
            '_start': start,
            '_values': compiler.values,
            }

    def render(self, context):
        "Return the text of the template for the values of the context"
        return self._finish(self.chunks(context))

    def chunks(self, context):
        """Return the list of what the template is made of for the context

        These are Static events, texts that depend on the values and single
        events.
        """
        guard = Guard()
        try:
            return list(self._generate(guard, context))
        except (TransactionError, backend.DatabaseOperationalError,
                backend.DatabaseTimeoutError):
            # To be tried again by who started the transaction
            raise
        except TemplateRenderError as error:
            error.line = error.line or self._line(error)
            raise
        except Exception as exception:
            raise _render_error(
                exception, self._line(exception)) from exception

    def _generate(self, guard, context):
        globals_ = self._globals.copy()
        globals_.update(
            (n, context[n]) for n in self.names if n in context)
        return FunctionType(self._code, globals_)(guard)

    def _line(self, exception):
        "Return the line of the source at which the exception was raised"
        lines = [
            self._lines[line - 1]
            for frame, line in walk_tb(exception.__traceback__)
            if frame.f_code.co_filename == FILENAME]
        return lines[-1] if lines else None


def serialize(chunks, filters=(), method='xhtml'):
    """Return the markup of the chunks

    filters -- Genshi stream filters
    method -- of the Genshi serializer
    """
    events = _events(chunks)
    for filter_ in filters:
        events = filter_(events)
    return limited(str(''.join(_serializers[method](events))))


def limited(text):
    "Return the text if it is not too long, which escaping can make it"
    if len(text) > MAX_TEXT:
        raise TemplateRenderError('limit_output', limit=MAX_TEXT)
    return text


def _events(chunks):
    for chunk in chunks:
        if type(chunk) is Static:
            yield from chunk
        elif isinstance(chunk, str):
            yield TEXT, chunk, (None, -1, -1)
        else:
            yield chunk


def _join(chunks):
    "Return the text of the chunks of a plain text"
    return limited(''.join(text for _, text, _ in _events(chunks)))


# The state of a serializer is in its generators
_serializers = {m: get_serializer(m) for m in ['xml', 'xhtml', 'html']}


def _render_error(exception, line):
    if isinstance(exception, NameError):
        return TemplateRenderError('undefined', line, name=exception.name)
    if isinstance(exception, (RecursionError, MemoryError)):
        return TemplateRenderError('limit_memory', line)
    error = str(exception)[:500]
    if not isinstance(exception, (TypeError, ValueError)):
        error = f'{type(exception).__name__}: {error}'
    return TemplateRenderError('failed', line, error=error)
