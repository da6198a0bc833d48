# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a scenario is for: who reaches its goal, after which activity

Who reaches it is found by one query for each running scenario, and before
each step.  The journey ends, and the goal counts if anything was done before.
"""
import datetime as dt
import logging
from collections import defaultdict
from decimal import Decimal

from sql import Cast, Literal, Null
from sql.aggregate import Count, Sum
from sql.operators import Concat

from trytond import backend
from trytond.i18n import gettext
from trytond.model import Index, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.report import Report
from trytond.transaction import Transaction, check_access

from . import clock
from .audience import Audience
from .flow import number_lines
from .progress import rate
from .record_filter import MODE, MODES, RecordFilterMixin, criteria, source
from .transaction import commit, look

logger = logging.getLogger(__name__)
SLICE = 1_000
_if_goal = {
    'invisible': ~Eval('goal_mode'),
    'readonly': MODE['readonly'],
    }


class GoalResults:
    "Who has reached the goal, of a scenario or after an activity"
    __slots__ = ()

    goals = fields.Function(fields.Integer(
            "Goals Reached",
            help="How many records have reached the goal after a step."),
        'get_goals')
    goal_rate = fields.Function(fields.Float(
            "Goal Rate", digits=(1, 3)), 'get_goals')
    goal_total = fields.Function(fields.Numeric(
            "Value of Goals", digits=(None, 2),
            help="The sum of the values when the goals were reached."),
        'get_goals')

    # The name of the field of the record that relates to the model
    _goal_key = None

    @classmethod
    def get_goals(cls, records, names):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        key = getattr(table, cls._goal_key)
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                key, Count(Literal(1)), Sum(table.goal_value),
                where=fields.SQL_OPERATORS['in'](key, [r.id for r in records])
                & (table.goal_activity != Null),
                group_by=key))
        counts = defaultdict(lambda: (0, None), {
                id_: values for id_, *values in cursor})
        result = {name: {} for name in names}
        for record in records:
            count, total = counts[record.id]
            values = {'goals': count, 'goal_total': _decimal(total)}
            if 'goal_rate' in names:
                values['goal_rate'] = rate(count, record.record_count)
            for name in names:
                result[name][record.id] = values[name]
        return result


class Scenario(GoalResults, RecordFilterMixin, metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'
    _goal_key = 'scenario'

    goal_mode = fields.Selection(
        [(None, ""), *MODES], "Goal", sort=False, states=MODE,
        help="Who matches has reached the goal: the journey ends and "
        "nothing more happens.\n"
        "Leave empty for a scenario without goal.")
    goal_domain = fields.Char("Domain of the Goal", states=MODE)
    goal_source = source('goal', "Who matches has reached the goal.")
    goal_criteria = criteria(
        'goal', "Who fulfils all of them has reached the goal.")
    goal_days = fields.Integer(
        "Counts Within",
        domain=['OR',
            ('goal_days', '=', None),
            ('goal_days', '>', 0),
            ],
        states=_if_goal,
        help="Up to how many days after the entry a goal counts.\n"
        "Leave empty for no end.")
    goal_field = fields.Selection(
        'get_goal_fields', "Value", states=_if_goal,
        help="The field that tells what a goal is worth when it is reached.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['goals', 'goal_rate', 'goal_total']:
            getattr(cls, name).states = {
                'invisible': ~Eval('goal_mode'),
                }

    @classmethod
    def default_goal_days(cls):
        return 90

    @classmethod
    def purposes(cls):
        return [*super().purposes(), 'goal']

    def rules(self):
        yield from super().rules()
        if self.goal_mode:
            yield gettext('marketing_automation.msg_rule_goal')

    @property
    def can_end(self):
        return bool(super().can_end or self.goal_mode)

    @fields.depends('model')
    def get_goal_fields(self):
        "Return the numeric fields that the user may read"
        pool = Pool()
        if not self.model:
            return [(None, "")]
        with check_access():
            definitions = pool.get(self.model).fields_get()
        return [(None, "")] + [
            (name, definition['string'])
            for name, definition in definitions.items()
            if definition['type'] == 'numeric']

    @classmethod
    def trigger(cls, scenarios=None):
        super().trigger(scenarios)
        if scenarios is None:
            _reach_running()
        else:
            for scenario in scenarios:
                while scenario.reach_goal():
                    pass

    def reach_goal(self):
        "Let some that have reached it end, and return if there may be more"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        domain = self.filter_domain('goal')
        if domain is None:
            return False
        found = Audience(self, domain).search(order=[], query=True)
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(found, condition=table.record == Concat(
                    f'{self.model},', Cast(found.id, 'VARCHAR')))
            .select(
                table.id,
                where=(table.scenario == self.id) & Record.going(table)
                & ~Record.superseded(table) & self.goal_counts(table),
                limit=SLICE))
        ids = [id_ for id_, in cursor]
        if ids:
            Record.end(ids, 'goal')
        return len(ids) == SLICE

    def goal_counts(self, table):
        "Return the clause of the records whose goal still counts"
        if not self.goal_days:
            return Literal(True)
        return table.create_date >= (
            clock.now() - dt.timedelta(days=self.goal_days))

    def funnel_steps(self):
        steps = super().funnel_steps()
        if self.goal_mode:
            steps.append(('goals', self.goals))
        return steps

    def flow_numbers(self):
        return [
            *super().flow_numbers(),
            *number_lines([('goals', self.goals or None)])]


class Activity(GoalResults, metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'
    _goal_key = 'goal_activity'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['goals', 'goal_rate', 'goal_total']:
            getattr(cls, name).states = {
                'invisible': ~Eval('goals', 0),
                }

    def flow_numbers(self):
        return [
            *super().flow_numbers(),
            *number_lines([('goals', self.goals or None)])]


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    goal_activity = fields.Many2One(
        'marketing.automation.activity', "Goal After", readonly=True,
        ondelete='SET NULL',
        states={
            'invisible': Eval('ended') != 'goal',
            },
        help="The last activity that was done before the goal was reached.")
    goal_value = fields.Numeric(
        "Value of the Goal", readonly=True,
        states={
            'invisible': Eval('ended') != 'goal',
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t,
                (t.goal_activity, Index.Equality()),
                (t.scenario, Index.Equality()),
                where=t.goal_activity != Null))

    @classmethod
    def end(cls, ids, reason):
        records = super().end(ids, reason)
        if reason == 'goal' and records:
            cls._note_goals(records)
        return records

    @classmethod
    def _note_goals(cls, records):
        "Store after what the records have reached the goal, and its value"
        activities = cls._last_activities(records)
        for record in records:
            record.goal_activity = activities.get(record.id)
            if field := record.scenario.goal_field:
                with Transaction().set_context(record.reading_context):
                    resource = record.record.__class__(record.record.id)
                    record.goal_value = getattr(resource, field)
        cls.save(records)

    @classmethod
    def _last_activities(cls, records):
        "Return {record: the activity that was done last}, as ids"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(activity, condition=table.activity == activity.id)
            .select(
                table.record, table.activity,
                where=fields.SQL_OPERATORS['in'](
                    table.record, [r.id for r in records])
                & table.state.in_(['delivered', 'done'])
                # A split only says what comes next
                & (activity.action != Null) & (activity.action != 'split'),
                order_by=[table.at.asc, table.id.asc]))
        return dict(cursor)

    @classmethod
    def resume(cls, records):
        super().resume(records)
        cls.write(records, {'goal_activity': None, 'goal_value': None})


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def facts(cls, activity, ids):
        facts = super().facts(activity, ids)
        scenario = activity.scenario
        domain = scenario.filter_domain('goal')
        if domain is not None:
            # Who has reached the goal may not stay either, but does not leave
            facts['ending'].update(dict.fromkeys(
                    cls.matching(ids, scenario, domain, scenario.goal_counts),
                    'goal'))
        return facts


class Journey(metaclass=PoolMeta):
    __name__ = 'marketing.automation.journey'

    def _describe_goal(self, subjects):
        record = self.record
        name = 'goal' if record.goal_activity else 'goal_before'
        value = ''
        if record.goal_value is not None:
            name += '_value'
            value = Report.format_number(record.goal_value, None, digits=2)
        return gettext(
            f'marketing_automation.msg_journey_{name}',
            activity=(record.goal_activity.rec_name
                if record.goal_activity else ''),
            value=value)


def _reach_running():
    "Let end who has reached the goal of a running scenario"
    for scenario in look(_with_goal):
        try:
            while commit(_reach, scenario):
                pass
        except backend.DatabaseOperationalError:
            raise
        except Exception:
            logger.error(
                "the goal of scenario %s failed", scenario, exc_info=True)


def _with_goal():
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    return [s.id for s in Scenario.search([
                ('state', '=', 'running'),
                ('goal_mode', '!=', None),
                ])]


def _reach(scenario):
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    return Scenario(scenario).reach_goal()


def _decimal(value):
    "Return the sum, which SQLite has as float"
    return None if value is None else Decimal(str(value)).quantize(
        Decimal('0.01'))
