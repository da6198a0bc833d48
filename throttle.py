# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the workers share about the mail server: limits and its breaker"""
import datetime as dt
from collections import defaultdict

from sql import Conflict, For, Null
from sql.conditionals import Greatest

from trytond.model import ModelSQL, Unique, fields
from trytond.transaction import Transaction

from . import clock, schedule, settings


class Throttle(ModelSQL):
    "The key is empty for the server as a whole or names a mail domain"
    __name__ = 'marketing.automation.throttle'
    _log = False

    key = fields.Char("Key", strip=False)
    minute = fields.DateTime("Minute")
    used = fields.Integer("Used", help="How many e-mails in the minute.")
    failures = fields.Integer("Failures")
    open_until = fields.DateTime(
        "Open Until", help="Until when the mail server is left in peace.")
    reason = fields.Text("Reason")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('key_unique', Unique(t, t.key),
                'marketing_automation.msg_throttle_key_unique'),
            ]

    @classmethod
    def _row(cls, key):
        "Return (minute, used, failures, open until), locked where possible"
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute(*table.insert(
                [table.key, table.used, table.failures], [[key, 0, 0]],
                on_conflict=Conflict(table)))
        query = table.select(
            table.minute, table.used, table.failures, table.open_until,
            where=table.key == key)
        if transaction.database.has_select_for():
            query.for_ = For('UPDATE')
        cursor.execute(*query)
        minute, used, failures, open_until = cursor.fetchone()
        return (
            schedule.instant(minute), used, failures,
            schedule.instant(open_until))

    @classmethod
    def _store(cls, key, **values):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=table.key == key))

    # Limits

    @classmethod
    def take(cls, key, count, limit):
        "Return how many of count the limit leaves for this minute"
        now = schedule.minute(clock.now())
        minute, used, _, _ = cls._row(key)
        if minute != now:
            used = 0
        count = min(count, max(0, limit - used))
        cls._store(key, minute=now, used=used + count)
        return count

    @classmethod
    def give_back(cls, key, count):
        "Leave count to others, in the minute in which it was taken"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.used], [Greatest(table.used - count, 0)],
                where=(table.key == key)
                & (table.minute == schedule.minute(clock.now()))))

    @classmethod
    def beyond_domain_limit(cls, drafts):
        "Take the drafts into account and return those beyond the limit"
        limit = settings.domain_limit()
        domains = defaultdict(list)
        for draft in drafts:
            domains[draft.mail_domain].append(draft)
        beyond = []
        # In one order, so that workers do not wait for each other
        for name, group in sorted(domains.items()):
            count = cls.take(name, len(group), limit)
            beyond += group[count:]
        return beyond

    @classmethod
    def postponed(cls):
        "Return the values of what has to wait for the next minute"
        return {
            'at': schedule.next_minute(clock.now()),
            'reason': 'limit',
            }

    @classmethod
    def clean(cls):
        "Forget the mail domains of the past"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        before = dt.datetime.now() - dt.timedelta(days=1)
        cursor.execute(*table.delete(
                where=(table.key != '') & (table.minute < before)))

    # The breaker

    @classmethod
    def is_open(cls):
        "Return if the mail server is to be left in peace"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.id,
                where=(table.key == '')
                & (table.open_until > dt.datetime.now())))
        return bool(cursor.fetchone())

    @classmethod
    def open(cls, reason):
        """Leave the mail server in peace, longer from time to time

        Whoever finds it open already has seen the same outage.
        """
        _, _, failures, open_until = cls._row('')
        now = dt.datetime.now().replace(microsecond=0)
        if open_until and open_until > now:
            return
        cls._store('',
            failures=failures + 1,
            open_until=now + schedule.back_off(failures + 1),
            reason=reason)

    @classmethod
    def close(cls):
        "The mail server works"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.failures, table.open_until, table.reason],
                [0, Null, Null],
                where=(table.key == '') & (table.failures > 0)))
