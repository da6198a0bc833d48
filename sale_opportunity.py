# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Opportunities as what activities create"""
from trytond.pool import PoolMeta
from trytond.transaction import Transaction

from .exceptions import Skip
from .mixin import MarketingCreatableMixin, own_company, party_of


class Opportunity(MarketingCreatableMixin, metaclass=PoolMeta):
    __name__ = 'sale.opportunity'

    @classmethod
    def marketing_new(cls, record):
        party = party_of(record)
        if not party:
            raise Skip('no_party')
        company = own_company(record) or Transaction().context.get('company')
        opportunity = cls(company=company)
        opportunity.on_change_company()
        opportunity.party = party
        opportunity.on_change_party()
        return opportunity

    @classmethod
    def marketing_create_fields(cls):
        return [
            'description', 'comment', 'employee', 'amount',
            'conversion_probability', 'end_date', 'reference']
