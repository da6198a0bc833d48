# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Genshi templates written by people who must gain nothing by it

What may be written: the directives of Genshi's MarkupTemplate and
TextTemplate but def, match, include and python, with its results.
Expressions have names, attributes, items and slices, calls, + - * / // %,
comparisons, conditions, lists, dictionaries and comprehensions that make
lists.

What is refused, with its line: all else of Python, names that start with an
underscore, documents that refer to others, and values where escaping does
not help.

How it is held: Genshi parses (markup.py, text.py), each expression is
rewritten to calls of a Guard (expression.py), and all becomes one function
that yields the events of a Genshi stream (compiler.py).  The Guard
(guard.py) knows by type what is read and called; one counter of steps, one
clock and one size bound what still can grow.  Nothing here
knows records: what is given decides itself what it shows, as Guarded.  The
texts of errors are elsewhere.
"""
from traceback import walk_tb
from types import FunctionType

from genshi.core import TEXT
from genshi.output import get_serializer

from trytond import backend
from trytond.transaction import TransactionError

from .compiler import Static
from .error import TemplateError, TemplateRenderError, TemplateSyntaxError
from .expression import FILENAME
from .guard import GUARDS, Guard, Limits
from .markup import MarkupCompiler
from .text import TextCompiler
from .values import DATETIME

__all__ = [
    'DATETIME', 'Limits', 'Template', 'TemplateError', 'TemplateRenderError',
    'Static', 'TemplateSyntaxError', 'compile_markup', 'compile_text',
    'limited', 'serialize']

MAX_MARKUP = 500_000  # characters of a source
MAX_TEXT = 20_000


def compile_markup(source):
    "Return the Template of the XHTML or MJML source"
    _check_source(source, MAX_MARKUP)
    return _compile(MarkupCompiler(), source, markup=True)


def compile_text(source):
    "Return the Template of the plain text"
    _check_source(source, MAX_TEXT)
    return _compile(TextCompiler(), source, markup=False)


def _check_source(source, limit):
    if len(source) > limit:
        raise TemplateSyntaxError('too_long', limit=limit)


def _compile(compiler, source, markup):
    try:
        compiler.compile(source)
        return Template(compiler, markup)
    except RecursionError:
        raise TemplateSyntaxError('too_complex') from None


class Template:
    """A compiled template, to be rendered any number of times

    names -- the names the template expects from its context
    paths -- what it reads from them, such as ('record', 'party', 'name');
        the variables of loops stand for what they loop over
    methods -- what it calls of them, such as ('record', 'address_get')
    """

    def __init__(self, compiler, markup):
        expressions = compiler.expressions
        self.names = frozenset(expressions.names)
        self.paths = frozenset(expressions.paths)
        self.methods = frozenset(expressions.methods)
        self._finish = serialize if markup else _join
        self._guards = [(n, GUARDS[n]) for n in expressions.guards]
        self._code = compiler.function()
        self._globals = {
            '__builtins__': {},
            '_events': compiler.events,
            '_TEXT': TEXT,
            }

    def render(self, context, limits=None):
        "Return the text of the template for the values of the context"
        limits = limits or Limits()
        return limited(self._finish(self.chunks(context, limits)), limits)

    def chunks(self, context, limits=None):
        """Return the list of what the template is made of for the context

        These are Static events, texts that depend on the values and single
        events.
        """
        guard = Guard(limits or Limits())
        try:
            return list(self._generate(guard, context))
        except (TransactionError, backend.DatabaseOperationalError,
                backend.DatabaseTimeoutError):
            # To be tried again by who started the transaction
            raise
        except TemplateRenderError as error:
            error.line = error.line or _line(error)
            raise
        except Exception as exception:
            raise _render_error(exception, guard) from exception

    def _generate(self, guard, context):
        globals_ = self._globals.copy()
        globals_.update(
            (n, context[n]) for n in self.names if n in context)
        globals_['_guard'] = guard
        for name, method in self._guards:
            globals_[name] = getattr(guard, method)
        return FunctionType(self._code, globals_)()


def serialize(chunks, filters=(), method='xhtml'):
    """Return the markup of the chunks

    filters -- Genshi stream filters
    method -- of the Genshi serializer
    """
    events = _events(chunks)
    for filter_ in filters:
        events = filter_(events)
    return limited(str(''.join(_serializers[method](events))))


def limited(text, limits=Limits()):
    "Return the text if it is not too long, which escaping can make it"
    if len(text) > limits.output:
        raise TemplateRenderError('limit_output', limit=limits.output)
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
    return ''.join([
            ''.join(c) if type(c) is Static else c for c in chunks])


# The state of a serializer is in its generators
_serializers = {m: get_serializer(m) for m in ['xml', 'xhtml', 'html']}


def _render_error(exception, guard):
    line = _line(exception)
    if isinstance(exception, NameError):
        return TemplateRenderError('undefined', line=line, name=exception.name)
    if isinstance(exception, RecursionError):
        return TemplateRenderError('limit_depth', line=line)
    if isinstance(exception, MemoryError):
        return TemplateRenderError('limit_memory', line=line)
    error = str(exception)[:500]
    if not isinstance(exception, (TypeError, ValueError)):
        error = f'{type(exception).__name__}: {error}'
    return TemplateRenderError('failed', line=line, error=error)


def _line(exception):
    "Return the line of the template at which the exception was raised"
    lines = [
        line for frame, line in walk_tb(exception.__traceback__)
        if frame.f_code.co_filename == FILENAME]
    return lines[-1] if lines else None
