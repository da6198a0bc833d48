# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From the source of a plain text to the function that yields its texts"""
import re
from functools import partial

from .compiler import MAX_DEPTH, Compiler

DIRECTIVES = {'when', 'otherwise', 'for', 'if', 'choose', 'with'}
REFUSED = {
    'def': 'unknown_directive',
    'include': 'include',
    'python': 'instruction',
    }
_directive = re.compile(r'\{%([^%]*)%\}')


class TextCompiler(Compiler):
    "Compile ${expression} and {% directive %} … {% end %}"

    def compile(self, source):
        # Texts and, in between, directives
        self.parts = enumerate(_directive.split(source))
        self.line = 1
        self.level = 0
        self._body(None)

    def _body(self, opened):
        "Compile the parts until the end of the opened directive"
        start = self.line
        self.level += 1
        if self.level > MAX_DEPTH:
            self.error('too_deep', start)
        for i, part in self.parts:
            line = self.line
            self.line += part.count('\n')
            if not i % 2:
                if '{%' in part:
                    self.error('directive_end', line, name='{%')
                self.text(part, line)
                continue
            name, value = (part.split(None, 1) + ['', ''])[:2]
            if name == 'end' and opened:
                self.level -= 1
                return
            self._directive(name, value, line)
        if opened:
            self.error('directive_end', start, name=opened)

    def _directive(self, name, value, line):
        if name == 'end':
            self.error('directive_end', line, name=name)
        if name not in DIRECTIVES:
            self.error(
                REFUSED.get(name, 'unknown_directive'), line, name=name[:100])
        self.directive(name, value, line, partial(self._body, name))
