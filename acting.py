# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What activities may change: what the group Marketing may, never the root

Tryton checks nothing for the root user, who runs the crons.  So the access of
the group is asked for before a change, each time it is done.
"""
from trytond.exceptions import UserError, UserWarning
from trytond.model import EvalEnvironment
from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder, PYSONEncoder
from trytond.transaction import Transaction, inactive_records

from . import clock
from .access import SECRET, TECHNICAL, AccessScope
from .exceptions import Failure

# Of every model, they are not for people to write
_own = {
    'create_date', 'create_uid', 'id', 'last_modified_at',
    'last_modified_by', 'rec_name', 'write_date', 'write_uid'}


def settable(Model, types):
    "Return the names of the fields of those types that can be written"
    return [n for n, f in Model._fields.items() if _is_settable(f, types)]


def _is_settable(field, types):
    if (field.name in _own or SECRET.search(field.name)
            or field._type not in types or field.readonly):
        return False
    if field._type == 'many2one' and (
            field.model_name.startswith(TECHNICAL)
            and field.model_name not in {'ir.lang', 'res.user'}):
        return False
    if field._type == 'selection' and isinstance(field.selection, str):
        # What depends on the record can not be offered
        return not field.selection_change_with
    return bool(getattr(field, 'setter', True))


def allowed(Model, mode, names, context):
    "Return those of the names that the access context may change"
    with AccessScope(context).restricted():
        if forbidden(Model, mode, []):
            return []
        return [n for n in names if not forbidden(Model, mode, [n])]


def denied(Model, mode, names, context):
    "Return what of it the access context may not change, or None"
    with AccessScope(context).restricted():
        return forbidden(Model, mode, names)


def forbidden(Model, mode, names):
    "Return the label of what the user may not change, or None"
    pool = Pool()
    FieldAccess = pool.get('ir.model.field.access')
    ModelAccess = pool.get('ir.model.access')
    model = Model.__name__
    if not ModelAccess.check(model, mode, raise_exception=False):
        return Model.__names__()['model']
    for name in names:
        if not FieldAccess.check(model, [name], mode, raise_exception=False):
            return Model.__names__(name)['field']


def write(record, values, context):
    "Write the values into the record, or raise a Failure"
    Model = record.__class__
    if label := denied(Model, 'write', values, context):
        raise Failure('access', label)
    _check_rules(record, context)
    for name in values:
        if is_readonly(record, name):
            raise Failure('readonly', Model.__names__(name)['field'])
    refused(Model.write, [record], values)
    _check_rules(record, context)


def refused(func, *args):
    "Call and let the Failure say why it is refused"
    try:
        return func(*args)
    except (UserError, UserWarning) as exception:
        raise Failure('change', exception.message) from exception


def _check_rules(record, context):
    pool = Pool()
    Rule = pool.get('ir.rule')
    Model = record.__class__
    with AccessScope(context).restricted():
        domain = Rule.domain_get(Model.__name__, 'write')
        if not domain:
            return
        # Of root, whom the domain tells what the user may
        with Transaction().set_user(0, set_context=True), \
                inactive_records():
            if not Model.search([('id', '=', record.id), domain], order=[]):
                raise Failure('access', record.rec_name)


def readable(user, Model, ids):
    "Return the set of those ids of the model that the user may read"
    pool = Pool()
    User = pool.get('res.user')
    with Transaction().set_user(user.id):
        context = User.get_preferences(context_only=True)
        with Transaction().set_context(context, _check_access=True):
            try:
                return set(map(int, Model.search([('id', 'in', ids)])))
            except AccessError:
                return set()


def is_readonly(record, name):
    "Return if the field can not be changed as the record is"
    condition = record._fields[name].states.get('readonly')
    if condition is None:
        return False
    env = EvalEnvironment(record, record.__class__)
    env.update(
        Transaction().context,
        context=Transaction().context,
        current_date=clock.now(),
        active_model=record.__name__,
        active_id=record.id)
    return bool(PYSONDecoder(env).decode(PYSONEncoder().encode(condition)))
