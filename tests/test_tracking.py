# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
from unittest.mock import patch

from sql import Literal

from trytond.modules.marketing_automation.tracking import FLOOD
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    URL, DatabaseTestCase, create_activity, create_email, create_hit,
    create_link, create_party, create_record, create_record_activity, sign)

BROWSER = {
    'method': 'GET',
    'user_agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:60.0) Gecko/20100101',
    'headers': {},
    'secure': False,
    }


class TrackingTestCase(DatabaseTestCase):
    "Test hits"

    def sent(self, **age):
        "Return a record activity sent so long ago, with a child on click"
        activity = create_email()
        create_activity(activity, event='email_clicked')
        record = create_record(activity.scenario, create_party())
        return create_record_activity(
            record, activity, state='done',
            at=dt.datetime.now() - dt.timedelta(**age))

    def click(self, sent):
        "Return the token of a link in the e-mail"
        return sign('click', create_link(sent.activity), sent.id)

    def pixel(self, sent):
        return sign('open', sent.activity.id, sent.id)

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
        create_hit(
            sent, create_link(sent.activity),
            at=dt.datetime.now() - dt.timedelta(days=3),
            verdict='unknown', settled=False)

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
        RecordActivity = pool.get('marketing.automation.record.activity')
        for count, clicked in [(3, True), (2, False)]:
            with self.subTest(links=count):
                sent = self.sent(days=1)
                RecordActivity.write([sent], {'links': count})
                links = [
                    create_link(sent.activity, f'{URL}{n}') for n in range(3)]
                at = dt.datetime.now() - dt.timedelta(minutes=5)
                for n, seconds in [(0, 0), (1, 4), (0, 5), (1, 9)]:
                    create_hit(
                        sent, links[n],
                        at=at + dt.timedelta(seconds=seconds),
                        verdict='unknown', settled=False)

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
        click = self.click(sent)
        pixel = self.pixel(sent)
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
        Hit.clicked(self.click(sent), BROWSER)
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
        token = self.click(forgotten)
        Hit.clicked(token, BROWSER)
        self.age(days=400)
        Hit._settle_slice()
        Hit._clean_slice(dt.datetime.now() - dt.timedelta(days=365))
        self.assertFalse(Hit.search([]))

        for sent in [by_button, forgotten]:
            click = self.click(sent)
            pixel = self.pixel(sent)
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
                click = self.click(sent)
                pixel = self.pixel(sent)
                forbid(sent)

                self.assertEqual(
                    Hit.clicked(click, BROWSER), URL)
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
        click = self.click(sent)
        for _ in range(FLOOD + 20):
            self.assertTrue(Hit.clicked(click, BROWSER))

        self.assertEqual(Hit.search([], count=True), FLOOD)
        count, = HitCount.search([])
        self.assertEqual(
            (count.activity, count.verdict, count.opens, count.clicks),
            (sent.activity, 'machine', 0, 20))

        other = self.sent(hours=1)
        Hit.clicked(self.click(other), BROWSER)
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
        for i in range(60):
            create_hit(
                sent, create_link(sent.activity),
                at=at + dt.timedelta(seconds=i / 10),
                verdict='unknown', settled=False)

        self.assertTrue(Hit._settle_slice(size=10))

        self.assertFalse(Hit.search([('settled', '=', False)]))
        self.assertFalse(Hit._settle_slice(size=10))

    @with_transaction()
    def test_statements(self):
        "Test how many statements a hit costs"
        Hit = Pool().get('marketing.automation.hit')
        clicked, opened = self.sent(hours=1), self.sent(hours=1)
        click = self.click(clicked)
        pixel = self.pixel(opened)
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
        for link, verdict in [
                (None, 'human'), (create_link(sent.activity), 'human'),
                (None, 'machine')]:
            create_hit(sent, link, at=at, verdict=verdict)

        def counts():
            return [
                sum(getattr(r, n) for r in Reporting.search([
                            ('activity', '=', sent.activity.id)]))
                for n in ['opens', 'clicks', 'machine_opens']]

        self.assertEqual(counts(), [1, 1, 1])
        Hit._clean_slice(dt.datetime.now() - dt.timedelta(days=365))

        self.assertFalse(Hit.search([]))
        self.assertEqual(counts(), [1, 1, 1])
