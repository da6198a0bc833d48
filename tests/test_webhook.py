# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What webhooks call, what they tell and what they must not reach"""
import base64
import datetime as dt
import hashlib
import hmac
import json
import socket
import time
import unittest
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from trytond.modules.marketing_automation import settings
from trytond.modules.marketing_automation.exceptions import WebhookError
from trytond.modules.marketing_automation.outgoing import address, signing
from trytond.modules.marketing_automation.outgoing.address import (
    is_public, resolve, split)
from trytond.modules.marketing_automation.outgoing.post import Request, post
from trytond.pool import Pool
from trytond.transaction import Transaction

from .fixtures import (
    DUE, create, create_party, create_record, create_record_activity, forget)
from .system.https import Receiver
from .test_action import ActionTestCase
from .tools import configure

# A vector of the specification's own libraries
SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
SIGNED = (
    'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, b'{"test": 2432232314}')
SIGNATURE = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='


class AddressTestCase(unittest.TestCase):
    "Test which addresses are on the Internet"

    def test_inside(self):
        "Test what is inside, in each disguise"
        for text in [
                '127.0.0.1', '10.0.0.1', '172.16.0.1', '192.168.1.1',
                '169.254.169.254', '100.64.0.1', '0.0.0.0', '224.0.0.1',
                '255.255.255.255', '::1', '::', 'fe80::1', 'fe80::1%eth0',
                'fc00::1', 'ff02::1', '::ffff:127.0.0.1', '::127.0.0.1',
                '::ffff:10.0.0.1', '64:ff9b::127.0.0.1', '2002:7f00:1::',
                '64:ff9b:1::a00:1', '192.0.2.1', '2001:db8::1']:
            with self.subTest(address=text):
                self.assertFalse(is_public(text))

    def test_outside(self):
        "Test what is outside"
        for text in [
                '8.8.8.8', '1.1.1.1', '2606:4700:4700::1111',
                '64:ff9b::8.8.8.8']:
            with self.subTest(address=text):
                self.assertTrue(is_public(text))

    @given(st.ip_addresses(v=4))
    def test_disguised(self, ip):
        "Test no notation makes an address public"
        self.assertEqual(is_public(f'::ffff:{ip}'), is_public(str(ip)))

    def test_each(self):
        "Test one address inside among those of a name is enough"
        infos = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, '', (a, 443))
            for a in ['8.8.8.8', '10.0.0.1']]
        with patch.object(address.socket, 'getaddrinfo', return_value=infos):
            with self.assertRaises(address.AddressError):
                resolve('example.com', 443)
            self.assertEqual(
                resolve('example.com', 443, {'example.com'}),
                ['8.8.8.8', '10.0.0.1'])

    def test_url(self):
        "Test only plain URLs with https are taken"
        for url, expected in [
                ('https://example.com', ('example.com', 443, '/')),
                ('https://Example.com:8443/a?b=c#d',
                    ('example.com', 8443, '/a?b=c')),
                ('https://münchen.example/',
                    ('xn--mnchen-3ya.example', 443, '/')),
                ('http://example.com/', None),
                ('https://user:word@example.com/', None),
                ('https:///path', None),
                ('https://example.com:99999/', None),
                ('https://example.com/a b', None),
                ('https://example.com/\r\nX: y', None),
                ('file:///etc/passwd', None),
                ('', None)]:
            with self.subTest(url=url):
                self.assertEqual(split(url), expected)


class SigningTestCase(unittest.TestCase):
    "Test the signature of Standard Webhooks"

    def test_signature(self):
        "Test the signature is that of other libraries"
        self.assertEqual(signing.signature(SECRET, *SIGNED), SIGNATURE)

    def test_secret(self):
        "Test each secret is another one, long enough"
        secrets = {signing.new_secret() for _ in range(10)}
        self.assertEqual(len(secrets), 10)
        for secret in secrets:
            size = len(base64.b64decode(secret.removeprefix('whsec_')))
            self.assertTrue(24 <= size <= 64)


