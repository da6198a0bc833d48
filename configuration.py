# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import secrets

from trytond.cache import Cache
from trytond.model import ModelSingleton, ModelSQL, ModelView, fields
from trytond.pool import Pool
from trytond.transaction import Transaction


class Configuration(ModelSingleton, ModelSQL, ModelView):
    "What marketing sets for the database as a whole, and its secret"
    __name__ = 'marketing.automation.configuration'

    secret = fields.Char("Secret", required=True, strip=False)
    notice_group = fields.Many2One(
        'res.group', "Notify",
        help="The users of the group are told when a scenario has finished "
        "or has problems.")
    bounce_limit = fields.Float(
        "Bounce Rate", digits=(1, 3),
        domain=['OR',
            ('bounce_limit', '=', None),
            [('bounce_limit', '>=', 0), ('bounce_limit', '<=', 1)],
            ],
        help="Notify when more of the e-mails of the last 30 days "
        "have come back for good.")
    complaint_limit = fields.Float(
        "Complaint Rate", digits=(1, 4),
        domain=['OR',
            ('complaint_limit', '=', None),
            [('complaint_limit', '>=', 0), ('complaint_limit', '<=', 1)],
            ],
        help="Notify when more recipients of the last 30 days "
        "have called an e-mail spam.")

    _secret_cache = Cache(
        'marketing.automation.configuration.secret', context=False)

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        table_h = cls.__table_handler__(module)
        cursor = Transaction().connection.cursor()
        is_new = not table_h.column_exist('notice_group')
        super().__register__(module)
        # The row may be older than its columns
        if is_new:
            names = ['notice_group', 'bounce_limit', 'complaint_limit']
            cursor.execute(*table.update(
                    [getattr(table, n) for n in names],
                    [getattr(cls, f'default_{n}')() for n in names]))

    @classmethod
    def default_secret(cls):
        return secrets.token_hex(32)

    @classmethod
    def default_notice_group(cls):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        return ModelData.get_id('marketing', 'group_marketing')

    @classmethod
    def default_bounce_limit(cls):
        # Amazon SES reviews senders from 5 % of bounces
        return 0.05

    @classmethod
    def default_complaint_limit(cls):
        # Gmail and Yahoo ask bulk senders to stay below 0.3 %
        return 0.003

    @classmethod
    def get_secret(cls):
        "Return the bytes that sign the tokens of this database"
        secret = cls._secret_cache.get(None)
        if secret is None:
            cursor = Transaction().connection.cursor()
            table = cls.__table__()
            cursor.execute(*table.select(table.secret, limit=1))
            secret, = cursor.fetchone()
            cls._secret_cache.set(None, secret)
        return bytes.fromhex(secret)
