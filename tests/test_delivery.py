# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import time
from unittest.mock import patch

from trytond.model import fields
from trytond.modules.marketing_automation import delivery, schedule
from trytond.pool import Pool
from trytond.transaction import Transaction

from .delivering import CommittedTestCase
from .fixtures import (
    DUE, create_email, create_party, create_record, create_record_activity,
    create_scenario, forget)
from .tools import configure, count_statements, received

TEMPLATE = (
    '<html xmlns:py="http://genshi.edgewall.org/"><body>${record.name}%s'
    '<a href="unsubscribe">Unsubscribe</a></body></html>')


class DeliveryTestCase(CommittedTestCase):
    "Test how due rows become done rows, with a real mail server"

    def _forget(self):
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        for name in ['throttle', 'scenario']:
            Model = Pool().get(f'marketing.automation.{name}')
            cursor.execute(*Model.__table__().delete())
        transaction.commit()

    def _activity(self, template=TEMPLATE % '', **values):
        "Return an activity of a running scenario"
        return create_email(
            create_scenario(state='running'), email_template=template,
            **values)

    def _rows(self, activity, *addresses):
        "Return a row of the activity for each address, longest due first"
        rows = []
        for i, address in enumerate(addresses):
            party = create_party(address.partition('@')[0], address)
            rows.append(create_record_activity(
                    create_record(activity.scenario, party), activity,
                    at=DUE + dt.timedelta(minutes=i)))
        Transaction().commit()
        return rows

    def _drain(self, **options):
        configure('marketing', **options)
        delivery.drain(dt.datetime.now())
        self._see()

    def _see(self):
        "Begin a transaction that sees what the drain has done"
        Transaction().commit()
        forget()

    def _read(self, rows):
        "Return the rows as they are now stored"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        return RecordActivity.browse([r.id for r in rows])

    def _outcomes(self, rows):
        return [(r.state, r.reason) for r in self._read(rows)]

    def _recipients(self):
        return [m['To'].addresses[0].username for m in received(self.server)]

    def _in_one_minute(self):
        "Wait if the minute ends before the test does"
        if (second := dt.datetime.now().second) > 50:
            time.sleep(60 - second)

    def test_limit(self):
        "Test what is beyond the limit of the minute is not even claimed"
        self._in_one_minute()
        rows = self._rows(
            self._activity(), *(f'n{i}@example.com' for i in range(9)))
        # The time is up before the next minute
        self._drain(
            automation_limit=4, automation_slice=3, automation_drain_time=1)

        self.assertEqual(
            sorted(self._recipients()), [f'n{i}' for i in range(4)])
        self.assertEqual(
            self._outcomes(rows),
            [('done', None)] * 4 + [('waiting', None)] * 5)
        for i, row in enumerate(self._read(rows)[4:], start=4):
            self.assertEqual(row.at, DUE + dt.timedelta(minutes=i))
            self.assertIsNone(row.lease)
            self.assertIsNone(row.claims)

    def test_retry_age(self):
        "Test a temporary failure is tried again until it is too old"
        self.server.fail(451, "Later", at='rcpt')
        row, = self._rows(self._activity(), 'a@example.com')
        self._drain(automation_retry_age=1)
        row, = self._read([row])
        self.assertEqual((row.state, row.reason), ('waiting', 'retry'))
        self.assertEqual(row.attempts, 1)
        table = row.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.at, table.tried_since],
                [DUE, dt.datetime.now() - dt.timedelta(hours=2)],
                where=table.id == row.id))
        Transaction().commit()
        self._drain(automation_retry_age=1)
        row, = self._read([row])
        self.assertEqual((row.state, row.reason), ('failed', 'expired'))
        self.assertIn("451", row.detail)

    def test_domain_limit(self):
        "Test a domain beyond its limit does not hold back the others"
        self._in_one_minute()
        rows = self._rows(
            self._activity(),
            *(f'a{i}@a.example.com' for i in range(4)),
            *(f'b{i}@b.example.com' for i in range(2)))
        now = dt.datetime.now()
        self._drain(automation_domain_limit=2, automation_drain_time=1)

        self.assertEqual(
            sorted(self._recipients()), ['a0', 'a1', 'b0', 'b1'])
        self.assertEqual(
            self._outcomes(rows),
            [('done', None)] * 2 + [('waiting', 'limit')] * 2
            + [('done', None)] * 2)
        for row in self._read(rows)[2:4]:
            self.assertEqual(row.at, schedule.next_minute(now))

    def test_limit_do(self):
        "Test who wants activities to be done does not wait for a limit"
        self._in_one_minute()
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        rows = self._rows(
            self._activity(), *(f'n{i}@example.com' for i in range(3)))
        configure('marketing', automation_limit=1)
        now = dt.datetime.now()
        start = time.monotonic()
        RecordActivity.do_now(rows)
        self.assertLess(time.monotonic() - start, 5)
        self._see()

        self.assertEqual(
            self._outcomes(rows),
            [('done', None)] + [('waiting', 'limit')] * 2)
        for row in self._read(rows)[1:]:
            self.assertEqual(row.at, schedule.next_minute(now))

    def test_nothing_due(self):
        "Test it costs little when nothing is due"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        rows = self._rows(self._activity(), 'a@example.com')
        self._drain()
        self.assertEqual(self._outcomes(rows), [('done', None)])

        count = count_statements(RecordActivity.process)
        self.assertLess(count, 15)

    def test_shared_address(self):
        "Test parties that share an address are read together"
        activity = self._activity()
        counts = []
        for size in [10, 200]:
            rows = self._rows(
                activity, *[f'family{size}@example.com'] * size)
            counts.append(count_statements(self._drain))
            self.assertEqual(
                self._outcomes(rows),
                [('done', None)] + [('skipped', 'duplicate')] * (size - 1))
        self.assertLess(counts[1], 2 * counts[0] + 50)

    def test_limit_cleaned(self):
        "Test the limits of past days are forgotten"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        now = dt.datetime.now().replace(microsecond=0)
        for key, age in [('', 3), ('old.example.com', 3), ('example.com', 0)]:
            Throttle.create([{
                        'key': key,
                        'minute': now - dt.timedelta(days=age),
                        'used': 1,
                        'failures': 0,
                        }])
        Transaction().commit()

        Throttle.clean()

        self.assertEqual(
            {t.key for t in Throttle.search([])}, {'', 'example.com'})

    def test_unstorable(self):
        "Test what can not be stored fails one record, not the slice"
        for bad in [
                r"${'\x00' if record.name == 'bad' else ''}",
                r"${'\ud800' if record.name == 'bad' else ''}",
                '<a href="https://example.com/${'
                r"'\x00\ud800' if record.name == 'bad' else ''"
                '}">Link</a>',
                '<a py:for="i in range(60000 if record.name == \'bad\''
                ' else 1)" href="https://example.com/${i}">Link</a>',
                ]:
            with self.subTest(template=bad):
                self.server.clear()
                activity = self._activity(TEMPLATE % bad)
                rows = self._rows(
                    activity, 'good@example.com', 'bad@example.com',
                    'fine@example.com')
                self._drain()

                self.assertEqual(self._outcomes(rows), [
                        ('done', None), ('failed', 'template'),
                        ('done', None)])
                self.assertEqual(
                    sorted(self._recipients()), ['fine', 'good'])

    def test_shared_step(self):
        "Test a step for the whole slice fails because of one record"
        pool = Pool()
        Email = pool.get('ir.email')
        rows = self._rows(
            self._activity(),
            'good@example.com', 'bad@example.com', 'fine@example.com')
        file_marketing = Email.file_marketing

        def file_(values):
            if any('bad' in str(v) for v in values):
                raise ValueError("out of range")
            return file_marketing(values)

        with patch.object(Email, 'file_marketing', file_), \
                self.assertLogs('trytond.modules', 'WARNING'):
            self._drain()

        self.assertEqual(
            sorted(self._recipients()), ['bad', 'fine', 'good'])
        good, bad, fine = self._read(rows)
        self.assertEqual(
            [r.state for r in [good, bad, fine]], ['done'] * 3)
        # It was sent, so that trying again would be wrong
        self.assertIn("out of range", bad.detail)
        self.assertFalse(good.detail)
        self.assertFalse(fine.detail)

    def _note(self, *names, execute):
        "Return rows of an action that another module brings"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        patch.object(Activity, 'execute_note', execute, create=True).start()
        activity = self._activity(action=None)
        table = activity.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.action], ['note'], where=table.id == activity.id))
        return self._rows(activity, *(f'{n}@example.com' for n in names))

    def test_action_lock(self):
        "Test an action of another module locks what it changes"
        def execute(activity, record_activity, **kwargs):
            party = record_activity.record.record
            party.lock()
            party.code = f'N{party.id}'
            party.save()

        rows = self._note('a', 'b', execute=execute)
        self._drain()

        self.assertEqual(self._outcomes(rows), [('done', None)] * 2)
        for row in self._read(rows):
            self.assertEqual(
                row.record.record.code, f'N{row.record.record.id}')

    def test_action_fails(self):
        "Test what an action has changed before it fails is undone"
        def execute(activity, record_activity, **kwargs):
            party = record_activity.record.record
            party.code = f'N{party.id}'
            party.save()
            if party.name == 'b':
                raise ValueError("not this one")

        rows = self._note('a', 'b', 'c', execute=execute)
        with self.assertLogs('trytond.modules', 'WARNING'):
            self._drain()

        self.assertEqual(self._outcomes(rows), [
                ('done', None), ('failed', 'error'), ('done', None)])
        bad = self._read(rows)[1].record.record
        self.assertNotEqual(bad.code, f'N{bad.id}')

    def test_action_stopped(self):
        "Test an action is not done for a scenario stopped in the meantime"
        def execute(activity, record_activity, **kwargs):
            activity.scenario.stop([activity.scenario])

        rows = self._note('a', 'b', 'c', execute=execute)
        self._drain()

        self.assertEqual(
            self._outcomes(rows),
            [('done', None)] + [('waiting', None)] * 2)
        self.assertFalse(any(r.lease for r in self._read(rows)))

    def test_breaker_once(self):
        "Test an outage counts once, whoever sees it"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        for _ in range(4):
            Throttle.open("Connection refused")
        throttle, = Throttle.search([])
        self.assertEqual(throttle.failures, 1)

    def test_breaker_other(self):
        "Test a server that is down holds back only what sends e-mails"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        emails = self._rows(self._activity(), 'a@example.com')
        others = self._rows(self._activity(action=None), 'a@example.com')
        Throttle.open("Connection refused")
        Transaction().commit()
        self._drain()

        self.assertEqual(self._outcomes(others), [('done', None)])
        self.assertEqual(self._outcomes(emails), [('waiting', None)])
        email, = self._read(emails)
        self.assertEqual(email.at, DUE)
        self.assertIsNone(email.claims)
        self.assertEqual(self.server.count, 0)

    def test_deadly(self):
        "Test what ends workers is worked on alone, and fails in the end"
        pool = Pool()
        Backlog = delivery.claim.Backlog
        activity = self._activity()
        rows = self._rows(
            activity, *(f'n{i}@example.com' for i in range(4)))
        table = pool.get('marketing.automation.record.activity').__table__()
        cursor = Transaction().connection.cursor()
        for row, claims in zip(rows, [0, 1, 2, 3]):
            cursor.execute(*table.update(
                    [table.claims], [claims], where=table.id == row.id))
        Transaction().commit()
        claimed = [
            Backlog(dt.datetime.now()).claim(activity.id, 10)
            for _ in range(4)]
        self.assertEqual(claimed, [
                {rows[0].id: ('waiting', 1), rows[1].id: ('waiting', 2)},
                {rows[2].id: ('waiting', 3)},
                {rows[3].id: ('waiting', 4)},
                {}])
        # The workers were not ended by what they did
        cursor.execute(*table.update(
                [table.lease], [None],
                where=fields.SQL_OPERATORS['in'](
                    table.id, [r.id for r in rows])))
        Transaction().commit()
        self._drain()

        self.assertEqual(
            self._outcomes(rows),
            [('done', None)] * 2 + [('failed', 'worker')] * 2)
        self.assertEqual(
            [r.claims for r in self._read(rows)], [0] * 4)
