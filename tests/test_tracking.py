# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import unittest
from unittest.mock import patch

from sql import Literal

from trytond.modules.marketing_automation import signature
from trytond.modules.marketing_automation.tracking import FLOOD
from trytond.pool import Pool
from trytond.tests.test_tryton import activate_module, with_transaction
from trytond.transaction import Transaction

BROWSER = {
    'method': 'GET',
    'user_agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101',
    'headers': {},
    'secure': False,
    }


class TrackingTestCase(unittest.TestCase):
    "Test hits"

    @classmethod
    def setUpClass(cls):
        activate_module('marketing_automation')

    def sent(self, **age):
        "Return a record activity sent so long ago, with a child on click"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Party = pool.get('party.party')
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Scenario = pool.get('marketing.automation.scenario')
        party, = Party.create([{'name': "Party"}])
        scenario, = Scenario.create([{
                    'name': "Scenario",
                    'model': 'party.party',
                    }])
        activity, = Activity.create([{
                    'name': "E-mail",
                    'parent': str(scenario),
                    'action': 'send_email',
                    'email_title': "Hello",
                    'email_template': '<html><body></body></html>',
                    }])
        Activity.create([{
                    'name': "Child",
                    'parent': str(activity),
                    'event': 'email_clicked',
                    }])
        record, = Record.create([{
                    'scenario': scenario.id,
                    'record': str(party),
                    }])
        record_activity, = RecordActivity.create([{
                    'record': record.id,
                    'activity': activity.id,
                    'state': 'done',
                    'at': dt.datetime.now() - dt.timedelta(**age),
                    }])
        return record_activity

    def link(self, record_activity):
        Link = Pool().get('marketing.automation.link')
        pair = record_activity.activity.id, 'https://example.com/'
        return Link.get_ids({pair})[pair]

    def token(self, purpose, *ids):
        Configuration = Pool().get('marketing.automation.configuration')
        return signature.sign(Configuration.get_secret(), purpose, *ids)

    def children(self, record_activity):
        RecordActivity = Pool().get('marketing.automation.record.activity')
        return RecordActivity.search([
                ('record', '=', record_activity.record.id),
                ('id', '!=', record_activity.id),
                ])

    @with_transaction()
    def test_old_unsettled(self):
        "Test hits count even when nothing ran for days"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        RecordActivity = pool.get('marketing.automation.record.activity')
        sent = self.sent(days=5)
        Hit.create([{
                    'at': dt.datetime.now() - dt.timedelta(days=3),
                    'activity': sent.activity.id,
                    'record_activity': sent.id,
                    'link': self.link(sent),
                    'verdict': 'unknown',
                    'settled': False,
                    }])

        self.assertFalse(Hit._settle_slice())

        sent = RecordActivity(sent.id)
        self.assertTrue(sent.email_opened)
        self.assertTrue(sent.email_clicked)
        self.assertEqual(len(self.children(sent)), 1)
        self.assertFalse(Hit.search([('settled', '=', False)]))

    @with_transaction()
    def test_links_of_message(self):
        "Test a scanner of a message that has not all links of the activity"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        Link = pool.get('marketing.automation.link')
        RecordActivity = pool.get('marketing.automation.record.activity')
        for count, clicked in [(3, True), (2, False)]:
            with self.subTest(links=count):
                sent = self.sent(days=1)
                RecordActivity.write([sent], {'links': count})
                pairs = [
                    (sent.activity.id, f'https://example.com/{n}')
                    for n in range(3)]
                ids = Link.get_ids(pairs)
                at = dt.datetime.now() - dt.timedelta(minutes=5)
                Hit.create([{
                            'at': at + dt.timedelta(seconds=seconds),
                            'activity': sent.activity.id,
                            'record_activity': sent.id,
                            'link': ids[pairs[n]],
                            'verdict': 'unknown',
                            'settled': False,
                            } for n, seconds in [
                            (0, 0), (1, 4), (0, 5), (1, 9)]])

                Hit._settle_slice()

                sent = RecordActivity(sent.id)
                self.assertEqual(sent.email_clicked, clicked)

    def age(self, **age):
        "Let the hits be so old"
        Hit = Pool().get('marketing.automation.hit')
        table = Hit.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.at], [dt.datetime.now() - dt.timedelta(**age)]))

    @with_transaction()
    def test_scanner(self):
        "Test a late scanner changes nothing, a person afterwards does"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        RecordActivity = pool.get('marketing.automation.record.activity')
        sent = self.sent(hours=1)
        click = self.token('click', self.link(sent), sent.id)
        pixel = self.token('open', sent.activity.id, sent.id)
        for _ in range(2):
            self.assertTrue(Hit.clicked(click, BROWSER))
            self.assertTrue(Hit.opened(pixel, BROWSER))

        self.age(minutes=4)
        Hit._settle_slice()

        self.assertFalse(RecordActivity(sent.id).email_clicked)
        self.assertFalse(RecordActivity(sent.id).email_opened)
        self.assertFalse(self.children(sent))

        self.assertTrue(Hit.clicked(click, BROWSER))
        table = Hit.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.at], [dt.datetime.now() - dt.timedelta(minutes=2)],
                where=table.settled == Literal(False)))
        Hit._settle_slice()

        self.assertTrue(RecordActivity(sent.id).email_clicked)
        self.assertEqual(len(self.children(sent)), 1)

    @with_transaction()
    def test_held(self):
        "Test a hit starts nothing before all is known that tells of it"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        sent = self.sent(hours=1)
        Hit.clicked(self.token('click', self.link(sent), sent.id), BROWSER)
        for seconds, count in [(55, 0), (60, 1)]:
            self.age(seconds=seconds)
            Hit._settle_slice()
            self.assertEqual(len(self.children(sent)), count)

    @with_transaction()
    def test_known_otherwise(self):
        "Test machines take nothing away that is known otherwise"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        RecordActivity = pool.get('marketing.automation.record.activity')
        by_button, forgotten = self.sent(days=500), self.sent(days=500)
        RecordActivity.on_email_clicked([by_button])
        token = self.token('click', self.link(forgotten), forgotten.id)
        Hit.clicked(token, BROWSER)
        self.age(days=400)
        Hit._settle_slice()
        Hit._clean_slice(dt.datetime.now() - dt.timedelta(days=365))
        self.assertFalse(Hit.search([]))

        for sent in [by_button, forgotten]:
            click = self.token('click', self.link(sent), sent.id)
            pixel = self.token('open', sent.activity.id, sent.id)
            for _ in range(2):
                Hit.clicked(click, BROWSER)
                Hit.opened(pixel, BROWSER)
        self.age(minutes=2)
        Hit._settle_slice()

        self.assertEqual({h.verdict for h in Hit.search([])}, {'machine'})
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.email_opened, table.email_clicked,
                where=table.id.in_([by_button.id, forgotten.id])))
        self.assertEqual(
            [list(map(bool, row)) for row in cursor], [[True, True]] * 2)

    @with_transaction()
    def test_anonymous(self):
        "Test nobody is named who must not be tracked any more"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        Party = pool.get('party.party')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Scenario = pool.get('marketing.automation.scenario')

        def refuse(sent):
            Party.write(
                [sent.record.party], {'marketing_tracking_refused': True})

        def change(tracking):
            return lambda sent: Scenario.write(
                [sent.record.scenario], {'tracking': tracking})

        for forbid in [refuse, change('aggregate'), change('none')]:
            with self.subTest(forbid=forbid):
                sent = self.sent(hours=1)
                click = self.token('click', self.link(sent), sent.id)
                pixel = self.token('open', sent.activity.id, sent.id)
                forbid(sent)

                self.assertEqual(
                    Hit.clicked(click, BROWSER), 'https://example.com/')
                self.assertTrue(Hit.opened(pixel, BROWSER))
                self.assertTrue(
                    Hit.opened(pixel, {**BROWSER, 'method': 'HEAD'}))
                self.age(minutes=2)
                Hit._settle_slice()

                hits = Hit.search([('activity', '=', sent.activity.id)])
                self.assertEqual(
                    {h.record_activity for h in hits}, {None})
                self.assertEqual(
                    sorted(h.verdict for h in hits),
                    ['human', 'human', 'machine'])
                sent = RecordActivity(sent.id)
                self.assertFalse(sent.email_opened)
                self.assertFalse(self.children(sent))

    @with_transaction()
    def test_flood(self):
        "Test the requests of a flood are counted but not stored"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        HitCount = pool.get('marketing.automation.hit.count')
        sent = self.sent(hours=1)
        click = self.token('click', self.link(sent), sent.id)
        for _ in range(FLOOD + 20):
            self.assertTrue(Hit.clicked(click, BROWSER))

        self.assertEqual(Hit.search([], count=True), FLOOD)
        count, = HitCount.search([])
        self.assertEqual(
            (count.activity, count.verdict, count.opens, count.clicks),
            (sent.activity, 'machine', 0, 20))

        other = self.sent(hours=1)
        Hit.clicked(self.token('click', self.link(other), other.id), BROWSER)
        self.assertEqual(Hit.search([], count=True), FLOOD + 1)
        self.age(minutes=2)
        Hit.clicked(click, BROWSER)
        self.assertEqual(Hit.search([], count=True), FLOOD + 2)

    @with_transaction()
    def test_linear(self):
        "Test many hits on one message are settled in one step"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        sent = self.sent(days=1)
        at = dt.datetime.now() - dt.timedelta(hours=1)
        Hit.create([{
                    'at': at + dt.timedelta(seconds=i / 10),
                    'activity': sent.activity.id,
                    'record_activity': sent.id,
                    'link': self.link(sent),
                    'verdict': 'unknown',
                    'settled': False,
                    } for i in range(60)])

        self.assertTrue(Hit._settle_slice(size=10))

        self.assertFalse(Hit.search([('settled', '=', False)]))
        self.assertFalse(Hit._settle_slice(size=10))

    @with_transaction()
    def test_statements(self):
        "Test how many statements a hit costs"
        Hit = Pool().get('marketing.automation.hit')
        clicked, opened = self.sent(hours=1), self.sent(hours=1)
        click = self.token('click', self.link(clicked), clicked.id)
        pixel = self.token('open', opened.activity.id, opened.id)
        connection = Transaction().connection
        for func, token, limit in [
                (Hit.clicked, click, 3),
                (Hit.opened, pixel, 3),
                ]:
            statements = []

            class Cursor:
                def __init__(self):
                    self.cursor = connection.cursor()

                def execute(self, *args):
                    statements.append(args)
                    return self.cursor.execute(*args)

                def __getattr__(self, name):
                    return getattr(self.cursor, name)

            with patch.object(Transaction(), 'connection') as patched:
                patched.cursor = Cursor
                func(token, BROWSER)
            self.assertTrue(statements)
            self.assertLessEqual(len(statements), limit)

    @with_transaction()
    def test_clean(self):
        "Test what is forgotten goes on counting"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        Reporting = pool.get('marketing.automation.reporting.activity')
        sent = self.sent(days=500)
        at = dt.datetime.now() - dt.timedelta(days=400)
        Hit.create([{
                    'at': at,
                    'activity': sent.activity.id,
                    'record_activity': sent.id,
                    'link': link,
                    'verdict': verdict,
                    'settled': True,
                    } for link, verdict in [
                    (None, 'human'), (self.link(sent), 'human'),
                    (None, 'machine')]])

        def counts():
            return [
                sum(getattr(r, n) for r in Reporting.search([
                            ('activity', '=', sent.activity.id)]))
                for n in ['opens', 'clicks', 'machine_hits']]

        self.assertEqual(counts(), [1, 1, 1])
        Hit._clean_slice(dt.datetime.now() - dt.timedelta(days=365))

        self.assertFalse(Hit.search([]))
        self.assertEqual(counts(), [1, 1, 1])
