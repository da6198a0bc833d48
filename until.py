# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Activities that wait until their records fulfil a condition

The condition is a domain, so that one query an activity finds those of the
waiting that fulfil it by now, however many wait.  The delay of the activity
is its time-out.  What follows depends on which of the two came first.
"""
from sql import Cast, Literal
from sql.operators import Concat

from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

from . import clock, pyson_source
from .audience import Audience, DomainProblem, check_domain, is_empty
from .condition import Decoder, source_problem
from .criterion import CriterionMixin
from .exceptions import ActivityError, DomainError
from .record_filter import MODES
from .waiting import SLICE

EVENT = 'fulfilled'
_is_until = Eval('timing') == 'until'


def _mode(mode):
    "Return the states of what says the condition in the mode"
    return {
        'invisible': ~_is_until | (Eval('until_mode') != mode),
        }


class Criterion(CriterionMixin, ModelSQL, ModelView):
    __name__ = 'marketing.automation.activity.criterion'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, ondelete='CASCADE')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('activity')

    @property
    def scenario(self):
        return self.activity.scenario

    @fields.depends('activity', '_parent_activity.model')
    def on_change_with_model(self, name=None):
        activity = getattr(self, 'activity', None)
        return activity and activity.model or self.default_model()

    @classmethod
    def validate_fields(cls, criteria, field_names):
        super().validate_fields(criteria, field_names)
        for activity in {c.activity for c in criteria}:
            activity.check_until()


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    until_mode = fields.Selection(
        [(None, ""), *MODES], "Wait Until", sort=False,
        states={
            'invisible': ~_is_until,
            'required': _is_until,
            },
        help="What the record must fulfil for the wait to end "
        "before its time is up.")
    until_criteria = fields.One2Many(
        'marketing.automation.activity.criterion', 'activity', "Criteria",
        states=_mode('criteria'),
        context={
            'marketing_model': Eval('model'),
            },
        depends=['model'],
        help="The wait ends as soon as the record fulfils all of them.")
    until_domain = fields.Char("Domain to Wait for")
    until_source = fields.Function(fields.Text(
            "Expert Filter", states=_mode('expert'),
            help="The wait ends as soon as the record matches.\n"
            "Each clause has a field, an operator and a value:\n"
            "[('state', 'in', ['confirmed', 'processing'])]"),
        'get_until_source', setter='set_until_source')
    parent_timing = fields.Function(
        fields.Char("Parent Timing"), 'on_change_with_parent_timing')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.action.domain = [
            cls.action.domain or [],
            If(_is_until, ('action', '=', None), ()),
            ]
        cls.action.depends.add('timing')
        cls.event.selection += [(EVENT, "Condition Fulfilled")]
        cls.on.selection += [
            (EVENT, "Condition Fulfilled"),
            (f'{EVENT}_not', "Time Is Up"),
            ]
        for name, values in [
                ('event', [EVENT]), ('on', [EVENT, f'{EVENT}_not'])]:
            field = getattr(cls, name)
            field.domain = [If(Eval('parent_timing') == 'until',
                    [(name, 'in', [*values, None])],
                    field.domain[0])]
            field.depends.add('parent_timing')
        for name in ['delay', 'delay_number']:
            states = getattr(cls, name).states
            # What follows the end of a wait may follow at once
            states['required'] = _is_until | (
                states['required'] & (Eval('event') != EVENT))
        cls.children.context = {
            **cls.children.context,
            'marketing_parent_timing': Eval('timing'),
            }
        cls.children.depends.add('timing')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('//group[@id="until"]', 'states', {
                    'invisible': ~_is_until,
                    }),
            ('//label[@id="time_out"]', 'states', {
                    'invisible': ~_is_until,
                    }),
            ('/form//label[@name="delay_number"]', 'states', {
                    'invisible': Eval('timing') != 'delay',
                    }),
            ]

    @classmethod
    def default_until_mode(cls):
        return 'criteria'

    @classmethod
    def default_parent_timing(cls):
        return Transaction().context.get('marketing_parent_timing')

    @fields.depends('parent')
    def on_change_with_parent_timing(self, name=None):
        parent = self.parent
        if not parent or parent.id is None or parent.id < 0:
            return self.default_parent_timing()
        if isinstance(parent, self.__class__):
            return parent.timing

    @fields.depends('timing', 'action', 'until_mode')
    def on_change_timing(self):
        super().on_change_timing()
        if self.timing == 'until':
            # What follows has the actions
            self.action = None
            self.until_mode = self.until_mode or self.default_until_mode()

    def get_until_source(self, name):
        domain = self.until_domain
        return pyson_source.decode(domain) if domain else ''

    @classmethod
    def set_until_source(cls, activities, name, value):
        domain = None
        if value and value.strip():
            try:
                domain = pyson_source.encode(value)
            except pyson_source.SourceError as exception:
                activities[0]._until_error(
                    source_problem(exception), exception)
        cls.write(activities, {'until_domain': domain})

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        if not field_names or field_names & {
                'timing', 'parent', 'until_mode', 'until_criteria',
                'until_domain'}:
            for activity in activities:
                activity.check_until()

    def check_until(self):
        "Raise an error unless the condition can be searched with"
        if self.timing != 'until':
            self._check_branches()
        elif self.until_mode == 'criteria':
            self._check_criteria()
        else:
            self._check_domain()

    def _check_branches(self):
        for child in self.children:
            if child.event == EVENT:
                raise ActivityError(gettext(
                        'marketing_automation.msg_until_branch',
                        activity=self.rec_name,
                        child=child.rec_name))

    def _check_criteria(self):
        if not self.until_criteria:
            self._until_error(
                gettext('marketing_automation.msg_filter_empty'))
        for number, criterion in enumerate(self.until_criteria, 1):
            if criterion.lacking:
                self._until_error(gettext(
                        'marketing_automation.msg_until_line',
                        number=number))

    def _check_domain(self):
        if is_empty(self.until_domain):
            self._until_error(
                gettext('marketing_automation.msg_filter_empty'))
        try:
            check_domain(self.target_model, self.until_domain)
        except DomainProblem as problem:
            self._until_error(str(problem), problem)

    def _until_error(self, problem, exception=None):
        raise DomainError(gettext(
                'marketing_automation.msg_until_invalid',
                activity=self.rec_name,
                problem=problem)) from exception

    @property
    def awaited(self):
        "The domain that ends the wait"
        stored = (
            self.scenario.criteria_domain(self.until_criteria)
            if self.until_mode == 'criteria' else self.until_domain)
        return Decoder().decode(stored)

    @fields.depends('timing', methods=['flow_delay', '_flow_event'])
    def flow_moment(self):
        if self.timing != 'until':
            return super().flow_moment()
        return self._flow_event(gettext(
                'marketing_automation.msg_flow_until',
                delay=self.flow_delay() or '…'))


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    fulfilled = fields.Boolean(
        "Fulfilled", readonly=True,
        help="Whether the condition was fulfilled before the time was up.")

    @classmethod
    def default_fulfilled(cls):
        return False

    @classmethod
    def _row_values(cls, **values):
        return super()._row_values(**{'fulfilled': False, **values})

    @classmethod
    def _settle_until(cls, activity, record):
        "End some waits, return if there are more"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        ids = cls._fulfilling(Activity(activity), record)
        cls.fulfil(ids)
        return len(ids) == SLICE

    @classmethod
    def _fulfilling(cls, activity, record):
        "Return the ids of some that wait and fulfil the condition by now"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        scenario = activity.scenario
        table = cls.__table__()
        entry = Record.__table__()
        found = Audience(scenario, activity.awaited).search(
            order=[], query=True)
        # As references, to look them up by their index
        references = found.select(
            Concat(scenario.model + ',', Cast(found.id, 'VARCHAR')))
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(entry, condition=table.record == entry.id)
            .select(
                table.id,
                where=cls._unclaimed(table, activity, record)
                & (table.fulfilled != Literal(True))
                & (entry.scenario == scenario.id)
                & entry.record.in_(references),
                limit=SLICE))
        return [id_ for id_, in cursor]

    @classmethod
    def fulfil(cls, ids):
        "Let the waits of the ids end, as their condition is fulfilled"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        if ids:
            cursor.execute(*table.update(
                    [table.fulfilled, table.at],
                    [True, clock.now().replace(microsecond=0)],
                    where=fields.SQL_OPERATORS['in'](table.id, ids)
                    & (table.state == 'waiting')))
        Transaction().counter += 1

    @classmethod
    def _leading_to(cls, child, table, ids):
        if child.event != EVENT:
            return super()._leading_to(child, table, ids)
        return (fields.SQL_OPERATORS['in'](table.id, ids)
            & (table.fulfilled == Literal(not child.negative)))

    def get_explanation(self, name):
        if self.activity.timing == 'until':
            if self.state == 'waiting' and not self.reason:
                return gettext(
                    'marketing_automation.msg_explanation_waiting_until')
            if self.state == 'done':
                name = 'fulfilled' if self.fulfilled else 'timed_out'
                return gettext(
                    f'marketing_automation.msg_explanation_done_{name}')
        return super().get_explanation(name)
