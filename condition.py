# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a record must fulfil, as PYSON expression"""

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import PoolMeta
from trytond.pyson import PYSON, Eval, Get, PYSONDecoder
from trytond.transaction import Transaction

from . import clock, pyson_source
from .access import AccessScope
from .exceptions import ConditionError, Failure, explain
from .template import TemplateRenderError

NAMES = {'self', 'context', 'current_date'}


class Scopes(dict):
    "The scopes of access of records, shared by those of equal context"

    def get(self, record, context=None):
        """Return the AccessScope in which the record is read

        context -- another one than that in which it can be read
        """
        context = context or record.marketing_access_context
        key = repr(sorted(context.items()))
        if key not in self:
            self[key] = AccessScope(context)
        return self[key]


def evaluate(condition, record, scopes):
    "Return if the record fulfils the PYSON condition"
    if not condition:
        return True
    context = Transaction().context
    env = {
        'current_date': clock.now(),
        'context': {
            k: context[k] for k in ['company', 'language'] if k in context},
        'self': scopes.get(record).environment(record),
        }
    try:
        return bool(Decoder(env).decode(condition))
    except TemplateRenderError as exception:
        raise Failure('condition', explain(exception)) from exception
    except Exception as exception:
        raise Failure('condition', str(exception)) from exception


class Decoder(PYSONDecoder):
    "Takes nothing unknown for a value that is fulfilled"

    def _object_hook(self, dct):
        if dct.get('__class__') in {'Date', 'DateTime'}:
            dct = {**dct, 'start': dct.get('start') or clock.now()}
        result = super()._object_hook(dct)
        if isinstance(result, dict) and '__class__' in result:
            raise ValueError(f"{result['__class__']} is not known")
        return result


def field_path(Model, names):
    "Return what is wrong with the path of field names, or None"
    for name in names:
        if name in {'id', 'rec_name'} or not Model:
            return None
        if name not in Model._fields:
            return gettext(
                'marketing_automation.msg_unknown_field',
                field=name, model=Model.__names__()['model'])
        field = Model._fields[name]
        Model = (
            field.get_target() if hasattr(field, 'get_target') else None)
    return None


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    condition_source = fields.Function(fields.Char(
            "Condition",
            help="What the record must fulfil at the time of the activity, "
            "otherwise it is skipped.\n"
            "The record is called \"self\", for example:\n"
            "Eval('self', {}).get('active')"),
        'on_change_with_condition_source', setter='set_condition_source')

    @fields.depends('condition')
    def on_change_with_condition_source(self, name=None):
        return pyson_source.decode(self.condition) if self.condition else ''

    @fields.depends('condition_source', 'condition')
    def on_change_condition_source(self):
        try:
            self.condition = self._encode_condition(self.condition_source)
        except pyson_source.SourceError:
            # What is wrong is said when the activity is saved
            pass

    @staticmethod
    def _encode_condition(value):
        return pyson_source.encode(value) if value and value.strip() else None

    @classmethod
    def set_condition_source(cls, activities, name, value):
        for activity in activities:
            try:
                condition = cls._encode_condition(value)
            except pyson_source.SourceError as exception:
                activity._condition_error(
                    value, source_problem(exception), exception)
            if condition != activity.condition:
                activity.condition = condition
        cls.save(activities)

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        if not field_names or field_names & {'condition', 'parent'}:
            for activity in activities:
                activity.check_condition()

    def check_condition(self):
        "Raise ConditionError unless the condition can be evaluated"
        if not self.condition:
            return
        source = pyson_source.decode(self.condition)
        try:
            value = PYSONDecoder(noeval=True).decode(self.condition)
        except Exception as exception:
            self._condition_error(source, gettext(
                    'marketing_automation.msg_condition_syntax'), exception)
        for problem in _expressions(value, self.target_model):
            self._condition_error(source, problem)

    def _condition_error(self, source, problem, exception=None):
        raise ConditionError(gettext(
                'marketing_automation.msg_activity_invalid_condition',
                activity=self.rec_name,
                condition=source,
                problem=problem)) from exception


def source_problem(error):
    "Return the translated sentence of a SourceError"
    return gettext(
        f'marketing_automation.msg_source_{error.reason}', **error.variables)


def _expressions(value, Model):
    "Yield what is wrong in the PYSON value"
    if isinstance(value, Eval):
        name, _, field = str(value._value).partition('.')
        if name not in NAMES:
            yield gettext(
                'marketing_automation.msg_unknown_variable', name=name)
        elif field and name == 'self' and Model:
            names = [n.removeprefix('_parent_') for n in field.split('.')]
            yield from filter(None, [field_path(Model, names)])
    elif isinstance(value, Get):
        base = value._obj
        if (isinstance(base, Eval) and base._value == 'self'
                and isinstance(value._key, str) and Model):
            name = value._key.removeprefix('_parent_')
            yield from filter(None, [field_path(Model, [name])])
    if isinstance(value, PYSON):
        for child in vars(value).values():
            yield from _expressions(child, Model)
    elif isinstance(value, dict):
        if '__class__' in value:
            yield gettext(
                'marketing_automation.msg_unknown_variable',
                name=value['__class__'])
        for child in value.values():
            yield from _expressions(child, Model)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _expressions(child, Model)
