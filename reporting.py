# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What came of it: counts and rates by period, for lists, graphs and trends"""
import datetime as dt
from collections import defaultdict, namedtuple

from dateutil.relativedelta import relativedelta
from sql import Literal, Null, Union
from sql.aggregate import Count, Min, Sum
from sql.conditionals import Case, Coalesce, NullIf

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.tools.chart import sparkline
from trytond.transaction import Transaction

from .mixin import ActivityActionMixin
from .sql_expression import first_day

# How many periods a trend covers
TREND = 10
_email = {
    'invisible': Eval('activity_action') != 'send_email',
    }
# Rows that are counted.  from_: what is selected from; id, scenario, activity,
# at: its columns; where: its clause; counts: {name: SQL of what a row counts}
Source = namedtuple(
    'Source', ['from_', 'id', 'scenario', 'activity', 'at', 'where', 'counts'])


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
            ('week', "Week"),
            ('day', "Day"),
            ], "Period", required=True, sort=False)

    @classmethod
    def default_from_date(cls):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        context = Transaction().context
        if 'from_date' in context:
            return context['from_date']
        return Scenario.reporting_today() - relativedelta(years=1)

    @classmethod
    def default_to_date(cls):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        context = Transaction().context
        if 'to_date' in context:
            return context['to_date']
        return Scenario.reporting_today()

    @classmethod
    def default_period(cls):
        return Transaction().context.get('period', 'month')


class Counts:
    """Counts rows of several tables, the fields of each model say which

    Only what belongs to scenarios that the user may read is counted.
    """
    __slots__ = ()
    # Names of the fields by which is counted
    _keys = []
    # {name of the field: name of the count}
    _counts = {}

    @classmethod
    def _sources(cls):
        "Return the list of Sources of all counts"
        return [
            cls._entered(), cls._done(), cls._hits(), cls._hit_counts(),
            cls._unsubscribed(), cls._bounced()]

    @classmethod
    def _entered(cls):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        return Source(
            table, table.id, table.scenario, Null, table.create_date,
            Literal(True), {
                'entered': Literal(1),
                # Also when it has blocked all the passes
                'blocked': _one_if(
                    table.blocked & ~Record.superseded(table)),
                })

    @classmethod
    def _of_activity(cls, name, where, **counts):
        """Return the Source of the rows of a model that have an activity

        where, counts -- functions of the tables of the model and of the
                         activity
        """
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        table = pool.get(name).__table__()
        activity = Activity.__table__()
        return Source(
            table.join(activity, condition=table.activity == activity.id),
            table.id, activity.scenario, activity.id, table.at,
            where(table),
            {n: count(table, activity) for n, count in counts.items()})

    @classmethod
    def _done(cls):
        return cls._of_activity(
            'marketing.automation.record.activity',
            lambda t: t.state == 'done',
            done=lambda t, a: Literal(1),
            email_sent=lambda t, a: _one_if(a.action == 'send_email'),
            email_opened=lambda t, a: _one_if(t.email_opened),
            email_clicked=lambda t, a: _one_if(t.email_clicked))

    @classmethod
    def _hits(cls):
        return cls._of_activity(
            'marketing.automation.hit',
            lambda t: t.verdict.in_(['human', 'machine']),
            opens=lambda t, a: _one_if(
                (t.verdict == 'human') & (t.link == Null)),
            clicks=lambda t, a: _one_if(
                (t.verdict == 'human') & (t.link != Null)),
            machine_opens=lambda t, a: _one_if(
                (t.verdict == 'machine') & (t.link == Null)),
            machine_clicks=lambda t, a: _one_if(
                (t.verdict == 'machine') & (t.link != Null)))

    @classmethod
    def _hit_counts(cls):
        def count(verdict, name):
            return lambda t, a: Case(
                (t.verdict == verdict, getattr(t, name)), else_=0)

        return cls._of_activity(
            'marketing.automation.hit.count',
            lambda t: t.verdict.in_(['human', 'machine']),
            opens=count('human', 'opens'),
            clicks=count('human', 'clicks'),
            machine_opens=count('machine', 'opens'),
            machine_clicks=count('machine', 'clicks'))

    @classmethod
    def _unsubscribed(cls):
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        table = Unsubscription.__table__()
        return Source(
            table, table.id, table.scenario, table.activity, table.at,
            table.undone_at == Null, {'unsubscribed': Literal(1)})

    @classmethod
    def _bounced(cls):
        return cls._of_activity(
            'marketing.automation.bounce',
            lambda t: Literal(True),
            bounced_hard=lambda t, a: _one_if(t.kind == 'hard'),
            bounced_soft=lambda t, a: _one_if(t.kind == 'soft'),
            complained=lambda t, a: _one_if(t.kind == 'complaint'))

    @classmethod
    def _union(cls, counts, period=None, where=None):
        """Return the query of the rows that count one of the names

        period -- of the column date, which is left out without
        where -- function of the source
        """
        sources = cls._sources()
        readable = _readable()
        queries = []
        for i, source in enumerate(sources):
            if not source.counts.keys() & counts:
                continue
            columns = [source.scenario.as_('scenario')]
            clause = source.where & source.scenario.in_(readable)
            if 'activity' in cls._keys:
                columns.append(source.activity.as_('activity'))
                clause &= source.activity != Null
            if period:
                columns.append(cls._date(period, source.at).as_('date'))
            if where:
                clause &= where(source)
            queries.append(source.from_.select(
                    # Each source has ids of its own
                    (source.id * len(sources) + i).as_('id'),
                    *columns,
                    *(source.counts.get(n, Literal(0)).as_(n)
                        for n in counts),
                    where=clause))
        return Union(*queries, all_=True)

    @classmethod
    def totals(cls, ids, counts, since=None):
        """Return {id: {name of count: number}}

        ids -- of what the last key of the model relates to
        since -- naive UTC datetime, None for ever
        """
        cursor = Transaction().connection.cursor()
        key = cls._keys[-1]
        counts = list(counts)

        def where(source):
            clause = fields.SQL_OPERATORS['in'](getattr(source, key), ids)
            return clause & (source.at >= since) if since else clause

        union = cls._union(counts, where=where)
        column = getattr(union, key)
        cursor.execute(*union.select(
                column, *(Sum(getattr(union, n)) for n in counts),
                group_by=[column]))
        result = {id_: dict.fromkeys(counts, 0) for id_ in ids}
        for id_, *numbers in cursor:
            result[id_] = dict(zip(counts, map(int, numbers)))
        return result


