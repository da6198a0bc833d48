# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from trytond.pool import PoolMeta


class ShortenedURL(metaclass=PoolMeta):
    "Keep alive the links which the published module has sent"
    __name__ = 'web.shortened_url'

    @classmethod
    def _get_models(cls):
        return [
            *super()._get_models(),
            'marketing.automation.record.activity',
            ]

    @classmethod
    def _get_methods(cls):
        name = 'marketing.automation.record.activity'
        return [
            *super()._get_methods(),
            f'{name}|on_email_opened',
            f'{name}|on_email_clicked',
            ]
