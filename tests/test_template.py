# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import datetime as dt
import time
import tracemalloc
import unittest
import unittest.mock
from decimal import Decimal

from genshi.core import START, TEXT, Markup, QName
from genshi.template import MarkupTemplate

from trytond.modules.marketing_automation.access import (
    AccessScope, report_helpers, unwrap)
from trytond.modules.marketing_automation.template import (
    DATETIME, TemplateError, TemplateRenderError, TemplateSyntaxError,
    compile_markup, compile_text, guard, serialize)
from trytond.pool import Pool
from trytond.pyson import Eval, PYSONDecoder, PYSONEncoder
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, TransactionError

from .fixtures import DatabaseTestCase, create, create_party

HEAD = '<div xmlns:py="http://genshi.edgewall.org/">'
# The kinds of reasons
CODES = {
    r: code for code, reasons in {
        'limit': (
            'limit_memory limit_number limit_output limit_steps limit_text '
            'limit_time too_complex too_deep too_long too_many'),
        'syntax': (
            'ampersand character not_well_formed prefix unclosed_tag '
            'unexpected_end unfinished unknown_element'),
        'entity': 'doctype unknown_entity',
        'include': 'include',
        'instruction': 'instruction',
        'directive': (
            'directive_end directive_outside directive_value '
            'unknown_directive'),
        'expression': (
            'empty failed invalid iterate operands place refused unclosed '
            'undefined'),
        'access': (
            'argument attribute call field format function member method '
            'model record show underscore'),
        }.items() for r in reasons.split()}
SECONDS = 3
MEGABYTES = 100


def render(source, **context):
    return compile_text(source).render(context)


def markup(source, filters=(), method='xhtml', **context):
    "Render the source inside of a div"
    template = compile_markup(f'{HEAD}{source}</div>')
    result = serialize(template.chunks(context), filters, method)
    return result.removeprefix('<div>').removesuffix('</div>')


def limits(**values):
    "Change what rendering may use, as in steps=50"
    return unittest.mock.patch.multiple(
        guard, **{f'MAX_{n.upper()}': v for n, v in values.items()})


class Case(unittest.TestCase):

    def assertRefused(self, code, function, *args, **kwargs):
        with self.assertRaises(TemplateError) as context:
            function(*args, **kwargs)
        if code:
            self.assertEqual(
                CODES[context.exception.reason], code,
                msg=str(context.exception))
        self.assertTrue(str(context.exception))
        return context.exception


class MarkupTestCase(Case):
    "Test templates of XHTML"

    def test_directives(self):
        "Test each directive as attribute and as element"
        for source, expected in [
                ('<p py:if="x">a</p>', '<p>a</p>'),
                ('<p py:if="not x">a</p>', ''),
                ('<py:if test="x">a</py:if>', 'a'),
                ('<i py:for="i in items">$i</i>',
                    '<i>1</i><i>2</i><i>3</i>'),
                ('<py:for each="i in items">$i</py:for>', '123'),
                ('<i py:for="a, (b, c) in [(1, (2, 3))]">$a$b$c</i>',
                    '<i>123</i>'),
                ('<i py:for="i in items" py:if="i != 2">$i</i>',
                    '<i>1</i><i>3</i>'),
                ('<p py:choose="x"><b py:when="1">1</b>'
                    '<b py:when="5">5</b><b py:otherwise="">o</b></p>',
                    '<p><b>5</b></p>'),
                ('<p py:choose=""><b py:when="x == 1">1</b>'
                    '<b py:otherwise="">o</b></p>',
                    '<p><b>o</b></p>'),
                ('<py:choose test="x"><py:when test="5">5</py:when>'
                    '<py:otherwise>o</py:otherwise></py:choose>', '5'),
                ('<p py:with="y = x + 1; z = y * 2">$y $z</p>',
                    '<p>6 12</p>'),
                ('<py:with vars="y = x">$y</py:with>', '5'),
                ('<p py:strip="">a</p>', 'a'),
                ('<p py:content="x">a <b>b</b></p>', '<p>5</p>'),
                ('<p py:content="None">a</p>', '<p></p>'),
                ('<p py:replace="x">a</p>', '5'),
                ('<py:replace value="x">a</py:replace>', '5'),
                ]:
            with self.subTest(source=source):
                self.assertEqual(
                    markup(source, x=5, items=[1, 2, 3]), expected)

    def test_same_as_genshi(self):
        "Test the result is that of Genshi"
        source = f'''<!DOCTYPE html>
{HEAD}
<?php echo?>
<!-- kept --> <!--! dropped -->
<p title="a ${{x}} b" lang="${{None}}" id="">${{x}} &amp; ${{y}}</p>
<br/><pre>  a
   b</pre>
<ul py:if="items"><li py:for="i in items" class="c${{i}}">${{i}}</li></ul>
<p py:for="i in items" py:strip="" py:with="j = i * 2" py:if="i > 0">
  ${{i}} ${{j}} <b py:content="y"/></p>
<style><![CDATA[ a > b {{ color: red }} ]]></style>
<v:oval xmlns:v="urn:v" v:a="1"/>
<p py:choose="x"><i py:when="1">1</i><i py:otherwise="">$x</i></p>
$$ 5$ ${{x}} ${{1.5}} ${{None}} ${{''}} &#8364; <i></i>
</div>'''
        context = {'x': 2, 'y': '<&">', 'items': [1, 2]}
        for method in ['xml', 'xhtml', 'html']:
            with self.subTest(method=method):
                expected = MarkupTemplate(source).generate(**context).render(
                    method, encoding=None)
                self.assertEqual(
                    serialize(
                        compile_markup(source).chunks(context),
                        method=method),
                    expected)

    def test_scope(self):
        "Test the names of the template are known only inside"
        self.assertEqual(
            markup(
                '<i py:for="x in [1, 2]"><b py:with="x = x * 10">$x</b>$x'
                '</i>$x', x='o'),
            '<i><b>10</b>1</i><i><b>20</b>2</i>o')
        self.assertEqual(
            markup(
                '<i py:with="x = 1">${[x for x in [2, 3]][0]} $x</i>', x='o'),
            '<i>2 1</i>')

    def test_escape(self):
        "Test values are escaped"
        self.assertEqual(
            markup('<p title="$x">$x</p>', x='<b>"&'),
            '<p title="&lt;b&gt;&#34;&amp;">&lt;b&gt;"&amp;</p>')
        self.assertEqual(markup('${Markup(x)}', x='<b/>'), '<b/>')

    def test_places(self):
        "Test no value is shown where escaping does not help"
        for source in [
                '<![CDATA[${x}]]>', '<style>${x}</style>',
                '<script>var x = "$x"</script>', '<mj-style>$x</mj-style>',
                '<mj-title>For $x</mj-title>', '<style py:content="x"/>',
                '<style><py:if test="x"><b>$x</b></py:if></style>',
                '<py:if test="x"><![CDATA[$x]]></py:if>']:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    markup(f'\n{source}')
                self.assertEqual(
                    (context.exception.reason, context.exception.line),
                    ('place', 2))
        self.assertEqual(
            markup('<style>a { b: c }</style>$x', x='<'),
            '<style>a { b: c }</style>&lt;')

    def test_entities(self):
        "Test the entities of HTML"
        self.assertEqual(
            markup('<p title="&eacute;">&nbsp;&euro;&#65;&lt;&apos;</p>'),
            '<p title="é">\xa0€A&lt;\'</p>')

    def test_doctype(self):
        "Test the document types of HTML"
        for doctype in [
                '<!DOCTYPE html>',
                '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" '
                '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">']:
            with self.subTest(doctype=doctype):
                template = compile_markup(
                    f'{doctype}<html>&nbsp;</html>')
                self.assertEqual(
                    template.render({}), f'{doctype}\n<html>\xa0</html>')

    def test_declaration(self):
        "Test the encoding of a text is of no importance"
        template = compile_markup(
            '<?xml version="1.0" encoding="iso-8859-1"?><mjml>é</mjml>')
        self.assertEqual(
            serialize(template.chunks({}), method='xml'),
            '<mjml>é</mjml>')

    def test_filters(self):
        "Test filters receive the events of a stream"
        def rewrite(stream):
            for kind, data, pos in stream:
                if kind is START and data[1].get('href'):
                    tag, attrs = data
                    href = attrs.get('href').upper()
                    data = tag, attrs | [(QName('href'), href)]
                yield kind, data, pos

        def drop(stream):
            return (e for e in stream if e[0] is not TEXT)

        self.assertEqual(
            markup(
                '<a href="a">a</a><a href="a$x">a</a>',
                filters=[rewrite, drop], x='b'),
            '<a href="A"></a><a href="AB"></a>')

    def test_functions(self):
        "Test the functions of the context"
        self.assertEqual(
            markup('<a href="${short(x)}">${f(1, b=2)}</a>',
                x='u', short=lambda url: f'http://{url}',
                f=lambda a, b: a + b),
            '<a href="http://u">3</a>')

    def test_reuse(self):
        "Test a template is rendered more than once"
        template = compile_markup(f'{HEAD}$x</div>')
        self.assertEqual(
            [template.render({'x': i}) for i in range(3)],
            [f'<div>{i}</div>' for i in range(3)])

    def test_errors(self):
        "Test what is said about a source"
        for source, code, reason, line in [
                ('<p', 'syntax', 'unfinished', 1),
                ('<p>\n<!-- a', 'syntax', 'unfinished', 2),
                ('<p>\n<style>a</p>', 'syntax', 'unfinished', 2),
                ('<p>\n<a<b>c', 'syntax', 'unknown_element', 2),
                ('<p>\n<![a[', 'syntax', 'not_well_formed', 2),
                ('<p>\n\ud800</p>', 'syntax', 'character', 2),
                ('<p>\n\0</p>', 'syntax', 'character', 2),
                ('<p>\n&foo;</p>', 'entity', 'unknown_entity', 2),
                ('<p>\n<a b="&foo;"/></p>', 'entity', 'unknown_entity', 2),
                ('<p>\n${x</p>', 'expression', 'unclosed', 2),
                ('<p>\n\n${1 +}</p>', 'expression', 'invalid', 3),
                (f'{HEAD}<p py:for="x"/></div>',
                    'directive', 'directive_value', 1),
                (f'{HEAD}<p py:for="1 in x"/></div>',
                    'expression', 'invalid', 1),
                (f'{HEAD}<p py:with="x"/></div>', 'expression', 'invalid', 1),
                (f'{HEAD}<p py:if=""/></div>',
                    'directive', 'directive_value', 1),
                (f'{HEAD}<p py:when="1"/></div>',
                    'directive', 'directive_outside', 1),
                (f'{HEAD}<p py:otherwise=""/></div>',
                    'directive', 'directive_outside', 1),
                (f'{HEAD}<py:content value="1"/></div>',
                    'directive', 'unknown_directive', 1),
                (f'{HEAD}<py:replace/></div>',
                    'directive', 'unknown_directive', 1),
                (f'{HEAD}<p py:strip="x"/></div>',
                    'directive', 'directive_value', 1),
                (f'{HEAD}<p py:attrs="x"/></div>',
                    'directive', 'unknown_directive', 1),
                (f'{HEAD}<p py:def="f(x)"/></div>',
                    'directive', 'unknown_directive', 1),
                (f'{HEAD}<py:match path="p"/></div>',
                    'directive', 'unknown_directive', 1),
                (f'{HEAD}<p py:unknown="x"/></div>',
                    'directive', 'unknown_directive', 1),
                ]:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_markup(source)
                error = context.exception
                self.assertEqual(
                    (CODES[error.reason], error.reason, error.line),
                    (code, reason, line), msg=str(error))
                self.assertTrue(str(error))

    def test_error_line(self):
        "Test the line of what fails with the values"
        for source, line in [
                ('<p>\n\n${1 / x}</p>', 3),
                ('<p>\n\n<a href="${1 / x}"/></p>', 3),
                ('<p>\n\n${[1 / y for y in [x]]}</p>', 3),
                ('<p>\n\n${x.y}</p>', 3),
                ]:
            with self.subTest(source=source):
                error = self.assertRaises(
                    TemplateRenderError, compile_markup(source).render,
                    {'x': 0})
                with self.assertRaises(TemplateRenderError) as context:
                    compile_markup(source).render({'x': 0})
                error = context.exception
                self.assertEqual(error.line, line)
                self.assertIn(f'line {line}', str(error))


