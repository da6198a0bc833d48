# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""MJML to HTML, styles to elements and HTML to text, in an own process

Nobody knows what input the libraries need forever for, or all of the memory,
or fall over.  So they work in a child process, which has one limit of time
and one of memory, whatever the cause is, and is replaced when it has reached
one of them.

This file is also the program of the child: it imports nothing of the module,
which would take most of the time of its start.
"""
import os
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

TIMEOUT = 5  # seconds for one conversion
MEMORY = 512 * 1024 ** 2  # bytes
MAX_RESULT = 4_000_000  # bytes
_head = struct.Struct('>BI')  # kind or status, length of what follows
TEXT, MJML, STYLES = range(3)
DONE, FAILED = range(2)
# Lists are indented by two spaces, layout tables by more
_margin = re.compile(r'[ \t\xa0]+$|^[ \t\xa0]{3,}', re.M)
_blank = re.compile(r'\n{3,}')
_doctype = re.compile(r'<!doctype[^>]*>', re.IGNORECASE)
_link_space = re.compile(r'(?<=\[)\s+|\s+(?=\]\()')


class ConversionError(Exception):
    "The content can not be converted, reason is the library's or None"

    def __init__(self, reason=None):
        super().__init__(reason)
        self.reason = reason


# Of the parent


def html_to_text(html):
    "Return the text for readers that do not show HTML"
    return _converter().convert(TEXT, html)


def mjml_to_html(source):
    return _converter().convert(MJML, source)


def inline_styles(html):
    "Return the HTML with its styles at the elements"
    return _converter().convert(STYLES, html)


class Converter:
    "The child of this process, started when it is needed"

    def __init__(self):
        self.pid = os.getpid()
        self.process = None
        self.lock = threading.Lock()

    def convert(self, kind, content):
        with self.lock:
            status, result = self._convert(
                kind, content.encode('utf-8', 'surrogatepass'))
        result = result.decode('utf-8', 'surrogatepass')
        if status == FAILED:
            raise ConversionError(result)
        return result

    def _convert(self, kind, data):
        deadline = time.monotonic() + TIMEOUT
        if not self.process:
            self._start()
        try:
            self.process.stdin.write(_head.pack(kind, len(data)) + data)
            self.process.stdin.flush()
            status, size = _head.unpack(self._read(_head.size, deadline))
            return status, self._read(size, deadline)
        except OSError as exception:
            self.stop()
            raise ConversionError() from exception
        except BaseException:
            # The next one must not get the answer
            self.stop()
            raise

    def _start(self):
        self.process = subprocess.Popen(
            [_interpreter(), '-I', __file__, *sys.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL)

    def _read(self, size, deadline):
        parts = []
        stdout = self.process.stdout.fileno()
        # A server may have more files open than select can take
        poll = select.poll()
        poll.register(stdout, select.POLLIN)
        while size:
            wait = deadline - time.monotonic()
            if wait <= 0 or not poll.poll(1000 * wait):
                raise TimeoutError()
            part = os.read(stdout, size)
            if not part:
                raise ConnectionError("the converter has ended")
            parts.append(part)
            size -= len(part)
        return b''.join(parts)

    def stop(self):
        process, self.process = self.process, None
        if process:
            process.kill()
            for stream in [process.stdin, process.stdout]:
                try:
                    stream.close()
                except OSError:
                    # What it has not read any more
                    pass
            process.wait()


_current = None


def _converter():
    "Return the converter of this process, not of the one it is a fork of"
    global _current
    if not _current or _current.pid != os.getpid():
        _current = Converter()
    return _current


def _interpreter():
    "Return the path of Python, which the running program need not be"
    names = ['python3', 'python']
    if Path(sys.executable or '').name.startswith('python'):
        return sys.executable
    for name in names:
        path = Path(sys.prefix, 'bin', name)
        if path.exists():
            return str(path)
    return names[0]


# Of the child


def _to_text(html):
    from inscriptis import get_text
    from inscriptis.model.config import ParserConfig
    content = get_text(html, ParserConfig(display_links=True))
    content = _link_space.sub('', content)
    return _blank.sub('\n\n', _margin.sub('', content)).strip() + '\n'


def _to_html(source):
    import mrml
    return mrml.to_html(source).content


def _inline_styles(html):
    import css_inline
    result = css_inline.inline(
        html, load_remote_stylesheets=False, keep_link_tags=True,
        # What has no element to be at, such as a media query
        keep_style_tags=True, remove_inlined_selectors=True)
    if doctype := _doctype.search(html):
        # How old mail clients are to show it
        result = _doctype.sub(lambda _: doctype[0], result, 1)
    return result


def _serve(stdin, stdout):
    "Convert what comes until the parent ends"
    functions = {TEXT: _to_text, MJML: _to_html, STYLES: _inline_styles}
    while head := stdin.read(_head.size):
        kind, size = _head.unpack(head)
        content = stdin.read(size).decode('utf-8', 'surrogatepass')
        # The parent may be no more to end it
        signal.alarm(TIMEOUT)
        try:
            status, result = DONE, functions[kind](content)
        except Exception as exception:
            status, result = FAILED, str(exception)
        signal.alarm(0)
        data = result.encode('utf-8', 'surrogatepass')
        if len(data) > MAX_RESULT:
            os.abort()
        stdout.write(_head.pack(status, len(data)) + data)
        stdout.flush()


def main():
    # The libraries are where the parent has them
    sys.path[:] = sys.argv[1:]
    # An interrupt at the terminal is for the parent
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == '__main__':
    main()
