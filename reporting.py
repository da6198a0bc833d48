# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What came of it: counts and rates by period, for lists, graphs and trends"""
import datetime as dt
from collections import defaultdict

from dateutil.relativedelta import relativedelta
from sql import Literal, Null, Union
from sql.aggregate import Count, Min, Sum
from sql.conditionals import Case, Coalesce, NullIf
from sql.functions import DateTrunc

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.tools.chart import sparkline
from trytond.transaction import Transaction

from .mixin import ActivityActionMixin

# How many periods a trend covers
TREND = 10
_email = {
    'invisible': Eval('activity_action') != 'send_email',
    }


class Context(ModelView):
    __name__ = 'marketing.automation.reporting.context'

    from_date = fields.Date(
        "From Date",
        domain=[
            If(Eval('to_date') & Eval('from_date'),
                ('from_date', '<=', Eval('to_date')),
                ()),
            ])
    to_date = fields.Date(
        "To Date",
        domain=[
            If(Eval('from_date') & Eval('to_date'),
                ('to_date', '>=', Eval('from_date')),
                ()),
            ],
        help="The last day, included.")
    period = fields.Selection([
            ('year', "Year"),
            ('month', "Month"),
            ('day', "Day"),
            ], "Period", required=True, sort=False)

    @classmethod
    def default_from_date(cls):
        pool = Pool()
        Date = pool.get('ir.date')
        context = Transaction().context
        if 'from_date' in context:
            return context['from_date']
        return Date.today() - relativedelta(years=1)

    @classmethod
    def default_to_date(cls):
        pool = Pool()
        Date = pool.get('ir.date')
        context = Transaction().context
        if 'to_date' in context:
            return context['to_date']
        return Date.today()

    @classmethod
    def default_period(cls):
        return Transaction().context.get('period', 'month')


class PeriodReport(ModelSQL, ModelView):
    "Counts by period: the query of each model yields what it counts"

    date = fields.Date("Date")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('date', 'DESC'), ('id', 'DESC')]

    @classmethod
    def _date(cls, column):
        period = Transaction().context.get('period') or 'month'
        return cls.date.sql_cast(DateTrunc(period, column))

    @classmethod
    def _period(cls, column):
        "Return the clause of the dates of the context, both included"
        context = Transaction().context
        where = Literal(True)
        if from_date := context.get('from_date'):
            where &= column >= _midnight(from_date)
        if to_date := context.get('to_date'):
            where &= column < _midnight(to_date) + dt.timedelta(days=1)
        return where

    @classmethod
    def get_trends(cls, field, records, names):
        """Return {name: {id: sparkline}} of the records

        field -- the field of this model which relates to the records
        names -- names of fields of this model with the suffix _trend
        """
        period = Transaction().context.get('period') or 'month'
        dates = _dates(period)
        with Transaction().set_context(
                period=period, from_date=dates[0], to_date=None):
            rows = cls.search([(field, 'in', [r.id for r in records])])
        values = {name: defaultdict(dict) for name in names}
        for row in rows:
            for name in names:
                value = getattr(row, name.removesuffix('_trend'))
                values[name][getattr(row, field).id][row.date] = value or 0
        return {
            name: {
                r.id: sparkline([values[name][r.id].get(d, 0) for d in dates])
                for r in records}
            for name in names}


def _midnight(date):
    return dt.datetime.combine(date, dt.time())


def _dates(period):
    "Return the first days of the last periods"
    pool = Pool()
    Date = pool.get('ir.date')
    date = Date.today()
    if period == 'year':
        date = date.replace(month=1, day=1)
    elif period == 'month':
        date = date.replace(day=1)
    return [
        date - relativedelta(**{period + 's': i})
        for i in reversed(range(TREND))]


def _rate(field, part, whole):
    "Return the SQL of part / whole, 0 without whole"
    return Coalesce(
        field.sql_cast(part) / NullIf(field.sql_cast(whole), 0), 0.0)


class Scenario(PeriodReport):
    __name__ = 'marketing.automation.reporting.scenario'

    scenario = fields.Many2One('marketing.automation.scenario', "Scenario")
    record_count = fields.Integer("Records")
    record_count_blocked = fields.Integer("Records Blocked")
    block_rate = fields.Float("Block Rate", digits=(1, 4))

    @classmethod
    def table_query(cls):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        record = Record.__table__()
        date = cls._date(record.create_date).as_('date')
        count = Count()
        blocked = Count(filter_=record.blocked)
        return record.select(
            Min(record.id).as_('id'),
            date,
            record.scenario.as_('scenario'),
            count.as_('record_count'),
            blocked.as_('record_count_blocked'),
            _rate(cls.block_rate, blocked, count).as_('block_rate'),
            where=cls._period(record.create_date),
            group_by=[record.scenario, date])


