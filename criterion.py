# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A criterion by which who enters is chosen: a field, an operator, a value"""
import datetime as dt
from decimal import Decimal

from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.pyson import Date, DateTime, Eval, If
from trytond.tools import escape_wildcard
from trytond.transaction import Transaction

_DAY = dt.timedelta(days=1)
MAX_DAYS = 36_500
VALUES = [
    'text', 'number', 'days', 'date', 'choice', 'language', 'country',
    'category']


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


def _value(name):
    "Return the states of the value, which depends on the operator"
    return {
        'invisible': Eval('value_name') != name,
        }


class Criterion(ModelSQL, ModelView):
    __name__ = 'marketing.automation.criterion'

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        required=True, ondelete='CASCADE')
    # The methods of selections depend on what does not change while a client
    # waits for their answer, otherwise it would wait for ever
    model = fields.Function(fields.Char("Model"), 'on_change_with_model')
    stored_field = fields.Function(
        fields.Char("Stored Field"), 'get_stored_field')
    field = fields.Selection('get_fields', "Field", sort=False)
    field_string = field.translated('field')
    kind = fields.Function(fields.Char("Kind"), 'on_change_with_kind')
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
    value_name = fields.Function(fields.Char(
            "Value Name"), 'on_change_with_value_name')
    text = fields.Char("Text", states=_value('text'))
    number = fields.Numeric(
        "Number", digits=(16, Eval('digits', 2)), states=_value('number'))
    digits = fields.Function(fields.Integer(
            "Digits"), 'on_change_with_digits')
    days = fields.Integer(
        "Days",
        domain=['OR',
            ('days', '=', None),
            [('days', '>', 0), ('days', '<=', MAX_DAYS)],
            ],
        states=_value('days'))
    date = fields.Date("Date", states=_value('date'))
    choice = fields.Selection(
        'get_choices', "Choice", sort=False, states=_value('choice'))
    language = fields.Many2One(
        'ir.lang', "Language", ondelete='RESTRICT', states=_value('language'))
    country = fields.Many2One(
        'country.country', "Country", ondelete='RESTRICT',
        states=_value('country'))
    category = fields.Many2One(
        'party.category', "Category", ondelete='RESTRICT',
        states=_value('category'),
        help="It stands also for the categories below it.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('scenario')
        cls._order = [('id', 'ASC')]
        domain = [('operator', '=', None)]
        for kind, operators in OPERATORS.items():
            domain = If(Eval('kind') == kind,
                [('operator', 'in', [*operators, None])],
                domain)
        cls.operator.domain = [domain]

    def get_rec_name(self, name):
        return self.field_string

    @classmethod
    def default_model(cls):
        return Transaction().context.get('marketing_model')

    @fields.depends('scenario', '_parent_scenario.model')
    def on_change_with_model(self, name=None):
        return self.scenario.model if self.scenario else self.default_model()

    def get_stored_field(self, name):
        return self.field

    @property
    def _model(self):
        "The model whose records are chosen, or None"
        pool = Pool()
        name = getattr(self, 'model', None)
        if not name and (scenario := getattr(self, 'scenario', None)):
            name = scenario.model
        return pool.get(name) if name else None

    @property
    def _path(self):
        """The [(model, name)] of which the last is the field that is compared

        It is empty as long as no field is chosen.
        """
        return list(_walk(self._model, self.field)) if self.field else []

    @property
    def _field(self):
        "The field that is compared, or None"
        if path := self._path:
            Model, name = path[-1]
            return Model._fields[name]

    @property
    def _operators(self):
        "The {operator: (name of the value, its clauses)} of the field"
        return OPERATORS.get(self.on_change_with_kind(), {})

    @fields.depends('model', 'stored_field')
    def get_fields(self):
        result = [(None, "")]
        if Model := self._model:
            # Also the one that somebody with more access has chosen
            stored = getattr(self, 'stored_field', None)
            result += [
                (path, _label(Model, path))
                for path in Model.marketing_criteria()
                if path == stored or _is_readable(Model, path)]
        return result

    @fields.depends('model', 'field')
    def on_change_with_kind(self, name=None):
        return self._field._type if self._field else None

    @fields.depends('model')
    def get_choices(self):
        result = [(None, "")]
        if Model := self._model:
            for path in Model.marketing_criteria():
                *_, (Target, name) = _walk(Model, path)
                if Target._fields[name]._type == 'selection':
                    result += Target.fields_get([name])[name]['selection']
        return result

    @fields.depends('operator', methods=['on_change_with_kind'])
    def on_change_with_value_name(self, name=None):
        value, _ = self._operators.get(self.operator, (None, None))
        if value == 'record':
            target = self._field.get_target().__name__
            value = next(
                name for name, field in self._fields.items()
                if field._type == 'many2one' and field.model_name == target)
        return value

    @fields.depends(methods=['on_change_with_kind'])
    def on_change_with_digits(self, name=None):
        return 0 if self.on_change_with_kind() == 'integer' else 2

    @fields.depends('operator', methods=['on_change_with_kind'])
    def on_change_field(self):
        operators = list(self._operators)
        if self.operator not in operators:
            self.operator = operators[0] if operators else None
        # Nothing stays of what the field before was compared with
        for name in VALUES:
            setattr(self, name, None)

    @property
    def lacking(self):
        "What is still to be chosen: 'field', 'operator', 'value' or None"
        if (not self.field or not self._model
                or self.field not in self._model.marketing_criteria()):
            return 'field'
        if self.operator not in self._operators:
            return 'operator'
        name = self.on_change_with_value_name()
        if name and getattr(self, name, None) in {None, ''}:
            return 'value'

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


def _walk(Model, path):
    "Yield the (model, name) of each field of the path"
    for name in path.split('.'):
        if not Model or name not in Model._fields:
            return
        yield Model, name
        field = Model._fields[name]
        Model = field.get_target() if hasattr(field, 'get_target') else None


def _label(Model, path):
    "Return what the field is called, after what it belongs to"
    pool = Pool()
    ModelName = pool.get('ir.model')
    (First, first), *nested = _walk(Model, path)
    if not nested:
        return First.__names__(first)['field']
    return ': '.join(
        [ModelName.get_name(nested[0][0].__name__)]
        + [M.__names__(n)['field'] for M, n in nested])


def _is_readable(Model, path):
    "Return if the user may read each field of the path"
    pool = Pool()
    FieldAccess = pool.get('ir.model.field.access')
    return all(
        FieldAccess.check(M.__name__, [n], raise_exception=False)
        for M, n in _walk(Model, path))