class PostTestCase(unittest.TestCase):
    "Test requests to a real server"

    def setUp(self):
        super().setUp()
        receiver = Receiver()
        self.receiver = receiver.__enter__()
        self.addCleanup(receiver.__exit__, None, None, None)

    def post(self, url=None, timeout=5, allowed=('localhost',)):
        return post(Request(
                id=1, key='msg_1', url=url or self.receiver.url,
                secret=SECRET, body=b'{}'), timeout, allowed)

    def test_done(self):
        "Test what arrives, with its signature"
        answer = self.post()
        self.assertEqual(answer.kind, 'done')
        self.assertEqual(answer.text, '204 No Content')
        received, = self.receiver.requests
        self.assertEqual(received.path, '/hook?a=b')
        self.assertEqual(received.body, b'{}')
        headers = received.headers
        self.assertEqual(headers['host'], f'localhost:{self.receiver.port}')
        self.assertEqual(headers['content-type'], 'application/json')
        self.assertEqual(headers['webhook-id'], 'msg_1')
        timestamp = headers['webhook-timestamp']
        self.assertLess(abs(time.time() - int(timestamp)), 30)
        digest = hmac.new(
            base64.b64decode(SECRET[6:]), f'msg_1.{timestamp}.{{}}'.encode(),
            hashlib.sha256).digest()
        self.assertEqual(
            headers['webhook-signature'],
            'v1,' + base64.b64encode(digest).decode())

    def test_inside(self):
        "Test nothing inside is reached"
        for host in ['localhost', '127.0.0.1', '127.1', '[::1]']:
            with self.subTest(host=host):
                answer = self.post(
                    f'https://{host}:{self.receiver.port}/', allowed=())
                self.assertEqual(answer.kind, 'permanent')
                self.assertIn("not on the Internet", answer.text)
        self.assertFalse(self.receiver.requests)

    def test_rebinding(self):
        "Test the connection goes to the address that was checked"
        getaddrinfo = socket.getaddrinfo
        answers = iter(['8.8.8.8', '127.0.0.1'])

        def rebinding(host, port, *args, **kwargs):
            if host == 'example.com':
                host = next(answers)
            return getaddrinfo(host, port, *args, **kwargs)

        with patch.object(socket, 'getaddrinfo', rebinding), \
                patch.object(
                    socket.socket, 'connect', side_effect=OSError) as connect:
            answer = self.post(
                f'https://example.com:{self.receiver.port}/', allowed=())
        self.assertEqual(answer.kind, 'unreachable')
        (target,), _ = connect.call_args
        self.assertEqual(target, ('8.8.8.8', self.receiver.port))

    def test_redirect(self):
        "Test no redirect is followed"
        for status in [301, 302, 303, 307, 308]:
            self.receiver.answers.append((
                    status, {'Location': 'https://169.254.169.254/'}, b''))
            answer = self.post()
            self.assertEqual(answer.kind, 'permanent')
            self.assertTrue(answer.text.startswith(str(status)))
        self.assertEqual(len(self.receiver.requests), 5)

    def test_certificate(self):
        "Test a server that can not prove who it is gets nothing"
        infos = [(
                socket.AF_INET, socket.SOCK_STREAM, 6, '',
                ('127.0.0.1', self.receiver.port))]
        with patch.object(address.socket, 'getaddrinfo', return_value=infos):
            answer = self.post(
                f'https://example.com:{self.receiver.port}/',
                allowed=['example.com'])
        self.assertEqual(answer.kind, 'unreachable')
        self.assertIn("certificate", answer.text.lower())
        self.assertFalse(self.receiver.requests)

    def test_status(self):
        "Test what is worth another try"
        for status, headers, kind, after in [
                (200, {}, 'done', 0),
                (400, {}, 'permanent', 0),
                (404, {}, 'permanent', 0),
                (410, {}, 'permanent', 0),
                (408, {}, 'temporary', 0),
                (429, {'Retry-After': '120'}, 'temporary', 120),
                (500, {}, 'temporary', 0),
                (503, {'Retry-After': "soon"}, 'temporary', 0)]:
            with self.subTest(status=status):
                self.receiver.answers.append((status, headers, b"Why\n" * 9))
                answer = self.post()
                self.assertEqual((answer.kind, answer.after), (kind, after))
                self.assertTrue(answer.text.startswith(f'{status} '))

    def test_refused(self):
        "Test a server that is not there"
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            url = f'https://localhost:{sock.getsockname()[1]}/'
        self.assertEqual(self.post(url).kind, 'unreachable')

    def test_time_out(self):
        "Test a server that does not answer"
        self.receiver.seconds = 3
        started = time.monotonic()
        self.assertEqual(self.post(timeout=0.5).kind, 'unreachable')
        self.assertLess(time.monotonic() - started, 2)

    def test_drip(self):
        "Test a server that answers a little from time to time"
        def drip(handler):
            try:
                for _ in range(50):
                    handler.wfile.write(b'H')
                    handler.wfile.flush()
                    time.sleep(0.1)
            except OSError:
                handler.close_connection = True

        self.receiver.answers.append(drip)
        started = time.monotonic()
        self.assertEqual(self.post(timeout=0.5).kind, 'unreachable')
        self.assertLess(time.monotonic() - started, 2)

    def test_flood(self):
        "Test no more than a little of an answer is read"
        self.receiver.answers.append((500, {}, b'x' * 10_000_000))
        answer = self.post()
        self.assertEqual(answer.kind, 'temporary')
        self.assertLessEqual(len(answer.text), 200)


