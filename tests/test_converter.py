# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import os
import signal
import socket
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from tempfile import NamedTemporaryFile

from hypothesis import given, settings
from hypothesis import strategies as st

from trytond.modules.marketing_automation.mail import converter
from trytond.modules.marketing_automation.mail.converter import (
    TIMEOUT, ConversionError, html_to_text, inline_styles, mjml_to_html)

# Of loaded machines
SLACK = 10
HTML = '<html><body>%s</body></html>'
STYLED = '<html><head><style>%s</style></head><body>%s</body></html>'
MJML = (
    '<mjml><mj-body><mj-section><mj-column>%s'
    '</mj-column></mj-section></mj-body></mjml>')
SLOW_PART = '<p style="padding-left:300em">x</p>'
SLOW = SLOW_PART * 60_000
PATH = [p for p in sys.path if p.endswith('-packages')]
TAGS = ['p', 'b', 'pre', 'table', 'tr', 'td', 'ul', 'li', 'h1', 'a', 'br']


class ConverterTestCase(unittest.TestCase):
    "Test conversions in a process of their own"

    def check(self, function, content):
        "The content is converted or refused in time, and the next one is"
        started = time.monotonic()
        try:
            function(content)
        except ConversionError:
            pass
        self.assertLess(time.monotonic() - started, TIMEOUT + SLACK)
        self.assertIn("next", html_to_text(HTML % "<p>next</p>"))

    def test_text(self):
        "Test texts that take long or much memory"
        for name, content in [
                ('spaces', HTML % ('[' + ' ' * 200_000 + 'x')),
                ('pre', HTML % ('<pre>' + ' \n' * 100_000 + '</pre>')),
                ('margin', HTML % (
                        '<p style="margin-top:99999999em">x</p>')),
                ('padding', HTML % (
                        '<p style="padding-left:999999999em">x</p>')),
                ('tables', HTML % ('<table><tr><td>' * 5_000)),
                ('columns', HTML % (
                        '<table><tr>' + '<td>x</td>' * 20_000
                        + '</tr></table>')),
                ('nested', HTML % ('<div>' * 50_000)),
                ('attributes', HTML % (
                        '<p ' + ' '.join(f'a{i}=""' for i in range(60_000))
                        + '/>')),
                ]:
            with self.subTest(name=name):
                self.check(html_to_text, content)

    def test_mjml(self):
        "Test MJML that takes long, much memory or ends the process"
        for name, content in [
                ('nested', '<mjml><mj-body>' + '<mj-wrapper>' * 20_000
                    + '</mj-wrapper>' * 20_000 + '</mj-body></mjml>'),
                ('text', MJML % (
                        '<mj-text>' + '<div>' * 50_000 + '</div>' * 50_000
                        + '</mj-text>')),
                ('carousel', MJML % (
                        '<mj-carousel>' + '<mj-carousel-image src="x"/>'
                        * 40_000 + '</mj-carousel>')),
                ('attributes', MJML % (
                        '<mj-text '
                        + ' '.join(f'a{i}=""' for i in range(60_000)) + '/>')),
                ]:
            with self.subTest(name=name):
                self.check(mjml_to_html, content)

    def test_styles(self):
        "Test style sheets that take long or much memory"
        image = f'background: url(data:,{"x" * 100_000})'
        for name, content in [
                ('matches', STYLED % (
                        'p { color: red }' * 20_000, '<p>x</p>' * 5_000)),
                ('size', STYLED % (f'p {{ {image} }}', '<p>x</p>' * 10_000)),
                ('nested', STYLED % (
                        'p { color: red }', '<div>' * 100_000)),
                ('blocks', STYLED % ('@media {' * 50_000, '<p>x</p>')),
                ('selectors', STYLED % (':not(' * 50_000, '<p>x</p>')),
                ]:
            with self.subTest(name=name):
                self.check(inline_styles, content)

    def test_styles_not_fetched(self):
        "Test nothing outside of the e-mail is read for its styles"
        with (socket.create_server(('127.0.0.1', 0)) as server,
                NamedTemporaryFile('w', suffix='.css') as file):
            server.settimeout(0)
            file.write('p { color: red }')
            file.flush()
            host, port = server.getsockname()
            result = inline_styles(STYLED % (
                    f'@import url("http://{host}:{port}/a.css");'
                    f'@import url("file://{file.name}");',
                    f'<link rel="stylesheet" href="file://{file.name}">'
                    f'<link rel="stylesheet" href="{file.name}">'
                    f'<link rel="stylesheet" href="http://{host}:{port}/b">'
                    '<p>x</p>'))
            self.assertIn('<p>x</p>', result)
            with self.assertRaises(BlockingIOError):
                server.accept()

    def test_reason(self):
        "Test the reason of the library is told, of a limit there is none"
        with self.assertRaises(ConversionError) as caught:
            mjml_to_html('<mjml><mj-unclosed></mjml>')
        self.assertTrue(caught.exception.reason)
        with self.assertRaises(ConversionError) as caught:
            html_to_text(HTML % '<p style="margin-top:99999999em">x</p>')
        self.assertIsNone(caught.exception.reason)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from([f'<{t}>' for t in TAGS]),
                st.sampled_from([f'</{t}>' for t in TAGS]),
                st.sampled_from(['&nbsp;', ' ' * 50, '\n', '[', '](', '\0']),
                ),
            max_size=30),
        st.integers(1, 300))
    def test_random(self, parts, times):
        "Test no content stops the next one"
        self.check(html_to_text, HTML % (''.join(parts) * times))

    def test_killed(self):
        "Test another process takes over"
        html_to_text(HTML % "x")
        os.kill(converter._current.process.pid, signal.SIGKILL)
        with self.assertRaises(ConversionError):
            html_to_text(HTML % "x")
        self.assertEqual(html_to_text(HTML % "x"), "x\n")

    def test_threads(self):
        "Test each thread gets its own result"
        with ThreadPoolExecutor(4) as executor:
            self.assertEqual(
                list(executor.map(
                        lambda i: html_to_text(HTML % i), range(100))),
                [f'{i}\n' for i in range(100)])

    def test_fork(self):
        "Test a fork does not share the process"
        html_to_text(HTML % "x")
        before = converter._current.process.pid
        reader, writer = os.pipe()
        if not (pid := os.fork()):
            html_to_text(HTML % "x")
            os.write(writer, str(converter._current.process.pid).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        self.assertNotEqual(int(os.read(reader, 20)), before)
        self.assertEqual(html_to_text(HTML % "x"), "x\n")

    def test_interrupted(self):
        "Test nobody gets the result of a conversion that was interrupted"
        class Interrupt(BaseException):
            pass

        def interrupt(*args):
            raise Interrupt()

        html_to_text(HTML % "warm")
        self.addCleanup(
            signal.signal, signal.SIGALRM,
            signal.signal(signal.SIGALRM, interrupt))
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with self.assertRaises(Interrupt):
            html_to_text(HTML % SLOW)
        self.assertEqual(html_to_text(HTML % "next"), "next\n")

    def test_many_files(self):
        "Test a server may have many files open"
        code = (
            'import os, resource\n'
            f'from {converter.__name__} import html_to_text\n'
            '_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n'
            'resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))\n'
            'for i in range(1100):\n'
            '    os.dup(1)\n'
            'print(html_to_text("x"))\n')
        self.assertEqual(self._run(code), "x\n\n")

    def test_path(self):
        "Test the process finds the libraries where its parent does"
        code = (
            'import sys\n'
            f'sys.path += {[os.path.dirname(converter.__file__), *PATH]!r}\n'
            'import converter\n'
            'print(converter.html_to_text("x"))\n')
        self.assertEqual(
            self._run(code, '-S', interpreter=sys._base_executable),
            "x\n\n")

    @staticmethod
    def _run(code, *options, interpreter=sys.executable):
        return subprocess.run(
            [interpreter, *options, '-c', code],
            stdout=subprocess.PIPE, text=True).stdout

    def _check_ends(self, pid):
        path = f'/proc/{pid}/stat'
        end = time.monotonic() + TIMEOUT + SLACK
        while time.monotonic() < end and os.path.exists(path):
            with open(path) as file:
                if file.read().rpartition(')')[2].split()[0] == 'Z':
                    break
            time.sleep(0.1)
        else:
            self.assertFalse(os.path.exists(path))

    def test_orphan_at_work(self):
        "Test the process ends after its parent, also in a long conversion"
        code = (
            'import os, signal, threading\n'
            f'import {converter.__name__} as converter\n'
            'converter.html_to_text("x")\n'
            'print(converter._current.process.pid, flush=True)\n'
            'threading.Timer(\n'
            '    1, os.kill, [os.getpid(), signal.SIGKILL]).start()\n'
            f'converter.html_to_text({HTML!r} % ({SLOW_PART!r} * 60_000))\n')
        self._check_ends(int(self._run(code)))

    def test_orphan(self):
        "Test the process ends with its parent, however that ends"
        code = (
            'import os, signal\n'
            f'from {converter.__name__} import html_to_text\n'
            f'import {converter.__name__} as converter\n'
            'html_to_text("x")\n'
            'print(converter._current.process.pid, flush=True)\n'
            'os.kill(os.getpid(), signal.SIGKILL)\n')
        self._check_ends(int(self._run(code)))
