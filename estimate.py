# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How many e-mails a scenario would have sent in the past

The database counts the records by the day on which they came to match.  How
many e-mails follow, and when, is said by the tree of the activities.
"""
import datetime as dt
from collections import Counter

from sql import Literal
from sql.aggregate import Count
from sql.functions import DateTrunc

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.report import Report
from trytond.transaction import Transaction, check_access
from trytond.wizard import Button, StateView, Wizard

from . import clock, entry, schedule, settings
from .audience import Audience

DAY = dt.timedelta(days=1)
DAY_MINUTES = DAY // dt.timedelta(minutes=1)
# What a recipient can do with an e-mail, as the events that happen
REACTIONS = [set(), {'email_opened'}, {'email_opened', 'email_clicked'}]


def expected(activities, rates):
    """Return {delay: number of e-mails} that a record gets on average

    rates -- {event: part of the e-mails for which it happens}
    """
    emails = Counter()
    for activity in activities:
        share = activity.branch_rate
        if activity.event:
            rate = rates[activity.event]
            share *= 1 - rate if activity.negative else rate
        for delay, count in _after(
                activity, expected(activity.children, rates)):
            emails[delay] += share * count
    return emails


def most(activities, reactions=REACTIONS):
    "Return {delay: number of e-mails} of who gets the most of them"
    ways = [
        (a, Counter(dict(_after(a, most(a.children, reactions)))))
        for a in activities]
    if any(a.is_branch for a in activities):
        return max((way for _, way in ways), key=Counter.total)
    return max((
            sum((way for a, way in ways if _follows(a, events)), Counter())
            # Or a condition comes to be fulfilled
            for events in [*reactions, {'fulfilled'}]),
        key=Counter.total)


def _after(activity, emails):
    "Yield the (delay, number) of the activity itself and of the e-mails"
    delay = dt.timedelta()
    if not activity.is_by_date:
        delay = activity.delay or delay
    own = Counter({dt.timedelta(): activity.action == 'send_email'})
    for after, count in (own + emails).items():
        yield delay + after, count


def _follows(activity, events):
    return (
        not activity.event or (activity.event in events) != activity.negative)


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            estimate={
                'icon': 'tryton-graph',
                },
            )

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_estimate')
    def estimate(cls, scenarios):
        pass

    def count_by_day(self, name, since):
        """Return {date: number of records} that match and may be seen

        name -- of the field that tells the day
        """
        pool = Pool()
        Model = pool.get(self.model)
        table = Model.__table__()
        column = getattr(table, name)
        day = column.as_('day')
        if Model._fields[name]._type != 'date':
            day = DateTrunc('day', column).as_('day')
        with check_access():
            matching = Audience(self).query()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                day, Count(Literal(1)),
                where=table.id.in_(matching) & (column >= since),
                group_by=[day]))
        return {_date(day): count for day, count in cursor}

    def get_rates(self):
        "Return {event: part of all e-mails so far}, None before the first"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        Activity = pool.get('marketing.automation.activity')
        Scenario = pool.get('marketing.automation.scenario')
        activity = Activity.__table__()
        scenario = Scenario.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(activity, condition=table.activity == activity.id)
            .join(scenario, condition=activity.scenario == scenario.id)
            .select(
                Count(Literal(1)),
                Count(Literal(1), filter_=table.email_opened),
                Count(Literal(1), filter_=table.email_clicked),
                where=(table.state == 'done')
                & (activity.action == 'send_email')
                & (scenario.tracking == 'individual')))
        count, opened, clicked = cursor.fetchone()
        if count:
            return {
                'email_opened': round(opened / count, 4),
                'email_clicked': round(clicked / count, 4),
                }


def _date(value):
    "Return the date of a column, which may be an instant or a text"
    value = schedule.instant(value)
    return value.date() if isinstance(value, dt.datetime) else value


class EstimateWeek(ModelView):
    __name__ = 'marketing.automation.estimate.week'

    week = fields.Date("Week", help="The Monday of the week.")
    entered = fields.Integer("Entered")
    emails = fields.Integer(
        "E-mails", help="With the given rates of opens and clicks.")
    emails_most = fields.Integer(
        "E-mails at Most",
        help="If everybody does what leads to the most e-mails.")


class Estimate(ModelView):
    __name__ = 'marketing.automation.estimate'

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario", readonly=True)
    weeks = fields.Selection([
            ('12', "12 Weeks"),
            ('26', "26 Weeks"),
            ('52', "52 Weeks"),
            ], "Past", required=True, sort=False)
    date_field = fields.Selection(
        'get_date_fields', "Matches Since", required=True,
        help="The date from which a record is taken to match.")
    open_rate = fields.Float(
        "Open Rate", digits=(1, 4),
        domain=['OR',
            ('open_rate', '=', None),
            [('open_rate', '>=', 0), ('open_rate', '<=', 1)],
            ],
        help="Which part of the e-mails is opened.\n"
        "By default, it is that of all the e-mails so far.")
    click_rate = fields.Float(
        "Click Rate", digits=(1, 4),
        domain=['OR',
            ('click_rate', '=', None),
            [('click_rate', '>=', 0), ('click_rate', '<=', 1)],
            ],
        help="Of which part of the e-mails a link is followed.\n"
        "By default, it is that of all the e-mails so far.")
    shown = fields.Char("Shown", readonly=True)
    lines = fields.One2Many(
        'marketing.automation.estimate.week', None, "Weeks", readonly=True)
    first_count = fields.Integer(
        "Enter at Once", readonly=True,
        help="How many records enter when the scenario is run now.")
    first_emails = fields.Integer(
        "E-mails on the First Day", readonly=True)
    peak_week = fields.Date("Busiest Week", readonly=True)
    peak_week_emails = fields.Integer("E-mails", readonly=True)
    peak_day = fields.Date("Busiest Day", readonly=True)
    peak_day_emails = fields.Integer("E-mails", readonly=True)
    notes = fields.Text(
        "Notes", readonly=True,
        help="What the sending limit allows, and what is assumed.")

    @fields.depends('scenario')
    def get_date_fields(self):
        pool = Pool()
        if not self.scenario:
            return []
        Model = pool.get(self.scenario.model)
        with check_access():
            definitions = Model.fields_get()
        return [
            (name, definition['string'])
            for name, definition in definitions.items()
            if definition['type'] in {'date', 'datetime', 'timestamp'}
            and name != 'write_date'
            and not isinstance(Model._fields[name], fields.Function)]

    @fields.depends(methods=['_on_change'])
    def on_change_weeks(self):
        self._on_change()

    @fields.depends(methods=['_on_change'])
    def on_change_date_field(self):
        self._on_change()

    @fields.depends(methods=['_on_change'])
    def on_change_open_rate(self):
        self._on_change()

    @fields.depends(methods=['_on_change'])
    def on_change_click_rate(self):
        self._on_change()

    @fields.depends(
        'scenario', 'weeks', 'date_field', 'open_rate', 'click_rate', 'shown',
        'lines')
    def _on_change(self):
        # Clients call it also for what they have just got
        if self.scenario and self.shown != self._key():
            self.show()

    def _key(self):
        "Return what is shown, for clients"
        return ' '.join(map(str, [
                    self.weeks, self.date_field, self.open_rate,
                    self.click_rate]))

    @property
    def is_tracked(self):
        "Whether opens and clicks lead to anything"
        return self.scenario.tracking == 'individual'

    @property
    def rates(self):
        "Return {event: rate}, None if they are not all known"
        rates = {
            'email_opened': self.open_rate,
            'email_clicked': self.click_rate,
            }
        if not self.is_tracked:
            rates = dict.fromkeys(rates, 0)
        if None not in rates.values():
            # Nobody knows before how many waits come to be fulfilled
            return {**rates, 'fulfilled': 0.5}

    @property
    def start(self):
        "The Monday of the first week"
        today = clock.now().date()
        return today - dt.timedelta(
            days=today.weekday(), weeks=int(self.weeks) - 1)

    def show(self):
        pool = Pool()
        Week = pool.get('marketing.automation.estimate.week')
        activities = self.scenario.activities
        most_emails = most(
            activities, REACTIONS if self.is_tracked else REACTIONS[:1])
        some_emails = (
            expected(activities, self.rates) if self.rates else None)
        entered = self._entered(max(most_emails, default=dt.timedelta()))
        most_days = self._days(entered, most_emails)
        days = (
            most_days if some_emails is None
            else self._days(entered, some_emails))
        self.shown = self._key()
        by_week = [self._by_week(d) for d in [entered, days, most_days]]
        self.lines = [
            Week(
                week=week, entered=round(by_week[0][week]),
                emails=None if some_emails is None
                else round(by_week[1][week]),
                emails_most=round(by_week[2][week]))
            for week in self._mondays()]
        self.peak_week, self.peak_week_emails = _peak(by_week[1])
        self.peak_day, self.peak_day_emails = _peak(days)
        self._show_first(most_emails if some_emails is None else some_emails)
        self.notes = '\n'.join([*self._limits(), *self._assumptions()])

    def _entered(self, span):
        "Return {date: number of records}, from the span before the start on"
        name = self.date_field
        if name not in dict(self.get_date_fields()):
            name = 'create_date'
        return self.scenario.count_by_day(name, self.start - span)

    def _days(self, entered, emails):
        "Return {date: number of e-mails}"
        today = clock.now().date()
        result = Counter()
        for day, count in entered.items():
            for delay, number in emails.items():
                if self.start <= (at := day + delay) <= today:
                    result[at] += count * number
        return result

    def _by_week(self, days):
        result = Counter()
        for day, count in days.items():
            result[day - dt.timedelta(days=day.weekday())] += count
        return result

    def _mondays(self):
        return [
            self.start + dt.timedelta(weeks=i)
            for i in range(int(self.weeks))]

    def _show_first(self, emails):
        with check_access():
            self.first_count = entry.count_new(self.scenario)
        self.first_emails = round(self.first_count * sum(
                n for delay, n in emails.items() if delay < DAY))

    def _limits(self):
        "Yield what the limits of sending mean for the e-mails"
        limit = settings.limit()
        if limit:
            yield gettext(
                'marketing_automation.msg_estimate_limit',
                minute=_number(limit), day=_number(limit * DAY_MINUTES))
            for name, count in [
                    ('first', self.first_emails),
                    ('peak', self.peak_day_emails)]:
                if count:
                    yield gettext(
                        f'marketing_automation.msg_estimate_limit_{name}',
                        time=Report.format_timedelta(
                            dt.timedelta(minutes=-(-count // limit))))
        else:
            yield gettext('marketing_automation.msg_estimate_no_limit')
        if limit := settings.domain_limit():
            yield gettext(
                'marketing_automation.msg_estimate_domain_limit',
                minute=_number(limit))

    def _assumptions(self):
        yield gettext(
            'marketing_automation.msg_estimate_basis',
            field=dict(self.get_date_fields()).get(self.date_field))
        yield gettext('marketing_automation.msg_estimate_basis_activities')
        timings = {a.timing for a in self.scenario.all_activities}
        if timings & {'date', 'anniversary'}:
            yield gettext('marketing_automation.msg_estimate_dates')
        if 'until' in timings:
            yield gettext('marketing_automation.msg_estimate_waits')
        if not self.is_tracked:
            yield gettext('marketing_automation.msg_estimate_untracked')
        elif not self.rates:
            yield gettext('marketing_automation.msg_estimate_no_rates')


def _number(value):
    return Report.format_number(value, None)


def _peak(counts):
    "Return (date, number) of the first of the highest counts, rounded"
    for date, count in sorted(
            counts.items(), key=lambda item: (-item[1], item[0])):
        return date, round(count)
    return None, 0


class EstimateWizard(Wizard):
    __name__ = 'marketing.automation.estimate'
    _readonly = True
    start = StateView(
        'marketing.automation.estimate',
        'marketing_automation.estimate_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def default_start(self, fields):
        rates = self.record.get_rates() or {}
        estimate = self.start
        estimate.scenario = self.record
        estimate.weeks = '26'
        estimate.date_field = 'create_date'
        estimate.open_rate = rates.get('email_opened')
        estimate.click_rate = rates.get('email_clicked')
        estimate.show()
        return estimate._default_values
