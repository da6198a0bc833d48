# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What has become of claimed rows, and how it is stored"""
import datetime as dt
import logging
from collections import defaultdict
from functools import lru_cache

from sql.conditionals import Case, Coalesce

from trytond import backend
from trytond.model import fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import clock, schedule, settings
from ..exceptions import Failure, Outcome
from ..sql_expression import SetConfig
from ..transaction import is_rehearsal, retry

logger = logging.getLogger(__name__)
# Stored for a row, gives up the claim and leaves the rest as it is
RELEASED = {}
DONE = {'state': 'done', 'reason': None, 'detail': None}


class Catch:
    "Context that turns exceptions into the values to store on the id"

    def __init__(self, results, id_):
        self.results = results
        self.id = id_

    def __enter__(self):
        return self

    def __exit__(self, type_, exception, traceback):
        if (not isinstance(exception, Exception)
                or isinstance(exception, backend.DatabaseOperationalError)):
            return False
        if not isinstance(exception, Outcome):
            logger.warning(
                "activity failed on record activity %s", self.id,
                exc_info=True)
            exception = Failure('error', f'{type_.__name__}: {exception}')
        self.results[self.id] = exception.values
        return True


def store(results):
    "Store {id: values} and give up the claim"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    table = RecordActivity.__table__()
    transaction = Transaction()
    cursor = transaction.connection.cursor()
    now = clock.now().replace(microsecond=0)
    same = defaultdict(list)
    for id_, values in results.items():
        same[tuple(values.items())].append(id_)
    for values, ids in same.items():
        values = {'lease': None, 'claims': 0, **dict(values)}
        where = fields.SQL_OPERATORS['in'](table.id, ids)
        if 'state' in values:
            # What has been delivered keeps its time
            values['at'] = Case(
                (table.state == 'delivered', table.at), else_=now)
        elif 'at' in values:
            values.setdefault(
                'due_since', Coalesce(table.due_since, table.at))
        if values.get('state') != 'done':
            where &= table.state == 'waiting'
        cursor.execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=where))
        if values.get('state') == 'cancelled':
            RecordActivity.cancelled(ids, values['reason'])
    transaction.counter += 1


class Recorder:
    """Stores the result of each message in a transaction of its own

    PostgreSQL does not wait for the disk: the result survives the death of
    the process, which is what may happen between two messages.
    """

    def __init__(self):
        self.transaction = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        transaction, self.transaction = self.transaction, None
        try:
            if transaction:
                transaction.stop()
        except backend.DatabaseOperationalError:
            # Nothing can be rolled back on a lost connection
            logger.debug("connection lost", exc_info=True)

    def _commit(self, func, *args):
        if is_rehearsal():
            return func(Transaction().connection.cursor(), *args)
        if not self.transaction:
            # A statement by itself needs neither BEGIN nor COMMIT, but SQLite
            # has only one connection for all
            self.transaction = Transaction().new_transaction(
                autocommit=backend.name == 'postgresql')
        try:
            result = func(self.transaction.connection.cursor(), *args)
            self.transaction.commit()
            return result
        except backend.DatabaseOperationalError:
            self._end()
            raise

    def delivered(self, message, next_):
        """Store that the message was sent, return if the next may be sent

        next_ -- id of the next record activity, None for the last one
        """
        return retry(self._commit, self._delivered, message, next_)

    @staticmethod
    def _delivered(cursor, message, next_):
        sql, params = _delivered_query()
        values = {
            ID: message.id,
            LINKS: message.links,
            NEXT: next_ or -1,
            NOW: clock.now().replace(microsecond=0),
            }
        cursor.execute(sql, [values.get(p, p) for p in params])
        rows = cursor.fetchall()
        return bool(next_ is None or rows and rows[0][0])

    def allowed(self, ids):
        "Return the set of the ids that may be sent now"
        return retry(self._commit, self._allowed, ids)

    @staticmethod
    def _allowed(cursor, ids):
        return allowed_ids(ids, cursor)

    def failed(self, message, result):
        "Store when it is tried again, or why it is not"
        retry(self._commit, self._failed, message.id, result)

    @staticmethod
    def _failed(cursor, id_, result):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        record_activity = RecordActivity(id_)
        values = (
            {'state': 'failed', 'reason': 'refused'}
            if result.kind == 'permanent' else again(record_activity))
        store({id_: {**values, 'detail': str(result)}})


def again(record_activity, after=0):
    """Return the values of a row to try again, or that it was for too long

    after -- how many seconds to wait at least
    """
    now = clock.now().replace(microsecond=0)
    since = record_activity.tried_since or now
    attempts = (record_activity.attempts or 0) + 1
    if now - since >= dt.timedelta(hours=settings.retry_age()):
        return {'state': 'failed', 'reason': 'expired'}
    return {
        'reason': 'retry',
        'at': now + max(
            schedule.back_off(attempts),
            dt.timedelta(seconds=min(after, schedule.BACK_OFF_MAX))),
        'attempts': attempts,
        'tried_since': since,
        }


# What stands for the values in a query that is built only once
ID, LINKS, NEXT, NOW = object(), object(), object(), object()


@lru_cache(1)
def _delivered_query():
    "Return the SQL and its parameters that store one delivery"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    table = RecordActivity.__table__()
    returning = [allowed(lambda id_: id_ == NEXT)]
    if backend.name == 'postgresql':
        returning.append(SetConfig('synchronous_commit', 'off', True))
    return tuple(table.update(
            [table.state, table.at, table.links, table.reason, table.detail,
                table.claims],
            ['delivered', NOW, LINKS, None, None, 0],
            where=table.id == ID, returning=returning))


def allowed_ids(ids, cursor=None):
    "Return the set of the ids that are neither stopped nor blocked"
    cursor = cursor or Transaction().connection.cursor()
    cursor.execute(*allowed(
            lambda id_: fields.SQL_OPERATORS['in'](id_, ids)))
    return {id_ for id_, in cursor}


def allowed(clause):
    "Return the query of the ids that are neither stopped nor blocked"
    pool = Pool()
    Record = pool.get('marketing.automation.record')
    RecordActivity = pool.get('marketing.automation.record.activity')
    Scenario = pool.get('marketing.automation.scenario')
    table = RecordActivity.__table__()
    record = Record.__table__()
    scenario = Scenario.__table__()
    return (table
        .join(record, condition=table.record == record.id)
        .join(scenario, condition=record.scenario == scenario.id)
        .select(
            table.id,
            where=clause(table.id)
            & (table.state == 'waiting')
            & Record.going(record)
            & (scenario.state == 'running')))
