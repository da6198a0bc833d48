# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Links to one's own sites tell where a visit comes from"""
import unittest
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from trytond.modules.marketing_automation import settings
from trytond.modules.marketing_automation.mail import message, sample
from trytond.modules.marketing_automation.mail.mark import Marks, normalize
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction

from .fixtures import (
    DatabaseTestCase, create_email, create_party, create_record,
    create_record_activity, create_scenario)
from .tools import BASE, configure

BODY = '<html><body>%s<a href="unsubscribe|%s">Bye</a></body></html>'
SHOP = 'https://shop.example.com/'
MJML = (
    '<mjml><mj-body><mj-section><mj-column>'
    '<mj-button href="https://shop.example.com/?a=1#b">Offer</mj-button>'
    '<mj-text><a href="unsubscribe">Bye</a></mj-text>'
    '</mj-column></mj-section></mj-body></mjml>')


class MarksTestCase(unittest.TestCase):
    "Test what a URL becomes"

    def _add(self, url, hosts=('shop.example.com',), **parameters):
        parameters = parameters or {'utm_source': 'news', 'utm_medium': 'mail'}
        return Marks(tuple(parameters.items()), hosts).add(url)

    def test_add(self):
        "Test parameters come behind what is written, and before the fragment"
        query = 'utm_source=news&utm_medium=mail'
        for url, expected in [
                (SHOP, f'{SHOP}?{query}'),
                (f'{SHOP}?', f'{SHOP}?{query}'),
                (f'{SHOP}?a=%20b', f'{SHOP}?a=%20b&{query}'),
                (f'{SHOP}?a=1&', f'{SHOP}?a=1&{query}'),
                (f'{SHOP}#top', f'{SHOP}?{query}#top'),
                (f'{SHOP}?a=1#a?b', f'{SHOP}?a=1&{query}#a?b'),
                ('HTTPS://Shop.Example.com:8080/Ä',
                    f'HTTPS://Shop.Example.com:8080/Ä?{query}'),
                (f'{SHOP}?utm_source=mine',
                    f'{SHOP}?utm_source=mine&utm_medium=mail'),
                (f'{SHOP}?utm_source=&utm_medium=x#y',
                    f'{SHOP}?utm_source=&utm_medium=x#y'),
                ]:
            with self.subTest(url=url):
                self.assertEqual(self._add(url), expected)
                # What MJML makes of a link is a link as well
                self.assertEqual(self._add(expected), expected)

    def test_others(self):
        "Test other links stay as they are"
        for url in [
                'https://example.com/', 'https://notshop.example.com/',
                'https://shop.example.com.evil.example/',
                'https://shop.example.com@evil.example/',
                'mailto:a@shop.example.com', '/a', '#a', '',
                'https://[broken/']:
            with self.subTest(url=url):
                self.assertEqual(self._add(url), url)

    def test_below(self):
        "Test a dot stands for all hosts below"
        for url, is_marked in [
                ('https://a.example.com/', True),
                ('https://a.b.example.com/', True),
                ('https://example.com/', False),
                ('https://anexample.com/', False)]:
            with self.subTest(url=url):
                self.assertEqual(
                    self._add(url, hosts=('.example.com',)) != url,
                    is_marked)

    def test_normalize(self):
        "Test names of hosts are compared as browsers do"
        for host, expected in [
                ('Shop.Example.com', 'shop.example.com'),
                ('shop.example.com:8000', 'shop.example.com'),
                ('.bücher.example', '.xn--bcher-kva.example'),
                ('not a host', None), ('.', None)]:
            with self.subTest(host=host):
                self.assertEqual(normalize(host), expected)
        self.assertIn(
            'utm', self._add(
                'https://BÜCHER.example/', hosts=(normalize('bücher.example'),
                    )))

    @given(st.text(min_size=1).filter(
            lambda v: v.isprintable() and '\ud800' not in v))
    def test_encoded(self, value):
        "Test any value arrives as it is"
        url = self._add(f'{SHOP}?a=1#b', utm_campaign=value)
        parts = urlsplit(url)
        self.assertEqual(
            parse_qs(parts.query)['utm_campaign'], [value])
        self.assertEqual(parts.fragment, 'b')
        self.assertTrue(url.isascii())


