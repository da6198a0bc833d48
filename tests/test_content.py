# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import unittest
import weakref
from unittest.mock import patch

from genshi.core import Markup
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trytond.modules.marketing_automation.mail import content, link
from trytond.modules.marketing_automation.mail.link import Placeholders
from trytond.modules.marketing_automation.template import (
    TemplateRenderError, compile_markup, is_mjml)

XHTML = """<html xmlns:py="http://genshi.edgewall.org/">
<head><title>For $a</title><style>p { color: red }</style></head>
<body>
    <h1>Hello, $a!</h1>
    <p title="$b">A $a, ${b}. </p>  <p>${c}</p>
    <ul><li py:for="i in range(n)">$i: ${a}$c</li></ul>
    <p py:if="b">   $b
        <a href="https://example.com/">Go to
        $a</a> <a href="https://example.com/${c}">$c</a>
    </p>
    <pre>
        $a
    </pre>
    <a href="unsubscribe">Stop</a>
</body></html>"""
TABLE = """<html xmlns:py="http://genshi.edgewall.org/"><body>
<table><tr><th>Name</th><th>$b</th></tr>
<tr py:for="i in range(n)"><td>$a</td><td align="right">$b</td><td>$c</td></tr>
</table><p>$c</p></body></html>"""
MJML = """<mjml xmlns:py="http://genshi.edgewall.org/"><mj-head>
<mj-title>For you</mj-title><mj-preview>$b</mj-preview>
<mj-style>p { color: red }</mj-style></mj-head>
<mj-body><mj-section><mj-column>
<mj-text>Hello, <b>$a</b>! $c</mj-text>
<mj-button href="https://example.com/">To $a</mj-button>
<mj-table><tr py:for="i in range(n)"><td>$b</td><td>$c</td></tr></mj-table>
<mj-text><a href="unsubscribe">Stop</a></mj-text>
</mj-column></mj-section></mj-body></mjml>"""

# What XML allows. Without the Skeleton, inscriptis takes &amp;amp; for &.
texts = (
    st.text(st.characters(
            exclude_categories=['Cs', 'Cc', 'Cn'], exclude_characters='&'))
    | st.sampled_from([
            '', ' ', 'a  b', ' a', 'a ', 'a\nb', '\n\n\n', 'a\xa0b', '<b>',
            '"', '&', ']]>', "\u202e", '\U00100000', "Ünï", '北京']))


class ContentTestCase(unittest.TestCase):
    "Test what is made only once does not depend on the values"

    def _content(self, source, values):
        own = Placeholders('own', True)
        chunks = compile_markup(source).chunks(values)
        result = content.Content(chunks, own, is_mjml(source))
        return result.html, result.text, own.urls | result.common.urls

    def _assert_same(self, source, values):
        "Test the content is that without anything in common"
        with patch.object(content, '_is_plain', lambda value: False):
            expected = self._content(source, values)
        self.assertEqual(self._content(source, values), expected)

    @settings(deadline=None)
    @example('a', 'b', 'c', 1)
    @example('a b', '<b>', 'x' * 40, 3)
    @example('a', '\U000f0000', 'c', 1)
    @example('a', 'b', '\U000f0001\U000f0000', 2)
    @example('a', 'b', '[', 1)
    @example('a', '](', '(c', 1)
    @given(texts, texts, texts, st.integers(0, 3))
    def test_values(self, a, b, c, n):
        "Test any values in any kind of template"
        for source in [XHTML, TABLE, MJML]:
            self._assert_same(source, {'a': a, 'b': b, 'c': c, 'n': n})

    def test_shared(self):
        "Test messages that differ by names have the rest in common"
        source = (
            '<html><body><p>Hello, $a</p><table><tr><td>$a</td></tr></table>'
            '</body></html>')
        template = compile_markup(source)
        with patch.object(
                content, 'html_to_text',
                wraps=content.html_to_text) as html_to_text:
            contents = [
                content.Content(
                    template.chunks({'a': name}), Placeholders('own', True))
                for name in ["Jane", "Joan", "Jo <b>", "J"]]
            texts = [c.text for c in contents]
        self.assertEqual(len({c.common for c in contents}), 1)
        # Columns are as wide as the name
        self.assertEqual(html_to_text.call_count, 3)
        self.assertEqual(
            [t.split() for t in texts],
            [["Hello,", "Jane", "Jane"], ["Hello,", "Joan", "Joan"],
                ["Hello,", "Jo", "<b>", "Jo", "<b>"], ["Hello,", "J", "J"]])

    def test_limit(self):
        "Test a text that only its escaping makes too long"
        template = compile_markup('<html><body>$x</body></html>')
        for value in ['&' * 300_000, ' ' + '&' * 300_000]:
            with self.subTest(value=value[:2]):
                chunks = template.chunks({'x': value})
                with self.assertRaises(TemplateRenderError) as context:
                    content.Content(chunks, Placeholders('own', True))
                self.assertEqual(context.exception.reason, 'limit_output')

    def test_markup(self):
        "Test a text is not taken for the equal markup"
        for tag in ['body', 'pre']:
            template = compile_markup(f'<html><{tag}>$x</{tag}></html>')
            for value, expected in [
                    (Markup('<b>x</b>'), '<b>x</b>'),
                    ('<b>x</b>\n', '&lt;b&gt;x&lt;/b&gt;\n'),
                    (Markup('<b>x</b>\n'), '<b>x</b>\n'),
                    ]:
                with self.subTest(tag=tag, value=value):
                    result = content.Content(
                        template.chunks({'x': value}),
                        Placeholders('own', True))
                    self.assertEqual(
                        result.html,
                        f'<html><{tag}>{expected}</{tag}></html>')

    def test_cache(self):
        "Test the texts that are kept do not keep all else"
        template = compile_markup(
            '<html><body><p style="%s">$a</p></body></html>'
            % ('color: red; ' * 20_000))
        skeletons = []
        for i in range(40):
            result = content.Content(
                template.chunks({'a': f'{i}\nStreet'}),
                Placeholders('own', True))
            self.assertIn(f'{i} Street', result.text)
            skeletons.append(weakref.ref(result._skeleton))
            size = result._skeleton.size
        del result
        kept = [r() for r in skeletons if r()]
        self.assertLessEqual(len(kept), content.CACHE // size)

    def test_html_to_text(self):
        "Test the text says what the HTML says"
        text = content.html_to_text(
            '<html><head><title>T</title><style>p {}</style></head><body>'
            '<h1>Title</h1><p>One &amp; two</p><ul><li>Item</li></ul>'
            '<a href="https://example.com/x">\n link \n</a>'
            '<img src="https://example.com/i.png" alt="picture"/>'
            '</body></html>')
        for part in ["Title", "One & two", "Item",
                "[link](https://example.com/x)"]:
            self.assertIn(part, text)
        for part in ['p {}', '<', 'i.png']:
            self.assertNotIn(part, text)


class PlaceholderTestCase(unittest.TestCase):
    "Test what stands for URLs"

    def test_is_http(self):
        "Test what is followed over HTTP"
        for url, expected in [
                ('http://example.com', True),
                ('HTTPS://example.com', True),
                ('mailto:a@example.com', False),
                ('tel:+32', False),
                ('#anchor', False),
                ('/path', False),
                ('javascript:alert(1)', False),
                ('httpx://example.com', False),
                ('', False),
                ]:
            with self.subTest(url=url):
                self.assertEqual(link.is_http(url), expected)