class HTMLTestCase(Case):
    "Test templates that are no XML"

    def html(self, source, **context):
        "Render the source with something that is no XML"
        result = compile_markup(f'{source}<br>').render(context)
        self.assertEqual(result[-6:], '<br />')
        return result[:-6]

    def test_browser(self):
        "Test what is written in short is read as a browser does"
        for source, expected in [
                ('a<BR>b<IMG SRC=x.png ALT="&quot;">',
                    'a<br />b<img src="x.png" alt="&#34;" />'),
                ('a & b &amp; c&nbsp;&euro;&copy &zwj; AT&T',
                    'a &amp; b &amp; c\xa0€© \u200d AT&amp;T'),
                ('<a href="?a=1&copy=2&amp;b=3&lt=4">x</a>',
                    '<a href="?a=1&amp;copy=2&amp;b=3&amp;lt=4">x</a>'),
                ('<a href=http://x/?a=1&b>x</a>',
                    '<a href="http://x/?a=1&amp;b">x</a>'),
                ('<input CHECKED disabled="">',
                    '<input checked="checked" disabled="disabled" />'),
                ('<p a=1 a=2>x</p>', '<p a="1">x</p>'),
                ('<p>a<p>b<div>c</div>', '<p>a</p><p>b</p><div>c</div>'),
                ('<p><b>a<div>b</div>', '<p><b>a</b></p><div>b</div>'),
                ('<ul><li>a<ul><li>b<li>c</ul><li>d</ul>',
                    '<ul><li>a<ul><li>b</li><li>c</li></ul></li>'
                    '<li>d</li></ul>'),
                ('<dl><dt>a<dd><p>b<dt>c</dl>',
                    '<dl><dt>a</dt><dd><p>b</p></dd><dt>c</dt></dl>'),
                ('<select><option selected>a<option>b</select>',
                    '<select><option selected="selected">a</option>'
                    '<option>b</option></select>'),
                ('<table><thead><tr><th>a<th>b<tbody><tr><td><p>c<td>d<tr>'
                    '<td><table><tr><td>e<td>f</table>g</table>',
                    '<table><thead><tr><th>a</th><th>b</th></tr></thead>'
                    '<tbody><tr><td><p>c</p></td><td>d</td></tr><tr><td>'
                    '<table><tr><td>e</td><td>f</td></tr></table>g</td></tr>'
                    '</tbody></table>'),
                ('<div><table><tr><td>a</div>b</td></tr></table></div>',
                    '<div><table><tr><td>ab</td></tr></table></div>'),
                ('</i>a</p></br>', 'a'),
                ('<b/><i>a</i>', '<b></b><i>a</i>'),
                ('<!-- a --><?xml:namespace prefix = o ?><o:p>b</o:p>',
                    '<!-- a --><o:p>b</o:p>'),
                ('1 < 2 <3 <> </>', '1 &lt; 2 &lt;3 &lt;&gt; '),
                ]:
            with self.subTest(source=source):
                self.assertEqual(self.html(source), expected)

    def test_document(self):
        "Test a document"
        self.assertEqual(
            compile_markup(
                '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN"\n'
                ' "http://www.w3.org/TR/html4/strict.dtd">\n'
                '<HTML xmlns:v=\'urn:v\'><HEAD><META charset=utf-8>'
                '<TITLE>$x &amp; y</TITLE><STYLE>a > b { c: "&" }</STYLE>'
                '<BODY bgcolor=red>$x').render({'x': 'a<b'}),
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" '
            '"http://www.w3.org/TR/html4/strict.dtd">\n\n'
            '<html xmlns:v="urn:v"><head><meta charset="utf-8" />'
            '<title>a&lt;b &amp; y</title><style>a > b { c: "&" }</style>'
            '</head><body bgcolor="red">a&lt;b</body></html>')

    def test_outlook(self):
        "Test the comments of Outlook are kept"
        for source in [
                '<!--[if mso]><table><tr><td><![endif]-->',
                '<!--[if !mso]><!-->a<!--<![endif]-->',
                '<![if !mso]>a<![endif]>']:
            with self.subTest(source=source):
                self.assertEqual(self.html(source), source)

    def test_directives(self):
        "Test directives need no namespace and stay where they are"
        for source, expected in [
                ('<table><py:for each="i in items"><tr><td>$i<td>b'
                    '</py:for></table>',
                    '<table><tr><td>1</td><td>b</td></tr>'
                    '<tr><td>2</td><td>b</td></tr></table>'),
                ('<ul><li py:for="i in items" class="a$i">$i</ul>',
                    '<ul><li class="a1">1</li><li class="a2">2</li></ul>'),
                ('<p py:if="x > 1">a<p py:if="x &gt; 5">b</p>', '<p>a</p>'),
                ('<td py:content="x"/><img py:if="x" alt="$x">',
                    '<td>5</td><img alt="5" />'),
                ('<div py:choose><i py:when="x == 1">1</i>'
                    '<i py:otherwise>2</i></div>', '<div><i>2</i></div>'),
                (f'{HEAD}<py:if test="x">a</py:if></div>', '<div>a</div>'),
                ('<div xmlns:q="http://genshi.edgewall.org/">'
                    '<q:if test="not x">a</q:if></div>', '<div></div>'),
                ('<p>${x < 6}</p>', '<p>True</p>'),
                ]:
            with self.subTest(source=source):
                self.assertEqual(
                    self.html(source, x=5, items=[1, 2]), expected)

    def test_errors(self):
        "Test what is still said about a source"
        for source, reason, line in [
                ('<p>\n<py:if test="x">a</p>', 'unclosed_tag', 2),
                ('<p>\n<div py:if="x">a', 'unexpected_end', 2),
                ('<ul><li>\n<b py:if="x">a<li>b</ul>', 'unclosed_tag', 2),
                ('<br>\n</py:if>', 'directive_end', 2),
                ('<br>\n<a ${x}>', 'place', 2),
                ('<br>\n<style>$x</style>', 'place', 2),
                ('<br>\n<script>"$x"</script>', 'place', 2),
                ('<br>\n<a href="${1 +}">', 'invalid', 2),
                ('<br>a\n\n${x', 'unclosed', 3),
                ('<br>a\n<b>c</b>\n${__x}', 'underscore', 3),
                ('<br>\n<p py:def="f">', 'unknown_directive', 2),
                ('<br>\n&nbps;', 'unknown_entity', 2),
                ]:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_markup(source)
                error = context.exception
                self.assertEqual(
                    (error.reason, error.line), (reason, line),
                    msg=str(error))

    def test_mjml(self):
        "Test MJML must be XML"
        for source, reason, line in [
                ('<mjml>\n<p>a<br>b</p></mjml>', 'unclosed_tag', 2),
                ('<mjml>\n<b>a</mjml>', 'unclosed_tag', 2),
                ('<mjml>\n<p>a', 'unexpected_end', 2),
                ('<mjml>\na & b</mjml>', 'ampersand', 2),
                ('<mjml>\n<a href="?a=1&b=2"/></mjml>', 'ampersand', 2),
                ('<mjml>\n<p py:if="x"/></mjml>', 'prefix', 2),
                ('<mjml>\n<p a="1" a="2"/></mjml>', 'not_well_formed', 2),
                ('<mjml>\n<p a=1></p></mjml>', 'not_well_formed', 2),
                ('<mjml>\n&check;</mjml>', 'unknown_entity', 2),
                ]:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_markup(source)
                error = context.exception
                self.assertEqual(
                    (error.reason, error.line), (reason, line),
                    msg=str(error))

    def test_hostile(self):
        "Test what is refused in XML is refused here"
        for source, code in [
                ('<!DOCTYPE p [<!ENTITY a "b">]>', 'entity'),
                ('<!DOCTYPE p SYSTEM "file:///etc/passwd">', 'entity'),
                ('<!DOCTYPE p PUBLIC "a" "//localhost/a.dtd">', 'entity'),
                ('<?python import os ?>', 'instruction'),
                ('<?PYTHON import os ?>', 'instruction'),
                ('<xi:include href="/etc/passwd" parse="text">', 'include'),
                ('<x:include xmlns:x="http://www.w3.org/2001/XInclude">',
                    'include'),
                ('<include xmlns="http://www.w3.org/2001/XInclude">',
                    'include'),
                ('<py:def function="f()"></py:def>', 'directive'),
                ('<p py:match="p">', 'directive'),
                ('<q:def xmlns:q="http://genshi.edgewall.org/"></q:def>',
                    'directive'),
                ('<def xmlns="http://genshi.edgewall.org/"></def>',
                    'directive'),
                ('<b>' * 200, 'limit'),
                ]:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_markup(f'<br>{source}')
                self.assertEqual(CODES[context.exception.reason], code)

    def test_time(self):
        "Test sources that are slow to read"
        for part in [
                '<a', '<', '<!--', '<![CDATA[', '<!', '<?', '</', '</a',
                '<a b', '<a b="', '<script>', '<style></style>', '<![if ',
                '<a\n', '<p>', '<b><li>', '<li>', '<td><p>', '&a', '&amp',
                '<!DOCTYPE ', '<a/', '<py:if>', '<table><tr>', '<!-- --!']:
            source = '<br>' + part * (100_000 // len(part))
            with self.subTest(part=part):
                start = time.process_time()
                try:
                    compile_markup(source)
                except TemplateSyntaxError:
                    pass
                self.assertLess(time.process_time() - start, SECONDS)


class TextTestCase(Case):
    "Test templates of plain text"

    def test_text(self):
        "Test what may be in a plain text"
        for source, expected in [
                ("", ""),
                ("Hello ${x}, $x <&>", "Hello 5, 5 <&>"),
                ("{% if x %}yes{% end %}{% if not x %}no{% end %}", "yes"),
                ("{% for i in items %}$i,{% end %}", "1,2,"),
                ("{% with y = x %}$y{% end %}", "5"),
                ("{% choose x %}{% when 1 %}1{% end %}"
                    "{% otherwise %}o{% end %}{% end %}", "o"),
                ("#1 of $x", "#1 of 5"),
                ("100 % of {$x}", "100 % of {5}"),
                ("Cost: 5$ and $$", "Cost: 5$ and $"),
                ("${x +\n1}", "6"),
                ("${None}${''}", ""),
                ]:
            with self.subTest(source=source):
                self.assertEqual(
                    render(source, x=5, items=[1, 2]), expected)

    def test_errors(self):
        "Test what is said about a source"
        for source, code, reason, line in [
                ("{% if x %}", 'directive', 'directive_end', 1),
                ("a\n{% end %}", 'directive', 'directive_end', 2),
                ("{% if", 'directive', 'directive_end', 1),
                ("{% foo %}", 'directive', 'unknown_directive', 1),
                ("{% %}", 'directive', 'unknown_directive', 1),
                ("{% def f(x) %}{% end %}",
                    'directive', 'unknown_directive', 1),
                ("{% python x = 1 %}", 'directive', 'unknown_directive', 1),
                ("{% include a %}", 'directive', 'unknown_directive', 1),
                ("${", 'expression', 'unclosed', 1),
                ("${x", 'expression', 'unclosed', 1),
                ("a\n${1 1}", 'expression', 'invalid', 2),
                ]:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_text(source)
                error = context.exception
                self.assertEqual(
                    (CODES[error.reason], error.reason, error.line),
                    (code, reason, line), msg=str(error))


class ExpressionTestCase(Case):
    "Test expressions"

    def test_values(self):
        "Test what is allowed gives what Python gives"
        values = {
            'n': 5,
            'd': Decimal('10.50'),
            's': "Héllo wörld",
            'l': [3, 1, 2],
            'm': {'a': 1, 'b': [2]},
            'day': dt.date(2026, 3, 4),
            'moment': dt.datetime(2026, 3, 4, 5, 6, 7),
            'delta': dt.timedelta(days=2, seconds=3),
            }
        for source in [
                'n + 1', 'n - 1', 'n * 2', 'n / 2', 'n // 2', 'n % 2',
                '-n', '+n', 'n == 5', 'n != 5', 'n == l[0]', 'l == [3, 1, 2]',
                'n in l', 'n not in l', "'a' in m", "'llo' in s",
                'n if n else 0', 'n and 0 or 3', 'not n', 'n is None',
                'd * 2', "d + 1", 'd / 3', '1 - (2 - 3)', '2 * (3 + 4)',
                '(1 if n else 2) + 3', '-(1 + 2)', 'not (n and 0)',
                's + s', 's[0]', 's[1:3]', 's[::-1]', 's.upper()',
                "s.replace('l', 'L')", "s.replace('l', 'L', 1)",
                "s.split()[1]", "s.split('l', 1)[1]",
                "s.startswith(('a', 'H'))", "s.title()", "s.find('w')",
                "f'{s!s} {n} {d}'", "f'{s}'", "f'{{}}'",
                "s.split(maxsplit=1)[1]", "', '.join(str(i) for i in l)",
                'l[0]', 'l[-1]', 'l[1:][0]', '(l + [4])[3]', 'len(l)',
                'sum(l)', 'min(l)', 'max(l)', 'sorted(l)[0]',
                'min([], default=3)', 'max(1, 2)',
                'sorted(l, reverse=True)[0]',
                '[i * 2 for i in l if i > 1][0]',
                '[(a, b) for a in l for b in l if a < b][0][1]',
                'sum(i for i in l)',
                "m['a']", "m.get('c', 3)", "list(m.items())[0][0]",
                "sorted(m.keys())[0]", "len(m.values())", 'day.year',
                'day.isoformat()', 'day.weekday()',
                'day.replace(day=1)', 'moment.hour', 'moment.date()',
                'moment + delta', 'delta.days', 'delta.total_seconds()',
                'day + delta', 'str(n)', "int('12')", "float('1.5')",
                'bool(l)', 'abs(-n)', '[i for i in range(3)][2]',
                '[a + b for a, b in zip(l, l)][0]',
                'list(enumerate(l))[1][0]',
                "[a for i, (a, b) in enumerate([('c', 'd')])][0]",
                'any(l)', 'all(l)', 'list(reversed(l))[0]',
                "[1, (2, [3, 4])][1][1][0]", 'len([l, l])',
                '(day - delta).day', 'str(l)',
                ]:
            with self.subTest(source=source):
                expected = eval(source, dict(values))
                self.assertEqual(
                    render('${%s}' % source, **values), str(expected))

    def test_refused(self):
        "Test what Python has and the language has not, with its line"
        for source in [
                'n ** 2', 'n << 2', 'n >> 1', 'n & 4', 'n | 1', 'n ^ 2',
                '~n', 'sorted(l, key=lambda i: -i)', '{1, 2}', '[*l]',
                '{i for i in l}', '{i: i for i in l}', '{n: 1}', 'max(*l)',
                "f'{n!r}'", "f'{n:{n}}'", "f'{n:9}'", '1 < n < 10',
                '(y := n)', '{**m}', '{}', "{'a': 1}", "'%s' % n",
                "'%(a)s' % m", 'short(**m)', "'{}'.format(n)", 'l.index(1)',
                "s.center(9)", "s.rfind('a')", "s.rsplit('a')",
                "day.strftime('%A')", "datetime.date.fromisoformat(s)"]:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_text('\n${%s}' % source)
                self.assertEqual(context.exception.reason, 'refused')
                self.assertEqual(context.exception.line, 2)
        for source in [
                'set', 'map', 'filter', 'chr', 'ord', 'divmod', 'dict',
                'round', 'defined', 'format', 'value_of', 'frozenset',
                'tuple']:
            with self.subTest(source=source):
                with self.assertRaises(TemplateSyntaxError) as context:
                    compile_text('\n${%s(l)}' % source)
                self.assertEqual(context.exception.reason, 'refused')
                self.assertEqual(context.exception.line, 2)
        for source in [
                "'a' * 2", '[1] * 2', 'l.unknown()',
                't % 1', "Markup('%s') % 'a'", "Markup('a') + 'a'",
                'l', '[l] == [l]', '[l] in [l]', 'sorted([l, l])', 'l + t',
                'l - l']:
            with self.subTest(source=source):
                with self.assertRaises(TemplateRenderError) as context:
                    render(
                        '\n${%s}' % source, l=[1], t='%s')
                self.assertEqual(context.exception.line, 2)

    def test_constructors(self):
        "Test no class is made of what it would take for its own state"
        for source in [
                "datetime.date('\x00\x00\x01\x01')",
                "datetime.date('\x00\x00\x01\x01').ctime()",
                "datetime.time('\x01\x01\x01\x00\x00\x00')",
                "datetime.datetime('\x00\x00\x01\x01\x00\x00\x00\x00"
                "\x00\x00')",
                "datetime.timedelta('1')", "datetime.timedelta(days='1')",
                "datetime.date.today().replace(year='1')",
                "datetime.date.today().replace('\x00\x00\x01\x01')"]:
            with self.subTest(source=source):
                self.assertRefused(
                    'expression', render, '${%s}' % source,
                    datetime=DATETIME)

    def test_dotted_item(self):
        "Test the items of a dictionary as Genshi reads them"
        self.assertEqual(render('${x.a} ${x.b.c}', x={
                    'a': 1, 'b': {'c': 2}}), '1 2')

    def test_datetime(self):
        "Test the classes of datetime"
        today = dt.date.today()
        for source, expected in [
                ('datetime.date.today()', today),
                ('datetime.date(2026, 1, 2)', dt.date(2026, 1, 2)),
                ('datetime.datetime(2026, 1, 2).year', 2026),
                ('datetime.datetime.combine(datetime.date(2026, 1, 2), '
                    'datetime.time(3, 4))', dt.datetime(2026, 1, 2, 3, 4)),
                ('datetime.datetime.now().date()', today),
                ('datetime.date(2026, 1, 1) + datetime.timedelta(days=2)',
                    dt.date(2026, 1, 3)),
                ]:
            with self.subTest(source=source):
                self.assertEqual(
                    render('${%s}' % source, datetime=DATETIME),
                    str(expected))

    def test_names(self):
        "Test the names a template expects"
        template = compile_markup(HEAD + '''
            ${a} <p py:for="b in c" title="$d">${b.x + e}</p>
            <p py:with="f = g; h = f">${f} ${h}</p>
            ${[i for i in j]} ${sorted(l.m + n for l in k)}
            ${len(o)} ${p(q=r)} ${f}</div>''')
        self.assertEqual(
            template.names,
            {*'acdefgjknopr'})

    def test_paths(self):
        "Test what a template reads"
        template = compile_markup(HEAD + '''
            ${record.party.name} ${record['x'].y} ${record.lines[0].amount}
            <p py:for="line in record.lines">${line.product.code}
                <b py:with="p = line.party">${p.lang}</b></p>
            <p py:if="record.state == 'a'">${record.address_get('b').city}
            </p>
            ${sorted(m.date for m in record.moves)}
            ${[c.day for c in record.calendar]} ${name.upper()}
            </div>''')
        self.assertEqual(template.paths, {
                ('record', 'party', 'name'),
                ('record', 'lines'),
                ('record', 'lines', 'amount'),
                ('record', 'lines', 'product', 'code'),
                ('record', 'lines', 'party'),
                ('record', 'lines', 'party', 'lang'),
                ('record', 'state'),
                ('record', 'moves'),
                ('record', 'moves', 'date'),
                ('record', 'calendar'),
                ('record', 'calendar', 'day'),
                })


# What must not be reached: (expression, code)
ATTACKS = [
    # From a value to classes, modules and frames
    ("x.__class__", 'access'),
    ("x.__class__.__mro__[1].__subclasses__()", 'access'),
    ("''.__class__.__base__", 'access'),
    ("().__class__", 'access'),
    ("x['__class__']", 'access'),
    ("short.__globals__", 'access'),
    ("short.__code__", 'access'),
    ("short.func_globals", 'access'),
    ("short['__globals__']", 'access'),
    ("(i for i in items).gi_frame", 'access'),
    ("(i for i in items).gi_frame.f_globals", 'access'),
    ("(lambda: 0).__globals__", 'access'),
    ("(lambda: 0).a", 'expression'),
    ("x.mro()", 'access'),
    ("str.mro()", 'expression'),
    ("str.format", 'expression'),
    ("str.__subclasses__()", 'access'),
    ("text.upper", 'access'),
    ("text.format_map(mapping)", 'expression'),
    ("text.ｘ", 'access'),
    ("text['a'].＿＿class＿＿", 'expression'),
    ("[].append(1)", 'expression'),
    ("items.clear()", 'expression'),
    ("mapping.pop('a')", 'expression'),
    ("mapping.update(b=1)", 'expression'),
    ("datetime.sys", 'access'),
    ("datetime.__name__", 'access'),
    ("datetime.datetime.__class__", 'access'),
    ("datetime.datetime.mro", 'access'),
    ("datetime.datetime.mro()", 'access'),
    ("datetime.datetime.now", 'access'),
    ("datetime.datetime.strptime('1', '%d')", 'expression'),
    ("datetime.datetime_CAPI", 'access'),
    ("datetime.date.today().__reduce__()", 'access'),
    ("moment.tzinfo", 'access'),
    ("moment.astimezone()", 'expression'),
    ("moment.timetuple()", 'expression'),
    ("foreign.secret", 'access'),
    ("foreign.method()", 'access'),
    ("foreign()", 'access'),
    ("foreign[0]", 'access'),
    ("[i for i in foreign]", 'expression'),
    ("str(foreign)", 'access'),
    ("'%s' % foreign", 'expression'),
    ("text % foreign", 'expression'),
    ("f'{foreign}'", 'access'),
    ("str([foreign])", 'access'),
    ("[i for i in short]", 'expression'),
    # Formats that walk
    ("'{0.__class__}'.format(x)", 'expression'),
    ("'{0.__class__.__mro__}'.format(short)", 'expression'),
    ("'{0[0]}'.format(items)", 'expression'),
    ("'{x.real}'.format(x=1)", 'expression'),
    ("'{:{}}'.format(1, 10)", 'expression'),
    ("f'{x.__class__}'", 'access'),
    ("f'{x:{x}}'", 'expression'),
    ("Markup('{0.__class__}').format(x)", 'expression'),
    # Names
    ("__import__('os')", 'access'),
    ("__builtins__", 'access'),
    ("_guard", 'access'),
    ("_events", 'access'),
    ("_attribute(x, '__class__')", 'access'),
    ("__data__", 'access'),
    ("import os", 'expression'),
    ("open('/etc/passwd').read()", 'expression'),
    ("open('/etc/passwd')", 'expression'),
    ("exec('1')", 'expression'),
    ("eval('1')", 'expression'),
    ("compile('1', '', 'eval')", 'expression'),
    ("globals()", 'expression'),
    ("locals()", 'expression'),
    ("vars()", 'expression'),
    ("dir(x)", 'expression'),
    ("getattr(x, '__class__')", 'expression'),
    ("setattr(x, 'a', 1)", 'expression'),
    ("hasattr(x, '__class__')", 'expression'),
    ("type(x)", 'expression'),
    ("object", 'expression'),
    ("super", 'expression'),
    ("print(1)", 'expression'),
    ("input()", 'expression'),
    ("help()", 'expression'),
    ("breakpoint()", 'expression'),
    ("iter(items)", 'expression'),
    ("next(items)", 'expression'),
    ("id(x)", 'expression'),
    ("bytes(10 ** 9)", 'expression'),
    ("bytearray(10 ** 9)", 'expression'),
    ("value_of('__builtins__').x", 'expression'),
    ("value_of(text)", 'expression'),
    ("defined(__x)", 'expression'),
    # Syntax
    ("(y := 1)", 'expression'),
    ("lambda: 1", 'expression'),
    ("[lambda: 1]", 'expression'),
    ("(lambda: 1)()", 'expression'),
    ("short(lambda: 1)", 'expression'),
    ("short(str)", 'expression'),
    ("short(short)", 'access'),
    ("x()", 'access'),
    ("items[0]()", 'expression'),
    ("short('a')('b')", 'expression'),
    ("sorted(items, key=x)", 'expression'),
    ("yield x", 'expression'),
    ("(yield)", 'expression'),
    ("await x", 'expression'),
    ("[*items]", 'expression'),
    ("{**mapping}", 'expression'),
    ("dict(**mapping)", 'expression'),
    ("len(__class__=1)", 'access'),
    ("x @ x", 'expression'),
    ("...", 'expression'),
    ("1j", 'expression'),
    ("b'a'", 'expression'),
    ("del x", 'expression'),
    ("x = 1", 'expression'),
    ("1; 2", 'expression'),
    ("[i async for i in items]", 'expression'),
    ("[x for x.a in items]", 'expression'),
    ("[x for items[0] in items]", 'expression'),
    # What fails in Python
    ("1 / 0", 'expression'),
    ("mapping['z']", 'expression'),
    ("items[9]", 'expression'),
    ("None.a", 'expression'),
    ("unknown", 'expression'),
    ("1 + 'a'", 'expression'),
    ("'a' + 1", 'expression'),
    ("int('a')", 'expression'),
    ("datetime.date(1, 2)", 'expression'),
    ("datetime.date(9999, 12, 31) + datetime.timedelta(days=1)",
        'expression'),
    ("len(1)", 'expression'),
    ("text.split(1)", 'expression'),
    ("len(guard=items)", 'expression'),
    ("fail()", 'expression'),
    ]

# What must not take long or be big: expressions, all end with code limit
BOMBS = [
    "'a' * 1000000000",
    "1000000000 * 'a'",
    "items * 1000000000",
    "(1,) * 1000000000",
    "['a' * 1000000 for i in range(100000)]",
    "10 ** 10000000000",
    "10 ** 10 ** 2 ** 20",
    "2 ** 5000",
    "1 << 1000000000",
    "1 << 1000000000000",
    "-1 << 1000000000",
    "number ** 1000000000",
    "[[j for j in range(1000)] for i in range(100000)]",
    "[1 for i in range(1000) for j in range(1000)]",
    "range(10000000000)",
    "range(0, -1000000000000000000000000000000, -1)",
    "sum(range(10000000000))",
    "sum([1 for i in range(100000) for j in range(100000)])",
    "list(range(1000000000))",
    "sorted(range(1000000000))",
    "max(range(1000000000))",
    "10.5 in range(100000000)",
    "'%1000000000d' % 1",
    "'%.1000000000f' % 1",
    "'%01000000000d' % 1",
    "'%.0000000001000000000f' % 1",
    "'{:.0000000001000000000f}'.format(1)",
    "'{:00000000001000000000d}'.format(1)",
    "'%(a)1000000000s' % mapping",
    "'{:1000000000}'.format(1)",
    "'{:.1000000000f}'.format(1)",
    "'{:>1000000000}'.format('a')",
    "f'{1:1000000000}'",
    "f'{1:,.1000000000f}'",
    "format(1, '1000000000')",
    "'a'.center(1000000000)",
    "'a'.ljust(1000000000)",
    "'a'.rjust(1000000000)",
    "'a'.zfill(1000000000)",
    "'\\t'.expandtabs(1000000000)",
    "('\\t' * 10000).expandtabs(1000)",
    "('a' * 10000).replace('a', 'b' * 10000)",
    "('a' * 10000).replace('', 'b' * 10000)",
    "('a' * 10000).join(['b'] * 10000)",
    "('a' * 900000).splitlines() + ['a\\n' * 400000][0].splitlines()",
    "('ab' * 400000).split('a')",
    "('a' * 500000).rfind('b' + 'a' * 250000)",
    "('a' * 500000).rsplit('b' + 'a' * 250000)",
    "('a' * 500000).strip('b' * 250000 + 'a')",
    "Markup('a') * 1000000000",
    "Markup('<!--' * 100000).striptags()",
    "Markup('a') + '&' * 900000",
    "int('9' * 5000)",
    "float('9' * 5000)",
    "round(1, -1000000000)",
    "round(huge)",
    "int(huge)",
    "'%d' % huge",
    "'{:f}'.format(huge)",
    "f'{huge:,}'",
    "str([['a' * 1000] * 1000] * 1000)",
    "[0, [[['a'] * 100] * 100] * 100] == [0, [[['a'] * 100] * 100] * 100]",
    "[[[['a'] * 100] * 100] * 100] < [[[['a'] * 100] * 100] * 100]",
    "{((((1,) * 100,) * 100,) * 100,)}",
    "{((((1,) * 100,) * 100,) * 100,): 1}",
    "mapping.get(((((1,) * 100,) * 100,) * 100,))",
    "[([0] * 1000 == [1]) for i in range(100000) for j in range(10)]",
    "sorted(['a' * 100000 for i in range(100)] * 1000)",
    "min(['a' * 100000 for i in range(100)] * 1000)",
    "['a' * 100000] * 10000 == 1 or ('a' * 99999) in ['a' * 100000] * 10000",
    "map(lambda i: [i] * 1000, range(100000))",
    "', '.join(map(str, range(1000000)))",
    "[f'{i:1000}' for i in range(100000)]",
    "set([i * (2 ** 61 - 1) for i in range(30_000)])",
    "{i * (2 ** 61 - 1) for i in range(30_000)}",
    "{i * (2 ** 61 - 1): i for i in range(30_000)}",
    "{number * (i * (2 ** 61 - 1)): i for i in range(30_000)}",
    "dict([(i * (2 ** 61 - 1), i) for i in range(30_000)])",
    "{1}.union([i * (2 ** 61 - 1) for i in range(30_000)])",
    "[[%s] for i in range(100000)]" % ", ".join(["[[], [], [], []]"] * 100),
    "[[[[], []], [[], []]] for i in range(100000)]",
    "[2 ** 1000 + i for i in range(2 * 100000)] * 2",
    "[{1: i, 2: i, 3: i, 4: i, 5: i, 6: i} for i in range(100000)]",
    "items[0:1000000000] * 100000000",
    "zip(*[range(100000)] * 100)",
    "set(range(200000)) | set(range(200000, 400000))",
    "text.format(*range(10000000))",
    "moment.strftime('%1000000000d')",
    "moment.strftime('%-1000000000d')",
    ]
# The same when the size comes from the values
LONG_BOMBS = [
    "[long + long for i in range(1000)]",
    "[long.upper() for i in range(100000)]",
    "[str(i) + str(i) for i in range(300000)]",
    "(tabs.replace('a', long))",
    "long.replace('', long)",
    "long.join([text, text, text])",
    "lines.splitlines() + lines.splitlines()",
    "lines.split('a')",
    "long.find('b' + long[:250000])",
    "long.split('b' + long[:250000])",
    "[long.find(long[:2000]) for i in range(1000)]",
    "[long.strip(junk) for i in range(1000)]",
    "[long.replace('a', 'b') for i in range(1000)]",
    "long.strip('b' + long[:250000])",
    "('b' + long[:250000]) in long",
    "f'{long} {long} {long}'",
    "[Markup(long) for i in range(1000)]",
    "float(digits)",
    "[text for i in range(100000) if text in big]",
    "[i for i in range(100000) if i in big]",
    "[sorted(big) for i in range(1000)]",
    "[max(big) for i in range(1000)]",
    "[big + big for i in range(1000)]",
    "[big[:] for i in range(1000)]",
    "[long == copy for i in range(1000)]",
    "[short(long) for i in range(10000)]",
    "short(big)",
    "[list(big) for i in range(1000)]",
    "[enumerate(big) for i in range(1000)]",
    "[zip(big, big) for i in range(1000)]",
    "mapping.get(long + long)",
    "list(long)",
    "[i for i in long for j in long]",
    "9 * 9999999999" + " * 9999999999" * 50,
    "range(0, -1" + "0" * 30 + ", -1)",
    "sum([1 for i in range(100000) for j in range(100000)])",
    "int(huge)",
    "float(huge)",
    "f'{huge}'",
    "huge * 2",
    ]


class AttackTestCase(Case):
    "Test hostile templates"

    @property
    def context(self):
        class Foreign:
            secret = 'secret'

            def method(self):
                return 'secret'

            __getitem__ = method

            def __str__(self):
                return 'secret'

            __repr__ = __str__

        def fail():
            raise KeyError('a')

        return {
            'x': 1,
            'text': "text",
            'items': [1, 2, 3],
            'mapping': {'a': 1},
            'number': Decimal('10.5'),
            'huge': Decimal('1e999999'),
            'moment': dt.datetime(2026, 1, 2, 3, 4, 5),
            'datetime': DATETIME,
            'short': lambda url: url,
            'fail': fail,
            'foreign': Foreign(),
            }

    def assertEnds(self, code, function, *args, **kwargs):
        "Assert the error, the time and the memory"
        tracemalloc.start()
        start = time.process_time()
        try:
            return self.assertRefused(code, function, *args, **kwargs)
        finally:
            duration = time.process_time() - start
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(duration, SECONDS)
            self.assertLess(peak / 2 ** 20, MEGABYTES)

    def test_foreign(self):
        "Test a value of an unknown type is of no use"
        for expression in [
                'foreign.name', 'foreign', 'str(foreign)', 'foreign + 1',
                '[foreign]', 'mapping[foreign]', 'foreign < 1']:
            with self.subTest(expression=expression):
                with self.assertRaises(TemplateRenderError) as context:
                    render('${%s}' % expression, **self.context)
                self.assertNotIn('secret', str(context.exception))

    def test_attacks(self):
        "Test what must not be reached"
        self.assertGreater(len(ATTACKS), 40)
        for expression, code in ATTACKS:
            with self.subTest(expression=expression):
                self.assertRefused(
                    code, render, '${%s}' % expression, **self.context)

    def test_attacks_in_markup(self):
        "Test the same in an attribute and in a directive"
        for expression, code in ATTACKS:
            source = (expression.replace('&', '&amp;').replace('<', '&lt;')
                .replace('"', '&quot;'))
            for template in [
                    '<a href="${%s}"/>', '<a py:if="%s"/>',
                    '<a py:for="z in [%s]"/>', '<a py:with="z = %s"/>',
                    '<a py:content="%s"/>', '<a py:choose="%s"/>']:
                with self.subTest(expression=expression, template=template):
                    with self.assertRaises(TemplateError):
                        markup(template % source, **self.context)

    def test_bombs(self):
        "Test what must not take long or be big"
        for expression in BOMBS:
            with self.subTest(expression=expression):
                self.assertEnds(
                    None, render, '${%s}' % expression, **self.context)

    def test_long_bombs(self):
        "Test what values from outside can not be made to do"
        context = {
            **self.context,
            'long': 'a' * 900_000,
            'copy': 'a' * 899_999 + 'b',
            'lines': 'a\n' * 400_000,
            'tabs': 'a' * 10_000,
            'junk': 'b' * 1999 + 'a',
            'digits': '9' * 5000,
            'big': list(range(50_000)),
            }
        for expression in LONG_BOMBS:
            with self.subTest(expression=expression):
                self.assertEnds(
                    'limit', render, '${%s}' % expression, **context)

    def test_displays(self):
        "Test what is written in a loop is counted, whatever the time"
        for expression in [
                "[[%s] for i in range(100000)]" % ', '.join(['[]'] * 100),
                "[(i, i, i, i, i, i, i, i) for i in range(100000)]",
                "[1 and 2 and 3 and i for i in range(100000)]"]:
            with self.subTest(expression=expression):
                with limits(time=60):
                    error = self.assertEnds(
                        'limit', render, '${%s}' % expression)
                self.assertEqual(error.reason, 'limit_steps')

    def test_doubling(self):
        "Test variables that double"
        assignments = '; '.join(
            [f'a{i + 1} = a{i} + a{i}' for i in range(60)])
        for start in ["'ab'", '[1]', '(1,)']:
            with self.subTest(start=start):
                self.assertEnds(
                    'limit', markup,
                    f'<p py:with="a0 = {start}; {assignments}">$a60</p>')

    def test_squaring(self):
        "Test integers that square"
        assignments = '; '.join(
            [f'a{i + 1} = a{i} * a{i}' for i in range(60)])
        self.assertEnds(
            'limit', markup, f'<p py:with="a0 = 10; {assignments}">$a60</p>')

    def test_tower(self):
        "Test containers whose parts are shared"
        assignments = '; '.join(
            [f'a{i + 1} = [a{i}, a{i}, a{i}]' for i in range(40)])
        for use in ['str(a40)', 'a40 == a40 + []', 'a40 in [a40 + []]',
                '[a40 + []].index(a40)', 'sorted([a40 + [], a40 + []])',
                "'%s' % a40", "f'{a40}'", 'a40', 'short(a40)', 'set([a40])']:
            with self.subTest(use=use):
                self.assertEnds(
                    None, markup,
                    f'<p py:with="a0 = [1]; {assignments}">${{{use}}}</p>',
                    **self.context)
        with self.subTest(use='choose'):
            self.assertEnds(
                None, markup,
                f'<p py:with="a0 = [1]; {assignments}">'
                '<b py:choose="a40 + []"><i py:when="a40 + []"/></b></p>')

    def test_nested_list(self):
        "Test a container that is too deep"
        assignments = '; '.join(f'a{i + 1} = [a{i}]' for i in range(200))
        self.assertEnds(
            None, markup,
            f'<p py:with="a0 = [1]; {assignments}">${{str(a200)}}</p>')

    def test_loops(self):
        "Test loops that produce too much"
        for source in [
                '<i py:for="i in range(1000000000)"/>',
                '<i py:for="i in range(100000)">'
                '<i py:for="i in range(100000)"/></i>',
                '<py:for each="i in range(100000)">' + 'a' * 1000
                + '</py:for>',
                '<py:for each="i in range(100000)">${text}</py:for>',
                '<py:for each="i in range(100000)"><a href="${text}"/>'
                '</py:for>',
                '<py:for each="i in range(100000)"><a href="%s"/>'
                '</py:for>' % ('a' * 1000),
                '<py:for each="i in range(100000)"><!--%s-->'
                '</py:for>' % ('a' * 1000),
                '<py:for each="i in range(100000)">'
                '<py:for each="i in []"/>'
                '<p py:if="True"><b py:choose=""><b py:when="1">'
                + 'a' * 1000 + '</b></b></p></py:for>',
                '<p>' + '${text}' * 2000 + '</p>',
                '<p>' + '${ands}' * 300 + '</p>',
                ]:
            with self.subTest(source=source[:80]):
                self.assertEnds('limit', markup, source, text='a' * 1000,
                    ands='&' * 1000)

    def test_text_loops(self):
        "Test loops of a plain text"
        self.assertEnds(
            'limit', render,
            '{% for i in range(100000) %}' + 'a' * 1000 + '{% end %}')

    def test_time(self):
        "Test the limit of time"
        def sleep():
            time.sleep(0.05)

        with limits(time=0.2):
            error = self.assertEnds(
                'limit', render, '${[sleep() for i in range(1000)]}',
                sleep=sleep)
        self.assertEqual(error.reason, 'limit_time')
        with limits(time=0.2, steps=10 ** 8):
            error = self.assertEnds(
                'limit', render,
                '${[i * i for i in range(1000) for j in range(100000)]}')
        self.assertEqual(error.reason, 'limit_time')

    def test_limits(self):
        "Test the limits are those given"
        template = compile_text('${[i for i in range(100)][0]}')
        self.assertEqual(template.render({}), '0')
        with limits(steps=50):
            self.assertRefused('limit', template.render, {})

    def test_deep_expressions(self):
        "Test expressions no parser should recurse into"
        for expression in [
                '(' * 1000 + ')' * 1000,
                '-' * 4000 + '1',
                'not ' * 1000 + '1',
                'x' + '.a' * 2000,
                'x' + '[0]' * 1000,
                'x' + '()' * 1000,
                '[' * 300 + ']' * 300,
                'x if x else ' * 300 + 'x',
                '1' + '+1' * 2000,
                'f' * 6000,
                '9' * 4900,
                "'" + 'a' * 5000 + "'",
                ]:
            for source in ['${%s}', '{%% if %s %%}{%% end %%}']:
                with self.subTest(expression=expression[:20]):
                    with self.assertRaises(TemplateSyntaxError):
                        start = time.process_time()
                        compile_text(source % expression)
                    self.assertLess(time.process_time() - start, 1)

    def test_deep_markup(self):
        "Test elements and directives in each other"
        for tag in [
                '<p>', '<p py:if="1">', '<p py:strip="">',
                '<p py:for="i in [1]">', '<p py:with="a = 1">',
                '<p py:choose="1" py:if="1" py:with="a = 1">']:
            with self.subTest(tag=tag):
                self.assertEnds(
                    'limit', markup, tag * 1000 + '</p>' * 1000)
        self.assertEnds(
            'limit', render, '{% if 1 %}' * 600 + '{% end %}' * 600)

    def test_source_size(self):
        "Test sources that are too long"
        self.assertEnds('limit', compile_markup, '<p>' + 'a' * 10 ** 7)
        self.assertEnds('limit', compile_text, 'a' * 10 ** 6)
        self.assertEnds(
            'limit', compile_markup, '<p>' + '${1 + 1}' * 20_000 + '</p>')

    def test_compilation_time(self):
        "Test sources that are slow to read"
        for source in [
                '${' * 9000,
                '{%' * 9000,
                '{%a' + ' ' * 19000,
                '{#' * 9000,
                '${"""' * 3000,
                "${'''" + "\\'''" * 4000,
                '${' + '"' * 15000,
                '#' * 19000,
                '$' * 19000,
                '\\' * 19000,
                ('#' + ' ' * 50 + '\n') * 300,
                '${' + '1_' * 9000,
                '${' + '{' * 15000,
                ]:
            with self.subTest(source=source[:10]):
                start = time.process_time()
                try:
                    compile_text(source)
                except TemplateSyntaxError:
                    pass
                self.assertLess(time.process_time() - start, 2)
        for source in [
                '<p>' + '&a' * 200_000 + '</p>',
                '<p ' + 'a="&lt;" ' * 10_000 + '/>',
                '<p>' + '$' * 400_000 + '</p>',
                '<p>' + '${' * 200_000 + '</p>',
                '<p>' + '<a/>' * 100_000 + '</p>',
                '<p>' + '\n' * 400_000 + '${</p>',
                ]:
            with self.subTest(source=source[:10]):
                start = time.process_time()
                try:
                    compile_markup(source)
                except TemplateSyntaxError:
                    pass
                self.assertLess(time.process_time() - start, SECONDS)

    def test_xml(self):
        "Test what XML can do"
        laughs = ''.join(
            f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(10))
        for source, code in [
                (f'<!DOCTYPE p [<!ENTITY a0 "ha">{laughs}]><p>&a9;</p>',
                    'entity'),
                ('<!DOCTYPE p [<!ENTITY a "b">]><p/>', 'entity'),
                ('<!DOCTYPE p [<!ENTITY lt "b">]><p>&lt;</p>', 'entity'),
                ('<!DOCTYPE p [<!ENTITY nbsp SYSTEM "file:///etc/passwd">]>'
                    '<p>&nbsp;</p>', 'entity'),
                ('<!DOCTYPE p [<!ENTITY % a SYSTEM "file:///etc/passwd">'
                    '%a;]><p/>', 'entity'),
                ('<!DOCTYPE p []><p/>', 'entity'),
                ('<!DOCTYPE p SYSTEM "file:///etc/passwd"><p/>', 'entity'),
                ('<!DOCTYPE p SYSTEM "http://localhost/a.dtd"><p/>',
                    'entity'),
                ('<!DOCTYPE p PUBLIC "a" "//localhost/a.dtd"><p/>',
                    'entity'),
                ('<p>&unknown;</p>', 'entity'),
                ('<p><?python x = 1 ?></p>', 'instruction'),
                ('<?python import os ?><p/>', 'instruction'),
                ('<p xmlns:xi="http://www.w3.org/2001/XInclude">'
                    '<xi:include href="/etc/passwd" parse="text"/></p>',
                    'include'),
                ('<include xmlns="http://www.w3.org/2001/XInclude" '
                    'href="/etc/passwd"/>', 'include'),
                ('<xi:fallback xmlns:xi="http://www.w3.org/2001/XInclude"/>',
                    'include'),
                (f'{HEAD}<p py:def="f()">${{f()}}</p>${{f()}}</div>',
                    'directive'),
                (f'{HEAD}<py:def function="f()"/></div>', 'directive'),
                (f'{HEAD}<p py:match="p">${{select("p")}}</p></div>',
                    'directive'),
                ('<p xmlns:q="http://genshi.edgewall.org/" q:def="f"/>',
                    'directive'),
                ]:
            with self.subTest(source=source[:80]):
                self.assertEnds(code, compile_markup, source)

    def test_events(self):
        "Test a list is never taken for events"
        self.assertRefused('access', markup, "${[('START', 'a', 'b')]}")

    def test_context_is_kept(self):
        "Test a template changes nothing of the context"
        context = {'x': 1, 'items': [1]}
        markup(
            '<p py:with="x = 2; y = x"><i py:for="x in items"/></p>',
            **context)
        self.assertEqual(context, {'x': 1, 'items': [1]})

    def test_retry(self):
        "Test what the database wants to be tried again"
        def fail():
            raise TransactionError

        self.assertRaises(TransactionError, render, '${fail()}', fail=fail)

    def test_messages(self):
        "Test the error has what its translation needs"
        error = self.assertRefused('access', render, '${x.a}', x=1)
        self.assertEqual(error.reason, 'attribute')
        self.assertEqual(error.variables, {'name': 'a', 'type': 'int'})
        self.assertIn("'a'", str(error))
        self.assertIsInstance(error, ValueError)


class AccessTestCase(Case, DatabaseTestCase):
    "Test records"
    modules = ['party', 'marketing', 'company']

    @property
    def groups(self):
        ModelData = Pool().get('ir.model.data')
        return {'_groups': [ModelData.get_id('marketing.group_marketing')]}

    def party(self, name="Jane", **values):
        return create_party(name, 'j@example.com', addresses=[
                ('create', [
                        {'city': "Liège", 'street': "1 rue"},
                        {'city': "Paris", 'sequence': 2}])], **values)

    def currency(self):
        return create(
            'currency.currency', name="Euro", code='EUR', symbol='€')

    def render(self, source, record, scope=None, **context):
        scope = scope or AccessScope(self.groups)
        return compile_text(source).render(
            {'record': scope.proxy(record), **context})

    def refuse(self, field=None, model='party.party'):
        "Remove the access to the model or to the field"
        Access = Pool().get('ir.model.access')
        if field:
            create(
                'ir.model.field.access',
                model=model, field=field, perm_read=False)
        else:
            Access.write(
                Access.search([('model', '=', model)]), {'perm_read': False})
            create('ir.model.access', model=model, perm_read=False)

    def rule(self, domain, model='party.party', **values):
        values.setdefault('global_p', True)
        create('ir.rule.group', name="Rule", model=model, rules=[
                ('create', [{'domain': PYSONEncoder().encode(domain)}])],
            **values)

    @with_transaction(user=0)
    def test_read(self):
        "Test reading a record"
        party = self.party()
        for source, expected in [
                ("${record.name}", "Jane"),
                ("${record['name']}", "Jane"),
                ("${record.rec_name}", "Jane"),
                ("${record.id}", str(party.id)),
                ("${record}", str(party)),
                ("${int(record)}", str(party.id)),
                ("${'yes' if record.active else 'no'}", "yes"),
                ("${record.lang}", ""),
                ("${len(record.addresses)}", "2"),
                ("${record.addresses[0].party.name}", "Jane"),
                ("${record.addresses[0].party == record}", "True"),
                ("${record in [a.party for a in record.addresses]}", "True"),
                ("${record == 1} ${record != record}", "False False"),
                ("${'yes' if record else 'no'}", "yes"),
                ("${', '.join(sorted(a.city for a in record.addresses))}",
                    "Liège, Paris"),
                ("${record.address_get().city}", "Liège"),
                ("${record.address_get(type=None).city}", "Liège"),
                ("${record.contact_mechanism_get('email').value}",
                    "j@example.com"),
                ("${record.contact_mechanism_get(['phone'])}", ""),
                ("${record.contact_mechanisms[0].type_string}", "Email"),
                ("${record.addresses[0].party_full_name}", "Jane"),
                ("${record.create_date.year}", str(party.create_date.year)),
                ]:
            with self.subTest(source=source):
                self.assertEqual(self.render(source, party), expected)

    @with_transaction(user=0)
    def test_attacks(self):
        "Test what a record must not give"
        lang, = Pool().get('ir.lang').search([('code', '=', 'en')])
        party = self.party(lang=lang.id)
        for source, code in [
                ('record.delete()', 'access'),
                ('record.delete([record])', 'access'),
                ('record.save()', 'access'),
                ('record.write()', 'access'),
                ("record.write(['name', 'a'])", 'access'),
                ('record.create([])', 'access'),
                ('record.copy()', 'expression'),
                ('record.search([])', 'access'),
                ('record.read([1])', 'access'),
                ('record.browse([1])', 'access'),
                ('record.delete', 'access'),
                ('record.address_get', 'access'),
                ('record.__dict__', 'access'),
                ('record._values', 'access'),
                ('record._record', 'access'),
                ('record._access', 'access'),
                ("record['_record']", 'access'),
                ("record['__class__']", 'access'),
                ('record.__class__', 'access'),
                ('record._transaction', 'access'),
                ('record.pool', 'access'),
                ("'{0._record}'.format(record)", 'expression'),
                ("'{0.name}'.format(record)", 'expression'),
                ('record.unknown', 'access'),
                ('record.fields_get()', 'access'),
                ('record.on_change_with_x()', 'access'),
                ('record.get_rec_name(1)', 'access'),
                ('record()', 'access'),
                ('[i for i in record]', 'expression'),
                ('record.name()', 'access'),
                ("record.address_get('delete')"
                    '.party.address_get("__class__")', 'access'),
                ("record.address_get('_values')", 'access'),
                ("record.address_get('password')", 'access'),
                ("record.address_get(type=['a b'])", 'access'),
                ('record.create_uid.password_hash', 'access'),
                ('record.create_uid.password', 'access'),
                ('record.create_uid.password_reset', 'access'),
                ('record.create_uid.sessions', 'access'),
                ('record.create_uid.groups', 'access'),
                ('record.create_uid.applications', 'access'),
                ('record.create_uid.login', 'access'),
                ('record.create_uid.actions[0]', 'access'),
                ('record.create_uid.avatar', 'access'),
                ("record.create_uid['password_hash']", 'access'),
                ('record.lang.delete()', 'access'),
                ('record.lang.search([])', 'access'),
                ]:
            with self.subTest(source=source):
                self.assertRefused(
                    code, self.render, '${%s}' % source, party)
        self.assertEqual(party.name, "Jane")

    @with_transaction(user=0)
    def test_user(self):
        "Test what can be known about who created a record"
        party = self.party()
        self.assertEqual(
            self.render('${record.create_uid.rec_name}', party),
            party.create_uid.rec_name)

    @with_transaction(user=0)
    def test_stock_proxy_checks_nothing(self):
        "Test the reason not to use the proxy of Tryton"
        from trytond.model import ModelAccessProxy
        party = self.party()
        self.refuse()
        proxy = ModelAccessProxy(party, self.groups)
        self.assertEqual(proxy.name, "Jane")

    def check_access(self):
        party = self.party(code='J1')
        for field, source in [
                ('code', '${record.code}'),
                ('code', "${record['code']}"),
                ('addresses', '${len(record.addresses)}'),
                ('addresses', '${len(record.addresses[0].party.addresses)}'),
                ]:
            with self.subTest(source=source):
                self.render(source, party)
        self.refuse('code')
        self.refuse('addresses')
        for source in [
                '${record.code}', "${record['code']}",
                '${record.addresses}']:
            with self.subTest(source=source):
                error = self.assertRefused(
                    'access', self.render, source, party)
                self.assertEqual(error.reason, 'field')
        self.assertEqual(self.render('${record.name}', party), "Jane")

    @with_transaction(user=0)
    def test_field_access_root(self):
        "Test the access to fields by the cron"
        self.check_access()

    @with_transaction(user=1)
    def test_field_access_user(self):
        "Test the access to fields by a user"
        self.check_access()

    @with_transaction(user=0)
    def test_model_access(self):
        "Test the access to models"
        party = self.party(
            categories=[('create', [{'name': "A"}, {'name': "B"}])])
        source = '${record.categories[0].name}'
        self.assertEqual(self.render(source, party), "A")
        self.refuse(model='party.category')
        self.assertEqual(self.render('${record.name}', party), "Jane")
        for source in [
                source, '${[c.name for c in record.categories]}',
                '${record.categories[0].id}',
                '${record.categories[0].rec_name}']:
            with self.subTest(source=source):
                error = self.assertRefused(
                    'access', self.render, source, party)
                self.assertEqual(error.reason, 'model')
        self.refuse()
        for source in [
                '${record.name}', '${record.address_get()}',
                '${record.addresses}']:
            with self.subTest(source=source):
                error = self.assertRefused(
                    'access', self.render, source, party)
                self.assertEqual(error.reason, 'model')

    @with_transaction(user=0)
    def test_groups(self):
        "Test access that a group of the context gives"
        party = self.party(code='J1')
        group = create('res.group', name="Sales")
        self.refuse('code')
        create(
            'ir.model.field.access', model='party.party', field='code',
            group=group.id, perm_read=True)
        self.assertRefused('access', self.render, '${record.code}', party)
        context = self.groups
        context['_groups'].append(group.id)
        self.assertEqual(
            self.render('${record.code}', party, AccessScope(context)), 'J1')
        # Neither the groups of the administrator
        with Transaction().set_user(1):
            self.assertRefused(
                'access', self.render, '${record.code}', party)

    @with_transaction(user=0)
    def test_rule(self):
        "Test rules on the record and on what it leads to"
        jane = self.party(code='J1')
        john = self.party(name="John", code='J2')
        self.rule([('name', '!=', "John")])
        self.assertEqual(self.render('${record.code}', jane), 'J1')
        for source in [
                '${record.name}', '${record.address_get().city}',
                '${record.contact_mechanism_get()}']:
            with self.subTest(source=source):
                error = self.assertRefused(
                    'access', self.render, source, john)
                self.assertEqual(error.reason, 'record')
        self.assertRefused(
            'access', self.render, '${record.party.name}', john.addresses[0])
        self.assertEqual(
            self.render('${record.party.name}', jane.addresses[0]), "Jane")

    @with_transaction(user=0)
    def test_rule_group(self):
        "Test rules of the groups"
        party = self.party()
        group = create('res.group', name="Sales")
        self.rule([('name', '=', "Nobody")], global_p=False, default_p=True)
        self.rule(
            [('name', '=', "Jane")], global_p=False,
            groups=[('add', [group.id])])
        self.assertRefused('access', self.render, '${record.name}', party)
        context = self.groups
        context['_groups'].append(group.id)
        self.assertEqual(
            self.render('${record.name}', party, AccessScope(context)),
            "Jane")

    @with_transaction(user=0)
    def test_companies(self):
        "Test rules on companies"
        company = create(
            'company.company', party=create_party("Company").id,
            currency=self.currency().id)
        employee = create(
            'company.employee', party=create_party("Worker").id,
            company=company.id)
        self.rule(
            [('company', 'in', Eval('companies', []))],
            model='company.employee')
        source = '${record.party.name}'
        self.assertRefused('access', self.render, source, employee)
        scope = AccessScope({**self.groups, '_companies': [company.id]})
        self.assertEqual(self.render(source, employee, scope), "Worker")

    @with_transaction(user=0)
    def test_slice(self):
        "Test one query checks the records of a slice"
        Party = Pool().get('party.party')
        parties = [self.party(name=f"P{i}") for i in range(5)]
        self.rule([('name', '!=', "P3")])
        parties = Party.browse([p.id for p in parties])
        expected = [p for p in parties if p.name != "P3"]

        searches = []
        search = Party.search.__func__

        def counted(cls, *args, **kwargs):
            searches.append(args)
            return search(cls, *args, **kwargs)

        scope = AccessScope(self.groups)
        with unittest.mock.patch.object(
                Party, 'search', classmethod(counted)):
            self.assertEqual(scope.allow(parties), expected)
            for party in expected:
                self.render('${record.name}', party, scope)
            self.assertEqual(len(searches), 1)
            # Without allow, by the siblings of the browsed list
            scope = AccessScope(self.groups)
            for party in expected:
                self.render('${record.name}', party, scope)
            self.assertEqual(len(searches), 2)

    @with_transaction(user=0)
    def test_big_slice(self):
        "Test more records than a query may have parameters"
        Party = Pool().get('party.party')
        parties = Party.create([{'name': f"P{i}"} for i in range(1200)])
        self.rule([('name', '!=', "P3")])
        parties = Party.browse([p.id for p in parties])
        allowed = AccessScope(self.groups).allow(parties)
        self.assertEqual(len(allowed), 1199)
        self.assertNotIn(parties[3], allowed)

    @with_transaction(user=0)
    def test_extra(self):
        "Test what a caller adds"
        party = self.party()
        scope = AccessScope(
            self.groups,
            methods={'party.party': {'get_full_name'}},
            models={'res.user': {'login'}})
        self.assertEqual(
            self.render("${record.get_full_name('name')}", party, scope),
            "Jane")
        self.assertEqual(
            self.render('${record.create_uid.login}', party, scope),
            party.create_uid.login)
        self.assertRefused(
            'access', self.render, '${record.create_uid.password_hash}',
            party, AccessScope(self.groups, models={'res.user': None}))

    @with_transaction(user=0)
    def test_fields(self):
        "Test the types of values"
        pool = Pool()
        Lang = pool.get('ir.lang')
        lang, = Lang.search([('code', '=', 'en')])
        party = self.party(lang=lang.id)
        scope = AccessScope(self.groups)
        for value in [[], (), ('a', 'b'), {'a': [1]}, 1.5, None, 'a',
                dt.date(2026, 1, 1), Decimal(1)]:
            with self.subTest(value=value):
                wrapped = scope.wrap(value)
                self.assertEqual(wrapped, value if value != () else [])
        self.assertEqual(type(scope.wrap(Markup('a'))), str)
        self.assertRefused('access', scope.wrap, b'a')
        self.assertRefused('access', scope.wrap, object())
        self.assertEqual(
            unwrap([scope.proxy(party), 1]), [party, 1])
        self.assertEqual(unwrap(scope.proxy(party)), party)
        self.assertIsNone(scope.proxy(None))
        self.assertEqual(self.render('${record.lang.code}', party), 'en')

    @with_transaction(user=0)
    def test_environment(self):
        "Test what a condition reads"
        jane = self.party()
        self.refuse('code')
        scope = AccessScope(self.groups)

        def decode(expression):
            return PYSONDecoder({'self': scope.environment(jane)}).decode(
                PYSONEncoder().encode(expression))

        self.assertEqual(decode(Eval('self.name')), "Jane")
        self.assertEqual(
            decode(Eval('self', {}).get('addresses')),
            [a.id for a in jane.addresses])
        self.assertEqual(decode(Eval('self.unknown', 'd')), 'd')
        self.assertIsNone(decode(Eval('self.lang')))
        for expression in [
                Eval('self.code'), Eval('self', {}).get('code'),
                Eval('self._parent_create_uid.password_hash')]:
            with self.subTest(expression=expression):
                self.assertRefused('access', decode, expression)
        address = jane.addresses[0]
        self.assertEqual(
            PYSONDecoder({'self': scope.environment(address)}).decode(
                PYSONEncoder().encode(Eval('self._parent_party.name'))),
            "Jane")

    @with_transaction(user=0)
    def test_helpers(self):
        "Test the functions of reports"
        currency = self.currency()
        party = self.party()
        scope = AccessScope(self.groups)
        context = {
            **report_helpers(),
            'currency': scope.proxy(currency),
            'd': dt.date(2026, 1, 2),
            'm': dt.datetime(2026, 1, 2, 3, 4),
            't': dt.timedelta(days=1),
            'n': Decimal('1234.5'),
            'huge': Decimal('1e5000'),
            }
        for source, expected in [
                ('format_date(d)', '01/02/2026'),
                ("format_date(d, format='%Y')", '2026'),
                ("format_datetime(m, timezone='Europe/Brussels', "
                    "format='%H')", '04'),
                ('format_number(n, None, digits=2)', '1,234.50'),
                ('format_currency(n, None, currency)', '€1,234.50'),
                ('format_timedelta(t)', '1d'),
                ]:
            with self.subTest(source=source):
                self.assertEqual(
                    self.render('${%s}' % source, party, scope, **context),
                    expected)
        for source, code in [
                ("format_date(d, format='%1000000000d')", 'access'),
                ("format_datetime(m, timezone='/etc/passwd')", 'access'),
                ("format_datetime(m, timezone='../../etc/passwd')",
                    'access'),
                ("format_datetime(m, timezone=':/etc/passwd')", 'access'),
                ('format_number(n, None, digits=1000000000)', 'limit'),
                ('format_number(huge, None)', 'limit'),
                ("format_number('a', None)", 'access'),
                ('format_currency(n, None, currency, digits=1000000000)',
                    'limit'),
                ('format_currency(n, None, record)', 'access'),
                ('format_date(d, lang=record)', 'access'),
                ("format_date('a')", 'access'),
                ('format_date(record)', 'access'),
                ('format_timedelta(1)', 'access'),
                ]:
            with self.subTest(source=source):
                self.assertRefused(
                    code, self.render, '${%s}' % source, party, scope,
                    **context)

    @with_transaction(user=0)
    def test_deleted(self):
        "Test a record that is no more"
        Party = Pool().get('party.party')
        party = self.party()
        Party.delete([party])
        self.rule([('id', '>', 0)])
        self.assertRefused(
            'access', self.render, '${record.name}', Party(party.id))

    @with_transaction(user=0)
    def test_transaction_is_kept(self):
        "Test checking the access leaves the transaction as it was"
        party = self.party()
        self.rule([('id', '>', 0)])
        transaction = Transaction()
        before = transaction.user, transaction.context
        self.render('${record.addresses[0].party.name}', party)
        self.assertEqual((transaction.user, transaction.context), before)


if __name__ == '__main__':
    unittest.main()
