# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.tools import timezone
from trytond.transaction import Transaction

from .mixin import own_company


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    company = fields.Many2One(
        'company.company', "Company",
        states={
            'readonly': Eval('state', 'draft') == 'running',
            },
        help="The company that sends to records which belong to none.\n"
        "It may be left empty as long as there is only one.")

    @classmethod
    def default_company(cls):
        return Transaction().context.get('company')

    @fields.depends('company')
    def count_reach(self):
        return super().count_reach()

    @property
    def sending_company(self):
        pool = Pool()
        Company = pool.get('company.company')
        if self.company:
            return self.company.id
        companies = Company.search([], limit=2)
        return companies[0].id if len(companies) == 1 else None

    def sender_address(self, record):
        pool = Pool()
        Company = pool.get('company.company')
        if company := own_company(record) or self.sending_company:
            party = Company(company).party
            if address := party.address_get():
                return '\n'.join([party.rec_name, address.full_address])
        return super().sender_address(record)

    @classmethod
    def company_time_zone(cls, company):
        pool = Pool()
        Company = pool.get('company.company')
        if company and (zone := Company(company).timezone):
            return timezone.get_tzinfo(zone)
        return super().company_time_zone(company)

    def sender_name(self, record):
        pool = Pool()
        Company = pool.get('company.company')
        if company := own_company(record) or self.sending_company:
            return Company(company).rec_name
        return super().sender_name(record)
