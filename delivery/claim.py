# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What is due, and who takes it"""
import datetime as dt
import math
import time

from sql import Literal, Null
from sql.conditionals import Case, Coalesce

from trytond.model import fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import clock, settings
from ..sql_expression import Unqualified

# How many claims may end without a result before a row is worked on alone
SUSPECT = 2


class Backlog:
    """The record activities to do: runnable, due and not claimed

    until -- what becomes due later is left to the next run, so that
             activities without delay do not chase each other
    ids -- only these, whenever they are due
    """

    def __init__(self, until=None, ids=None):
        self.until = until
        self.ids_ = ids
        self._resting = {}  # activity: until when others go first

    @property
    def is_open(self):
        "Whether something may become due while it is worked on"
        return self.ids_ is None

    def _where(self, table):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        now = clock.now()
        where = (table.state.in_(RecordActivity.pending)
            & ((table.lease == Null) | (table.lease <= now)))
        if self.ids_ is not None:
            return where & fields.SQL_OPERATORS['in'](table.id, self.ids_)
        return (where
            & ((table.at <= self.until)
                | ((table.reason == 'limit') & (table.at <= now)))
            & (table.create_date <= self.until))

    def activities(self):
        """Return the longest due activity of each scenario

        As list of (id, whether it sends e-mails), those that wait for the
        longest first.
        """
        longest = {}
        now = time.monotonic()
        for scenario, *due in self._due():
            if self._resting.get(due[0], 0) <= now:
                longest.setdefault(scenario, due)
        return [(id_, sends) for id_, sends, _ in longest.values()]

    def rest(self, activity, seconds):
        "Let other activities go first for the seconds"
        self._resting[activity] = time.monotonic() + seconds

    def wake(self):
        "Let go on what does not rest for ever, and return if there was any"
        waiting = [a for a, t in self._resting.items() if t != math.inf]
        for activity in waiting:
            del self._resting[activity]
        return bool(waiting)

    def _due(self):
        "Return (scenario, activity, sends, oldest) sorted by the oldest"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Scenario = pool.get('marketing.automation.scenario')
        activity = Activity.__table__()
        scenario = Scenario.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        oldest = table.select(
            table.at,
            where=(table.activity == activity.id) & self._where(table),
            order_by=[table.at.asc], limit=1)
        cursor.execute(*activity
            .join(scenario, condition=activity.scenario == scenario.id)
            .select(
                activity.scenario, activity.id, activity.action,
                oldest.as_('oldest'),
                where=(scenario.state == 'running')
                & (activity.active == Literal(True))))
        sending = Activity.sending_actions()
        return sorted((
                (scenario, id_, action in sending, str(at))
                for scenario, id_, action, at in cursor if at is not None),
            key=lambda due: (due[-1], due[1]))

    def ids(self, limit):
        "Return up to limit ids of what is due"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        ids = []
        for _, activity, _, _ in self._due():
            if len(ids) >= limit:
                break
            cursor.execute(*table.select(
                    table.id,
                    where=(table.activity == activity) & self._where(table),
                    order_by=[table.at.asc], limit=limit - len(ids)))
            ids.extend(id_ for id_, in cursor)
        return ids

    def claim(self, activity, size):
        """Claim rows of the activity and return {id: (state, claims)}

        They are in the order in which they became due.
        What has ended workers before is claimed when nothing else is left,
        and alone.
        """
        rows = (
            self._claim(activity, size, is_suspect=False)
            or self._claim(activity, 1, is_suspect=True))
        if self.ids_ is not None:
            self.ids_ = [i for i in self.ids_ if i not in rows]
        return rows

    def _claim(self, activity, size, is_suspect):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        claimed = RecordActivity.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        claims = Coalesce(table.claims, 0)
        # To file what was sent can do no harm
        counted = Case((table.state == 'waiting', 1), else_=0)
        before = Coalesce(claimed.claims, 0)
        query = claimed.select(
            claimed.id,
            where=(claimed.activity == activity)
            & (before >= SUSPECT if is_suspect else before < SUSPECT)
            & self._where(claimed),
            order_by=[claimed.at.asc], limit=size)
        if transaction.database.has_select_for():
            For = transaction.database.get_select_for_skip_locked()
            query.for_ = For('UPDATE')
        lease = clock.now() + dt.timedelta(seconds=settings.lease())
        cursor.execute(*table.update(
                [table.lease, table.claims], [lease, claims + counted],
                where=table.id.in_(query),
                returning=[
                    Unqualified(table.id), Unqualified(table.state),
                    Unqualified(table.claims), Unqualified(table.at)]))
        # The database returns them in any order
        rows = sorted(cursor, key=lambda row: (str(row[-1]), row[0]))
        return {id_: (state, claims) for id_, state, claims, _ in rows}
