# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What an activity puts into a field, or tells of it"""
import datetime as dt
from decimal import Decimal

from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.report import Report
from trytond.transaction import Transaction

from . import clock
from .acting import forbidden
from .exceptions import ActionError, Failure
from .field_value import VALUES, FieldValueMixin, value_states
from .mail import message
from .mixin import ActivityActionMixin
from .preview import is_saved

MAX_DAYS = 36_500
RECORD = 'record'


def _to(name):
    return {'to': (name, lambda old, value: value)}


_EMPTY = {'empty': (None, lambda old, value: None)}
_NUMBER = {
    **_to('number'),
    'increase': ('number', lambda old, value: (old or 0) + value),
    **_EMPTY,
    }
# {type of the field: {operator: (name of the value, what becomes of the
# value that the field has)}}
OPERATORS = {
    'boolean': {
        'yes': (None, lambda old, value: True),
        'no': (None, lambda old, value: False),
        },
    'char': {**_to('text'), **_EMPTY},
    'text': {
        **_to('content'),
        'append': (
            'content', lambda old, value: f'{old}\n{value}' if old else value),
        **_EMPTY,
        },
    'date': {
        'today': ('days', lambda old, value: (
                clock.now().date() + dt.timedelta(days=value))),
        **_to('date'),
        **_EMPTY,
        },
    'integer': _NUMBER,
    'float': _NUMBER,
    'numeric': _NUMBER,
    'selection': {**_to('choice'), **_EMPTY},
    'many2one': {**_to(RECORD), **_EMPTY},
    }
CONVERT = {'integer': int, 'float': float}


class ActivityValue(
        ActivityActionMixin, FieldValueMixin, ModelSQL, ModelView):
    __name__ = 'marketing.automation.activity.value'
    operators = OPERATORS
    values = [*VALUES, 'content', RECORD]

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, ondelete='CASCADE')
    operator = fields.Selection([
            (None, ""),
            ('to', "becomes"),
            ('today', "becomes today plus … days"),
            ('increase', "increases by"),
            ('append', "gets a further line"),
            ('yes', "becomes yes"),
            ('no', "becomes no"),
            ('empty', "becomes empty"),
            ], "Operator", sort=False)  # domain set by OPERATORS
    content = fields.Text("Text", states=value_states('content'))
    record = fields.Reference(
        "Record", selection='get_targets', states=value_states(RECORD))

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('activity')
        cls.days.domain = ['OR',
            ('days', '=', None),
            [('days', '>=', -MAX_DAYS), ('days', '<=', MAX_DAYS)],
            ]

    @classmethod
    def default_activity_action(cls):
        return Transaction().context.get('marketing_action')

    @fields.depends('activity', '_parent_activity.values_model')
    def on_change_with_model(self, name=None):
        activity = getattr(self, 'activity', None)
        return activity.values_model if activity else self.default_model()

    @fields.depends('model', 'stored_field', 'activity_action')
    def get_fields(self):
        return super().get_fields()

    def _offered(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        action = getattr(self, 'activity_action', None)
        if not action and self.activity:
            action = self.activity.action
        return Activity.value_fields(action, self._model)

    def _is_offered(self, Model, path):
        return self.activity_action != 'set_fields' or not forbidden(
            Model, 'write', [path])

    @fields.depends('model', 'activity_action')
    def get_targets(self):
        pool = Pool()
        Model = pool.get('ir.model')
        result = [(None, "")]
        if self._model:
            fields = map(self._model._fields.get, self._offered())
            names = {f.model_name for f in fields if f._type == 'many2one'}
            result += sorted(
                ((n, Model.get_name(n)) for n in names), key=lambda t: t[1])
        return result

    def _record_name(self):
        return RECORD

    @fields.depends(RECORD, methods=['on_change_with_kind'])
    def on_change_field(self):
        super().on_change_field()
        if self.on_change_with_kind() == 'many2one':
            self.record = f'{self._field.model_name},-1'

    @property
    def lacking(self):
        lacking = super().lacking
        if not lacking and self.value_name == RECORD:
            # One of no record is only the name of a model
            if (not isinstance(self.record, ModelSQL)
                    or not is_saved(self.record)
                    or self.record.__name__ != self._field.model_name):
                return 'value'
        return lacking

    def check(self, number):
        "Raise an error if the line can not be used"
        if lacking := self.lacking:
            self._error(f'no_{lacking}', number)
        if self.operator == 'empty' and self._field.required:
            self._error('empty', number)
        for name in ['text', 'content']:
            if source := getattr(self, name):
                self.activity.check_source(
                    'action_text', message.text, source)

    def _error(self, problem, number):
        raise ActionError(gettext(
                f'marketing_automation.msg_action_value_{problem}',
                activity=self.activity.rec_name,
                number=number,
                field=self.field_string))

    def new_value(self, old, record):
        """Return what is written where there was the old value

        record -- the marketing.automation.record
        """
        name = self.value_name
        value = self._rendered(name, record) if name else None
        _, change = self._operators[self.operator]
        value = change(old, value)
        if value is not None and (convert := CONVERT.get(self.kind)):
            value = convert(value)
        return value

    def _rendered(self, name, record):
        value = getattr(self, name)
        if name in {'text', 'content'}:
            return self.activity.render_text(value, record)
        if name == RECORD:
            if not value:
                raise Failure('change', self.field_string)
            return value.id
        if isinstance(value, Decimal) and self.kind != 'numeric':
            return CONVERT[self.kind](value)
        return value

    def shown_value(self):
        "Return the value as people read it"
        name = self.value_name
        value = getattr(self, name) if name else None
        if isinstance(value, dt.date):
            return Report.format_date(value)
        if isinstance(value, Decimal):
            return Report.format_number(value, None, digits=self.digits)
        if name == 'choice':
            return dict(self.get_choices()).get(value, value)
        return value.rec_name if isinstance(value, ModelSQL) else value
