# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What of the business holds a record back"""
import datetime as dt
from decimal import Decimal
from functools import wraps

from trytond.model.exceptions import SelectionValidationError
from trytond.modules.account.tests import create_chart, get_fiscalyear
from trytond.modules.account_invoice.tests import set_invoice_sequences
from trytond.modules.company.tests import create_company, set_company
from trytond.modules.marketing_automation import clock
from trytond.modules.marketing_automation.condition import Scopes
from trytond.modules.marketing_automation.exceptions import Skip
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    EVERYTHING, DatabaseTestCase, create, create_email, create_marketer,
    create_party, create_record, create_record_activity, create_scenario,
    forget)

GUARDS = {
    'party.party': ['overdue_invoice', 'open_complaint'],
    'sale.sale': [
        'overdue_invoice', 'open_complaint', 'sale_cancelled',
        'sale_returned'],
    }
DAY = dt.timedelta(days=1)


def in_company(test):
    "Give the test a company, in a transaction that is rolled back"
    @with_transaction()
    @wraps(test)
    def wrapper(self):
        company = create_company()
        with set_company(company):
            test(self, company)
    return wrapper


class GuardTestCase(DatabaseTestCase):
    "Test guards hold back, and let go when they are not true any more"
    modules = EVERYTHING

    def _held(self, *resources, **values):
        "Return {resource: sentence} of the resources that are held back"
        scenario = create_scenario(
            model=resources[0].__name__,
            held_back_by=GUARDS[resources[0].__name__], **values)
        activity = create_email(scenario)
        rows = [
            create_record_activity(create_record(scenario, r), activity)
            for r in resources]
        RecordActivity = rows[0].__class__
        facts = RecordActivity.facts(activity, [r.id for r in rows])
        result = {}
        for row in rows:
            try:
                row.decide(activity, facts, Scopes())
            except Skip as skip:
                RecordActivity.write([row], skip.values)
                result[row.record.record] = row.explanation
        return result

    @in_company
    def test_invoice(self, company):
        "Test who is late with an invoice is held back until it is paid"
        create_chart(company, tax=False)
        late, early = create_party("Late"), create_party("Early")
        today = dt.date.today()
        lines = [
            self._post(company, late, today - 30 * DAY),
            self._post(company, early, today + 30 * DAY)]
        self.assertEqual(self._held(late, early, company=company.id), {
                late: "Held back because of: Overdue Invoice."})
        self._reconcile(lines[0])
        self.assertFalse(self._held(late, early, company=company.id))

    def _post(self, company, party, maturity):
        "Return the line to pay of a posted invoice"
        pool = Pool()
        Account = pool.get('account.account')
        FiscalYear = pool.get('account.fiscalyear')
        if not FiscalYear.search([]):
            fiscalyear = set_invoice_sequences(get_fiscalyear(company))
            fiscalyear.save()
            fiscalyear.create_period([fiscalyear])
        receivable, = Account.search(
            [('type.receivable', '=', True)], limit=1)
        revenue, = Account.search([
                ('type.revenue', '=', True),
                ('closed', '!=', True),
                ], limit=1, order=[('name', 'ASC')])
        Term = pool.get('account.invoice.payment_term')
        days = (maturity - dt.date.today()).days
        term, = Term.create([{
                    'name': f'{days}',
                    'lines': [('create', [{
                                    'type': 'remainder',
                                    'relativedeltas': [('create', [{
                                                    'days': days}])],
                                    }])],
                    }])
        Address = pool.get('party.address')
        address, = Address.create([{'party': party.id}])
        invoice = create(
            'account.invoice', type='out', company=company.id,
            party=party.id, invoice_address=address.id,
            currency=company.currency.id, account=receivable.id,
            journal=self._journal(), payment_term=term.id,
            lines=[('create', [{
                            'type': 'line', 'quantity': 1,
                            'unit_price': Decimal(100),
                            'currency': company.currency.id,
                            'account': revenue.id,
                            }])])
        with Transaction().set_context(_skip_warnings=True):
            invoice.__class__.post([invoice])
        line, = invoice.lines_to_pay
        return line

    def _journal(self):
        Journal = Pool().get('account.journal')
        journal, = Journal.search([('type', '=', 'revenue')], limit=1)
        return journal.id

    def _reconcile(self, line):
        "Let it be as if the line was paid"
        table = line.__table__()
        reconciliation = Pool().get('account.move.reconciliation')
        cursor = Transaction().connection.cursor()
        reconciliation = reconciliation.__table__()
        cursor.execute(*reconciliation.insert(
                [reconciliation.company, reconciliation.date,
                    reconciliation.number],
                [[line.move.company.id, dt.date.today(), '1']]))
        cursor.execute(*reconciliation.select(reconciliation.id))
        id_, = cursor.fetchone()
        cursor.execute(*table.update(
                [table.reconciliation], [id_], where=table.id == line.id))
        forget()

    @in_company
    def test_complaint(self, company):
        "Test who complains is held back until that is settled"
        unhappy, happy = create_party("Unhappy"), create_party("Happy")
        model, = Pool().get('ir.model').search([('name', '=', 'sale.sale')])
        complaint = create(
            'sale.complaint', customer=unhappy.id, company=company.id,
            type=create(
                'sale.complaint.type', name="Late", origin=model.id).id,
            origin=None, date=dt.date.today())
        self.assertEqual(self._held(unhappy, happy), {
                unhappy: "Held back because of: Open Complaint."})
        self._state(complaint, 'done')
        self.assertFalse(self._held(unhappy, happy))

    def _state(self, record, state):
        table = record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.state], [state], where=table.id == record.id))
        forget()

    def _sale(self, company, state, **values):
        sale = create(
            'sale.sale', company=company.id, party=create_party().id,
            currency=company.currency.id, **values)
        self._state(sale, state)
        return sale.__class__(sale.id)

    @in_company
    def test_sale(self, company):
        "Test a sale that is cancelled or returned is held back"
        sales = [
            self._sale(company, s) for s in ['done', 'cancelled', 'done']]
        for quantity, sale in [(-1, sales[2]), (1, sales[0])]:
            self._sale(company, 'confirmed', origin=str(sale),
                lines=[('create', [{
                                'type': 'line', 'quantity': quantity,
                                'unit_price': Decimal(1)}])])
        self.assertEqual(self._held(*sales), {
                sales[1]: "Held back because of: Sale Cancelled.",
                sales[2]: "Held back because of: Sale Returned.",
                })

    @with_transaction()
    def test_offered(self):
        "Test what applies to the model is offered, also to a marketer"
        for model, names in GUARDS.items():
            scenario = create_scenario(model=model)
            self.assertEqual([n for n, _ in scenario.get_guards()], names)
        with Transaction().set_user(create_marketer().id), \
                Transaction().set_context(_check_access=True):
            names = GUARDS['party.party']
            scenario = create_scenario(held_back_by=names)
            self.assertEqual(set(scenario.held_back_by), set(names))
        with self.assertRaises(SelectionValidationError):
            create_scenario(held_back_by=['sale_returned'])

    @in_company
    def test_clock(self, company):
        "Test a rehearsal finds what will be overdue by then"
        create_chart(company, tax=False)
        party = create_party("Late")
        self._post(company, party, dt.date.today() + 30 * DAY)
        self.assertFalse(self._held(party))
        with clock.stopped(dt.datetime.now() + 31 * DAY):
            self.assertTrue(self._held(party))


del DatabaseTestCase
