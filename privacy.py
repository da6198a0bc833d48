# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What this module knows about a party, for whom it concerns (GDPR Art. 15)"""
from trytond.pool import Pool
from trytond.report import Report
from trytond.transaction import (
    Transaction, inactive_records, without_check_access)


class PartyData(Report):
    "All that is stored about parties"
    __name__ = 'marketing.automation.party_data'

    @classmethod
    def _execute(cls, records, header, data, action):
        # It has to be complete, whoever of those that may print it does so:
        # they may not read the sales, for example
        with without_check_access(), inactive_records():
            return super()._execute(records, header, data, action)

    @classmethod
    def get_context(cls, records, header, data):
        context = super().get_context(records, header, data)
        context['traces'] = cls.traces
        context['language'] = Transaction().language.replace('_', '-')
        return context

    @classmethod
    def traces(cls, party):
        "Return {model: records} of what tells something of the party"
        pool = Pool()
        Party = pool.get('party.party')
        party = Party(party.id)
        return {
            name: pool.get(name).search(domain)
            for name, domain in party.marketing_traces().items()}
