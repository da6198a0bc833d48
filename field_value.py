# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Lines of a field, an operator and a value, as people read and fill them"""
from trytond.model import fields
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

VALUES = ['text', 'number', 'days', 'date', 'choice']


def value_states(name):
    "Return the states of the value, which depends on the operator"
    return {
        'invisible': Eval('value_name') != name,
        }


class FieldValueMixin:
    "A line about a field of the records of a model"
    __slots__ = ()

    # {type of the field: {operator: (name of the value, function)}}
    # The name 'record' stands for the field of what is chosen
    operators = {}
    # The fields that hold a value
    values = VALUES

    # The methods of selections depend on what does not change while a client
    # waits for their answer, otherwise it would wait for ever
    model = fields.Function(fields.Char("Model"), 'on_change_with_model')
    stored_field = fields.Function(
        fields.Char("Stored Field"), 'get_stored_field')
    field = fields.Selection('get_fields', "Field", sort=False)
    field_string = field.translated('field')
    kind = fields.Function(fields.Char("Kind"), 'on_change_with_kind')
    value_name = fields.Function(fields.Char(
            "Value Name"), 'on_change_with_value_name')
    text = fields.Char("Text", states=value_states('text'))
    number = fields.Numeric(
        "Number", digits=(16, Eval('digits', 2)),
        states=value_states('number'))
    digits = fields.Function(fields.Integer(
            "Digits"), 'on_change_with_digits')
    days = fields.Integer("Days", states=value_states('days'))
    date = fields.Date("Date", states=value_states('date'))
    choice = fields.Selection(
        'get_choices', "Choice", sort=False, states=value_states('choice'))

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._order = [('id', 'ASC')]
        domain = [('operator', '=', None)]
        for kind, operators in cls.operators.items():
            domain = If(Eval('kind') == kind,
                [('operator', 'in', [*operators, None])],
                domain)
        cls.operator.domain = [domain]

    def get_rec_name(self, name):
        return self.field_string

    @classmethod
    def default_model(cls):
        return Transaction().context.get('marketing_model')

    def on_change_with_model(self, name=None):
        raise NotImplementedError

    def get_stored_field(self, name):
        return self.field

    @property
    def _model(self):
        "The model whose records are meant, or None"
        pool = Pool()
        name = getattr(self, 'model', None) or self.on_change_with_model()
        return pool.get(name) if name else None

    def _offered(self):
        "Return the paths of the fields to choose from"
        raise NotImplementedError

    @property
    def _path(self):
        """The [(model, name)] of which the last is the field that is meant

        It is empty as long as no field is chosen.
        """
        return list(walk(self._model, self.field)) if self.field else []

    @property
    def _field(self):
        "The field that is meant, or None"
        if path := self._path:
            Model, name = path[-1]
            return Model._fields[name]

    @property
    def _operators(self):
        "The {operator: (name of the value, function)} of the field"
        return self.operators.get(self.on_change_with_kind(), {})

    @fields.depends('model', 'stored_field')
    def get_fields(self):
        result = [(None, "")]
        if Model := self._model:
            # Also the one that somebody with more access has chosen
            stored = getattr(self, 'stored_field', None)
            result += [
                (path, label(Model, path)) for path in self._offered()
                if path == stored or self._is_offered(Model, path)]
        return result

    def _is_offered(self, Model, path):
        "Return if the user may choose the field"
        return is_readable(Model, path)

    @fields.depends('model', 'field')
    def on_change_with_kind(self, name=None):
        return self._field._type if self._field else None

    @fields.depends('model')
    def get_choices(self):
        result = [(None, "")]
        if self._model:
            for path in self._offered():
                result += choices(self._model, path)
        return result

    @fields.depends('operator', methods=['on_change_with_kind'])
    def on_change_with_value_name(self, name=None):
        value, _ = self._operators.get(self.operator, (None, None))
        return self._record_name() if value == 'record' else value

    def _record_name(self):
        "Return the name of the value that is a record"
        target = self._field.get_target().__name__
        return next(
            name for name, field in self._fields.items()
            if field._type == 'many2one' and field.model_name == target)

    @fields.depends(methods=['on_change_with_kind'])
    def on_change_with_digits(self, name=None):
        return 0 if self.on_change_with_kind() == 'integer' else 2

    @fields.depends('operator', methods=['on_change_with_kind'])
    def on_change_field(self):
        operators = list(self._operators)
        if self.operator not in operators:
            self.operator = operators[0] if operators else None
        # Nothing stays of what was said of the field before
        for name in self.values:
            setattr(self, name, None)

    @property
    def lacking(self):
        "What is still to be chosen: 'field', 'operator', 'value' or None"
        if (not self.field or not self._model
                or self.field not in self._offered()):
            return 'field'
        if self.operator not in self._operators:
            return 'operator'
        name = self.on_change_with_value_name()
        if name and getattr(self, name, None) in {None, ''}:
            return 'value'


def walk(Model, path):
    "Yield the (model, name) of each field of the path"
    for name in path.split('.'):
        if not Model or name not in Model._fields:
            return
        yield Model, name
        field = Model._fields[name]
        Model = field.get_target() if hasattr(field, 'get_target') else None


def label(Model, path):
    "Return what the field is called, after what it belongs to"
    pool = Pool()
    ModelName = pool.get('ir.model')
    (First, first), *nested = walk(Model, path)
    if not nested:
        return First.__names__(first)['field']
    return ': '.join(
        [ModelName.get_name(nested[0][0].__name__)]
        + [M.__names__(n)['field'] for M, n in nested])


def choices(Model, path):
    "Return the selection of the field, empty if it has none"
    *_, (Target, name) = walk(Model, path)
    if Target._fields[name]._type != 'selection':
        return []
    selection = Target.fields_get([name])[name]['selection']
    if isinstance(selection, str):
        selection = getattr(Target, selection)()
    return selection


def is_readable(Model, path):
    "Return if the user may read each field of the path"
    pool = Pool()
    FieldAccess = pool.get('ir.model.field.access')
    return all(
        FieldAccess.check(M.__name__, [n], raise_exception=False)
        for M, n in walk(Model, path))
