# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the form offers to be written in title and template"""
import datetime as dt
import re
from html import unescape

from trytond.modules.marketing_automation.mail import sample, variable
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_email, create_marketer, create_party,
    create_scenario, forget)

ROW = re.compile(
    '<th scope="row">(.*?)</th><td><code>(.*?)</code></td><td>(.*?)</td>')


class VariableTestCase(DatabaseTestCase):
    "Test the list of what a record offers"
    modules = ['marketing_automation', 'sale']

    def _offered(self, record):
        "Return {expression: (label, value)}"
        scenario = create_scenario(model=record.__name__)
        html, text = variable.show(create_email(scenario), record)
        rows = [tuple(map(unescape, row)) for row in ROW.findall(html)]
        self.assertEqual(
            ['\t'.join(row) for row in rows], text.splitlines())
        return {e: (label, value) for label, e, value in rows}

    @with_transaction(user=0)
    def test_party(self):
        "Test labels, expressions and values of a party"
        party = create_party(
            "Anna <b>", 'anna@example.com', lang=self._language().id)
        offered = self._offered(party)
        self.assertEqual(
            offered['${record.name}'], ("Name", "Anna <b>"))
        self.assertEqual(offered[
                "${record.lang.rec_name if record.lang else ''}"],
            ("Language", "French"))
        self.assertEqual(
            offered['<p py:for="item in record.addresses">'
                '${item.rec_name}</p>'],
            ("Addresses", ""))
        self.assertIn('<p py:if="record.code">…</p>', offered)

    def _language(self):
        Language = Pool().get('ir.lang')
        language, = Language.search([('code', '=', 'fr')])
        return language

    @with_transaction(user=0)
    def test_sale(self):
        "Test that amounts, dates and the party of a sale are offered"
        offered = self._offered(self._sale())
        self.assertEqual(
            offered['${record.party.name}'], ("Name", "Anna"))
        label, value = offered[
            "${format_date(record.sale_date) "
            "if record.sale_date else ''}"]
        self.assertEqual((label, value), ("Sale Date", "01/02/2026"))
        self.assertIn('€', offered[
                "${format_currency(record.total_amount, None, "
                "record.currency) "
                "if record.total_amount is not None else ''}"][1])
        self.assertEqual(
            offered['${record.state_string}'], ("State", "Draft"))

    @with_transaction(user=0)
    def test_purchases(self):
        "Test that what the party has bought is offered"
        sale = self._sale()
        count = '${record.party.marketing_sale_count}'
        self.assertEqual(self._offered(sale)[count], ("Purchases", "0"))
        self._confirm(sale)
        offered = self._offered(sale)
        self.assertEqual(offered[count], ("Purchases", "1"))
        self.assertIn(
            ("Last Purchase", "01/02/2026"), offered.values())

    def _confirm(self, sale):
        # Without the addresses that Tryton asks for
        table = sale.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update([table.state], ['confirmed']))
        forget()

    @with_transaction(user=0)
    def test_failing(self):
        "Test that what can not be shown for the sample is not offered"
        offered = self._offered(create_party("Anna"))
        self.assertFalse({e for e in offered if 'record.receivable' in e})

    def _sale(self):
        currency = create(
            'currency.currency', name="Euro", code='EUR', symbol="€")
        company = create('company.company',
            party=create_party("Shop").id, currency=currency.id)
        with Transaction().set_context(company=company.id):
            sale = create('sale.sale',
                company=company.id, currency=currency.id,
                party=create_party("Anna").id,
                sale_date=dt.date(2026, 1, 2))
        return Pool().get('sale.sale')(sale.id)

    @with_transaction(user=0)
    def test_all_can_be_saved_and_sent(self):
        "Test that an e-mail of all that is offered is valid"
        for record in [create_party("Anna"), self._sale()]:
            with self.subTest(model=record.__name__):
                self._check(record, list(self._offered(record)))

    def _check(self, record, expressions):
        titles = [e for e in expressions if e.startswith('{%')]
        self.assertTrue(titles)
        activity = create_email(
            create_scenario(model=record.__name__),
            email_title="Title" + ''.join(titles),
            email_template=(
                '<html xmlns:py="http://genshi.edgewall.org/"><body>'
                + '\n'.join(e for e in expressions if e not in titles)
                + '</body></html>'))
        self.assertTrue(activity.can_unsubscribe)
        shown = sample.preview(activity, record)
        self.assertTrue(shown.sender, msg=shown.text)

    @with_transaction()
    def test_access(self):
        "Test that what the marketing may not read is not offered"
        party = create_party("Anna", code='007')
        create('ir.model.field.access',
            model='party.party', field='code', perm_read=False)
        offered = self._offered(party)
        self.assertIn('${record.name}', offered)
        self.assertNotIn('${record.code}', offered)
        self.assertFalse({
                e for e in offered if 'uid' in e or 'password' in e})

    @with_transaction()
    def test_user(self):
        "Test that a record that the user may not read is not shown"
        party = create_party("Anna")
        create('ir.rule.group',
            name="Test", model='party.party', global_p=True, rules=[
                ('create', [{'domain': '[["name", "!=", "Anna"]]'}])])
        activity = create_email()
        with Transaction().set_user(create_marketer().id):
            html, text = variable.show(activity, party)
        self.assertNotIn("Anna", html + text)
        self.assertIn("not allowed", text)
