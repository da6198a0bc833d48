# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Overdue invoices hold back"""
from trytond.i18n import gettext
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from . import clock


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def guards(cls, model):
        return {
            **super().guards(model),
            'overdue_invoice': (
                gettext('marketing_automation.msg_guard_overdue_invoice'),
                cls.guard_overdue_invoice),
            }

    @classmethod
    def guard_overdue_invoice(cls, records):
        return cls.held_parties(records, cls._overdue)

    @classmethod
    def _overdue(cls, parties):
        "Return the set of those ids of parties that are late with an invoice"
        pool = Pool()
        Invoice = pool.get('account.invoice')
        today = clock.now().date()
        domain = [
            ('party', 'in', parties),
            ('type', '=', 'out'),
            ('state', '=', 'posted'),
            ]
        if company := Transaction().context.get('company'):
            domain.append(('company', '=', company))
        return {
            invoice.party.id for invoice in Invoice.search(domain, order=[])
            if any(
                not line.reconciliation and line.debit > line.credit
                and line.maturity_date and line.maturity_date < today
                for line in invoice.lines_to_pay)}
