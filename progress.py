# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How far scenarios, activities and records have come, in numbers"""
import datetime as dt
from collections import defaultdict

from sql import Null
from sql.aggregate import Count, Min

from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from . import clock
from .schedule import instant

# How many days charts in forms show, today included
DAYS = 30
# What the client reads is what the server has found
_last_days = {
    'period': 'day',
    'from_date': Eval('results_from'),
    'to_date': None,
    }


def rate(part, whole, digits=3):
    """Return the quotient as float, 0 for no whole

    Clients take what has more digits than its field for modified.
    """
    return round(part / whole, digits) if whole else 0.0


class EmailResults:
    "What became of the e-mails of a scenario or an activity"
    __slots__ = ()

    email_sent = fields.Function(fields.Integer("Sent"), 'get_email_results')
    email_opened = fields.Function(fields.Integer(
            "Opened", help="How many recipients have opened the e-mail."),
        'get_email_results')
    email_clicked = fields.Function(fields.Integer(
            "Clicked", help="How many recipients have followed a link."),
        'get_email_results')
    email_open_rate = fields.Function(fields.Float(
            "Open Rate", digits=(1, 3)), 'get_email_results')
    email_click_rate = fields.Function(fields.Float(
            "Click Rate", digits=(1, 3)), 'get_email_results')
    email_click_through_rate = fields.Function(fields.Float(
            "Click-Through Rate", digits=(1, 3),
            help="The part of those who have opened the e-mail "
            "that has followed a link."),
        'get_email_results')
    bounced_hard = fields.Function(fields.Integer(
            "Hard Bounces", help="The address does not work."),
        'get_email_results')
    bounced_soft = fields.Function(fields.Integer(
            "Soft Bounces", help="The mailbox was full, for example."),
        'get_email_results')
    bounce_rate = fields.Function(fields.Float(
            "Bounce Rate", digits=(1, 3), help="Of the hard bounces."),
        'get_email_results')
    complained = fields.Function(fields.Integer(
            "Complaints", help="Recipients who have called it spam."),
        'get_email_results')
    complaint_rate = fields.Function(fields.Float(
            "Complaint Rate", digits=(1, 4)), 'get_email_results')
    machine_opens = fields.Function(fields.Integer(
            "Opens by Machines",
            help="Made by scanners and proxies, not counted elsewhere."),
        'get_email_results')
    machine_clicks = fields.Function(fields.Integer(
            "Clicks by Machines",
            help="Made by scanners and proxies, not counted elsewhere."),
        'get_email_results')

    results_from = fields.Function(fields.Date(
            "From Date", help="The first of the last 30 days."),
        'get_results_from')

    # Name of the model that counts, and of its field for this one
    _report = None
    _report_key = None
    # {name of the rate: names of the counts}
    _email_rates = {
        'email_open_rate': ('email_opened', 'email_sent'),
        'email_click_rate': ('email_clicked', 'email_sent'),
        'email_click_through_rate': ('email_clicked', 'email_opened'),
        'bounce_rate': ('bounced_hard', 'email_sent'),
        'complaint_rate': ('complained', 'email_sent'),
        }

    def get_results_from(self, name):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        return Scenario.reporting_today() - dt.timedelta(days=DAYS - 1)

    @classmethod
    def set_daily_results(cls, records, name, value):
        "They are only shown"

    @classmethod
    def get_daily_results(cls, records, name):
        pool = Pool()
        Reporting = pool.get(cls._report)
        result = {r.id: [] for r in records}
        if not records:
            return result
        with Transaction().set_context(
                period='day', from_date=records[0].results_from, to_date=None):
            for row in Reporting.search(
                    [(cls._report_key, 'in', list(result))],
                    order=[('date', 'ASC')]):
                result[getattr(row, cls._report_key).id].append(row.id)
        return result

    @classmethod
    def get_email_results(cls, records, names):
        pool = Pool()
        Reporting = pool.get(cls._report)
        counts = {
            n for name in names for n in cls._email_rates.get(name, [name])}
        totals = Reporting.totals([r.id for r in records], counts)
        result = {name: {} for name in names}
        for id_, values in totals.items():
            for name in names:
                if name in cls._email_rates:
                    part, whole = cls._email_rates[name]
                    result[name][id_] = rate(
                        values[part], values[whole],
                        getattr(cls, name).digits[1])
                else:
                    result[name][id_] = values[name]
        return result


