# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import email.policy
import re
import time
import unittest
from email import message_from_bytes, message_from_string
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from fast_mail_parser import parse_email
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from trytond.modules.company.tests import create_company
from trytond.modules.marketing_automation import signature
from trytond.modules.marketing_automation.exceptions import (
    Failure, Skip, TemplateError)
from trytond.modules.marketing_automation.mail import message
from trytond.modules.marketing_automation.mail.address import (
    one_line, parse_address)
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create_email, create_party, create_record,
    create_record_activity, create_scenario, forget)
from .tools import BASE, configure

BODY = (
    '<html xmlns:py="http://genshi.edgewall.org/"><body>%s</body></html>')


class FunctionTestCase(unittest.TestCase):
    "Test the functions that need no database"

    @given(st.text())
    def test_one_line(self, value):
        "Test one line has no end of line"
        result = one_line(value)
        self.assertLessEqual(len(result.splitlines()), 1)
        self.assertNotIn('\0', result)
        self.assertEqual(one_line(result), result)

    def test_parse_address(self):
        "Test which senders are taken"
        for source, expected in [
                ('a@example.com', ('', 'a@example.com')),
                ('Shop <a@example.com>', ('Shop', 'a@example.com')),
                ('"Shop, Ltd" <a@example.com>',
                    ('Shop, Ltd', 'a@example.com')),
                ('Läden <a@exämple.com>', ('Läden', 'a@exämple.com')),
                ]:
            with self.subTest(source=source):
                self.assertEqual(parse_address(source), expected)
        for source in [
                '', 'Shop', '<>', 'a@', '@example.com', 'a b@example.com',
                'a@example.com, b@example.com',
                'Shop <a@example.com>\nBcc: b@example.com',
                'Shop\r\nBcc: <a@example.com>', 'a@@example.com',
                'a' * 65 + '@example.com']:
            with self.subTest(source=source):
                self.assertEqual(parse_address(source)[1], '')


class ComposedTestCase(DatabaseTestCase):
    "Composes messages"

    def setUp(self):
        super().setUp()
        self.addCleanup(patch.stopall)
        configure('marketing',
            automation_base=BASE, email_from="Shop <shop@example.com>")

    def _record_activity(
            self, template, title="Title", name="Name",
            address='name@example.org', party=None, scenario=None,
            **activity):
        activity = create_email(
            create_scenario(state='running', **(scenario or {})),
            email_title=title, email_template=template, **activity)
        party = create_party(name, address, **(party or {}))
        return create_record_activity(
            create_record(activity.scenario, party), activity)

    def _store(self, record, **values):
        "Store the values by SQL, so that nothing checks them"
        table = record.__table__()
        transaction = Transaction()
        transaction.connection.cursor().execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=table.id == record.id))
        forget()

    def _compose(self, record_activity):
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        outbox = message.Outbox()
        outbox.compose(record_activity.activity, record_activity)
        ids = Link.get_ids(outbox.urls) if outbox.urls else {}
        draft, = outbox.drafts
        return outbox.seal(draft, ids)

    def _message(self, *args, **kwargs):
        "Return the composed message, parsed"
        sealed = self._compose(self._record_activity(*args, **kwargs))
        return message_from_bytes(sealed.data, policy=email.policy.default)


