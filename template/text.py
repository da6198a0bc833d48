# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the source of a plain text to the function that yields its texts"""
import re
from functools import partial

from .compiler import MAX_DEPTH, Compiler

TEXT_DIRECTIVES = {'when', 'otherwise', 'for', 'if', 'choose', 'with'}
REFUSED = {
    'def': 'unknown_directive',
    'include': 'include',
    'python': 'instruction',
    }

_line_directive = re.compile(r'[ \t]*#(#|[a-z]+\b)(.*)')
_mark = re.compile(r'\\?\{[%#]|\\#')


class TextCompiler(Compiler):
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
