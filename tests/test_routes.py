# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import base64
import datetime as dt
import string

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import Forbidden

from trytond.modules.marketing_automation import signature
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME, RouteTestCase
from trytond.transaction import Transaction
from trytond.wsgi import Base64Converter

from .fixtures import (
    create_email, create_link, create_party, create_record,
    create_record_activity, create_scenario)
from .tools import BROWSER

TEMPLATE = (
    '<html><body><a href="https://example.org/target">x</a>'
    '<a href="unsubscribe|https://example.org/bye">y</a></body></html>')
URL = 'https://example.org/target'
DATABASE = Base64Converter(None).to_url(DB_NAME)
BASE = f'/m/{DATABASE}/'
tokens = (
    st.text(max_size=100)
    | st.text(string.ascii_letters + string.digits + '-_', max_size=80)
    | st.binary(max_size=60).map(
        lambda b: base64.urlsafe_b64encode(b).decode().rstrip('=')))


class Case(RouteTestCase):
    module = 'marketing_automation'

    @classmethod
    def setUpDatabase(cls):
        Configuration = Pool().get('marketing.automation.configuration')
        activity = create_email(
            create_scenario(state='running'), email_template=TEMPLATE)
        record = create_record(activity.scenario, create_party())
        sent = create_record_activity(
            record, activity, state='done',
            at=dt.datetime.now() - dt.timedelta(hours=1))
        cls.uuid = record.uuid
        cls.activity, cls.record, cls.sent = activity.id, record.id, sent.id
        cls.link = create_link(activity, URL)
        cls.bye = create_link(activity, 'https://example.org/bye')
        cls.secret = Configuration.get_secret()

    def sign(self, purpose, *ids):
        return signature.sign(self.secret, purpose, *ids)

    def click_url(self, *ids):
        ids = ids or [self.link, self.sent]
        return f'{BASE}c/{self.sign("click", *ids)}'

    def open_url(self, *ids):
        ids = ids or [self.activity, self.sent]
        return f'{BASE}o/{self.sign("open", *ids)}.gif'

    def unsubscribe_url(self):
        token = self.sign('unsubscribe', self.sent, self.bye)
        return f'{BASE}unsubscribe?r={self.uuid}&t={token}'

    def request(self, url, method='GET', headers=None, **options):
        return self.client().open(
            url, method=method, headers={**BROWSER, **(headers or {})},
            **options)

    def read(self, model, *names):
        "Return the values of all the records of the model"
        with Transaction().start(DB_NAME, 0, readonly=True):
            Model = Pool().get(model)
            return [
                tuple(getattr(r, n) for n in names)
                for r in Model.search([], order=[('id', 'ASC')])]

    def clear(self):
        "Forget what the requests have left"
        with Transaction().start(DB_NAME, 0) as transaction:
            pool = Pool()
            for name in ['hit', 'unsubscription']:
                Model = pool.get('marketing.automation.' + name)
                Model.delete(Model.search([]))
            Record = pool.get('marketing.automation.record')
            Record.write(Record.search([]), {'blocked': False})
            RecordActivity = pool.get('marketing.automation.record.activity')
            table = RecordActivity.__table__()
            transaction.connection.cursor().execute(*table.update(
                    [table.email_opened, table.email_clicked],
                    [False, False]))
            transaction.commit()

    def tearDown(self):
        self.clear()
        super().tearDown()