class UTMTestCase(DatabaseTestCase):
    "Test the links of e-mails"

    def setUp(self):
        super().setUp()
        self.addCleanup(patch.stopall)
        configure('marketing',
            automation_base=BASE, email_from="Shop <shop@example.com>",
            automation_hosts="shop.example.com, .example.net")

    def _draft(self, template, scenario=None, **values):
        "Return the outbox with a rendered draft"
        activity = create_email(
            create_scenario(state='running', **{
                    'utm_source': "newsletter", **(scenario or {})}),
            email_template=template, **values)
        step = create_record_activity(
            create_record(
                activity.scenario, create_party("Zoë", 'zoe@example.org')),
            activity)
        outbox = message.Outbox()
        outbox.compose(activity, step)
        return outbox, outbox.drafts[0]

    def _links(self, *args, **kwargs):
        "Return where the links lead"
        _, draft = self._draft(*args, **kwargs)
        return [
            str(h) for h in html.fromstring(
                draft.content.readable[0]).xpath('//a/@href')]

    @with_transaction()
    def test_tracking(self):
        "Test links lead there with tracking and without it"
        template = BODY % (
            f'<a href="{SHOP}?a=1#b">1</a>'
            f'<a href="{SHOP}${{record.name}}">2</a>'
            '<a href="https://example.org/">3</a>', SHOP)
        for tracking in ['individual', 'aggregate', 'none']:
            with self.subTest(tracking=tracking):
                self.assertEqual(
                    self._links(template, {'tracking': tracking}), [
                        f'{SHOP}?a=1&utm_source=newsletter#b',
                        f'{SHOP}Zoë?utm_source=newsletter',
                        'https://example.org/',
                        # What follows the page to unsubscribe
                        SHOP])

    @with_transaction()
    def test_stored(self):
        "Test what is stored of a link has the parameters, but no values"
        Link = Pool().get('marketing.automation.link')
        outbox, draft = self._draft(BODY % (
                f'<a href="{SHOP}">1</a>'
                f'<a href="{SHOP}${{record.name}}">2</a>', SHOP))
        sealed = outbox.seal(draft, Link.get_ids(outbox.urls))
        self.assertNotIn(b'Zo', b''.join(
                link.url.encode() for link in Link.search([])))
        self.assertIn(
            f'{SHOP}?utm_source=newsletter',
            [link.url for link in Link.search([])])
        self.assertEqual(sealed.links, 2)

    @with_transaction()
    def test_mjml(self):
        "Test links of MJML are marked once"
        for tracking in ['individual', 'none']:
            with self.subTest(tracking=tracking):
                self.assertIn(
                    f'{SHOP}?a=1&utm_source=newsletter#b',
                    self._links(MJML, {'tracking': tracking}))

    @with_transaction()
    def test_override(self):
        "Test an activity adds to what the scenario says, and replaces it"
        link, *_ = self._links(
            BODY % (f'<a href="{SHOP}">1</a>', ''),
            {'utm_campaign': "Spring Sale", 'utm_medium': "email"},
            utm_medium="e-mail", utm_content="first & last", utm_term="é")
        self.assertEqual(link, (
                f'{SHOP}?utm_source=newsletter&utm_medium=e-mail'
                '&utm_campaign=Spring%20Sale&utm_content=first%20%26%20last'
                '&utm_term=%C3%A9'))

    @with_transaction()
    def test_shape(self):
        "Test e-mails of one template do not share what differs"
        template = BODY % (f'<a href="{SHOP}">1</a>', '')
        for source in ["a", "b", None]:
            link, *_ = self._links(template, {'utm_source': source})
            self.assertEqual(
                link, f'{SHOP}?utm_source={source}' if source else SHOP)

    @with_transaction()
    def test_preview(self):
        "Test the preview shows them"
        _, draft = self._draft(BODY % (f'<a href="{SHOP}">1</a>', ''))
        Activity = Pool().get('marketing.automation.activity')
        activity = Activity(draft.activity)
        preview = sample.preview(activity, create_party("Bob"))
        self.assertIn(f'{SHOP}?utm_source=newsletter', preview.html)

    def test_hosts(self):
        "Test one's own hosts, by default that of the server"
        self.assertEqual(
            settings.own_hosts(), ['shop.example.com', '.example.net'])
        patch.stopall()
        configure('web', hostname='erp.example.com:8000')
        self.assertEqual(settings.own_hosts(), ['erp.example.com:8000'])
        self.assertEqual(
            normalize('erp.example.com:8000'), 'erp.example.com')


class CampaignTestCase(UTMTestCase):
    "Test the same with the module marketing_campaign"
    modules = ['marketing_automation', 'marketing_campaign']

    @with_transaction()
    def test_campaign(self):
        "Test what the activity relates to is added, once"
        pool = Pool()
        Campaign = pool.get('marketing.campaign')
        Source = pool.get('marketing.source')
        link, own, *_ = self._links(
            BODY % (
                f'<a href="{SHOP}">1</a>'
                f'<a href="{SHOP}?utm_campaign=own">2</a>', ''),
            {'utm_campaign': "other"},
            marketing_campaign=Campaign.from_name("Spring").id,
            marketing_source=Source.from_name("Paper").id)
        self.assertEqual(
            link, f'{SHOP}?utm_source=paper&utm_campaign=spring')
        self.assertEqual(
            own, f'{SHOP}?utm_campaign=own&utm_source=paper')

    @with_transaction()
    def test_form(self):
        "Test its fields stand in for ours on the activity"
        Activity = Pool().get('marketing.automation.activity')
        self.assertIs(Activity.utm_source.states['invisible'], True)
        self.assertIsNot(Activity.utm_term.states['invisible'], True)

    @with_transaction()
    def test_override(self):
        "Test an activity without relations has the ones of the scenario"
        link, *_ = self._links(
            BODY % (f'<a href="{SHOP}">1</a>', ''),
            {'utm_campaign': "Spring Sale"}, utm_content="a")
        self.assertEqual(link, (
                f'{SHOP}?utm_source=newsletter'
                '&utm_campaign=Spring%20Sale&utm_content=a'))


del DatabaseTestCase
