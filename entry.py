# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How records enter a scenario: set-based, in slices, resumable

Nothing of the audience is held in memory: the database copies the ids of the
matching records, slice by slice in the order of their ids, up to a bound that
is fixed at the start.  Each slice is committed with its first activities, so
that an interrupted run is continued by the next one.
"""
import logging

from sql import Cast, Conflict, Literal
from sql.aggregate import Count, Max, Min
from sql.operators import Concat, Equal, Exists

from trytond import backend
from trytond.model import fields
from trytond.pool import Pool
from trytond.tools import grouped_slice
from trytond.transaction import Transaction

from . import clock
from .audience import Audience
from .condition import Scopes, evaluate
from .exceptions import Failure
from .sql_expression import Unqualified, random_uuid
from .transaction import commit, look

logger = logging.getLogger(__name__)
SLICE = 10_000
# Until there are some records PostgreSQL expects none, and would read those
# that a slice inserts again for each of its candidates
FIRST_SLICE = 1_000
# More instances in one list cost quadratic time
BROWSE = 1_000


def enter_running(scenarios=None, ids=None):
    """Enter the new records of the running scenarios, and those left behind

    scenarios -- ids of the only ones
    ids -- of the only records, nobody else is left behind

    Slices have transactions of their own, so that an interrupted run is
    continued by the next one and a scenario that fails stops no other.
    """
    for scenario in look(_running, scenarios):
        try:
            _enter(scenario, commit, ids)
            error = None
        except backend.DatabaseOperationalError:
            raise
        except Exception as exception:
            logger.error(
                "entry of scenario %s failed", scenario, exc_info=True)
            error = str(exception)
        if error or ids is None:
            commit(_report, scenario, error)


def enter(scenarios, ids=None):
    """Enter the new records of the scenarios in the current transaction

    ids -- of the only records
    """
    for scenario in scenarios:
        _enter(scenario.id, _call, ids)
        if ids is None:
            _report(scenario.id)


def _enter(scenario, call, ids=None):
    """Enter the new records of the id of a scenario

    call -- calls a function in the transaction that a slice has
    """
    _Entry(scenario, call, ids).run()
    for activity in call(_behind, scenario) if ids is None else []:
        last = -1
        while last is not None:
            last = call(_catch_up_slice, activity, last)


def _call(func, *args):
    return func(*args)


def _running(scenarios=None):
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    domain = [('state', '=', 'running')]
    if scenarios is not None:
        domain.append(('id', 'in', scenarios))
    return [s.id for s in Scenario.search(domain)]


def _behind(scenario):
    "Return the ids of the activities which records have still to reach"
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    return [a.id for a in Scenario(scenario).all_activities if a.catch_up]


def _report(scenario, error=None):
    "Store how the entry went"
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    table = Scenario.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.update(
            [table.entry_at, table.entry_error],
            [clock.now().replace(microsecond=0), error],
            where=table.id == scenario))


class _Entry:
    """One run of entry into one scenario, given by its id

    ids -- of the only records that enter
    """

    def __init__(self, scenario, call, ids=None):
        self.id = scenario
        self.call = call
        self.ids = ids

    def run(self):
        if not (bounds := self.call(self._in_transaction, self._prepare)):
            return
        last, bound = bounds
        size = FIRST_SLICE
        while last < bound:
            last = self.call(
                self._in_transaction, self._enter_slice, last, bound, size)
            size = SLICE

    def _in_transaction(self, func, *args):
        "Call with what belongs to the current transaction"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Scenario = pool.get('marketing.automation.scenario')
        self.scenario = Scenario(self.id)
        self.record = Record.__table__()
        self.audience = Audience(self.scenario, ids=self.ids)
        self.cursor = Transaction().connection.cursor()
        return func(*args)

    def _count(self):
        candidate = self.audience.query()
        self.cursor.execute(*candidate.select(
                Count(Literal(1)),
                where=~Exists(self._keeping_out(candidate, Literal(1)))))
        return self.cursor.fetchone()[0]

    def _prepare(self):
        self.scenario.prepare_entry(self.audience)
        return self._bounds()

    def _bounds(self):
        "Return the ids ]last, bound] of the new records, None without any"
        candidate = self.audience.query()
        self.cursor.execute(*candidate.select(
                Min(candidate.id), Max(candidate.id),
                where=~Exists(self._keeping_out(candidate, Literal(1)))))
        first, bound = self.cursor.fetchone()
        if first is not None:
            return first - 1, bound

    def _enter_slice(self, last, bound, size):
        "Enter a slice and return the id up to which it goes"
        upto = self._upto(last, bound, size)
        ids = self._enter(last, upto)
        if ids:
            self._start(ids)
        return upto

    def _keeping_out(self, candidate, column):
        "Return the query of the column for what keeps the candidate out"
        record = self.record
        return record.select(
            column,
            where=self.scenario.keeping_out(record)
            & (record.record == self._reference(candidate.id)))

    def _reference(self, id_):
        return Concat(self.scenario.model + ',', Cast(id_, 'VARCHAR'))

    def _upto(self, last, bound, size):
        "Return the id up to which a slice of the size goes"
        candidate = self.audience.query()
        slice_ = candidate.select(
            candidate.id,
            where=(candidate.id > last) & (candidate.id <= bound),
            order_by=[candidate.id.asc], limit=size)
        self.cursor.execute(*slice_.select(Max(slice_.id)))
        upto, = self.cursor.fetchone()
        return bound if upto is None else upto

    def _enter(self, last, upto):
        "Insert the new records with id in ]last, upto], return their ids"
        record = self.record
        candidate = self.audience.query()
        # An aggregate makes PostgreSQL look the records up one by one: as
        # long as it has not counted them it would hash them for each slice
        where = ((candidate.id > last) & (candidate.id <= upto)
            & Equal(self._keeping_out(candidate, Count(Literal(1))), 0))
        reference = self._reference(candidate.id)
        transaction = Transaction()
        self.cursor.execute(*record.insert(
                [record.create_uid, record.create_date, record.scenario,
                    record.record, record.pass_number, record.blocked,
                    record.uuid],
                candidate.select(
                    Literal(transaction.user),
                    Literal(clock.now()),
                    Literal(self.scenario.id),
                    reference,
                    self.scenario.next_pass(reference),
                    Literal(False),
                    random_uuid(),
                    where=where,
                    order_by=[candidate.id.asc]),
                on_conflict=Conflict(record),
                returning=[Unqualified(record.id)]))
        return [id_ for id_, in self.cursor]

    def _start(self, ids):
        "Insert the first activities of the entered ids"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        now = clock.now()
        for activity in self.scenario.activities:
            at = activity.due(now)
            if activity.condition:
                with Transaction().set_context(
                        company=self.scenario.sending_company):
                    for sub_ids in grouped_slice(ids, BROWSE):
                        self._start_if(activity, sub_ids, at)
            else:
                RecordActivity.insert_from(
                    self.record, self.record.id,
                    (self.record.scenario == self.scenario.id)
                    & (self.record.id >= min(ids))
                    & (self.record.id <= max(ids)),
                    activity, at)

    def _start_if(self, activity, ids, at):
        "Insert the activity, as skipped for what its condition excludes"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        rows = {True: [], False: []}
        scopes = Scopes()
        for record in Record.browse(list(ids)):
            try:
                fulfilled = evaluate(
                    activity.condition, record.record, scopes)
            except Failure:
                # Its turn will tell
                fulfilled = True
            rows[fulfilled].append((
                    activity.id, record.id,
                    at if fulfilled else at or clock.now()))
        RecordActivity.insert(rows[True])
        RecordActivity.insert(
            rows[False], state='skipped', reason='condition')


def _catch_up_slice(activity, last):
    "Enter some records, return up to which id of the parent's, None for all"
    pool = Pool()
    Activity = pool.get('marketing.automation.activity')
    activity = Activity(activity)
    rows = _insert(activity, Passed(activity), last)
    if len(rows) == BROWSE:
        return rows[-1][0]
    table = Activity.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.update(
            [table.catch_up], [False], where=table.id == activity.id))
    Transaction().counter += 1


def count_new(scenario):
    "Return how many records would enter now that the user is allowed to see"
    entry = _Entry(scenario.id, _call)
    return entry._in_transaction(entry._count)


def start(record):
    "Let the record of a scenario enter its first activities"
    entry = _Entry(record.scenario.id, _call)
    entry._in_transaction(entry._start, [record.id])


def catch_up(activities, records):
    "Enter the records into what they have passed the parent of"
    for activity in activities:
        last = -1
        while rows := _insert(activity, Passed(activity, records), last):
            last = rows[-1][0]


def _insert(activity, passed, last):
    "Insert the activity for some that have passed its parent"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    rows = passed.rows(last)
    RecordActivity.insert([
            (activity.id, record, activity.due(base))
            for _, record, base in rows])
    return rows


class Passed:
    """The records that have passed the parent of an activity without it

    activity -- need not be stored as it is
    records -- only these
    """

    def __init__(self, activity, records=None):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        self.activity = activity
        record = Record.__table__()
        # Nobody gets for each of the passes what is new
        is_in = Record.going(record) & ~Record.superseded(record)
        if isinstance(activity.parent, activity.__class__):
            source = RecordActivity.__table__()
            self.record, self.base = source.record, source.at
            where = self._done(source) & Exists(record.select(
                    Literal(1), where=(record.id == source.record) & is_in))
            where &= activity.parent.way_to(activity, self.record)
        else:
            source = record
            self.record, self.base = record.id, record.create_date
            where = (record.scenario == activity.parent.id) & is_in
        if records is not None:
            where &= fields.SQL_OPERATORS['in'](
                self.record, [r.id for r in records])
        self.source = source
        self.where = where & ~Exists(self._existing(activity.id or -1))

    def _existing(self, activity):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        existing = RecordActivity.__table__()
        return existing.select(
            Literal(1),
            where=(existing.activity == activity)
            & (existing.record == self.record))

    def _done(self, source):
        "Return the clause of the parent's event"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = self.activity
        where = ((source.activity == activity.parent.id)
            & (source.state == 'done'))
        if activity.event:
            where &= getattr(source, activity.event) == Literal(
                not activity.negative)
            for id_ in RecordActivity.settled_by(activity):
                existing = RecordActivity.__table__()
                where &= ~Exists(existing.select(
                        Literal(1),
                        where=(existing.activity == id_)
                        & (existing.record == source.record)
                        & existing.state.in_(['delivered', 'done'])))
        return where

    def rows(self, last):
        "Return some (id, record, time of passing) after the last id"
        cursor = Transaction().connection.cursor()
        cursor.execute(*self.source.select(
                self.source.id, self.record, self.base,
                where=self.where & (self.source.id > last),
                order_by=[self.source.id.asc], limit=BROWSE))
        return cursor.fetchall()

    def count(self):
        cursor = Transaction().connection.cursor()
        cursor.execute(*self.source.select(Count(), where=self.where))
        return cursor.fetchone()[0]