class PeriodReport(Counts, ModelSQL, ModelView):
    "Counts by period"

    date = fields.Date("Date")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('date', 'DESC'), ('id', 'DESC')]

    @classmethod
    def table_query(cls):
        names = list(dict.fromkeys(cls._counts.values()))
        union = cls._union(
            names, period=_period(), where=lambda source: _between(source.at))
        sums = {n: Sum(getattr(union, n)) for n in names}
        keys = [getattr(union, k) for k in [*cls._keys, 'date']]
        return union.select(
            Min(union.id).as_('id'),
            *(k.as_(k.name) for k in keys),
            *(getattr(cls, f).sql_cast(sums[n]).as_(f)
                for f, n in cls._counts.items()),
            *(sql.as_(name) for name, sql in cls._rates(sums)),
            group_by=keys)

    @classmethod
    def _date(cls, period, at):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        return cls.date.sql_cast(
            first_day(period, at, Scenario.reporting_timezone()))

    @classmethod
    def _rates(cls, sums):
        "Yield (name, SQL) of the rates and percentages, 0 without a whole"
        for name, (part, whole) in cls._quotients().items():
            cast = getattr(cls, name).sql_cast
            rate = Coalesce(
                cast(sums[part]) / NullIf(cast(sums[whole]), 0), 0.0)
            yield name, rate
            if (percent := name.replace('_rate', '_percent')) in cls._fields:
                yield percent, rate * 100

    @classmethod
    def _quotients(cls):
        "Return {name of the rate: names of the counts}"
        return {}

    @classmethod
    def get_trends(cls, field, records, names):
        """Return {name: {id: sparkline}} of the records

        field -- the field of this model which relates to the records
        names -- names of fields of this model with the suffix _trend
        """
        period = _period()
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


def _readable():
    "Return the query of the ids of the scenarios that the user may read"
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    return Scenario.search([], order=[], query=True)


def _one_if(condition):
    return Case((condition, 1), else_=0)


def _period():
    return Transaction().context.get('period') or 'month'


def _between(column):
    "Return the clause of the dates of the context, both included"
    context = Transaction().context
    where = Literal(True)
    if from_date := context.get('from_date'):
        where &= column >= _midnight(from_date)
    if to_date := context.get('to_date'):
        where &= column < _midnight(to_date + dt.timedelta(days=1))
    return where


def _midnight(date):
    "Return the instant in naive UTC at which the day starts"
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    midnight = dt.datetime.combine(
        date, dt.time(), Scenario.reporting_timezone())
    return midnight.astimezone(dt.timezone.utc).replace(tzinfo=None)


def _dates(period):
    "Return the first days of the last periods"
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    date = Scenario.reporting_today()
    if period == 'year':
        date = date.replace(month=1, day=1)
    elif period == 'month':
        date = date.replace(day=1)
    elif period == 'week':
        date -= dt.timedelta(days=date.weekday())
    return [
        date - relativedelta(**{period + 's': i})
        for i in reversed(range(TREND))]