class RoutesTestCase(Case):
    "Test what the application answers to anybody"

    def verdicts(self):
        return [v for v, in self.read('marketing.automation.hit', 'verdict')]

    def flags(self):
        (opened, clicked), = self.read(
            'marketing.automation.record.activity',
            'email_opened', 'email_clicked')
        return bool(opened), bool(clicked)

    def settle(self):
        "Let a minute pass and settle the hits"
        with Transaction().start(DB_NAME, 0) as transaction:
            pool = Pool()
            Hit = pool.get('marketing.automation.hit')
            for hit in Hit.search([]):
                hit.at -= dt.timedelta(minutes=1)
                hit.save()
            transaction.commit()
            Hit.settle()

    def test_click(self):
        "Test a click leads to the stored URL and is kept"
        response = self.request(self.click_url())
        self.assertEqual(response.status_code, 302)
        self.assertEqual(response.headers['Location'], URL)
        self.assertEqual(response.headers['Cache-Control'], 'no-store')
        self.assertNotIn('Set-Cookie', response.headers)
        (link, sent, activity), = self.read(
            'marketing.automation.hit', 'link', 'record_activity', 'activity')
        self.assertEqual(
            (link.id, sent.id, activity.id),
            (self.link, self.sent, self.activity))
        self.settle()
        self.assertEqual(self.verdicts(), ['human'])
        self.assertEqual(self.flags(), (True, True))

    def test_open(self):
        "Test the pixel is an image and the open is kept"
        response = self.request(self.open_url())
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.content_type, 'image/gif')
        self.assertEqual(response.headers['Cache-Control'], 'no-store')
        self.assertTrue(response.data.startswith(b'GIF89a'))
        self.settle()
        self.assertEqual(self.verdicts(), ['human'])
        self.assertEqual(self.flags(), (True, False))

    def test_old_pixel(self):
        "Test the pixel of the published module"
        for method in ['GET', 'HEAD']:
            response = self.request('/m/empty.gif', method)
            self.assertEqual(response.status_code, 200)
            self.assertEqual(response.content_type, 'image/gif')
        self.assertEqual(self.verdicts(), [])

    def test_machines(self):
        "Test machines are answered but have no effect"
        for url in [self.click_url(), self.open_url()]:
            status = self.request(url).status_code
            self.clear()
            for method, headers in [
                    ('HEAD', {}),
                    ('GET', {'User-Agent': ''}),
                    ('GET', {'User-Agent': "curl/8.5.0"}),
                    ('GET', {'User-Agent': "python-requests/2.32"}),
                    ('GET', {'User-Agent': "Googlebot/2.1 "
                            "(+http://www.google.com/bot.html)"}),
                    ('GET', {'Sec-Purpose': 'prefetch;prerender'}),
                    ('GET', {'Purpose': 'prefetch'}),
                    ('GET', {'X-Moz': 'prefetch'}),
                    ]:
                with self.subTest(url=url, method=method, headers=headers):
                    response = self.request(url, method, headers)
                    self.assertEqual(response.status_code, status)
                    self.assertEqual(self.verdicts(), ['machine'])
                    self.settle()
                    self.assertEqual(self.verdicts(), ['machine'])
                    self.assertEqual(self.flags(), (False, False))
                self.clear()

    def test_no_address(self):
        "Test nothing that tells who or where is stored with a hit"
        self.request(
            self.click_url(), environ_base={'REMOTE_ADDR': '203.0.113.77'},
            headers={'X-Forwarded-For': '203.0.113.77', 'Cookie': 'c=77'})
        with Transaction().start(DB_NAME, 0, readonly=True) as transaction:
            Hit = Pool().get('marketing.automation.hit')
            table = Hit.__table__()
            cursor = transaction.connection.cursor()
            cursor.execute(*table.select(*(
                        getattr(table, n) for n, f in Hit._fields.items()
                        if f.sql_type() and n != 'last_modified_at')))
            row, = cursor.fetchall()
        text = ' '.join(map(str, row))
        for part in ['203.0.113', 'Firefox', 'Mozilla']:
            self.assertNotIn(part, text)

    def test_methods(self):
        "Test other methods are refused and change nothing"
        for url in [self.click_url(), self.open_url()]:
            for method in ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']:
                with self.subTest(url=url, method=method):
                    response = self.request(url, method)
                    self.assertEqual(response.status_code, 405)
        for method in ['PUT', 'DELETE', 'PATCH', 'OPTIONS']:
            response = self.request(self.unsubscribe_url(), method)
            self.assertEqual(response.status_code, 405)
        self.assertEqual(self.verdicts(), [])

    def test_purpose(self):
        "Test a token is good for nothing but its purpose"
        click = self.sign('click', self.link, self.sent)
        open_ = self.sign('open', self.activity, self.sent)
        for url in [
                f'{BASE}c/{open_}', f'{BASE}o/{click}.gif',
                f'{BASE}c/{self.sign("unsubscribe", self.link, self.sent)}',
                f'{BASE}c/{self.sign("click", self.link)}',
                f'{BASE}c/{self.sign("click", 10 ** 9, self.sent)}',
                f'{BASE}o/{self.sign("open", 10 ** 9, self.sent)}.gif',
                f'{BASE}c/{self.sign("click", 2 ** 62, 2 ** 62)}',
                f'{BASE}c/{self.sign("click", 2 ** 63, 2 ** 63)}',
                f'{BASE}c/{self.sign("click", 2 ** 80, 1)}',
                f'{BASE}c/{self.sign("click", self.link, 2 ** 70)}',
                f'{BASE}o/{self.sign("open", 2 ** 64, 2 ** 64)}.gif',
                ]:
            with self.subTest(url=url):
                self.assertEqual(self.request(url).status_code, 404)
        self.assertEqual(self.verdicts(), [])

    def click_link(self, url):
        "Return the response for a click on the stored link"
        with Transaction().start(DB_NAME, 0) as transaction:
            Link = Pool().get('marketing.automation.link')
            pair = self.activity, url
            link = Link.get_ids({pair})[pair]
            transaction.commit()
        return self.request(self.click_url(link, self.sent))

    def test_broken_links(self):
        "Test links that nobody can follow are not found, without an error"
        for url in [
                'http://[broken/', 'https://example.org:port/',
                'http://example.org:99999/', 'https://' + 'a' * 70 + '.org/',
                'http://.example.org/', 'https://my site/', 'https://',
                'http:///path', 'javascript:alert(1)', '//evil.example/',
                'ftp://example.org/', 'my site', '', 'http://a..b/',
                'https://<b>/', 'http://\x01/', 'http://[::1/']:
            with self.subTest(url=url):
                self.assertEqual(self.click_link(url).status_code, 404)

    def test_odd_links(self):
        "Test links are followed whatever they contain"
        for url, location in [
                ('HTTPS://example.org', 'https://example.org'),
                ('http://example.org:80/a b', 'http://example.org:80/a%20b'),
                ('https://example.org/\r\nSet-Cookie: a=b',
                    'https://example.org/Set-Cookie:%20a=b'),
                ('https://example.org/ü?ü#ü',
                    'https://example.org/%C3%BC?%C3%BC#%C3%BC'),
                ('https://müller.example/', 'https://xn--mller-kva.example/'),
                ('http://my_shop.example/', 'http://my_shop.example/'),
                ('http://[::1]:80/', 'http://[::1]:80/'),
                ('https://example.org/%', 'https://example.org/%'),
                ]:
            with self.subTest(url=url):
                response = self.click_link(url)
                self.assertEqual(response.status_code, 302)
                self.assertEqual(response.headers['Location'], location)
                self.assertNotIn('Set-Cookie', response.headers)

    def test_next(self):
        "Test the page leads only to where the template does, over HTTP"
        template = ''.join(
            f'<a href="unsubscribe|{url}">x</a>' for url in [
                'https://example.org/bye', 'javascript:alert(1)',
                '//evil.example/', 'ftp://example.org/', 'http://[broken/'])
        # No check lets this pass any more
        with Transaction().start(DB_NAME, 0) as transaction:
            Translation = Pool().get('ir.translation')
            table = Translation.__table__()
            cursor = transaction.connection.cursor()
            cursor.execute(*table.update(
                    [table.value], [f'<html><body>{template}</body></html>'],
                    where=table.name
                    == 'marketing.automation.activity,email_template'))
            Translation._translation_cache.clear()
            transaction.commit()
        for next_, expected in [
                ('https://example.org/bye', True),
                ('https://example.org/', False),
                ('javascript:alert(1)', False),
                ('//evil.example/', False),
                ('ftp://example.org/', False),
                ('http://[broken/', False),
                ('', False), ('\0', False),
                ]:
            with self.subTest(next=next_):
                response = self.request(
                    f'{BASE}unsubscribe', 'POST',
                    query_string={'r': self.uuid, 'next': next_})
                self.assertEqual(response.status_code, 200)
                self.assertEqual('Continue' in response.text, expected)
                self.clear()

    def test_forgotten(self):
        "Test a link outlives what is known of its recipient"
        response = self.request(self.click_url(self.link, 10 ** 9))
        self.assertEqual(response.headers['Location'], URL)
        self.settle()
        self.assertEqual(self.flags(), (False, False))

    def test_aggregate(self):
        "Test without individual tracking only the activity is known"
        self.assertEqual(
            self.request(self.click_url(self.link, 0)).status_code, 302)
        self.assertEqual(
            self.request(self.open_url(self.activity, 0)).status_code, 200)
        self.settle()
        self.assertEqual(
            self.read('marketing.automation.hit', 'record_activity'),
            [(None,), (None,)])
        self.assertEqual(self.flags(), (False, False))

    @given(tokens)
    @example('')
    @example('\0')
    @example('..')
    @example('A' * 100_000)
    @settings(
        deadline=None, max_examples=60,
        suppress_health_check=[HealthCheck.differing_executors])
    def test_invented(self, token):
        "Test what nobody has signed is not found, without an error"
        for path in ['c/%s', 'o/%s.gif', 'o/%s', 'unsubscribe/%s']:
            for method in ['GET', 'HEAD']:
                response = self.request(BASE + path % token.replace(
                        '#', '%23').replace('?', '%3f'), method)
                self.assertIn(response.status_code, {308, 404, 405})
        for arguments in [
                {'r': token}, {'r': token, 't': token}, {'t': token}]:
            for method in ['GET', 'POST']:
                response = self.request(
                    f'{BASE}unsubscribe', method, query_string=arguments)
                self.assertEqual(response.status_code, 404)
        response = self.request(
            f'{BASE}unsubscribe', query_string={'r': self.uuid, 't': token})
        self.assertEqual(response.status_code, 200)
        self.assertNotIn('example.org/bye', response.text)

    def test_changed(self):
        "Test each character of a token counts"
        for url in [self.click_url(), self.open_url()]:
            start = len(BASE) + 2
            for i in range(start, len(url.removesuffix('.gif'))):
                changed = 'A' if url[i] != 'A' else 'B'
                forged = url[:i] + changed + url[i + 1:]
                self.assertEqual(
                    self.request(forged).status_code, 404, forged)
        self.assertEqual(self.verdicts(), [])

    def test_databases(self):
        "Test other databases are not found, whatever their name is"
        names = ['nowhere', '../x', 'a/b', '\0', 'a' * 1000, 'ü', '%']
        encoded = [base64.urlsafe_b64encode(n.encode()).decode()
            for n in names]
        for database in [
                *encoded, *(e.rstrip('=') for e in encoded), '!', '=', '%ff',
                DATABASE + 'A', 'A' * 5]:
            for path in ['c/x', 'o/x.gif', f'unsubscribe?r={self.uuid}']:
                with self.subTest(database=database, path=path):
                    response = self.request(f'/m/{database}/{path}')
                    self.assertIn(response.status_code, {308, 404})

    def test_padded_database(self):
        "Test the published module pads the name of the database"
        database = base64.urlsafe_b64encode(DB_NAME.encode()).decode()
        response = self.request(f'/m/{database}/unsubscribe?r={self.uuid}')
        self.assertEqual(response.status_code, 200)

    def test_not_found_page(self):
        "Test all that is not genuine gets the same page"
        pages = {
            self.request(url).data for url in [
                f'{BASE}c/x', f'{BASE}o/x.gif', f'{BASE}unsubscribe?r=x',
                f'{BASE}unsubscribe', '/m/bm93aGVyZQ/c/x']}
        page, = pages
        self.assertIn(b'<html', page)

    def test_head(self):
        "Test HEAD on the unsubscribe URL is inert"
        response = self.request(self.unsubscribe_url(), 'HEAD')
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.unsubscriptions(), [])

    def unsubscriptions(self):
        return self.read(
            'marketing.automation.unsubscription', 'activity', 'everything')

    def test_get(self):
        "Test GET on the unsubscribe URL shows a page and nothing more"
        response = self.request(self.unsubscribe_url())
        self.assertEqual(response.status_code, 200)
        policy = response.headers['Content-Security-Policy']
        for part in ["default-src 'none'", "frame-ancestors 'none'"]:
            self.assertIn(part, policy)
        self.assertEqual(self.unsubscriptions(), [])
        (blocked,), = self.read('marketing.automation.record', 'blocked')
        self.assertFalse(blocked)

    def test_one_click(self):
        "Test the one-click POST of RFC 8058, as form or multipart"
        for options in [
                {'data': 'List-Unsubscribe=One-Click',
                    'content_type': 'application/x-www-form-urlencoded'},
                {'data': {'List-Unsubscribe': 'One-Click'},
                    'content_type': 'multipart/form-data'},
                {'headers': {'Origin': 'null'}},
                {'headers': {'Origin': 'http://localhost'}},
                {'data': b'\xff\0garbage', 'content_type': 'text/plain'},
                ]:
            with self.subTest(**options):
                response = self.request(
                    self.unsubscribe_url(), 'POST', **options)
                self.assertEqual(response.status_code, 200)
                (activity, everything), = self.unsubscriptions()
                self.assertEqual(activity.id, self.activity)
                self.assertFalse(everything)
                (blocked,), = self.read(
                    'marketing.automation.record', 'blocked')
                self.assertTrue(blocked)
            self.clear()

    def test_foreign_origin(self):
        "Test the form of another site unsubscribes nobody"
        with self.assertRaises(Forbidden):
            self.request(
                self.unsubscribe_url(), 'POST',
                headers={'Origin': 'https://evil.example.com'})
        self.assertEqual(self.unsubscriptions(), [])

    def test_big_body(self):
        "Test a body that is too big is refused"
        response = self.request(
            self.unsubscribe_url(), 'POST', data={'x': 'x' * 1_000_000})
        self.assertIn(response.status_code, {400, 413})
        self.assertEqual(self.unsubscriptions(), [])


