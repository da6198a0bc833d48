# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a record must fulfil, as PYSON expression"""
import datetime as dt

from trytond.pyson import PYSONDecoder
from trytond.transaction import Transaction

from .access import AccessScope
from .exceptions import Failure, explain
from .template import TemplateRenderError


class Scopes(dict):
    "The scopes of access of records, shared by those of equal context"

    def get(self, record):
        "Return the AccessScope in which the record is read"
        context = record.marketing_access_context
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
        'current_date': dt.datetime.today(),
        'context': {
            k: context[k] for k in ['company', 'language'] if k in context},
        'self': scopes.get(record).environment(record),
        }
    try:
        return bool(PYSONDecoder(env).decode(condition))
    except TemplateRenderError as exception:
        raise Failure('condition', explain(exception)) from exception
    except Exception as exception:
        raise Failure('condition', str(exception)) from exception
