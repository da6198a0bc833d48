# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How due record activities are claimed, done and stored

The rows of marketing.automation.record.activity are the queue, tasks of
ir.queue only wake the workers.  A worker claims a slice of one activity for
the time of a lease, composes without writing, delivers message by message
and commits each result before the next message, then files the slice.  What
a dead worker leaves is claimed again when its lease has ended: rows in the
state delivered are only filed, the others are sent.
"""
import datetime as dt
import logging
import time
from collections import defaultdict, deque
from contextlib import nullcontext
from functools import lru_cache

from sql import Conflict, For, Literal, Null
from sql.conditionals import Case

import trytond.config as config
from trytond import backend
from trytond.model import ModelSQL, Unique, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import schedule, settings
from .entry import Scopes, evaluate
from .exceptions import Failure, Outcome, Skip
from .mail.message import Outbox
from .mail.smtp import Relay, domain
from .sql_expression import SetConfig, Unqualified

logger = logging.getLogger(__name__)
# States of a record activity in which a worker still has something to do
PENDING = ['waiting', 'delivered']
# Failures of the mail server in a row after which it is left in peace
BREAKER = 5
QUEUE = 'marketing_automation'
# How long tasks wait for a worker before the cron does the work: longer than
# other drains may keep all of the workers busy
PATIENCE = dt.timedelta(minutes=15)
# How often a transaction is tried again after a conflict or a lost connection
RETRY = 8


def push_drains():
    "Wake as many drains as what is due can keep busy"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    Throttle = pool.get('marketing.automation.throttle')
    until = dt.datetime.now()
    if Throttle.is_open():
        return
    size = settings.slice_size()
    due = retry(Due(until).ids, settings.drains() * size)
    has_worker = config.getboolean('queue', 'worker', default=False)
    count, is_stuck = 1, False
    if has_worker:
        count = min(settings.drains(), -(-len(due) // size))
        pending = _pending_drains()
        count -= len(pending)
        is_stuck = due and any(
            t.enqueued_at < until - PATIENCE for t in pending)
    queue_name = QUEUE if has_worker else 'default'
    with Transaction().set_context(queue_name=queue_name):
        for id_ in due[:max(0, count)]:
            RecordActivity.__queue__.drain([RecordActivity(id_)], until)
    if is_stuck:
        logger.warning(
            "no worker has taken the tasks of the queue %s for %s", QUEUE,
            PATIENCE)
        drain(until)


def _pending_drains():
    "Return the tasks that wait for a worker"
    pool = Pool()
    Queue = pool.get('ir.queue')
    return Queue.search([
            ('name', '=', QUEUE),
            ('dequeued_at', '=', None),
            ])


def drain(until, ids=None):
    """Do what is due at until, slice by slice, as long as time allows

    With ids, do these and only these, whenever they are due.
    """
    pool = Pool()
    Throttle = pool.get('marketing.automation.throttle')
    # Do not keep the snapshot of the task for all the time
    Transaction().commit()
    deadline = time.monotonic() + settings.drain_time()
    due = Due(until, ids)
    with Relay() as relay:
        for activity, states in _slices(due, deadline):
            slice_ = Slice(activity, states, relay)
            try:
                slice_.work()
                due.is_limited |= slice_.is_limited
            except RelayDown as exception:
                retry(Throttle.open, str(exception))
                break
            except Exception:
                retry(store, dict.fromkeys(states, {}))
                raise


def _slices(due, deadline):
    "Yield claimed (activity, {id: state}), the scenarios take turns"
    while time.monotonic() < deadline:
        is_idle = True
        for activity in retry(due.activities):
            if time.monotonic() >= deadline:
                return
            if states := retry(due.claim, activity):
                is_idle = False
                yield activity, states
        if is_idle and not due.is_limited:
            return
        if is_idle:
            due.is_limited = False
            _wait_minute(deadline)


def _wait_minute(deadline):
    "Wait for the next minute, for which the limits leave room again"
    now = dt.datetime.now()
    wait = (schedule.next_minute(now) - now).total_seconds()
    time.sleep(max(0, min(wait, deadline - time.monotonic())))


def retry(func, *args, readonly=False):
    """Call in a new transaction and commit, again after a conflict

    A restarted database is waited for some seconds.
    """
    for attempt in range(RETRY + 1):
        if attempt:
            time.sleep(min(0.02 * 2 ** attempt, 5))
        try:
            with Transaction().new_transaction(
                    readonly=readonly) as transaction:
                result = func(*args)
                if not readonly:
                    transaction.commit()
                return result
        except backend.DatabaseOperationalError:
            if attempt == RETRY:
                raise
            logger.info("retry after database error", exc_info=True)


class RelayDown(Exception):
    "The mail server can not be used for the moment"


class Due:
    "The record activities to do: runnable, due and not claimed"

    def __init__(self, until, ids=None):
        self.until = until
        self.only = ids
        # Something has been postponed by a limit
        self.is_limited = False

    def _where(self, table):
        where = (table.state.in_(PENDING)
            & ((table.lease == Null)
                | (table.lease <= dt.datetime.now())))
        if self.only is not None:
            return where & fields.SQL_OPERATORS['in'](table.id, self.only)
        # What becomes due during a run is left to the next one, so that
        # activities without delay do not chase each other
        return (where
            & ((table.at <= self.until)
                | ((table.reason == 'limit')
                    & (table.at <= dt.datetime.now())))
            & (table.create_date <= self.until))

    def _runnable(self):
        "Return tables and clause of the activities that may be worked on"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Scenario = pool.get('marketing.automation.scenario')
        activity = Activity.__table__()
        scenario = Scenario.__table__()
        join = activity.join(
            scenario, condition=activity.scenario == scenario.id)
        where = ((scenario.state == 'running')
            & (activity.active == Literal(True)))
        return join, activity, where

    def activities(self):
        "Return the id of the longest due activity of each scenario"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        join, activity, where = self._runnable()
        oldest = table.select(
            table.at,
            where=(table.activity == activity.id) & self._where(table),
            order_by=[table.at.asc], limit=1)
        cursor.execute(*join.select(
                activity.scenario, activity.id, oldest.as_('oldest'),
                where=where))
        longest = {}
        for scenario, id_, at in cursor:
            if at is not None:
                longest.setdefault(scenario, []).append((str(at), id_))
        return [id_ for _, id_ in sorted(map(min, longest.values()))]

    def ids(self, limit):
        "Return up to limit ids of what is due"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        ids = []
        join, activity, where = self._runnable()
        cursor.execute(*join.select(activity.id, where=where))
        for activity_id, in cursor.fetchall():
            if len(ids) >= limit:
                break
            cursor.execute(*table.select(
                    table.id,
                    where=(table.activity == activity_id)
                    & self._where(table),
                    order_by=[table.at.asc], limit=limit - len(ids)))
            ids.extend(id_ for id_, in cursor)
        return ids

    def claim(self, activity):
        "Claim a slice of the activity and return {id: state}"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        claimed = RecordActivity.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        query = claimed.select(
            claimed.id,
            where=(claimed.activity == activity) & self._where(claimed),
            order_by=[claimed.at.asc], limit=settings.slice_size())
        if transaction.database.has_select_for():
            For = transaction.database.get_select_for_skip_locked()
            query.for_ = For('UPDATE')
        lease = dt.datetime.now() + dt.timedelta(seconds=settings.lease())
        cursor.execute(*table.update(
                [table.lease], [lease], where=table.id.in_(query),
                returning=[
                    Unqualified(table.id), Unqualified(table.state)]))
        states = dict(cursor.fetchall())
        if self.only is not None:
            self.only = [i for i in self.only if i not in states]
        return states


class Slice:
    "A claimed slice of one activity, {id: state}"

    def __init__(self, activity, ids, relay):
        self.activity = activity
        self.states = ids
        self.relay = relay
        self.until = time.monotonic() + settings.lease() / 2
        self.results = {}  # id: values to store
        self.outbox = None
        self.links = {}
        self.messages = {}
        self.sent = set()
        self.finished = []
        self.is_limited = False

    def work(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        if Activity(self.activity).action in Activity.mail_actions():
            self._prepare()
            try:
                self._deliver()
            finally:
                retry(self._finish)
        else:
            for id_ in self.states:
                self._execute(id_)

    # What only composes: read a slice, render, send, write

    def _prepare(self):
        self.outbox = outbox = retry(self._compose, readonly=True)
        self.links = retry(self._links, outbox.urls) if outbox.urls else {}
        # Whatever has changed since, these have been sent
        self.sent = {
            id_ for id_, s in self.states.items() if s == 'delivered'}
        for id_ in self.sent:
            self.results.pop(id_, None)
        drafts = {d.id for d in outbox.drafts}
        self.finished = [
            id_ for id_ in self.states
            if id_ not in self.results and id_ not in drafts]

    def _outcome(self, id_):
        return _Outcome(self.results, id_)

    def _compose(self):
        pool = Pool()
        outbox = Outbox()
        happened = self._happened(list(self.states))
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        for language, ids in self._languages().items():
            with speak(language):
                activity = Activity(self.activity)
                for record_activity in RecordActivity.browse(ids):
                    with self._outcome(record_activity.id):
                        check(
                            activity, record_activity, happened,
                            outbox.scopes)
                        execute(activity, record_activity, outbox)
        return outbox

    def _languages(self):
        "Return the ids grouped by the language to compose them in"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        languages = defaultdict(list)
        for record_activity in RecordActivity.browse(list(self.states)):
            language = None
            with self._outcome(record_activity.id):
                language = record_activity.record.language
            languages[language].append(record_activity.id)
        return languages

    def _happened(self, ids):
        "Return those ids whose negative event has happened to the parent"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity(self.activity)
        if not (activity.event and activity.negative):
            return set()
        table = RecordActivity.__table__()
        parent = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(parent, condition=(table.record == parent.record)
                & (parent.activity == activity.parent.id))
            .select(
                table.id,
                where=fields.SQL_OPERATORS['in'](table.id, ids)
                & getattr(parent, activity.event)))
        return {id_ for id_, in cursor}

    @staticmethod
    def _links(urls):
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        return Link.get_ids(urls)

    # Delivery

    def _deliver(self):
        "Send the messages, store each result before the next message"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        queue = deque(
            d for d in self.outbox.drafts if d.id not in self.sent)
        if not queue:
            return
        for draft in retry(Throttle.over_limit, list(queue)):
            queue.remove(draft)
            self._postpone(draft)
        with _Recorder() as recorder:
            self._hold_back(queue, recorder)
            for message, result in self.relay.deliver(queue, self._seal):
                if not self._record(message, result, queue, recorder):
                    self._hold_back(queue, recorder)
                if time.monotonic() > self.until:
                    # The rest is left for another claim
                    self._release(queue)
        if not self.relay.failures:
            retry(Throttle.close)

    def _seal(self, draft):
        "Return the message of the draft, or None after a failure"
        if draft.id not in self.messages:
            with self._outcome(draft.id):
                self.messages[draft.id] = self.outbox.seal(draft, self.links)
        return self.messages.get(draft.id)

    def _record(self, message, result, queue, recorder):
        "Store the result, return if the next message may be sent"
        if result.kind == 'sent':
            self.relay.failures = 0
            self.sent.add(message.id)
            return recorder.delivered(message, queue[0] if queue else None)
        recorder.failed(message, result)
        if result.kind == 'permanent' and result.code:
            self._bounce(message, result)
        if result.kind == 'relay':
            self.relay.failures += 1
            if self.relay.failures >= BREAKER:
                self._release(queue)
                raise RelayDown(str(result))
        return True

    def _bounce(self, message, result):
        "Stop the address if that is what the reply says"
        pool = Pool()
        Bounce = pool.get('marketing.automation.bounce')
        try:
            retry(
                Bounce.refused, message.id, message.recipient, str(result))
        except Exception:
            # The result is stored, the others must be sent
            logger.exception("no bounce for record activity %s", message.id)

    def _hold_back(self, queue, recorder):
        "Take out what has been stopped or blocked since the claim"
        allowed = recorder.allowed([d.id for d in queue])
        held = [d for d in queue if d.id not in allowed]
        for draft in held:
            queue.remove(draft)
        self._release(held)

    def _postpone(self, draft):
        self.is_limited = True
        self.results[draft.id] = {
            'at': schedule.next_minute(dt.datetime.now()),
            'reason': 'limit',
            }

    def _release(self, drafts):
        for draft in drafts:
            self.results[draft.id] = {}
        drafts.clear()

    # What changes records: one by one

    def _execute(self, id_):
        "Execute the activity on one record in a transaction of its own"
        with self._outcome(id_):
            retry(self._execute_one, id_)
        if self.results:
            retry(store, self.results)
            self.results.clear()

    def _execute_one(self, id_):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        happened = self._happened([id_])
        language = RecordActivity(id_).record.language
        with speak(language):
            activity = Activity(self.activity)
            record_activity = RecordActivity(id_)
            check(activity, record_activity, happened, Scopes())
            execute(activity, record_activity, None)
        self.finished = [id_]
        self._finish()

    # Filing

    def _finish(self):
        "Store all that has not been stored yet"
        done = list({*self.finished, *self.sent})
        self._archive()
        self._children(done)
        store(dict.fromkeys(
                done, {'state': 'done', 'reason': None, 'detail': None}))
        store(self.results)

    def _archive(self):
        pool = Pool()
        Email = pool.get('ir.email')
        if self.outbox and settings.archive():
            messages = [
                self._seal(d) for d in self.outbox.drafts
                if d.id in self.sent]
            Email.file_marketing([m.archive for m in messages if m])

    def _children(self, ids):
        "Plan the children that do not wait for a positive event"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        if not ids:
            return
        table = RecordActivity.__table__()
        now = dt.datetime.now()
        for child in Activity(self.activity).children:
            if not child.event or child.negative:
                RecordActivity.insert_from(
                    table, table.record,
                    fields.SQL_OPERATORS['in'](table.id, ids),
                    child, schedule.due(now, child.delay))


def speak(language):
    "Return a context in which records are read in the language"
    transaction = Transaction()
    if not language or language == transaction.language:
        # The same context shares what has been read already
        return nullcontext()
    return transaction.set_context(language=language)


def check(activity, record_activity, happened, scopes):
    "Raise the Outcome that keeps the record from the activity"
    record = record_activity.record
    if record_activity.state == 'delivered':
        return
    if record_activity.id in happened:
        raise Cancel('event')
    if record.blocked:
        raise Cancel('blocked')
    if not record.record:
        raise Skip('deleted')
    if not evaluate(activity.condition, record.record, scopes):
        raise Skip('condition')


def execute(activity, record_activity, outbox):
    if activity.action:
        action = getattr(activity, f'execute_{activity.action}')
        action(record_activity, outbox=outbox)


class Cancel(Outcome):
    state = 'cancelled'


class _Outcome:
    "Context that turns exceptions into values to store on the id"

    def __init__(self, results, id_):
        self.results = results
        self.id = id_

    def __enter__(self):
        return self

    def __exit__(self, type_, exception, traceback):
        if exception is None or isinstance(
                exception, backend.DatabaseOperationalError):
            return False
        if not isinstance(exception, Exception):
            return False
        if not isinstance(exception, Outcome):
            logger.warning(
                "activity failed on record activity %s", self.id,
                exc_info=True)
            exception = Failure(
                'error', f'{type_.__name__}: {exception}')
        self.results[self.id] = {
            'state': exception.state,
            'reason': exception.reason,
            'detail': exception.detail,
            }
        return True


def store(results):
    "Store {id: values} and give up the claim"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    table = RecordActivity.__table__()
    transaction = Transaction()
    cursor = transaction.connection.cursor()
    now = dt.datetime.now().replace(microsecond=0)
    same = defaultdict(list)
    for id_, values in results.items():
        same[tuple(values.items())].append(id_)
    for values, ids in same.items():
        values = dict(values)
        state = values.get('state')
        if state:
            # What has been delivered keeps its time
            values['at'] = Case(
                (table.state == 'delivered', table.at), else_=now)
        values['lease'] = None
        where = fields.SQL_OPERATORS['in'](table.id, ids)
        if state != 'done':
            where &= table.state == 'waiting'
        cursor.execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=where))
    transaction.counter += 1


class _Recorder:
    """Stores the result of each message in a transaction of its own

    PostgreSQL does not wait for the disk: the result survives the death of
    the process, which is what may happen between two messages.
    """

    def __enter__(self):
        self._begin()
        return self

    def _begin(self):
        # A statement by itself needs neither BEGIN nor COMMIT, but SQLite has
        # only one connection for all
        self.transaction = Transaction().new_transaction(
            autocommit=backend.name == 'postgresql')

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

    def _run(self, func, *args):
        for attempt in range(RETRY + 1):
            try:
                if attempt:
                    time.sleep(min(0.02 * 2 ** attempt, 5))
                    self._end()
                    self._begin()
                result = func(self.transaction.connection.cursor(), *args)
                self.transaction.commit()
                return result
            except backend.DatabaseOperationalError:
                if attempt == RETRY:
                    raise
                logger.info("retry to store a result", exc_info=True)

    def delivered(self, message, next_):
        "Store that it was sent, return if the next one may be sent"
        return self._run(self._delivered, message, next_ and next_.id)

    @staticmethod
    def _delivered(cursor, message, next_):
        sql, params = _delivered_query()
        values = {
            ID: message.id,
            LINKS: message.links,
            NEXT: next_ or -1,
            NOW: dt.datetime.now().replace(microsecond=0),
            }
        cursor.execute(sql, [values.get(p, p) for p in params])
        rows = cursor.fetchall()
        return bool(next_ is None or rows and rows[0][0])

    def allowed(self, ids):
        "Return the set of the ids that may be sent now"
        return self._run(self._allowed, ids)

    @staticmethod
    def _allowed(cursor, ids):
        cursor.execute(*_allowed(
                lambda id_: fields.SQL_OPERATORS['in'](id_, ids)))
        return {id_ for id_, in cursor.fetchall()}

    def failed(self, message, result):
        "Store when it is tried again, or why it is not"
        self._run(self._failed, message.id, result)

    @staticmethod
    def _failed(cursor, id_, result):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        record_activity = RecordActivity(id_)
        now = dt.datetime.now().replace(microsecond=0)
        since = record_activity.tried_since or now
        attempts = (record_activity.attempts or 0) + 1
        values = {
            'state': 'failed',
            'reason': 'refused',
            'at': now,
            }
        if result.kind != 'permanent':
            if now - since < dt.timedelta(hours=settings.retry_age()):
                values = {
                    'reason': 'retry',
                    'at': now + schedule.back_off(attempts),
                    'attempts': attempts,
                    'tried_since': since,
                    }
            else:
                values['reason'] = 'expired'
        store({id_: {**values, 'detail': str(result)}})


# What stands for the values in a query that is built only once
ID, LINKS, NEXT, NOW = object(), object(), object(), object()


@lru_cache(1)
def _delivered_query():
    "Return the SQL and its parameters that store one delivery"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    table = RecordActivity.__table__()
    returning = [_allowed(lambda id_: id_ == NEXT)]
    if backend.name == 'postgresql':
        returning.append(SetConfig('synchronous_commit', 'off', True))
    return tuple(table.update(
            [table.state, table.at, table.links, table.reason, table.detail],
            ['delivered', NOW, LINKS, None, None],
            where=table.id == ID, returning=returning))


def _allowed(clause):
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
            & (record.blocked != Literal(True))
            & (scenario.state == 'running')))


class Throttle(ModelSQL):
    """What the workers share about the mail server

    The key is empty for the server as a whole or names a recipient domain.
    """
    __name__ = 'marketing.automation.throttle'

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
        "Return the row of the key, locked where the database can"
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
        return cursor.fetchone()

    @classmethod
    def _store(cls, key, **values):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=table.key == key))

    @classmethod
    def over_limit(cls, messages):
        "Take the messages into account and return those beyond the limits"
        rest = []
        if limit := settings.domain_limit():
            domains = defaultdict(list)
            for message in messages:
                domains[domain(message.address)].append(message)
            messages = []
            # In one order, so that workers do not wait for each other
            for name, group in sorted(domains.items()):
                count = cls._take(name, len(group), limit)
                messages += group[:count]
                rest += group[count:]
        if limit := settings.limit():
            count = cls._take('', len(messages), limit)
            rest += messages[count:]
        return rest

    @classmethod
    def _take(cls, key, count, limit):
        "Return how many of count the limit leaves for this minute"
        now = dt.datetime.now().replace(second=0, microsecond=0)
        minute, used, _, _ = cls._row(key)
        if minute is None or str(minute) != str(now):
            used = 0
        count = min(count, max(0, limit - used))
        cls._store(key, minute=now, used=used + count)
        return count

    @classmethod
    def is_open(cls):
        "Return if the mail server is to be left in peace"
        return bool(cls.search([
                    ('key', '=', ''),
                    ('open_until', '>', dt.datetime.now()),
                    ]))

    @classmethod
    def open(cls, reason):
        "Leave the mail server in peace, longer from time to time"
        _, _, failures, _ = cls._row('')
        now = dt.datetime.now().replace(microsecond=0)
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
                [0, None, None],
                where=(table.key == '') & (table.failures > 0)))
