# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What this module knows about a party, for whom it concerns (GDPR Art. 15)"""
from trytond.pool import Pool
from trytond.report import Report

from .party import marketing_records


class PartyData(Report):
    __name__ = 'marketing.automation.party_data'

    @classmethod
    def get_context(cls, records, header, data):
        context = super().get_context(records, header, data)
        context['known'] = cls.known
        return context

    @classmethod
    def known(cls, party):
        "Return the records of each model that tell something of the party"
        pool = Pool()
        Bounce = pool.get('marketing.automation.bounce')
        Email = pool.get('ir.email')
        Hit = pool.get('marketing.automation.hit')
        Record = pool.get('marketing.automation.record')
        ids = marketing_records(party.id)
        return {
            'records': Record.browse(ids),
            'emails': Email.search([
                    ('marketing_automation_record', 'in', ids),
                    ]),
            'hits': Hit.search([
                    ('record_activity.record', 'in', ids),
                    ]),
            'bounces': Bounce.search([
                    ('record_activity.record', 'in', ids),
                    ]),
            'mechanisms': [
                m for m in party.contact_mechanisms if m.type == 'email'],
            }