class Scenario(EmailResults, metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'
    _report = 'marketing.automation.reporting.scenario'
    _report_key = 'scenario'

    record_count = fields.Function(
        fields.Integer("Records"), 'get_record_count')
    record_count_blocked = fields.Function(
        fields.Integer("Unsubscribed"), 'get_record_count')
    block_rate = fields.Function(
        fields.Float("Unsubscribe Rate", digits=(1, 3)), 'get_record_count')
    block_rate_trend = fields.Function(
        fields.Char("Unsubscribe Rate Trend"), 'get_trend')
    daily_results = fields.Function(fields.One2Many(
            'marketing.automation.reporting.scenario', 'scenario',
            "Last 30 Days", context=_last_days, depends=['results_from']),
        'get_daily_results', setter='set_daily_results')
    waiting_count = fields.Function(fields.Integer(
            "Waiting", help="Steps that are planned for later."),
        'get_progress')
    sending_count = fields.Function(fields.Integer(
            "Due", help="Steps that are due and being worked on."),
        'get_progress')
    done_count = fields.Function(fields.Integer("Done"), 'get_progress')
    skipped_count = fields.Function(fields.Integer(
            "Skipped", help="Steps that were not for the record."),
        'get_progress')
    failed_count = fields.Function(fields.Integer("Failed"), 'get_progress')
    progress = fields.Function(fields.Float(
            "Progress", digits=(1, 3),
            help="The part of the steps due so far that is finished."),
        'get_progress')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="failed_count"]', 'visual',
                If(Eval('failed_count', 0) > 0, 'warning', '')),
            # Nothing has come of it yet
            ('/form//group[@id="numbers"]', 'states', {
                    'invisible': Eval('state') == 'draft',
                    }),
            ]

    @classmethod
    def reporting_timezone(cls):
        "Return the ZoneInfo in which the days of reports start"
        return cls.company_time_zone(Transaction().context.get('company'))

    @classmethod
    def reporting_today(cls):
        "Return the date of today in reports"
        pool = Pool()
        Date = pool.get('ir.date')
        return Date.today(timezone=cls.reporting_timezone())

    @classmethod
    def get_record_count(cls, scenarios, names):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}

        def store(id_, **values):
            for name in names:
                result[name][id_] = values[name]

        for scenario in scenarios:
            store(scenario.id,
                record_count=(
                    scenario.matching_count or 0
                    if scenario.state == 'draft' else 0),
                record_count_blocked=0,
                block_rate=0.0)
        entered = [s.id for s in scenarios if s.state != 'draft']
        cursor.execute(*table.select(
                table.scenario, Count(),
                Count(filter_=table.blocked & ~Record.superseded(table)),
                where=fields.SQL_OPERATORS['in'](table.scenario, entered),
                group_by=table.scenario))
        for id_, count, blocked in cursor:
            store(id_,
                record_count=count,
                record_count_blocked=blocked,
                block_rate=rate(blocked, count))
        return result

    @classmethod
    def get_trend(cls, scenarios, name):
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.scenario')
        return Reporting.get_trends('scenario', scenarios, [name])[name]

    @classmethod
    def get_progress(cls, scenarios, names):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}
        pending = table.state.in_(RecordActivity.pending)
        due = (pending
            & (table.at <= clock.now()))
        cursor.execute(*table
            .join(activity, condition=table.activity == activity.id)
            .select(
                activity.scenario,
                Count(filter_=pending),
                Count(filter_=due),
                Count(filter_=table.state == 'done'),
                Count(filter_=table.state == 'skipped'),
                Count(filter_=table.state == 'failed'),
                where=fields.SQL_OPERATORS['in'](
                    activity.scenario, [s.id for s in scenarios]),
                group_by=activity.scenario))
        for id_, waiting, sending, done, skipped, failed in cursor:
            finished = done + skipped + failed
            values = {
                'waiting_count': waiting - sending,
                'sending_count': sending,
                'done_count': done,
                'skipped_count': skipped,
                'failed_count': failed,
                'progress': rate(finished, finished + sending),
                }
            for name in names:
                result[name][id_] = values[name]
        return result


