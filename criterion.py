# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A criterion by which who enters is chosen: a field, an operator, a value"""
import datetime as dt
from decimal import Decimal

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Date, DateTime
from trytond.tools import escape_wildcard
from trytond.transaction import Transaction

from .field_value import VALUES, FieldValueMixin, value_states

_DAY = dt.timedelta(days=1)
MAX_DAYS = 36_500


def _or_empty(operator):
    "Return the clauses of what is denied: what is empty is not the value"
    return lambda f, v: [['OR', (f, operator, v), (f, '=', None)]]


def _pattern(pattern, clauses):
    return lambda f, v: clauses(f, pattern % escape_wildcard(v))


def _ilike(f, v):
    return [(f, 'ilike', v)]


_EMPTY = {
    'empty': (None, lambda f, v: [(f, '=', None)]),
    'not_empty': (None, lambda f, v: [(f, '!=', None)]),
    }
_NUMBER = {
    'is': ('number', lambda f, v: [(f, '=', v)]),
    'at_least': ('number', lambda f, v: [(f, '>=', v)]),
    'at_most': ('number', lambda f, v: [(f, '<=', v)]),
    }
# {type of the field: {operator: (name of the value, its clauses)}}
# The name 'record' stands for the field of what is chosen
OPERATORS = {
    'boolean': {
        'yes': (None, lambda f, v: [(f, '=', True)]),
        'no': (None, lambda f, v: [(f, '=', False)]),
        },
    'char': {
        'is': ('text', _pattern('%s', _ilike)),
        'is_not': ('text', _pattern('%s', _or_empty('not ilike'))),
        'contains': ('text', _pattern('%%%s%%', _ilike)),
        'contains_not': ('text', _pattern('%%%s%%', _or_empty('not ilike'))),
        'starts': ('text', _pattern('%s%%', _ilike)),
        **_EMPTY,
        },
    'date': {
        'last': ('days', lambda f, v: [
                (f, '>=', Date(delta_days=-v)), (f, '<=', Date())]),
        'ago': ('days', lambda f, v: [(f, '<', Date(delta_days=-v))]),
        'from': ('date', lambda f, v: [(f, '>=', v)]),
        'until': ('date', lambda f, v: [(f, '<=', v)]),
        **_EMPTY,
        },
    'timestamp': {
        'last': ('days', lambda f, v: [(f, '>=', DateTime(delta_days=-v))]),
        'ago': ('days', lambda f, v: [(f, '<', DateTime(delta_days=-v))]),
        'from': ('date', lambda f, v: [(f, '>=', v)]),
        'until': ('date', lambda f, v: [(f, '<', v + _DAY)]),
        },
    'integer': _NUMBER,
    'numeric': _NUMBER,
    'selection': {
        'is': ('choice', lambda f, v: [(f, '=', v)]),
        'is_not': ('choice', _or_empty('!=')),
        },
    'many2one': {
        'is': ('record', lambda f, v: [(f, '=', v)]),
        'is_not': ('record', _or_empty('!=')),
        **_EMPTY,
        },
    # Such as categories, of which each stands also for those below it
    'many2many': {
        'is': ('record', lambda f, v: [(f, 'child_of', [v], 'parent')]),
        'is_not': (
            'record', lambda f, v: [(f, 'not child_of', [v], 'parent')]),
        **_EMPTY,
        },
    }


class CriterionMixin(FieldValueMixin):
    """What a record of the model of a scenario must fulfil

    scenario -- the scenario to which it belongs
    """
    __slots__ = ()
    operators = OPERATORS
    values = [*VALUES, 'language', 'country', 'category']

    operator = fields.Selection([
            (None, ""),
            ('is', "is"),
            ('is_not', "is not"),
            ('contains', "contains"),
            ('contains_not', "does not contain"),
            ('starts', "starts with"),
            ('at_least', "is at least"),
            ('at_most', "is at most"),
            ('last', "in the last … days"),
            ('ago', "more than … days ago"),
            ('from', "on or after"),
            ('until', "on or before"),
            ('yes', "yes"),
            ('no', "no"),
            ('empty', "is empty"),
            ('not_empty', "is not empty"),
            ], "Operator", sort=False)  # domain set by OPERATORS
    language = fields.Many2One(
        'ir.lang', "Language", ondelete='RESTRICT',
        states=value_states('language'))
    country = fields.Many2One(
        'country.country', "Country", ondelete='RESTRICT',
        states=value_states('country'))
    category = fields.Many2One(
        'party.category', "Category", ondelete='RESTRICT',
        states=value_states('category'),
        help="It stands also for the categories below it.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.days.domain = ['OR',
            ('days', '=', None),
            [('days', '>', 0), ('days', '<=', MAX_DAYS)],
            ]

    def _offered(self):
        return self._model.marketing_criteria()

    def clauses(self):
        "Return its clauses of the domain"
        _, clauses = self._operators[self.operator]
        name = self.on_change_with_value_name()
        value = self._comparable(getattr(self, name)) if name else None
        return clauses(self.field, value)

    def _comparable(self, value):
        "Return the value as the field is compared with it"
        if isinstance(value, ModelSQL):
            return value.id
        if isinstance(value, Decimal):
            return int(value) if value == int(value) else float(value)
        if isinstance(value, dt.date) and self._field._type == 'timestamp':
            return self.scenario.start_of_day(value)
        return value


class Criterion(CriterionMixin, ModelSQL, ModelView):
    __name__ = 'marketing.automation.criterion'

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        required=True, ondelete='CASCADE')
    purpose = fields.Char(
        "Purpose",
        help="What it decides about, empty for who enters.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('scenario')

    @classmethod
    def default_purpose(cls):
        return Transaction().context.get('marketing_purpose')

    @fields.depends('scenario', '_parent_scenario.model')
    def on_change_with_model(self, name=None):
        scenario = getattr(self, 'scenario', None)
        return scenario.model if scenario else self.default_model()

    @classmethod
    def validate_fields(cls, criteria, field_names):
        super().validate_fields(criteria, field_names)
        for scenario in {c.scenario for c in criteria}:
            scenario.check_criteria()

    @classmethod
    def on_modification(cls, mode, criteria, field_names=None):
        super().on_modification(mode, criteria, field_names=field_names)
        if mode in {'create', 'write'}:
            cls._update_domains({c.scenario for c in criteria})

    @classmethod
    def on_delete(cls, criteria):
        callbacks = super().on_delete(criteria)
        scenarios = {c.scenario for c in criteria}
        callbacks.append(lambda: cls._update_domains(scenarios))
        return callbacks

    @classmethod
    def _update_domains(cls, scenarios):
        "Let the domains of those scenarios follow that stay"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        deleted = Transaction().delete_records[Scenario.__name__]
        # What is between two changes of many is nothing to ask about
        with Transaction().set_context(_skip_warnings=True):
            Scenario.apply_criteria([
                    s for s in scenarios if s.id not in deleted])