class ShortenedTestCase(Case):
    "Test the links of the published module where web_shortener is active"
    extras = ['web_shortener']

    def test_shortened(self):
        "Test they go on firing their events"
        with Transaction().start(DB_NAME, 0) as transaction:
            pool = Pool()
            RecordActivity = pool.get('marketing.automation.record.activity')
            ShortenedURL = pool.get('web.shortened_url')
            method = 'marketing.automation.record.activity|on_email_'
            opened, clicked = ShortenedURL.create([{
                        'record': str(RecordActivity(self.sent)),
                        'method': method + 'opened',
                        'redirect_url': 'http://localhost/m/empty.gif',
                        }, {
                        'record': str(RecordActivity(self.sent)),
                        'method': method + 'clicked',
                        'redirect_url': URL,
                        }])
            paths = [
                '/' + s.shortened_url.split('//', 1)[1].split('/', 1)[1]
                for s in [opened, clicked]]
            transaction.commit()
        names = ['email_opened', 'email_clicked']
        for path, expected in zip(paths, [(True, False), (True, True)]):
            self.assertEqual(self.request(path).status_code, 301)
            flags, = self.read('marketing.automation.record.activity', *names)
            self.assertEqual(tuple(map(bool, flags)), expected)


del RouteTestCase, Case
