# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Records as templates and conditions may read them

What is read is what the groups of the access context may read, whoever runs
the code: Tryton checks nothing for the root user who runs the crons.
"""
import datetime
import re
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice

from trytond.model import Model, ModelStorage
from trytond.model.fields.dict import TranslatedDict
from trytond.model.fields.selection import TranslatedSelection
from trytond.pool import Pool
from trytond.report import Report
from trytond.transaction import (
    Transaction, inactive_records, without_check_access)

from .template.error import TemplateRenderError
from .template.values import MAX_SHORT, Guarded, check_number

# Nobody: a user without groups, companies and records of his own.  Access is
# then only what the context gives.
NOBODY = -1
SIBLINGS = 500  # records checked together

# Models of ir and res tell how the system works, not what marketing needs
TECHNICAL = ('ir.', 'res.')
MODELS = {
    # model: fields, None for all
    'ir.calendar.day': None,
    'ir.calendar.month': None,
    'ir.lang': None,
    'res.user': {
        'avatar_url', 'company', 'email', 'employee', 'language', 'name',
        'rec_name', 'signature'},
    }
# Whatever the access says
SECRET = re.compile(
    r'(^|_)(passw(or)?d|passphrase|secret|token|hash|credential|otp|session|'
    r'private_key|api_key|access_key)s?($|_)|^key$', re.IGNORECASE)
SECRET_MODELS = re.compile(
    r'(^|[._-])(session|application|credential|password|token|authenticate)s?'
    r'($|[._-])')
# Read-only methods and properties
METHODS = {
    'party.address': {'contact_mechanism_get', 'party_full_name'},
    'party.party': {'address_get', 'contact_mechanism_get'},
    }

_SCALARS = {
    type(None), bool, int, float, str, Decimal, datetime.date,
    datetime.datetime, datetime.time, datetime.timedelta}
MAX_DIGITS = 100
_strftime = re.compile(r'(?:[^%]|%[-_0^#]?[EO]?[A-Za-z%])*')
_argument = re.compile(r'[a-z][a-z0-9_]{0,63}')
_timezone = re.compile(r'[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*')


def _denied(reason, **variables):
    raise TemplateRenderError(reason, **variables)


class RecordProxy(Guarded):
    "A record of which only what the scope allows is read"
    __slots__ = ('_record', '_access', '_values')

    def __init__(self, record, access):
        self._record = record
        self._access = access
        self._values = {}

    def _read(self, name):
        try:
            return self._values[name]
        except KeyError:
            pass
        self._access.check(self._record, name)
        value = getattr(self._record, name)
        value = self._values[name] = self._access.scope.wrap(value)
        return value

    def _call(self, name, args, kwargs):
        self._access.check_method(self._record, name)
        for value in (*args, *kwargs.values()):
            _check_argument(value)
        method = getattr(self._record, name)
        return self._access.scope.wrap(method(
                *map(unwrap, args),
                **{n: unwrap(v) for n, v in kwargs.items()}))

    def _key(self):
        return self._record.__name__, self._record.id

    def __eq__(self, other):
        if not isinstance(other, RecordProxy):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __int__(self):
        return int(self._record.id)

    def __str__(self):
        return '%s,%s' % self._key()

    __repr__ = __str__


def _check_argument(value):
    "A method may read what its argument names"
    if isinstance(value, (list, tuple, set)):
        for item in value:
            _check_argument(item)
    elif isinstance(value, str) and (
            not _argument.fullmatch(value) or SECRET.search(value)):
        _denied('argument', name=value[:100])


def _merge(mapping, extra):
    "Return the mapping of sets with those of extra added"
    result = dict(mapping)
    for name, values in (extra or {}).items():
        known = result.get(name, set())
        if known is None or values is None:
            result[name] = None
        else:
            result[name] = known | set(values)
    return result


def unwrap(value):
    "Return the value with the records instead of their proxies"
    if isinstance(value, RecordProxy):
        return value._record
    if isinstance(value, (list, tuple)):
        return type(value)(map(unwrap, value))
    return value


class AccessScope:
    """What an access context may read, shared by the records of a slice

    access_context -- the marketing_access_context of the records
    methods -- names of more methods and properties to allow by model
    models -- likewise for the fields of technical models, None for all
    """

    def __init__(self, access_context, methods=None, models=None):
        # Tryton does not cache the access of lists
        self.context = {
            k: tuple(sorted(set(v))) if isinstance(v, (list, set)) else v
            for k, v in access_context.items()}
        for name in ['_groups', '_companies']:
            self.context.setdefault(name, ())
        self.methods = _merge(METHODS, methods)
        self.models = _merge(MODELS, models)
        self._accesses = {}

    def proxy(self, record):
        "Return the proxy of the record, None if there is no record"
        if record is None or isinstance(record, RecordProxy):
            return record
        return RecordProxy(record, self.access(record.__class__))

    def fields(self, Model):
        "Return the names of the fields of the model that can be read"
        access = self.access(Model)
        if not access.readable:
            return []
        return [n for n in Model._fields if access._is_readable(n)]

    def allow(self, records):
        """Return the records that can be read, as a list

        Once for a slice, it spares a query for each of its records.
        """
        result = []
        for record in records:
            access = self.access(record.__class__)
            if access.readable and access.allows(record, records):
                result.append(record)
        return result

    def environment(self, record):
        "Return the environment in which PYSON reads the record"
        return Environment(self.proxy(record))

    def access(self, Model):
        name = Model.__name__
        if name not in self._accesses:
            self._accesses[name] = _ModelAccess(self, Model)
        return self._accesses[name]

    def wrap(self, value):
        "Return the value of a record as a template may have it"
        if type(value) in _SCALARS:
            return value
        if isinstance(value, Model):
            return self.proxy(value)
        if isinstance(value, (list, tuple)):
            values = [self.wrap(v) for v in value]
            if value and type(value) is tuple and (
                    not isinstance(value[0], Model)):
                values = tuple(values)  # of a selection
            return values
        if isinstance(value, dict):
            return {self.wrap(k): self.wrap(v) for k, v in value.items()}
        if isinstance(value, (set, frozenset)):
            return {self.wrap(v) for v in value}
        for type_ in [str, int, float, Decimal]:
            if isinstance(value, type_):
                return type_(value)
        _denied('show', type=type(value).__name__)

    @contextmanager
    def restricted(self):
        "Be nobody, with what the access context gives"
        transaction = Transaction()
        with transaction.set_user(NOBODY), \
                transaction.set_context(self.context, _check_access=True):
            yield


class _ModelAccess:
    "What a scope may read of the records of a model"
    __slots__ = (
        'scope', 'Model', 'readable', 'forbidden', 'domain', 'names',
        'allowed', 'refused')

    def __init__(self, scope, Model):
        pool = Pool()
        ModelAccess = pool.get('ir.model.access')
        FieldAccess = pool.get('ir.model.field.access')
        Rule = pool.get('ir.rule')
        name = Model.__name__
        self.scope = scope
        self.Model = Model
        self.names = set()  # that can be read
        self.allowed, self.refused = set(), set()  # by the rules
        with scope.restricted():
            self.readable = (
                issubclass(Model, ModelStorage)
                and not self._is_hidden()
                and ModelAccess.check(name, raise_exception=False))
            fields = FieldAccess.get_access([name])[name]
            self.forbidden = {n for n, a in fields.items() if not a['read']}
            self.domain = Rule.domain_get(name)

    def _is_hidden(self):
        name = self.Model.__name__
        if name in self.scope.models:
            return False
        return name.startswith(TECHNICAL) or SECRET_MODELS.search(name)

    def check(self, record, name):
        "Raise an error if the field or property can not be read"
        if name not in self.names:
            self._check_name(name)
        self.check_record(record)

    def check_method(self, record, name):
        "Raise an error if the method can not be called"
        model = self.Model.__name__
        if (name not in self.scope.methods.get(model, ())
                or isinstance(getattr(self.Model, name, None), property)):
            _denied('function', model=model, field=name)
        if not self.readable:
            _denied('model', model=model)
        self.check_record(record)

    def check_record(self, record):
        if self.domain and not self.allows(record):
            _denied(
                'record', model=self.Model.__name__, record=record.id)

    def _check_name(self, name):
        model = self.Model.__name__
        if not self.readable:
            _denied('model', model=model)
        field = name
        if name not in self.Model._fields:
            member = getattr(self.Model, name, None)
            if isinstance(member, (TranslatedSelection, TranslatedDict)):
                field = member.name
            elif (not isinstance(member, property)
                    or name not in self.scope.methods.get(model, ())):
                _denied('member', model=model, field=name)
        if not self._is_readable(field):
            _denied('field', model=model, field=name)
        self.names.add(name)

    def _is_readable(self, name):
        model = self.Model.__name__
        fields = self.scope.models.get(model)
        field = self.Model._fields.get(name)
        return (
            name not in self.forbidden
            and (fields is None or name in fields | {'id'})
            and not SECRET.search(name)
            # Nothing to show in an e-mail
            and (not field or field._type != 'binary'))

    def allows(self, record, siblings=None):
        "Return if the rules allow to read the record"
        if not self.domain or record.id in self.allowed:
            return True
        if record.id not in self.refused:
            self._apply_rules(record, siblings)
        return record.id in self.allowed

    def _apply_rules(self, record, siblings):
        "Sort the record and those that follow among the siblings"
        if siblings is None:
            ids = record._ids
        else:
            ids = [r.id for r in siblings if r.__class__ == self.Model]
        ids = islice(ids, ids.index(record.id), None)
        known = self.allowed | self.refused | {None}
        unknown = dict.fromkeys(i for i in ids if i not in known)
        ids = list(islice(unknown, SIBLINGS))
        allowed = self._search(ids)
        self.allowed |= allowed
        self.refused |= {record.id, *ids} - allowed

    def _search(self, ids):
        "Return the ids that fulfil the rules"
        transaction = Transaction()
        domain = [('id', 'in', ids), self.domain]
        with self.scope.restricted(), \
                transaction.set_user(0, set_context=True), \
                inactive_records(), without_check_access():
            return set(map(int, self.Model.search(domain, order=[])))


class Environment(dict):
    """The record in the environment of a PYSON expression

    Like EvalEnvironment of Tryton, with the access checked.
    """
    __slots__ = ('_proxy',)

    def __init__(self, proxy):
        super().__init__()
        self._proxy = proxy

    def __bool__(self):
        return self._proxy is not None

    def __getitem__(self, name):
        fields = self._proxy._record._fields if self._proxy else {}
        if name.startswith('_parent_') and name[8:] in fields:
            parent = self._proxy._read(name[8:])
            if parent is None or isinstance(parent, RecordProxy):
                return Environment(parent)
        if name not in fields:
            raise KeyError(name)
        value = self._proxy._read(name)
        if isinstance(value, RecordProxy):
            reference = fields[name]._type == 'reference'
            return str(value) if reference else int(value)
        if isinstance(value, list):
            return [
                int(v) if isinstance(v, RecordProxy) else v for v in value]
        return value

    def get(self, name, default=None):
        try:
            return self[name]
        except KeyError:
            return default


def report_helpers():
    """Return the functions of reports that format values, by their name

    They are what templates call, with arguments that can do no harm: such as
    a width in a format or a path to a time zone.
    """
    return {
        'format_currency': _format_currency,
        'format_date': _format_date,
        'format_datetime': _format_datetime,
        'format_number': _format_number,
        'format_timedelta': _format_timedelta,
        }


def _record(value, model):
    "Return the record of the proxy, which must be of the model"
    value = unwrap(value)
    if value is not None and getattr(value, '__name__', None) != model:
        _denied('argument', name=str(value)[:100])
    return value


def _check_number(value, digits):
    if type(value) not in {int, float, bool, Decimal}:
        _denied('argument', name=str(value)[:100])
    check_number(value)
    if digits is not None and not (
            isinstance(digits, int) and abs(digits) <= MAX_DIGITS):
        _denied('limit_number')


def _check_date(value, format):
    if not isinstance(value, (datetime.date, datetime.time)):
        _denied('argument', name=str(value)[:100])
    # The C library pads to any width written in the format
    if format is not None and not (
            isinstance(format, str)
            and len(format) <= MAX_SHORT
            and _strftime.fullmatch(format)):
        _denied('format', format=str(format)[:100])


def _format_currency(
        value, lang, currency, symbol=True, grouping=True, digits=None):
    _check_number(value, digits)
    return Report.format_currency(
        value, _record(lang, 'ir.lang'),
        _record(currency, 'currency.currency'), symbol=symbol,
        grouping=grouping, digits=digits)


def _format_number(value, lang, digits=None, grouping=True, monetary=None):
    _check_number(value, digits)
    return Report.format_number(
        value, _record(lang, 'ir.lang'), digits=digits, grouping=grouping,
        monetary=monetary)


def _format_date(value, lang=None, format=None):
    _check_date(value, format)
    return Report.format_date(
        value, lang=_record(lang, 'ir.lang'), format=format)


def _format_datetime(value, lang=None, format=None, timezone=None):
    _check_date(value, format)
    if timezone is not None and (
            not isinstance(timezone, str)
            or not _timezone.fullmatch(timezone)):
        _denied('argument', name=str(timezone)[:100])
    return Report.format_datetime(
        value, lang=_record(lang, 'ir.lang'), format=format,
        timezone=timezone)


def _format_timedelta(value, converter=None, lang=None):
    if value is not None and not isinstance(value, datetime.timedelta):
        _denied('argument', name=str(value)[:100])
    return Report.format_timedelta(
        value, converter=converter, lang=_record(lang, 'ir.lang'))
