# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Records as templates and conditions may read them

What is read is what the groups of the access context may read, whoever runs
the code: Tryton checks nothing for the root user who runs the crons.
"""
import datetime
import re
from decimal import Decimal
from functools import partial
from itertools import islice

from trytond.cache import freeze
from trytond.model import Model, ModelStorage
from trytond.model.fields.dict import TranslatedDict
from trytond.model.fields.selection import TranslatedSelection
from trytond.pool import Pool
from trytond.report import Report
from trytond.transaction import Transaction, check_access, inactive_records

from .sandbox import (
    MAX_PRECISION, Guarded, check_number, check_strftime, check_width)
from .template_error import TemplateRenderError

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
        self.context.setdefault('_groups', ())
        self.methods = _merge(METHODS, methods)
        self.models = _merge(MODELS, models)
        self._accesses = {}

    def proxy(self, record):
        "Return the proxy of the record, None if there is no record"
        if record is None or isinstance(record, RecordProxy):
            return record
        return RecordProxy(record, self.access(record.__class__))

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
            values = map(self.wrap, value)
            if value and isinstance(value[0], Model):
                return list(values)
            return type(value)(values) if type(value) is list else (
                tuple(values))
        if isinstance(value, dict):
            return {self.wrap(k): self.wrap(v) for k, v in value.items()}
        if isinstance(value, (set, frozenset)):
            return {self.wrap(v) for v in value}
        for type_ in [str, int, float, Decimal]:
            if isinstance(value, type_):
                return type_(value)
        _denied('show', type=type(value).__name__)

    def restricted(self):
        "Context manager in which Tryton checks the access"
        return _restricted(self.context)


class _restricted:
    "Be nobody, with what the access context gives"
    __slots__ = ('managers',)

    def __init__(self, context):
        transaction = Transaction()
        self.managers = [
            partial(transaction.set_user, NOBODY),
            partial(transaction.set_context, context),
            check_access,
            ]

    def __enter__(self):
        self.managers = [m().__enter__() and m for m in self.managers]


class Environment(dict):
    "The record of a PYSON expression, like EvalEnvironment of Tryton"