class Activity(ActivityActionMixin, PeriodReport):
    __name__ = 'marketing.automation.reporting.activity'

    activity = fields.Many2One('marketing.automation.activity', "Activity")
    record_count = fields.Integer("Records")
    email_opened = fields.Integer("E-mails Opened", states=_email)
    email_clicked = fields.Integer("E-mails Clicked", states=_email)
    opens = fields.Integer(
        "Opens", states=_email,
        help="How often e-mails were opened, "
        "also where it is not known by whom.")
    clicks = fields.Integer(
        "Clicks", states=_email,
        help="How often links were followed, "
        "also where it is not known by whom.")
    machine_hits = fields.Integer(
        "Machine Hits", states=_email,
        help="Opens and clicks made by scanners and proxies, "
        "not counted elsewhere.")
    unsubscribed = fields.Integer("Unsubscribed", states=_email)
    bounced = fields.Integer("Bounced", states=_email)
    complained = fields.Integer("Complained", states=_email)
    email_open_rate = fields.Float(
        "E-mail Open Rate", digits=(1, 4), states=_email)
    email_click_rate = fields.Float(
        "E-mail Click Rate", digits=(1, 4), states=_email)
    email_click_through_rate = fields.Float(
        "E-mail Click-Through Rate", digits=(1, 4), states=_email)

    @classmethod
    def _counts(cls):
        return [
            'record_count', 'email_opened', 'email_clicked',
            'opens', 'clicks', 'machine_hits', 'unsubscribed', 'bounced',
            'complained']

    @classmethod
    def _sources(cls):
        "Return (table, time, clause, {name: SQL of what each row counts})"
        pool = Pool()
        Bounce = pool.get('marketing.automation.bounce')
        Hit = pool.get('marketing.automation.hit')
        HitCount = pool.get('marketing.automation.hit.count')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        bounce = Bounce.__table__()
        done = RecordActivity.__table__()
        hit = Hit.__table__()
        hit_count = HitCount.__table__()
        machine = Hit.__table__()
        machine_count = HitCount.__table__()
        unsubscription = Unsubscription.__table__()
        return [
            (done, done.at, done.state == 'done', {
                    'record_count': Literal(1),
                    'email_opened': Case((done.email_opened, 1), else_=0),
                    'email_clicked': Case((done.email_clicked, 1), else_=0),
                    }),
            (hit, hit.at, hit.verdict == 'human', {
                    'opens': Case((hit.link == Null, 1), else_=0),
                    'clicks': Case((hit.link != Null, 1), else_=0),
                    }),
            (machine, machine.at, machine.verdict == 'machine', {
                    'machine_hits': Literal(1),
                    }),
            (hit_count, hit_count.at, hit_count.verdict == 'human', {
                    'opens': hit_count.opens,
                    'clicks': hit_count.clicks,
                    }),
            (machine_count, machine_count.at,
                machine_count.verdict == 'machine', {
                    'machine_hits':
                    machine_count.opens + machine_count.clicks,
                    }),
            (unsubscription, unsubscription.at,
                (unsubscription.activity != Null)
                & (unsubscription.undone_at == Null), {
                    'unsubscribed': Literal(1),
                    }),
            (bounce, bounce.at, bounce.activity != Null, {
                    'bounced': Case((bounce.kind != 'complaint', 1), else_=0),
                    'complained': Case(
                        (bounce.kind == 'complaint', 1), else_=0),
                    }),
            ]

    @classmethod
    def table_query(cls):
        sources = cls._sources()
        union = Union(*(
                table.select(
                    # Each source has ids of its own
                    (table.id * len(sources) + i).as_('id'),
                    table.activity.as_('activity'),
                    cls._date(at).as_('date'),
                    *(values.get(n, Literal(0)).as_(n)
                        for n in cls._counts()),
                    where=where & cls._period(at))
                for i, (table, at, where, values) in enumerate(sources)),
            all_=True)
        sums = {
            n: cls.record_count.sql_cast(Sum(getattr(union, n)))
            for n in cls._counts()}
        count, opened, clicked = [
            sums[n] for n in ['record_count', 'email_opened', 'email_clicked']]
        return union.select(
            Min(union.id).as_('id'),
            union.activity.as_('activity'),
            union.date.as_('date'),
            *(sql.as_(n) for n, sql in sums.items()),
            _rate(cls.email_open_rate, opened, count).as_('email_open_rate'),
            _rate(cls.email_click_rate, clicked, count).as_(
                'email_click_rate'),
            _rate(cls.email_click_through_rate, clicked, opened).as_(
                'email_click_through_rate'),
            group_by=[union.activity, union.date])
