# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import secrets

from trytond.cache import Cache
from trytond.model import ModelSingleton, ModelSQL, fields
from trytond.transaction import Transaction


class Configuration(ModelSingleton, ModelSQL):
    "What the module needs to remember for the database as a whole"
    __name__ = 'marketing.automation.configuration'

    secret = fields.Char("Secret", required=True, strip=False)

    _secret_cache = Cache(
        'marketing.automation.configuration.secret', context=False)

    @classmethod
    def default_secret(cls):
        return secrets.token_hex(32)

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
