# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the users of marketing are told in the client, each thing once"""
import datetime as dt
from collections import defaultdict

from sql import Literal, Null
from sql.aggregate import Count
from sql.operators import Exists

from trytond.i18n import gettext
from trytond.model import ModelSQL, Unique, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import clock
from .acting import readable

# Of the rates; those of fewer e-mails say nothing
DAYS = 30
MIN_SENT = 100


class Notice(ModelSQL):
    "Something about a scenario that has been told and still holds"
    __name__ = 'marketing.automation.notice'
    _log = False

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        required=True, ondelete='CASCADE')
    kind = fields.Selection([
            ('finished', "Finished"),
            ('entry', "Entry Error"),
            ('failed', "Failures"),
            ('bounced', "Bounces"),
            ('complained', "Complaints"),
            ], "Kind", required=True, sort=False)
    number = fields.Integer(
        "Number", required=True,
        help="It is told again when there are more.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('scenario_kind_unique', Unique(t, t.scenario, t.kind),
                'marketing_automation.msg_notice_scenario_kind_unique'),
            ]

    @classmethod
    def send(cls):
        "Tell what is new of the running scenarios"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenarios = {
            s.id: s for s in Scenario.search([('state', '=', 'running')])}
        told = {(n.scenario.id, n.kind): n for n in cls.search([])}
        current = cls._current(scenarios)
        new = {
            key: number for key, number in current.items()
            if key not in told or number > told[key].number}
        cls._remember(scenarios, told, current)
        cls._notify([
                (scenarios[id_], kind, number)
                for (id_, kind), number in new.items()])

    @classmethod
    def _current(cls, scenarios):
        "Return {(scenario, kind): number} of what holds"
        return {
            (id_, kind): number
            for kind, numbers in cls._numbers(scenarios).items()
            for id_, number in numbers.items()}

    @classmethod
    def _numbers(cls, scenarios):
        "Return {kind: {scenario: number}} of what holds for the scenarios"
        return {
            'finished': dict.fromkeys(cls._finished(), 0),
            'entry': {
                id_: 0 for id_, s in scenarios.items() if s.entry_error},
            'failed': cls._failed(list(scenarios)),
            **cls._back(list(scenarios)),
            }

    @classmethod
    def _finished(cls):
        "Return the ids of running scenarios that have nothing to do any more"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        Scenario = pool.get('marketing.automation.scenario')
        scenario = Scenario.__table__()
        record = Record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*scenario.select(
                scenario.id,
                where=(scenario.state == 'running')
                & (scenario.entry_at != Null)
                & Exists(record.select(
                        Literal(1), where=record.scenario == scenario.id))
                & ~Exists(cls._pending(scenario.id))))
        return [id_ for id_, in cursor]

    @classmethod
    def _pending(cls, scenario):
        "Return the query of what is still to do in the scenario"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity.__table__()
        table = RecordActivity.__table__()
        return (activity
            .join(table, condition=table.activity == activity.id)
            .select(
                Literal(1),
                where=(activity.scenario == scenario)
                & table.state.in_(RecordActivity.pending)
                # The published module creates rows that wait for an event
                & (table.at != Null)))

    @classmethod
    def _failed(cls, ids):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(activity, condition=table.activity == activity.id)
            .select(
                activity.scenario, Count(),
                where=(table.state == 'failed')
                & fields.SQL_OPERATORS['in'](activity.scenario, ids),
                group_by=activity.scenario))
        return dict(cursor.fetchall())

    @classmethod
    def _back(cls, ids):
        "Return {kind: {scenario: 0}} whose rate of the last days is too high"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        Reporting = pool.get('marketing.automation.reporting.scenario')
        configuration = Configuration(1)
        since = clock.now() - dt.timedelta(days=DAYS)
        totals = Reporting.totals(
            ids, ['email_sent', 'bounced_hard', 'complained'], since=since)
        result = defaultdict(dict)
        for id_, values in totals.items():
            for kind, count, limit in [
                    ('bounced', 'bounced_hard', configuration.bounce_limit),
                    ('complained', 'complained',
                        configuration.complaint_limit)]:
                sent = values['email_sent']
                if (limit is not None and sent >= MIN_SENT
                        and values[count] > limit * sent):
                    result[kind][id_] = 0
        return result

    @classmethod
    def _remember(cls, scenarios, told, current):
        "Store what has been told, forget what does not hold any more"
        # New records may enter: the end is told once for each run
        held = {
            (id_, kind): 0 for id_, kind in told
            if kind == 'finished' and id_ in scenarios}
        current = {**held, **current}
        same = {k for k, n in told.items() if current.get(k) == n.number}
        cls.delete([n for key, n in told.items() if key not in same])
        cls.create([
                {'scenario': id_, 'kind': kind, 'number': number}
                for (id_, kind), number in current.items()
                if (id_, kind) not in same])

    @classmethod
    def _notify(cls, notices):
        "Tell the users those notices whose scenarios they may read"
        pool = Pool()
        Notification = pool.get('res.notification')
        notifications = []
        for user, language, visible in cls._users(notices):
            with Transaction().set_context(language=language):
                for scenario, kind, number in notices:
                    if scenario.id in visible:
                        notifications.append(cls._notification(
                                user, scenario, kind, number))
        Notification.save(notifications)

    @classmethod
    def _users(cls, notices):
        "Yield (user, language, ids of the scenarios that the user may read)"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        Scenario = pool.get('marketing.automation.scenario')
        User = pool.get('res.user')
        ids = list({s.id for s, _, _ in notices})
        group = Configuration(1).notice_group
        if not (ids and group):
            return
        for user in User.search([('groups', '=', group.id)]):
            yield (
                user, user.language.code if user.language else None,
                readable(user, Scenario, ids))

    @classmethod
    def _notification(cls, user, scenario, kind, number):
        pool = Pool()
        Notification = pool.get('res.notification')
        Scenario = pool.get('marketing.automation.scenario')
        scenario = Scenario(scenario.id)
        icon = 'tryton-info' if kind == 'finished' else 'tryton-warning'
        return Notification(
            user=user,
            label=scenario.rec_name,
            description=gettext(
                f'marketing_automation.msg_notice_{kind}',
                scenario=scenario.rec_name, number=number,
                error=scenario.entry_error),
            icon=icon, unread=True,
            model=Scenario.__name__, records=f'[{scenario.id}]')