class WebhookTestCase(ActionTestCase):
    "Test activities that call a webhook"

    def setUp(self):
        super().setUp()
        receiver = Receiver()
        self.receiver = receiver.__enter__()
        self.addCleanup(receiver.__exit__, None, None, None)
        configure(
            'marketing', automation_webhook_hosts='localhost',
            automation_webhook_timeout=1)

    def webhook(self, **values):
        return create('marketing.automation.webhook', **{
                'name': "CRM", 'url': self.receiver.url, **values})

    def call(self, resource=None, webhook=None, **values):
        "Return a due row that calls the webhook"
        return self.row(
            resource, action='webhook',
            webhook=(webhook or self.webhook()).id, **values)

    def again(self, row):
        "Let the row be due now"
        table = row.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.at], [dt.datetime.now() - dt.timedelta(seconds=1)],
                where=table.id == row.id))
        Transaction().commit()

    def test_content(self):
        "Test what the receiver gets"
        german, = Pool().get('ir.lang').search([('code', '=', 'de')])
        category = create('party.category', name="Customers")
        party = create_party(
            "Zoë", code='Z1', lang=german.id,
            categories=[('add', [category.id])])
        row = self.call(party, webhook_fields=[
                'name', 'code', 'active', 'categories', 'create_date'])

        self.assertEqual(self.drain(row), ('done', None, '204 No Content'))

        received, = self.receiver.requests
        content = json.loads(received.body)
        activity = row.activity
        created = content['data']['record'].pop('create_date')
        self.assertEqual(
            created, f'{party.create_date.isoformat()}Z')
        self.assertEqual(content, {
                'type': 'marketing_automation.activity',
                'timestamp': '2026-01-01T00:00:00Z',
                'data': {
                    'scenario': {
                        'id': activity.scenario.id, 'name': "Scenario"},
                    'activity': {'id': activity.id, 'name': "Activity"},
                    'record': {
                        'model': 'party.party',
                        'id': party.id,
                        'name': "Zoë",
                        'code': 'Z1',
                        'active': True,
                        'categories': [
                            {'id': category.id, 'name': "Customers"}],
                        },
                    'party': {'id': party.id},
                    },
                })
        self.assertEqual(
            row.__class__(row.id).explanation,
            "Done: call the webhook “CRM”.")

    def test_key(self):
        "Test the identifier is that of the step, whatever the try"
        self.receiver.answers += [(500, {}, b"Oops"), (503, {}, b"")]
        row = self.call()
        self.assertEqual(
            self.drain(row), (
                'waiting', 'retry', '500 Internal Server Error: Oops'))
        self.assertIn("tried again", row.__class__(row.id).explanation)
        self.assertEqual(row.__class__(row.id).attempts, 1)
        self.again(row)
        self.assertEqual(self.drain(row)[:2], ('waiting', 'retry'))
        self.again(row)
        self.assertEqual(self.drain(row)[:2], ('done', None))
        other = self.call()
        self.drain(other)
        *keys, key = [
            r.headers['webhook-id'] for r in self.receiver.requests]
        self.assertEqual(len(keys), 3)
        self.assertEqual(set(keys), {row.webhook_key()})
        self.assertEqual(key, other.webhook_key())
        self.assertNotEqual(key, keys[0])
        bodies = {r.body for r in self.receiver.requests[:3]}
        self.assertEqual(len(bodies), 1)

    def test_expired(self):
        "Test it is given up in the end"
        configure('marketing', automation_retry_age=0)
        self.receiver.answers.append((500, {}, b""))
        self.assertEqual(
            self.drain(self.call())[:2], ('failed', 'expired'))

    def test_refused(self):
        "Test what the receiver refuses is not tried again"
        for status in [400, 410, 302]:
            with self.subTest(status=status):
                self.receiver.answers.append((status, {}, b""))
                row = self.call()
                state, reason, detail = self.drain(row)
                self.assertEqual((state, reason), ('failed', 'webhook'))
                self.assertTrue(detail.startswith(str(status)))

    def test_inside(self):
        "Test a webhook can not be used to reach inside"
        configure('marketing', automation_webhook_hosts='')
        row = self.call()
        self.assertEqual(
            self.drain(row),
            ('failed', 'webhook', "localhost is not on the Internet"))
        self.assertFalse(self.receiver.requests)

    def test_url(self):
        "Test only https is taken"
        for url in ['http://example.com/', "example.com", 'https://']:
            with self.subTest(url=url), self.assertRaises(WebhookError):
                self.webhook(url=url)

    def test_unsubscribed(self):
        "Test nothing is told of who has unsubscribed"
        party = create_party("Zoë", marketing_unsubscribed=True)
        row = self.call(party, webhook_fields=['name'])
        self.assertEqual(self.drain(row)[:2], ('skipped', 'unsubscribed'))
        self.assertFalse(self.receiver.requests)

    def test_access(self):
        "Test what Marketing may no longer read is not told"
        row = self.call(webhook_fields=['code'])
        access = create(
            'ir.model.field.access', model='party.party', field='code',
            perm_read=False)
        self._forget_later(access)
        state, reason, _ = self.drain(row)
        self.assertEqual((state, reason), ('failed', 'access'))
        self.assertFalse(self.receiver.requests)

    def test_offered(self):
        "Test neither secrets nor what Marketing may not read is offered"
        Activity = Pool().get('marketing.automation.activity')
        row = self.call()
        offered = dict(row.activity.get_webhook_fields())
        self.assertEqual(offered['name'], "Name")
        self.assertNotIn('create_uid', offered)
        sale = dict(Activity(
                parent=Pool().get('marketing.automation.scenario')(
                    model='sale.sale')).get_webhook_fields())
        self.assertEqual(
            sale.get('marketing_party.name'), "Party: Name")
        self.assertNotIn('number', sale)

    def test_secret(self):
        "Test each webhook has a secret of its own, also a copy"
        Webhook = Pool().get('marketing.automation.webhook')
        webhook = self.webhook()
        copy, = Webhook.copy([webhook])
        secret = webhook.secret
        self.assertTrue(secret.startswith('whsec_'))
        self.assertNotEqual(copy.secret, secret)
        Webhook.renew([webhook])
        self.assertNotIn(webhook.secret, [secret, copy.secret])

    def test_parallel(self):
        "Test several are called at once"
        configure('marketing', automation_webhook_timeout=5)
        webhook = self.webhook()
        row = self.call(webhook=webhook)
        rows = self._more(row, 15)
        self.receiver.seconds = 0.2
        started = time.monotonic()
        self.drain(row)
        self.assertLess(time.monotonic() - started, 2)
        self.assertEqual(
            {r.state for r in row.__class__.browse(rows)}, {'done'})
        self.assertEqual(len(self.receiver.requests), 16)

    def test_down(self):
        "Test a server that does not answer is left in peace"
        configure('marketing', automation_webhook_sessions=2)
        row = self.call(webhook=self.webhook())
        rows = self._more(row, 20)
        self.receiver.seconds = 3
        started = time.monotonic()
        self.drain(row)
        self.assertLess(time.monotonic() - started, 6)
        self.assertLess(len(self.receiver.requests), 7)
        states = {
            (r.state, r.lease) for r in row.__class__.browse(rows)}
        self.assertEqual(states, {('waiting', None)})

    def test_stopped(self):
        "Test a stopped scenario calls no further"
        Scenario = Pool().get('marketing.automation.scenario')
        configure(
            'marketing', automation_webhook_sessions=1,
            automation_webhook_timeout=5)
        row = self.call()
        self._more(row, 5)

        def stop(handler):
            handler.send_response(204)
            handler.end_headers()

        self.receiver.answers.append(stop)
        with patch.object(
                settings, 'webhook_hosts', side_effect=lambda: (
                    self._stop(Scenario, row) or {'localhost'})):
            self.drain(row)
        self.assertEqual(len(self.receiver.requests), 1)

    @staticmethod
    def _stop(Scenario, row):
        with Transaction().new_transaction() as transaction:
            Scenario.stop([Scenario(row.activity.scenario.id)])
            transaction.commit()

    def test_follow(self):
        "Test what follows is planned once the receiver has taken it"
        RecordActivity = Pool().get('marketing.automation.record.activity')
        row = self.call()
        child = create(
            'marketing.automation.activity', name="After",
            parent=str(row.activity))
        Transaction().commit()
        self.receiver.answers.append((500, {}, b""))
        self.drain(row)
        clause = [('activity', '=', child.id)]
        self.assertFalse(RecordActivity.search(clause))
        self.again(row)
        self.drain(row)
        self.assertEqual(len(RecordActivity.search(clause)), 1)

    def _more(self, row, count):
        "Return the ids of so many more rows of the activity"
        rows = [
            create_record_activity(
                create_record(row.activity.scenario, create_party(str(i))),
                row.activity, at=DUE).id
            for i in range(count)]
        Transaction().commit()
        forget()
        return rows


del ActionTestCase