class MessageTestCase(ComposedTestCase):
    "Test what is sent"

    def _links(self, msg):
        tree = html.fromstring(msg.get_body(('html',)).get_content())
        return [str(h) for h in tree.xpath('//a/@href')]

    def _pixels(self, msg):
        tree = html.fromstring(msg.get_body(('html',)).get_content())
        return tree.xpath('//img[@width="1"]/@src')

    def _urls(self):
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        return sorted(link.url for link in Link.search([]))

    def _verify(self, purpose, url, count=2):
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        token = urlsplit(url).path.rpartition('/')[2].removesuffix('.gif')
        return signature.verify(
            Configuration.get_secret(), purpose, token, count)

    @with_transaction()
    def test_links(self):
        "Test which targets are tracked"
        msg = self._message(BODY % (
                '<a href="https://example.com/">1</a>'
                '<a href=" HTTP://example.com/2 ">2</a>'
                '<a href="https://example.com/">again</a>'
                '<a href="mailto:a@example.com">3</a>'
                '<a href="tel:+32">4</a>'
                '<a href="#top">5</a>'
                '<a name="top">6</a>'
                '<a href="unsubscribe">7</a>'))
        links = self._links(msg)
        self.assertEqual(
            [u.startswith(BASE + 'm/') for u in links],
            [True, True, True, False, False, False, True])
        self.assertEqual(links[0], links[2])
        self.assertEqual(
            self._urls(), ['HTTP://example.com/2', 'https://example.com/'])

    def _target(self, url):
        "Return where the tracked link leads"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        parts = urlsplit(url)
        return Hit.clicked(
            parts.path.rpartition('/')[2], {
                'method': 'GET', 'user_agent': '', 'headers': {},
                'secure': True},
            parse_qs(parts.query).get('u', [None])[0])

    def _next(self, url):
        "Return where the page to unsubscribe goes on"
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        query = parse_qs(urlsplit(url).query)
        _, _, next_ = Unsubscription.find(
            *(query.get(n, [None])[0] for n in 'rtu'))
        return next_

    @with_transaction()
    def test_personal_links(self):
        "Test nothing of the record is stored with a link"
        for name, address in [("A", 'a@example.org'), ("B", 'b@example.org')]:
            msg = self._message(BODY % (
                    '<a href="https://example.com/?a=1&amp;n=${record.name}">'
                    '1</a>'
                    "<p>${short('https://example.com/' + record.name)}</p>"
                    '<a href="https://example.com/" title="${record.name}">'
                    '2</a>'
                    '<a href="unsubscribe|https://example.com/${record.name}">'
                    '3</a>'), name=name, address=address)
            link, constant, stop = self._links(msg)
            self.assertEqual(
                self._target(link), f'https://example.com/?a=1&n={name}')
            self.assertEqual(self._target(constant), 'https://example.com/')
            self.assertEqual(
                self._next(stop), f'https://example.com/{name}')
            self.assertIsNone(
                self._target(link.replace('example.com', 'evil.example')))
            self.assertIsNone(self._target(link.partition('?')[0]))
            self.assertIsNone(
                self._next(stop.replace('example.com', 'evil.example')))
        self.assertEqual(set(self._urls()), {
                'https://example.com/', 'https://example.com/…',
                'https://example.com/?a=1&n=…'})

    @with_transaction()
    def test_pixel_position(self):
        "Test the pixel is before the end of the body, whatever lower() does"
        msg = self._message(
            '<html><body><p>İİİİİİİİİİ</p></BODY></html>'.replace(
                'BODY', 'body'))
        self.assertIn(
            'border="0"/></body></html>',
            msg.get_body(('html',)).get_content())

    @with_transaction()
    def test_boundary(self):
        "Test a text with the boundary does not split the message"
        boundary = message.BOUNDARY
        msg = self._message(BODY % f'<p>--{boundary}</p>')
        self.assertEqual(len(list(msg.iter_parts())), 2)
        self.assertIn(boundary, msg.get_body(('plain',)).get_content())

    @with_transaction()
    def test_sender_address_title(self):
        "Test the address of the sender can be in the title alone"
        configure('marketing', automation_address="Main Street 1")
        msg = self._message(BODY % '<p/>', title="From ${sender_address}")
        self.assertEqual(msg['Subject'], "From Main Street 1")

    @with_transaction()
    def test_styles(self):
        "Test style sheets are sent at the elements, and the rest of them too"
        msg = self._message("""\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
    "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html><head><style>
p { color: red; margin: 0 }
a.button { background: url("https://example.com/i?a=1&amp;b=2") }
a:hover { color: green }
@media (max-width: 600px) { .wide { width: 100% !important } }
</style></head><body>
<!--[if mso]><table><tr><td><![endif]-->
<p class="wide" style="margin: 1px">Hello ${record.name}&nbsp;&lt;</p>
<a class="button" href="https://example.com/?a=1&amp;b=2">Go</a>
<a href="unsubscribe">Stop</a>
<!--[if mso]></td></tr></table><![endif]-->
</body></html>""", name="<b>Zoë</b>")
        content = msg.get_body(('html',)).get_content()
        self.assertTrue(content.startswith('<!DOCTYPE html PUBLIC "-//W3C'))
        self.assertIn('<!--[if mso]><table><tr><td><![endif]-->', content)
        self.assertIn('Hello &lt;b&gt;Zoë&lt;/b&gt;', content)
        tree = html.fromstring(content)
        styles = {
            e.get('class'): dict(
                p.split(': ', 1) for p in e.get('style').split(';') if p)
            for e in tree.xpath('//*[@style]')}
        self.assertEqual(styles, {
                'wide': {'color': 'red', 'margin': '1px'},
                'button': {
                    'background': "url('https://example.com/i?a=1&b=2')"},
                })
        style = ' '.join(tree.xpath('string(//style)').split())
        self.assertIn('@media (max-width: 600px) { .wide {', style)
        self.assertIn('a:hover', style)
        self.assertNotIn('button', style)
        tracked, unsubscribe = self._links(msg)
        self.assertTrue(tracked.startswith(f'{BASE}m/'))
        self.assertIn('/unsubscribe?', unsubscribe)
        self.assertEqual(
            self._urls(), ['https://example.com/?a=1&b=2'])
        self.assertEqual(len(self._pixels(msg)), 1)

    @with_transaction()
    def test_styles_ignored(self):
        "Test a style sheet can be kept as it is"
        msg = self._message(
            '<html><head><style data-css-inline="ignore">p { color: red }'
            '</style></head><body><p>Hello</p></body></html>')
        content = msg.get_body(('html',)).get_content()
        self.assertIn('p { color: red }', content)
        self.assertIn('<p>Hello</p>', content)

    def _extend(self):
        "Let templates name the voucher, the friend and a function"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')

        class Extended(Activity):
            __slots__ = ()
            __name__ = Activity.__name__

            def email_context(self, record=None):
                context = super().email_context(record)
                context['voucher'] = f'V{record.id}' if record else ''
                context['friend'] = record and record.record
                context['twice'] = lambda text: 2 * text
                return context

        pool.add(Extended, type='model')
        self.addCleanup(pool.add, Activity, type='model')

    @with_transaction()
    def test_context_extended(self):
        "Test templates name what another module adds to the context"
        self._extend()
        record_activity = self._record_activity(
            BODY % "<p>${voucher} ${friend.name} ${twice('ab')}</p>",
            title="${voucher}")
        msg = message_from_bytes(
            self._compose(record_activity).data, policy=email.policy.default)
        voucher = f'V{record_activity.record.id}'
        self.assertEqual(msg['Subject'], voucher)
        self.assertIn(
            f'<p>{voucher} Name abab</p>',
            msg.get_body(('html',)).get_content())

    @with_transaction()
    def test_context_confined(self):
        "Test a record of the context is read as the others are"
        self._extend()
        with self.assertRaises(Failure):
            self._message(BODY % '<p>${friend.create_uid.login}</p>')

    @with_transaction()
    def test_context_unknown(self):
        "Test a name that nobody adds is refused when it is saved"
        for extend in [lambda: None, self._extend]:
            extend()
            with self.assertRaises(TemplateError):
                create_email(email_title="${vouchers}")

    @with_transaction()
    def test_refusals_extended(self):
        "Test who must not enter any more does not get the e-mail either"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')

        class Extended(Scenario):
            __slots__ = ()
            __name__ = Scenario.__name__

            @property
            def refusals(self):
                return super().refusals + [('name', 'like', "No%")]

        pool.add(Extended, type='model')
        self.addCleanup(pool.add, Scenario, type='model')
        self._message(BODY % '<p/>', name="Yes")
        with self.assertRaises(Skip) as caught:
            self._message(BODY % '<p/>', name="No")
        self.assertEqual(caught.exception.reason, 'unsubscribed')

    @with_transaction()
    def test_unstorable(self):
        "Test what can not be stored or sent is a failure of the record alone"
        for content in [
                "<p>${'\\0'}</p>",
                "<a href=\"https://example.com/${'\\ud800'}\">1</a>"]:
            with self.subTest(content=content):
                with self.assertRaises(Failure) as caught:
                    self._message(BODY % content)
                self.assertEqual(caught.exception.reason, 'template')
                caught.exception.detail.encode('utf-8')

    @with_transaction()
    def test_many_links(self):
        "Test the number of links is limited"
        with patch.object(message, 'MAX_LINKS', 5), \
                self.assertRaises(Failure) as caught:
            self._message(BODY % ''.join(
                    f'<a href="https://example.com/{i}">{i}</a>'
                    for i in range(6)))
        self.assertEqual(caught.exception.reason, 'template')

    @with_transaction()
    def test_short(self):
        "Test a URL can be shortened anywhere, also as target of a link"
        msg = self._message(BODY % (
                "<a href=\"${short('https://example.com/a')}\">1</a>"
                "<p>${short('https://example.com/b')}</p>"
                "<p>${short('mailto:a@example.com')}</p>"))
        self.assertEqual(
            self._urls(), ['https://example.com/a', 'https://example.com/b'])
        link, = self._links(msg)
        self.assertTrue(link.startswith(BASE + 'm/'))
        content = msg.get_body(('html',)).get_content()
        self.assertNotIn('.invalid', content)
        self.assertNotIn('.invalid', msg.get_body(('plain',)).get_content())
        self.assertIn('mailto:a@example.com', content)

    @with_transaction()
    def test_short_title(self):
        "Test a URL can be shortened in the title"
        msg = self._message(
            BODY % '', title="See ${short('https://example.com/')}")
        self.assertTrue(msg['Subject'].startswith(f'See {BASE}m/'))

    @with_transaction()
    def test_url_kept(self):
        "Test a URL reaches its link unchanged"
        urls = [
            'https://example.com/?a=1&b=2&copy=3&amp=4',
            'https://example.com/ü/%C3%BC?q=é#x',
            'https://example.com/' + 'a' * 3000,
            'https://user@example.com:8443/path;p?q=%20+"\'',
            ]
        quoted = [
            u.replace('&', '&amp;').replace('"', '&quot;') for u in urls]
        for template in [
                BODY % ''.join(f'<a href="{u}">x</a>' for u in quoted),
                '<mjml><mj-body><mj-section><mj-column>%s</mj-column>'
                '</mj-section></mj-body></mjml>' % ''.join(
                    f'<mj-button href="{u}">x</mj-button>' for u in quoted),
                '<mjml><mj-body><mj-section><mj-column><mj-text>%s</mj-text>'
                '</mj-column></mj-section></mj-body></mjml>' % ''.join(
                    f'<a href="{u}">x</a>' for u in quoted),
                ]:
            with self.subTest(template=template[:60]):
                pool = Pool()
                Link = pool.get('marketing.automation.link')
                Link.delete(Link.search([]))
                self._message(template)
                self.assertEqual(self._urls(), sorted(urls))

    @with_transaction()
    def test_tokens(self):
        "Test what the tokens tell"
        record_activity = self._record_activity(BODY % (
                '<a href="https://example.com/">x</a>'
                '<a href="unsubscribe|https://example.com/bye">y</a>'))
        sealed = self._compose(record_activity)
        msg = message_from_bytes(sealed.data, policy=email.policy.default)
        click, unsubscribe = self._links(msg)
        link_id, sent_id = self._verify('click', click)
        self.assertEqual(sent_id, record_activity.id)
        pixel, = self._pixels(msg)
        self.assertEqual(
            self._verify('open', pixel),
            (record_activity.activity.id, record_activity.id))
        query = parse_qs(urlsplit(unsubscribe).query)
        self.assertEqual(query['r'], [record_activity.record.uuid])
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        self.assertEqual(
            Unsubscription.find(query['r'][0], query['t'][0]), (
                record_activity.record, record_activity.activity,
                'https://example.com/bye'))

    @with_transaction()
    def test_aggregate(self):
        "Test only the activity is known without individual tracking"
        msg = self._message(
            BODY % '<a href="https://example.com/">x</a>',
            scenario={'tracking': 'aggregate'})
        link, = self._links(msg)
        self.assertEqual(self._verify('click', link)[1], 0)
        pixel, = self._pixels(msg)
        self.assertEqual(self._verify('open', pixel)[1], 0)

    @with_transaction()
    def test_no_tracking(self):
        "Test nothing is tracked where nobody may be"
        template = BODY % (
            '<a href="https://example.com/">x</a>'
            "<p>${short('https://example.com/s')}</p>"
            '<a href="unsubscribe">y</a>')
        for values in [
                {'scenario': {'tracking': 'none'}},
                {'party': {'marketing_tracking_refused': True}},
                ]:
            with self.subTest(**values):
                msg = self._message(template, **values)
                link, unsubscribe = self._links(msg)
                self.assertEqual(link, 'https://example.com/')
                self.assertIn('unsubscribe?', unsubscribe)
                self.assertEqual(self._pixels(msg), [])
                self.assertIn(
                    'https://example.com/s',
                    msg.get_body(('html',)).get_content())
                self.assertTrue(msg['List-Unsubscribe'])
        self.assertEqual(self._urls(), [])

    @with_transaction()
    def test_headers_not_injected(self):
        "Test a name can add no header"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        name = "Name\r\nBcc: victim@example.com\n\nBody\u2028x"
        record_activity = self._record_activity(
            BODY % '<p>${record.name}</p>', title="Hi ${record.name}")
        self._store(record_activity.record.record, name=name)
        sealed = self._compose(RecordActivity(record_activity.id))
        msg = message_from_bytes(sealed.data, policy=email.policy.default)
        self.assertIsNone(msg['Bcc'])
        self.assertEqual(len(msg['To'].addresses), 1)
        self.assertIn("Bcc: victim@example.com Body", msg['Subject'])
        self.assertEqual(
            msg.get_body(('html',)).get_content().count('<p>'), 1)

    @with_transaction()
    def test_escaped(self):
        "Test what is in a record is no HTML"
        msg = self._message(
            BODY % '<p title="${record.name}">${record.name}</p>',
            name='<a href="https://evil.example.com/">"&amp;</a>')
        self.assertEqual(self._links(msg), [])
        tree = html.fromstring(msg.get_body(('html',)).get_content())
        paragraph, = tree.xpath('//p')
        self.assertEqual(
            paragraph.text_content(),
            '<a href="https://evil.example.com/">"&amp;</a>')
        self.assertEqual(paragraph.get('title'), paragraph.text_content())

    @with_transaction()
    def test_placeholder_not_guessed(self):
        "Test a template can not write what stands for a link"
        msg = self._message(BODY % (
                '<a href="https://0123456789abcdef.invalid/link/0">x</a>'
                '<p>https://0123456789abcdef.invalid/unsubscribe/0</p>'))
        self.assertEqual(
            self._urls(), ['https://0123456789abcdef.invalid/link/0'])
        self.assertIn(
            'https://0123456789abcdef.invalid/unsubscribe/0',
            msg.get_body(('html',)).get_content())

    @with_transaction()
    def test_headers(self):
        "Test the headers mail servers ask for"
        record_activity = self._record_activity(BODY % '')
        sealed = self._compose(record_activity)
        msg = message_from_bytes(sealed.data, policy=email.policy.default)
        self.assertEqual(msg['From'], 'Shop <shop@example.com>')
        self.assertEqual(
            (sealed.sender, sealed.recipient),
            ('shop@example.com', 'name@example.org'))
        self.assertRegex(msg['Message-ID'], r'\A<[^<>@\s]+@[^<>@\s]+>\Z')
        self.assertRegex(
            msg['List-Unsubscribe'], rf'\A<{BASE}m/[^<>\s]+>\Z')
        self.assertEqual(
            msg['List-Unsubscribe-Post'], 'List-Unsubscribe=One-Click')
        self.assertRegex(msg['List-Id'], r'<[^<>@\s]+>\Z')
        self.assertEqual(msg['Auto-Submitted'], 'auto-generated')
        self.assertEqual(msg['MIME-Version'], '1.0')
        self.assertEqual(msg.get_content_type(), 'multipart/alternative')
        self.assertEqual(
            [p.get_content_type() for p in msg.iter_parts()],
            ['text/plain', 'text/html'])
        for name in ['From', 'To', 'Subject', 'Date', 'Message-ID']:
            self.assertEqual(len(msg.get_all(name)), 1)

    @with_transaction()
    def test_message_id(self):
        "Test a message that is composed again has the same Message-ID"
        record_activity = self._record_activity(BODY % '')
        first, second = [
            message_from_bytes(self._compose(record_activity).data)
            for _ in range(2)]
        self.assertEqual(first['Message-ID'], second['Message-ID'])
        other = self._message(BODY % '')
        self.assertNotEqual(first['Message-ID'], other['Message-ID'])

    @with_transaction()
    def test_lines(self):
        "Test no line is longer than a mail server takes (RFC 5322 2.1.1)"
        sealed = self._compose(self._record_activity(
                BODY % ('<p>' + 'ä' * 5000 + 'a' * 5000 + '</p>'),
                title="Ü" * 200 + ' a' * 400))
        lines = sealed.data.split(b'\r\n')
        self.assertLessEqual(max(map(len, lines)), 998)
        self.assertNotIn(b'\n', b''.join(lines))
        head, _, _ = sealed.data.partition(b'\r\n\r\n')
        self.assertTrue(head.isascii())
        # RFC 8058: what is signed must be in one piece
        self.assertTrue(re.search(
                rb'\r\nList-Unsubscribe: <[^\s<>]+>\r\n', sealed.data))

    @with_transaction()
    def test_addresses(self):
        "Test addresses outside of ASCII"
        for address, expected in [
                ('a@bücher.example', 'a@xn--bcher-kva.example'),
                ('jörg@example.org', 'jörg@example.org'),
                ]:
            with self.subTest(address=address):
                sealed = self._compose(self._record_activity(
                        BODY % '', address=address, name="Jörg"))
                self.assertEqual(sealed.recipient, expected)
                msg = message_from_string(
                    sealed.data.decode('utf-8'), policy=email.policy.default)
                to, = msg['To'].addresses
                self.assertEqual(to.addr_spec, expected)
                self.assertEqual(to.display_name, "Jörg")

    @with_transaction()
    def test_archive(self):
        "Test what is filed"
        record_activity = self._record_activity(
            BODY % '', title="Grüße", name="Jörg")
        archive = self._compose(record_activity).archive
        self.assertEqual(archive['recipients'], 'Jörg <name@example.org>')
        self.assertEqual(archive['address'], 'name@example.org')
        self.assertEqual(archive['subject'], "Grüße")
        self.assertEqual(
            archive['resource'], str(record_activity.record.record))

    @with_transaction()
    def test_invalid_address(self):
        "Test an address that is none ends before the mail server"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        for address in [
                'name', 'name@', '@example.org', 'a b@example.org',
                'a@example.org, b@example.org', 'a@example.org\nBcc: b@x.org',
                '<a@example.org>', 'a@@example.org',
                'a' * 65 + '@example.org']:
            with self.subTest(address=address):
                record_activity = self._record_activity(BODY % '')
                party = record_activity.record.record
                self._store(party.contact_mechanisms[0], value=address)
                with self.assertRaises(Failure) as context:
                    self._compose(RecordActivity(record_activity.id))
                self.assertEqual(context.exception.reason, 'address')

    @with_transaction()
    def test_skipped(self):
        "Test why there may be nothing to send"
        pool = Pool()
        Party = pool.get('party.party')
        for reason, values in [
                ('no_address', {'address': None}),
                ('inactive', {'party': {'active': False}}),
                ('unsubscribed', {
                        'party': {'marketing_unsubscribed': True}}),
                ]:
            with self.subTest(reason=reason):
                record_activity = self._record_activity(BODY % '', **values)
                with self.assertRaises(Skip) as context:
                    self._compose(record_activity)
                self.assertEqual(context.exception.reason, reason)
        record_activity = self._record_activity(BODY % '')
        Party.delete([record_activity.record.record])
        with self.assertRaises(Skip) as context:
            self._compose(
                record_activity.__class__(record_activity.id))
        self.assertEqual(context.exception.reason, 'deleted')

    @with_transaction()
    def test_failure(self):
        "Test a template that fails tells why"
        for template, title in [
                (BODY % '${1 / 0}', "Title"),
                (BODY % '', "Title ${record.lang.name}"),
                (BODY % '${record.lang.name}', "Title"),
                ]:
            with self.subTest(template=template, title=title):
                with self.assertRaises(Failure) as context:
                    self._message(template, title=title)
                self.assertEqual(context.exception.reason, 'template')
                self.assertTrue(context.exception.detail)


