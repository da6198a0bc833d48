# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Time that passes at once: what the module has stored becomes older"""
import datetime as dt

from sql.functions import Function

from trytond.model import fields
from trytond.pool import Pool

from .database import transaction

MODELS = [
    'ir.cron',
    'ir.email',
    'marketing.automation.hit',
    'marketing.automation.record',
    'marketing.automation.record.activity',
    'marketing.automation.scenario',
    'marketing.automation.throttle',
    'marketing.automation.unsubscription',
    ]
# How SQLite stores the types of fields
FORMATS = {
    'datetime': '%Y-%m-%d %H:%M:%S',
    'timestamp': '%Y-%m-%d %H:%M:%f',
    }


class StrFTime(Function):
    __slots__ = ()
    _function = 'STRFTIME'


def advance(**delay):
    """Let the time of the keywords of timedelta pass

    All that was done, is due or has been planned happened, or is due, so
    much earlier.
    """
    seconds = dt.timedelta(**delay).total_seconds()
    with transaction() as t:
        pool = Pool()
        cursor = t.connection.cursor()
        for name in MODELS:
            Model = pool.get(name)
            table = Model.__table__()
            columns, values = [], []
            for field_name, field in Model._fields.items():
                if (field._type in FORMATS
                        and not isinstance(field, fields.Function)):
                    column = getattr(table, field_name)
                    columns.append(column)
                    values.append(StrFTime(
                            FORMATS[field._type], column,
                            f'{-seconds:.0f} seconds'))
            cursor.execute(*table.update(columns, values))
