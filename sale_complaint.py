# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Open complaints hold back"""
from trytond.i18n import gettext
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def guards(cls, model):
        return {
            **super().guards(model),
            'open_complaint': (
                gettext('marketing_automation.msg_guard_open_complaint'),
                cls.guard_open_complaint),
            }

    @classmethod
    def guard_open_complaint(cls, records):
        return cls.held_parties(records, cls._complaining)

    @classmethod
    def _complaining(cls, parties):
        "Return the set of those ids of parties that have an open complaint"
        pool = Pool()
        Complaint = pool.get('sale.complaint')
        domain = [
            ('customer', 'in', parties),
            ('state', 'in', ['draft', 'waiting', 'approved']),
            ]
        if company := Transaction().context.get('company'):
            domain.append(('company', '=', company))
        return {c.customer.id for c in Complaint.search(domain, order=[])}