class CompanyTestCase(ComposedTestCase):
    "Test e-mails of several companies"
    modules = ['marketing_automation', 'company']

    @with_transaction()
    def test_sender_address(self):
        "Test the address is that of the company of the scenario"
        pool = Pool()
        Address = pool.get('party.address')
        configure('marketing', automation_address="Main Street 1")
        companies = [create_company(n) for n in ["First", "Second"]]
        Address.write(
            [a for c in companies for a in c.party.addresses],
            {'street': "Way"})
        for company, expected in [
                (companies[0].id, "First Way"),
                (companies[1].id, "Second Way"),
                (None, "Main Street 1")]:
            with self.subTest(expected=expected):
                msg = self._message(
                    BODY % '<p>${sender_address}</p>',
                    scenario={'company': company})
                self.assertIn(expected, ' '.join(
                        msg.get_body(('plain',)).get_content().split()))


class StandardTestCase(ComposedTestCase):
    """Test a message as another implementation reads it, RFC by RFC

    fast_mail_parser is made of the Rust crate mailparse.
    """

    def _read(self, *args, **kwargs):
        "Return the bytes of a message and the message as parsed"
        kwargs.setdefault('name', "Jörg Ünal")
        sealed = self._compose(self._record_activity(
                BODY % (
                    '<p>Grüße aus 北京</p><p>' + 'long ' * 400 + '</p>'
                    '<a href="https://example.com/?a=1&amp;b=2">Visit</a>'
                    '<a href="unsubscribe">Unsubscribe</a>'),
                *args, title="Grüße, " + "very long " * 20, **kwargs))
        return sealed.data, parse_email(sealed.data)

    def _header(self, parsed, name):
        "Return the value of the header, which must be there once"
        value, = parsed.headers[name]
        return value

    @with_transaction()
    def test_rfc5322(self):
        "Test the format of messages (RFC 5322)"
        data, parsed = self._read()
        for name in [
                'From', 'To', 'Subject', 'Date', 'Message-ID',
                'MIME-Version', 'Content-Type']:
            self.assertEqual(len(parsed.headers[name]), 1, name)
        self.assertEqual(parsed.warnings, [])
        self.assertLess(
            abs(time.time() - parsed.date_parsed.timestamp()), 60)
        self.assertRegex(
            self._header(parsed, 'Message-ID'),
            r'\A<[\w.-]+@shop\.example\.com>\Z')
        lines = data.split(b'\r\n')
        self.assertLessEqual(max(map(len, lines)), 998)
        self.assertNotIn(b'\n', b''.join(lines))
        self.assertNotIn(b'\r', b''.join(lines))

    @with_transaction()
    def test_rfc2047(self):
        "Test words that are not ASCII in headers (RFC 2047)"
        data, parsed = self._read()
        self.assertTrue(data.partition(b'\r\n\r\n')[0].isascii())
        self.assertTrue(parsed.subject.startswith("Grüße, very long"))
        self.assertIn("Jörg Ünal", self._header(parsed, 'To'))

    @with_transaction()
    def test_rfc2046(self):
        "Test the text and the HTML are alternatives (RFC 2045 and 2046)"
        _, parsed = self._read()
        self.assertTrue(self._header(
                parsed, 'Content-Type').startswith('multipart/alternative;'))
        text, = parsed.text_plain
        html, = parsed.text_html
        self.assertEqual(parsed.attachments, [])
        for content in [text, html]:
            self.assertIn("Grüße aus 北京", content)
        self.assertIn("[Unsubscribe](", text)

    @with_transaction()
    def test_rfc2369(self):
        "Test how mail clients may unsubscribe (RFC 2369)"
        _, parsed = self._read()
        url, = re.fullmatch(
            r'<([^<>\s,]+)>', self._header(parsed, 'List-Unsubscribe')
            ).groups()
        parts = urlsplit(url)
        self.assertEqual(
            f'{parts.scheme}://{parts.netloc}/', BASE)

    @with_transaction()
    def test_rfc8058(self):
        "Test one click unsubscribes (RFC 8058)"
        data, parsed = self._read()
        self.assertEqual(
            self._header(parsed, 'List-Unsubscribe-Post'),
            'List-Unsubscribe=One-Click')
        url = self._header(parsed, 'List-Unsubscribe')[1:-1]
        self.assertEqual(urlsplit(url).scheme, 'https')
        # What names the recipient can not be guessed
        query = parse_qs(urlsplit(url).query)
        self.assertEqual(set(query), {'r', 't'})
        self.assertRegex(query['r'][0], r'\A[0-9a-f]{32}\Z')
        # What is signed must not be changed on the way
        self.assertIn(f'\r\nList-Unsubscribe: <{url}>\r\n'.encode(), data)

    @with_transaction()
    def test_rfc2919(self):
        "Test the identifier of the list stays the same (RFC 2919)"
        _, parsed = self._read()
        _, other = self._read(name="Other")
        identifier = self._header(parsed, 'List-Id')
        self.assertRegex(
            identifier, r'\A<scenario-\d+\.shop\.example\.com>\Z')
        self.assertLessEqual(len(identifier), 255 + 2)
        # Each scenario is a list
        self.assertNotEqual(self._header(other, 'List-Id'), identifier)

    @with_transaction()
    def test_rfc3834(self):
        "Test nobody answers automatically (RFC 3834)"
        _, parsed = self._read()
        self.assertEqual(
            self._header(parsed, 'Auto-Submitted'), 'auto-generated')
        self.assertEqual(self._header(parsed, 'Precedence'), 'bulk')

    @with_transaction()
    def test_rfc6532(self):
        "Test an address that is not ASCII (RFC 6532)"
        data, parsed = self._read(address='jörg@exämple.com')
        self.assertIn('jörg@xn--exmple-cua.com', self._header(parsed, 'To'))
        self.assertIn('jörg@'.encode(), data.partition(b'\r\n\r\n')[0])


del ComposedTestCase