class EmailReport(PeriodReport):
    "What became of e-mails"

    email_sent = fields.Integer("Sent")
    email_opened = fields.Integer(
        "Opened", help="How many recipients have opened the e-mail.")
    email_clicked = fields.Integer(
        "Clicked", help="How many recipients have followed a link.")
    email_open_rate = fields.Float("Open Rate", digits=(1, 3))
    email_click_rate = fields.Float("Click Rate", digits=(1, 3))
    email_click_through_rate = fields.Float(
        "Click-Through Rate", digits=(1, 3),
        help="The part of those who have opened the e-mail "
        "that has followed a link.")
    # Graphs know no factor
    email_open_percent = fields.Float("Open Rate (%)", digits=(3, 1))
    email_click_percent = fields.Float("Click Rate (%)", digits=(3, 1))
    email_click_through_percent = fields.Float(
        "Click-Through Rate (%)", digits=(3, 1))
    opens = fields.Integer(
        "Opens",
        help="How often e-mails were opened, "
        "also where it is not known by whom.")
    clicks = fields.Integer(
        "Clicks",
        help="How often links were followed, "
        "also where it is not known by whom.")
    machine_opens = fields.Integer(
        "Opens by Machines",
        help="Made by scanners and proxies, not counted elsewhere.")
    machine_clicks = fields.Integer(
        "Clicks by Machines",
        help="Made by scanners and proxies, not counted elsewhere.")
    unsubscribed = fields.Integer("Unsubscribed")
    bounced_hard = fields.Integer("Hard Bounces")
    bounced_soft = fields.Integer("Soft Bounces")
    complained = fields.Integer("Complaints")

    _counts = {n: n for n in [
            'email_sent', 'email_opened', 'email_clicked', 'opens', 'clicks',
            'machine_opens', 'machine_clicks', 'unsubscribed', 'bounced_hard',
            'bounced_soft', 'complained']}

    @classmethod
    def _quotients(cls):
        return {
            **super()._quotients(),
            'email_open_rate': ('email_opened', 'email_sent'),
            'email_click_rate': ('email_clicked', 'email_sent'),
            'email_click_through_rate': ('email_clicked', 'email_opened'),
            }


class Total(EmailReport):
    "All that is sent and comes back"
    __name__ = 'marketing.automation.reporting.total'


class Scenario(EmailReport):
    __name__ = 'marketing.automation.reporting.scenario'

    scenario = fields.Many2One('marketing.automation.scenario', "Scenario")
    record_count = fields.Integer("Entered")
    record_count_blocked = fields.Integer(
        "Unsubscribed Later",
        help="How many of those who entered in the period "
        "have unsubscribed since.")
    block_rate = fields.Float("Unsubscribe Rate", digits=(1, 3))

    _keys = ['scenario']
    _counts = {
        'record_count': 'entered',
        'record_count_blocked': 'blocked',
        **EmailReport._counts}

    @classmethod
    def _quotients(cls):
        return {**super()._quotients(), 'block_rate': ('blocked', 'entered')}


class Activity(ActivityActionMixin, EmailReport):
    __name__ = 'marketing.automation.reporting.activity'

    scenario = fields.Many2One('marketing.automation.scenario', "Scenario")
    activity = fields.Many2One('marketing.automation.activity', "Activity")
    record_count = fields.Integer("Done")

    _keys = ['scenario', 'activity']
    _counts = {'record_count': 'done', **EmailReport._counts}

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in EmailReport._counts.keys() | cls._quotients().keys():
            getattr(cls, name).states = _email


class Link(ModelSQL, ModelView):
    "How often the links of e-mails were followed"
    __name__ = 'marketing.automation.reporting.link'

    scenario = fields.Many2One('marketing.automation.scenario', "Scenario")
    activity = fields.Many2One('marketing.automation.activity', "Activity")
    link = fields.Many2One('marketing.automation.link', "Link")
    people = fields.Integer(
        "People",
        help="How many recipients have followed the link, "
        "as far as it is known by whom.")
    clicks = fields.Integer(
        "Clicks", help="How often people have followed the link.")
    machine_clicks = fields.Integer(
        "Clicks by Machines",
        help="Made by scanners and proxies, not counted elsewhere.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('people', 'DESC'), ('clicks', 'DESC'), ('id', 'ASC')]

    @classmethod
    def table_query(cls):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Link = pool.get('marketing.automation.link')
        link = Link.__table__()
        activity = Activity.__table__()
        hit = cls._hits()
        return (link
            .join(activity, condition=link.activity == activity.id)
            .join(hit, 'LEFT', condition=hit.link == link.id)
            .select(
                link.id.as_('id'), link.id.as_('link'),
                link.activity.as_('activity'),
                activity.scenario.as_('scenario'),
                *(Coalesce(getattr(hit, n), 0).as_(n)
                    for n in ['people', 'clicks', 'machine_clicks']),
                where=activity.scenario.in_(_readable())))

    @classmethod
    def _hits(cls):
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        hit = Hit.__table__()
        human = hit.verdict == 'human'
        return hit.select(
            hit.link,
            Count(hit.record_activity, distinct=True, filter_=human).as_(
                'people'),
            Count(filter_=human).as_('clicks'),
            Count(filter_=hit.verdict == 'machine').as_('machine_clicks'),
            where=(hit.link != Null) & _between(hit.at),
            group_by=[hit.link])
