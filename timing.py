# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Activities that are due by a date of the record instead of after a delay"""
import datetime as dt

from sql import Null

from trytond.i18n import gettext, ngettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from . import schedule
from .exceptions import RunError
from .field_value import is_readable, label
from .flow import EVENTS

DATES = {'date', 'datetime', 'timestamp'}
# What says when an activity is due
TIMING = {
    'timing', 'date_field', 'date_number', 'date_unit', 'date_side',
    'date_time'}
_is_by_date = Eval('timing').in_(['date', 'anniversary'])
_by_date = {
    'invisible': ~_is_by_date,
    'required': _is_by_date,
    }
_optional = {
    'invisible': ~_is_by_date,
    }


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        # Activities of what is not saved yet can not read it
        cls.activities.context = {
            **(cls.activities.context or {}),
            'marketing_model': Eval('model'),
            }
        cls.activities.depends.add('model')

    def check_run(self):
        super().check_run()
        for activity in self.all_activities:
            if activity.is_by_date and activity.date_field not in dict(
                    activity.get_date_fields()):
                raise RunError(gettext(
                        'marketing_automation.msg_run_no_date',
                        activity=activity.rec_name))


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    timing = fields.Selection([
            ('delay', "After a Delay"),
            ('date', "By a Date"),
            ('anniversary', "Each Year by a Date"),
            ('until', "Until a Condition"),
            ], "When", required=True, sort=False,
        help="By a Date: once, by a date of the record.\n"
        "Each Year by a Date: on the next anniversary of the date.\n"
        "Until a Condition: what follows depends on whether it "
        "is before the time is up.")
    model = fields.Function(fields.Char("Model"), 'on_change_with_model')
    stored_date_field = fields.Function(
        fields.Char("Stored Date"), 'get_stored_date_field')
    date_field = fields.Selection(
        'get_date_fields', "Date", sort=False, states=_by_date,
        help="If it changes while a record waits, so does the wait.")
    date_number = fields.Integer(
        "How Long",
        domain=['OR',
            ('date_number', '=', None),
            [('date_number', '>=', 0), ('date_number', '<=', 10_000)],
            ],
        states=_optional, help="Leave empty for the date itself.")
    date_unit = fields.Selection([
            ('hours', "Hours"),
            ('days', "Days"),
            ('weeks', "Weeks"),
            ('months', "Months"),
            ], "Unit", sort=False, states=_by_date)
    date_side = fields.Selection([
            ('before', "before"),
            ('after', "after"),
            ], "Before or After", sort=False, states=_by_date)
    date_time = fields.Time(
        "At", format='%H:%M', states=_optional,
        help="By the clock of the recipient.\n"
        "Leave empty for the time that the date itself has, "
        "or for the start of the day.")

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        # Migration from the published module: the column is new
        cursor.execute(*table.update(
                [table.timing], ['delay'], where=table.timing == Null))
        cls.__table_handler__(module).not_null_action('timing', 'add')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['delay', 'delay_number', 'delay_unit']:
            field = getattr(cls, name)
            field.states['invisible'] = _is_by_date
            if 'required' in field.states:
                field.states['required'] &= ~_is_by_date

    @classmethod
    def default_timing(cls):
        return 'delay'

    @classmethod
    def default_model(cls):
        return Transaction().context.get('marketing_model')

    @classmethod
    def default_date_unit(cls):
        return 'days'

    @classmethod
    def default_date_side(cls):
        return 'before'

    @classmethod
    def default_date_time(cls):
        return dt.time(9)

    @fields.depends(
        'timing', 'date_field', 'date_unit', 'date_side', 'date_time')
    def on_change_timing(self):
        if self.is_by_date and not self.date_field:
            # Of an activity that is older than the fields as well
            self.date_unit = self.date_unit or self.default_date_unit()
            self.date_side = self.date_side or self.default_date_side()
            self.date_time = self.date_time or self.default_date_time()

    @fields.depends('scenario', '_parent_scenario.model', 'parent')
    def on_change_with_model(self, name=None):
        if self.scenario:
            return self.scenario.model
        parent = self.parent
        if not parent or parent.id is None or parent.id < 0:
            return self.default_model()
        return parent.model

    def get_stored_date_field(self, name):
        return self.date_field

    @fields.depends('model', 'stored_date_field')
    def get_date_fields(self):
        pool = Pool()
        result = [(None, "")]
        if name := getattr(self, 'model', None):
            Model = pool.get(name)
            # Also the one that somebody with more access has chosen
            stored = getattr(self, 'stored_date_field', None)
            result += [
                (path, label(Model, path)) for path in _date_paths(Model)
                if path == stored or is_readable(Model, path)]
        return result

    @property
    def is_by_date(self):
        return self.timing in {'date', 'anniversary'}

    @fields.depends(
        'timing', 'model', 'date_field', 'date_side', 'date_time',
        methods=['flow_distance', '_flow_event'])
    def flow_moment(self):
        if not self.is_by_date:
            return super().flow_moment()
        Model = Pool().get(self.model) if self.model else None
        parts = ['yearly' if self.timing == 'anniversary' else 'date']
        if distance := self.flow_distance():
            parts.append(self.date_side or 'after')
        when = gettext(
            f'marketing_automation.msg_flow_{"_".join(parts)}',
            delay=distance,
            date=(label(Model, self.date_field)
                if Model and self.date_field else '…'))
        if self.date_time is not None:
            when = gettext(
                'marketing_automation.msg_flow_time',
                when=when, time=self.date_time.strftime('%H:%M'))
        return self._flow_event(when)

    @fields.depends('event', 'negative')
    def _flow_event(self, when):
        "Return when, after the event if there is one"
        if self.event not in EVENTS:
            return when
        name = f'{self.event}_not' if self.negative else self.event
        return gettext(
            'marketing_automation.msg_flow_event',
            event=gettext(
                f'marketing_automation.msg_flow_when_{name}_now'),
            when=when)

    @fields.depends('date_number', 'date_unit')
    def flow_distance(self):
        "Return how long before or after the date, or None"
        if self.date_number and self.date_unit:
            return ngettext(
                f'marketing_automation.msg_flow_delay_{self.date_unit}',
                self.date_number, count=self.date_number)

    def due(self, base):
        # The date is looked at later, of many records at once
        return None if self.is_by_date else super().due(base)

    @property
    def appointment(self):
        "The schedule.Appointment"
        number = self.date_number or 0
        return schedule.Appointment(
            -number if self.date_side == 'before' else number,
            self.date_unit, self.date_time, self.timing == 'anniversary')

    def date_of(self, resource):
        "Return the date or datetime of what is in the scenario, or None"
        value = resource
        for name in self.date_field.split('.'):
            value = value and getattr(value, name)
        return value

    def due_by_date(self, resource, since):
        """Return when it is due for the resource, None if nobody knows

        since -- each year, the first time from then on
        """
        if (value := self.date_of(resource)) is None:
            return None
        try:
            return self.appointment.at(
                value, self.scenario.time_zone(resource), since)
        except (OverflowError, ValueError):
            # There is no such day
            return None

    @classmethod
    def on_modification(cls, mode, activities, field_names=None):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        super().on_modification(mode, activities, field_names=field_names)
        if mode == 'write' and field_names & TIMING:
            RecordActivity.replan(activities)


def _date_paths(Model):
    "Yield the paths of the dates that the database has of a record"
    yield from _dates(Model)
    Party = Pool().get('party.party')
    if Model is not Party and hasattr(Model, 'column_marketing_party'):
        for name in _dates(Party):
            yield f'marketing_party.{name}'


def _dates(Model):
    "Return the names of the stored dates of the model, as they are called"
    return sorted((
            name for name, field in Model._fields.items()
            if field._type in DATES
            and not isinstance(field, fields.Function)
            and name != 'write_date'),
        key=lambda name: label(Model, name))
