# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How records enter a scenario: set-based, in slices, resumable

Nothing of the audience is held in memory: the database copies the ids of the
matching records, slice by slice in the order of their ids, up to a bound that
is fixed at the start.  Each slice is committed with its first activities, so
that an interrupted run is continued by the next one.
"""
import datetime as dt
import logging

from sql import Cast, Conflict, Literal, Union
from sql.aggregate import Count, Max, Min
from sql.operators import Concat, Equal, Exists

from trytond import backend
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder
from trytond.tools import grouped_slice
from trytond.transaction import Transaction, check_access

from . import schedule
from .condition import Scopes, evaluate
from .exceptions import Failure
from .sql_expression import Unqualified, random_uuid

logger = logging.getLogger(__name__)
SLICE = 10_000
# Until there are some records PostgreSQL expects none, and would read those
# that a slice inserts again for each of its candidates
FIRST_SLICE = 1_000
# More instances in one list cost quadratic time
BROWSE = 1_000


class Audience:
    "The records that match the domain of a scenario"

    def __init__(self, scenario):
        pool = Pool()
        self.scenario = scenario
        self.Model = pool.get(scenario.model)
        self.domain = [
            PYSONDecoder({}).decode(scenario.domain),
            ('marketing_party.id', 'not in', self._unsubscribed()),
            ]

    def _unsubscribed(self):
        "Return the query of the parties that must not enter"
        pool = Pool()
        Party = pool.get('party.party')
        Unsubscribed = pool.get(
            'party.party-unsubscribed-marketing.automation.scenario')
        party = Party.__table__()
        unsubscribed = Unsubscribed.__table__()
        return Union(
            party.select(
                party.id, where=party.marketing_unsubscribed == Literal(True)),
            unsubscribed.select(
                unsubscribed.party,
                where=unsubscribed.scenario == (self.scenario.id or -1)),
            all_=True)

    def query(self):
        return self.Model.search(self.domain, order=[], query=True)

    def count(self):
        "Return the number of records which the user is allowed to see"
        with check_access():
            return self.Model.search(self.domain, count=True)


def enter(scenarios):
    "Enter the new records of each scenario, and those left behind"
    transaction = Transaction()
    for i, scenario in enumerate(scenarios):
        if i:
            transaction.commit()
        try:
            _Entry(scenario).run()
            for activity in scenario.all_activities:
                if activity.catch_up:
                    _catch_up(activity)
            error = None
        except backend.DatabaseOperationalError:
            raise
        except Exception as exception:
            logger.error(
                "entry of scenario %s failed", scenario.id, exc_info=True)
            transaction.rollback()
            error = str(exception)
        _report(scenario, error)


def _report(scenario, error):
    "Store how the entry went and notify who has subscribed to the cron"
    pool = Pool()
    Cron = pool.get('ir.cron')
    Scenario = pool.get('marketing.automation.scenario')
    is_new = error and error != scenario.entry_error
    table = Scenario.__table__()
    cursor = Transaction().connection.cursor()
    cursor.execute(*table.update(
            [table.entry_at, table.entry_error],
            [dt.datetime.now().replace(microsecond=0), error],
            where=table.id == scenario.id))
    if is_new:
        Cron.notify(
            'tryton-warning', 'marketing_automation.act_scenario_form',
            str(scenario.id), 'marketing_automation.msg_scenario_entry_error',
            scenario=scenario.rec_name, error=error)


class _Entry:
    "One run of entry into one scenario"

    def __init__(self, scenario):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        self.scenario = scenario
        self.roots = list(scenario.activities)
        self.record = Record.__table__()
        self.audience = Audience(scenario)
        # Build the query once to fail before anything is changed
        self.audience.query()
        self.cursor = Transaction().connection.cursor()

    def run(self):
        transaction = Transaction()
        candidate = self.audience.query()
        self.cursor.execute(*candidate.select(
                Min(candidate.id), Max(candidate.id),
                where=~Exists(self._entered(candidate, Literal(1)))))
        last, bound = self.cursor.fetchone()
        if last is None:
            return
        last -= 1
        size = FIRST_SLICE
        while last < bound:
            upto = self._upto(last, bound, size)
            ids = self._enter(last, upto)
            if ids:
                self._start(ids)
            last, size = upto, SLICE
            if last < bound:
                transaction.commit()
        transaction.counter += 1

    def _entered(self, candidate, column):
        "Return the query of the column for what the candidate has become"
        record = self.record
        return record.select(
            column,
            where=(record.scenario == self.scenario.id)
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
            & Equal(self._entered(candidate, Count(Literal(1))), 0))
        transaction = Transaction()
        self.cursor.execute(*record.insert(
                [record.create_uid, record.create_date, record.scenario,
                    record.record, record.blocked, record.uuid],
                candidate.select(
                    Literal(transaction.user),
                    Literal(dt.datetime.now()),
                    Literal(self.scenario.id),
                    self._reference(candidate.id),
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
        now = dt.datetime.now()
        for activity in self.roots:
            at = schedule.due(now, activity.delay)
            if activity.condition:
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
            rows[fulfilled].append((activity.id, record.id, at))
        RecordActivity.insert(rows[True])
        RecordActivity.insert(
            rows[False], state='skipped', reason='condition')


def _catch_up(activity):
    "Enter the records that have passed the parent before it had the activity"
    pool = Pool()
    Activity = pool.get('marketing.automation.activity')
    RecordActivity = pool.get('marketing.automation.record.activity')
    transaction = Transaction()
    source, columns, where = _passed(activity)
    cursor = transaction.connection.cursor()
    last = -1
    while True:
        cursor.execute(*source.select(
                *columns, where=where & (source.id > last),
                order_by=[source.id.asc], limit=BROWSE))
        rows = cursor.fetchall()
        if not rows:
            break
        RecordActivity.insert([
                (activity.id, record, schedule.due(base, activity.delay))
                for _, record, base in rows])
        last = rows[-1][0]
        transaction.commit()
    table = Activity.__table__()
    cursor.execute(*table.update(
            [table.catch_up], [False], where=table.id == activity.id))
    transaction.counter += 1


def _passed(activity):
    "Return table, columns (id, record, base time) and clause of the parents"
    pool = Pool()
    Record = pool.get('marketing.automation.record')
    RecordActivity = pool.get('marketing.automation.record.activity')
    record = Record.__table__()
    existing = RecordActivity.__table__()
    if activity.parent == activity.scenario:
        source, id_, base = record, record.id, record.create_date
        where = ((record.scenario == activity.scenario.id)
            & (record.blocked != Literal(True)))
    else:
        source = RecordActivity.__table__()
        id_, base = source.record, source.at
        where = ((source.activity == activity.parent.id)
            & (source.state == 'done')
            & Exists(record.select(
                    Literal(1),
                    where=(record.id == source.record)
                    & (record.blocked != Literal(True)))))
        if activity.event:
            where &= getattr(source, activity.event) == Literal(
                not activity.negative)
    where &= ~Exists(existing.select(
            Literal(1),
            where=(existing.activity == activity.id)
            & (existing.record == id_)))
    return source, [source.id, id_, base], where
