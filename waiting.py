# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Steps that wait for more than time: for a date of the record

A step that waits for a date keeps by which text of the date it was planned.
One query an activity finds those whose date is another one by now, whoever
has changed it, and plans them anew.  It is compared again before the step is
done, so that nothing leaves by a date that has moved in the meantime.
"""
import datetime as dt
import logging
from collections import namedtuple

from sql import Cast, Literal, Null
from sql.conditionals import Case, Coalesce
from sql.functions import Substring

from trytond import backend
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.tools import grouped_slice
from trytond.transaction import Transaction

from . import clock
from .delivery.result import store
from .exceptions import Postponement, Skip
from .field_value import walk
from .record import waiting_reason
from .schedule import instant
from .transaction import commit, look

logger = logging.getLogger(__name__)
# How many steps are planned in a transaction: to look for the next ones passes
# by those before
SLICE = 20_000
# More instances in one list cost quadratic time
BROWSE = 100
# How long after a date it is still worth it, if the activity does not tell
GRACE = dt.timedelta(hours=1)
# Stand for the date of what has been deleted, and for one that is not known
DELETED = '-'
UNKNOWN = '?'
# A step whose date is another one by now
# came -- when it came to wait
# basis -- text of the date by which it was planned, None if it never was
# date -- text of its date
# resource -- id of what has the date, None if it has been deleted
Moved = namedtuple('Moved', ['id', 'came', 'basis', 'date', 'resource'])


def date_text(value):
    "Return the text of a date as the database gives it"
    return '' if value is None else str(value)[:19]


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    basis = fields.Char(
        "Basis", readonly=True, help="The date by which it was planned.")

    @classmethod
    def process(cls):
        cls.settle_waiting()
        super().process()

    @classmethod
    def settle_waiting(cls, record=None):
        """Plan the steps that wait for more than time

        record -- id of the only record to look at
        """
        for activity, timing in look(cls._waiting_activities):
            settle = getattr(cls, f'_settle_{timing}')
            try:
                while commit(settle, activity, record):
                    pass
            except backend.DatabaseOperationalError:
                raise
            except Exception:
                # The others must not wait for it
                logger.error(
                    "planning of activity %s failed", activity, exc_info=True)

    @classmethod
    def _waiting_activities(cls):
        "Return the (id, timing) of what waits for more than time"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Scenario = pool.get('marketing.automation.scenario')
        activity = Activity.__table__()
        scenario = Scenario.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*activity
            .join(scenario, condition=activity.scenario == scenario.id)
            .select(
                activity.id, activity.timing,
                where=(activity.timing != 'delay')
                & (activity.active == Literal(True))
                & (scenario.state == 'running')))
        return cursor.fetchall()

    @classmethod
    def _unclaimed(cls, table, activity, record):
        "Return the clause of the steps of the activity that wait"
        where = ((table.activity == activity.id)
            & (table.state == 'waiting')
            & ((table.lease == Null) | (table.lease <= clock.now())))
        if record:
            where &= table.record == record
        return where

    @classmethod
    def _settle_date(cls, activity, record):
        "Plan some steps by their dates, return if there are more"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        activity = Activity(activity)
        Model = pool.get(activity.scenario.model)
        moved = cls._moved(activity, record)
        results = {}
        for sub_moved in grouped_slice(moved, BROWSE):
            sub_moved = list(sub_moved)
            resources = iter(Model.browse(
                    [m.resource for m in sub_moved if m.resource]))
            for step in sub_moved:
                results[step.id] = cls._by_date(
                    activity, step, next(resources) if step.resource else None)
        store(results)
        return len(moved) == SLICE

    _settle_anniversary = _settle_date

    @classmethod
    def _moved(cls, activity, record):
        "Return some Moved steps"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Model = pool.get(activity.scenario.model)
        table = cls.__table__()
        entry = Record.__table__()
        resource = Model.__table__()
        query = (table
            .join(entry, condition=table.record == entry.id)
            .join(resource, 'LEFT',
                condition=resource.id
                == Record.record.sql_id(entry.record, Record)))
        query, date = cls._date_column(query, resource, activity)
        text = Case(
            # Its turn will tell
            (resource.id == Null, DELETED),
            else_=Coalesce(Substring(Cast(date, 'VARCHAR'), 1, 19), ''))
        cursor = Transaction().connection.cursor()
        cursor.execute(*query.select(
                table.id, table.create_date, table.basis, text, resource.id,
                where=cls._unclaimed(table, activity, record)
                & cls._for_date(table, activity)
                & ((table.basis == Null) | (table.basis != text)),
                limit=SLICE))
        return [
            Moved(id_, instant(came).replace(microsecond=0), *values)
            for id_, came, *values in cursor]

    @staticmethod
    def _for_date(table, activity):
        "Return the clause of the steps that wait for the date"
        if not activity.event or activity.negative:
            return Literal(True)
        # The published module creates steps that wait for the event
        return ((table.at != Null) | (table.basis != Null)
            | (table.reason == 'date'))

    @classmethod
    def _date_column(cls, query, resource, activity):
        "Return the query with what has the date, and its column"
        pool = Pool()
        Party = pool.get('party.party')
        Model = pool.get(activity.scenario.model)
        *path, (_, name) = walk(Model, activity.date_field)
        if not path:
            return query, getattr(resource, name)
        party = Party.__table__()
        query = query.join(party, 'LEFT',
            condition=party.id == Model.column_marketing_party(
                {None: (resource, None)}))
        return query, getattr(party, name)

    @classmethod
    def replan(cls, activities):
        "Plan what waits in the activities anew, as they wait differently"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        for activity in activities:
            at = activity.due(clock.now())
            where = ((table.activity == activity.id)
                & (table.state == 'waiting'))
            if at:
                where &= table.basis != Null
                basis = None
            else:
                where &= cls._for_date(table, activity)
                basis = UNKNOWN
            cursor.execute(*table.update(
                    [table.at, table.reason, table.basis],
                    [at, waiting_reason(at), basis], where=where))
        Transaction().counter += 1

    @classmethod
    def _by_date(cls, activity, step, resource):
        "Return the values of the Moved step"
        now = clock.now().replace(microsecond=0)
        if not resource:
            return cls._planned(now, step.date)
        grace = activity.expiry or GRACE
        # A step that has just come may have had to wait for this
        seen = step.came if step.basis is None else now
        since = max(step.came, seen - grace)
        at = activity.due_by_date(resource, since)
        if at and at + grace < seen:
            return {**Skip('late').values, 'basis': step.date}
        return cls._planned(at, step.date)

    @staticmethod
    def _planned(at, basis):
        return {
            'at': at,
            'reason': waiting_reason(at),
            'basis': basis,
            'due_since': None,
            'attempts': 0,
            'tried_since': None,
            'detail': None,
            }

    def get_explanation(self, name):
        if (self.state == 'waiting' and not self.reason
                and self.activity.is_by_date):
            name = 'planned' if self.at else 'date'
            return gettext(
                f'marketing_automation.msg_explanation_waiting_{name}',
                when=self.activity.flow_moment())
        return super().get_explanation(name)

    def decide(self, activity, facts, scopes):
        super().decide(activity, facts, scopes)
        if (activity.is_by_date and self.state == 'waiting'
                and self.basis != date_text(
                    activity.date_of(self.record.record))):
            # It is planned anew before anything else is done
            raise Postponement('date', None)