class Activity(EmailResults, metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'
    _report = 'marketing.automation.reporting.activity'
    _report_key = 'activity'

    record_count = fields.Function(
        fields.Integer("Done"), 'get_record_count')
    waiting_count = fields.Function(
        fields.Integer("Waiting"), 'get_record_count')
    skipped_count = fields.Function(
        fields.Integer("Skipped"), 'get_record_count')
    failed_count = fields.Function(
        fields.Integer("Failed"), 'get_record_count')
    unsubscribed = fields.Function(fields.Integer(
            "Unsubscribed", help="How many have unsubscribed through it."),
        'get_email_results')
    unsubscribe_rate = fields.Function(fields.Float(
            "Unsubscribe Rate", digits=(1, 3)), 'get_email_results')
    daily_results = fields.Function(fields.One2Many(
            'marketing.automation.reporting.activity', 'activity',
            "Last 30 Days", context=_last_days, depends=['results_from']),
        'get_daily_results', setter='set_daily_results')
    email_open_rate_trend = fields.Function(
        fields.Char("Open Rate Trend"), 'get_trend')
    email_click_rate_trend = fields.Function(
        fields.Char("Click Rate Trend"), 'get_trend')
    email_click_through_rate_trend = fields.Function(
        fields.Char("Click-Through Rate Trend"), 'get_trend')

    _email_rates = {
        **EmailResults._email_rates,
        'unsubscribe_rate': ('unsubscribed', 'email_sent'),
        }

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name, field in cls._fields_of_emails():
            field.states = {
                'invisible': Eval('action') != 'send_email',
                }

    @classmethod
    def _fields_of_emails(cls):
        for name in dir(cls):
            field = getattr(cls, name)
            if (isinstance(field, fields.Function)
                    and field.getter in {'get_email_results', 'get_trend'}):
                yield name, field

    @classmethod
    def get_record_count(cls, activities, names):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}
        cursor.execute(*table.select(
                table.activity,
                Count(filter_=table.state == 'done'),
                Count(filter_=table.state.in_(RecordActivity.pending)),
                Count(filter_=table.state == 'skipped'),
                Count(filter_=table.state == 'failed'),
                where=fields.SQL_OPERATORS['in'](
                    table.activity, [a.id for a in activities]),
                group_by=table.activity))
        for id_, count, waiting, skipped, failed in cursor:
            values = {
                'record_count': count,
                'waiting_count': waiting,
                'skipped_count': skipped,
                'failed_count': failed,
                }
            for name in names:
                result[name][id_] = values[name]
        return result

    @classmethod
    def get_trend(cls, activities, names):
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.activity')
        return Reporting.get_trends('activity', activities, names)


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    next_activity = fields.Function(fields.Many2One(
            'marketing.automation.activity', "Next Step"), 'get_next')
    next_at = fields.Function(fields.DateTime(
            "Planned for", format='%H:%M',
            help="When the next step is due."), 'get_next')
    email_sent = fields.Function(
        fields.Integer("E-mails"), 'get_step_counts')
    email_opened = fields.Function(
        fields.Integer("Opened"), 'get_step_counts')
    email_clicked = fields.Function(
        fields.Integer("Clicked"), 'get_step_counts')
    failed_count = fields.Function(
        fields.Integer("Failed"), 'get_step_counts')

    @classmethod
    def get_next(cls, records, names):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: dict.fromkeys(map(int, records)) for name in names}
        cursor.execute(*table.select(
                table.record, table.activity, table.at,
                where=fields.SQL_OPERATORS['in'](
                    table.record, [r.id for r in records])
                & table.state.in_(RecordActivity.pending),
                # The first in time comes last and stays
                order_by=[table.at.desc.nulls_first, table.id.desc]))
        for id_, activity, at in cursor:
            values = {'next_activity': activity, 'next_at': instant(at)}
            for name in names:
                result[name][id_] = values[name]
        return result

    @classmethod
    def get_step_counts(cls, records, names):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        activity = Activity.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}
        sent = (table.state == 'done') & (activity.action == 'send_email')
        clauses = {
            'email_sent': sent,
            'email_opened': sent & table.email_opened,
            'email_clicked': sent & table.email_clicked,
            'failed_count': table.state == 'failed',
            }
        cursor.execute(*table
            .join(activity, condition=table.activity == activity.id)
            .select(
                table.record, *(Count(filter_=clauses[n]) for n in names),
                where=fields.SQL_OPERATORS['in'](
                    table.record, [r.id for r in records]),
                group_by=table.record))
        for id_, *counts in cursor:
            for name, count in zip(names, counts):
                result[name][id_] = count
        return result


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    opened_at = fields.Function(fields.DateTime(
            "Opened At", format='%H:%M',
            help="When the e-mail was opened for the first time."),
        'get_first_hit')
    clicked_at = fields.Function(fields.DateTime(
            "Clicked At", format='%H:%M',
            help="When a link was followed for the first time."),
        'get_first_hit')

    @classmethod
    def get_first_hit(cls, record_activities, names):
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        table = Hit.__table__()
        cursor = Transaction().connection.cursor()
        clauses = {
            'opened_at': table.link == Null,
            'clicked_at': table.link != Null,
            }
        cursor.execute(*table.select(
                table.record_activity,
                *(Min(table.at, filter_=clauses[n]) for n in names),
                where=(table.verdict == 'human')
                & fields.SQL_OPERATORS['in'](
                    table.record_activity, [r.id for r in record_activities]),
                group_by=table.record_activity))
        result = {
            name: dict.fromkeys(map(int, record_activities)) for name in names}
        for id_, *times in cursor:
            for name, time in zip(names, times):
                result[name][id_] = time and instant(time).replace(
                    microsecond=0)
        return result
