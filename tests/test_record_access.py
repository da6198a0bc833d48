# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
from trytond.modules.company.tests import create_company, set_company
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, check_access

from .fixtures import (
    DatabaseTestCase, create, create_marketer, create_party, create_record,
    create_scenario)


class RecordAccessTestCase(DatabaseTestCase):
    "Test what a user sees who may not read the sales in a scenario"
    modules = ['marketing_automation', 'sale']

    @with_transaction()
    def test_names(self):
        "Test numbers stand for the names of sales, and the party is seen"
        pool = Pool()
        Group = pool.get('res.group')
        with set_company(create_company()):
            party = create_party("Zoë")
            sale = create('sale.sale', party=party.id, number="S42")
            others = [
                create_record(create_scenario(model=model), resource)
                for model, resource in [
                    ('sale.sale', sale), ('party.party', party)]]
            hidden = create_marketer()
            seller = create_marketer('seller')
            sales, = Group.search([('name', '=', "Sales")])
            seller.groups += (sales,)
            seller.save()
            for user, name in [
                    (hidden, f'({sale.id})'), (seller, sale.rec_name)]:
                with self.subTest(user=user.login):
                    rows = self._read(user, others)
                    self.assertEqual(
                        [r['record.']['rec_name'] for r in rows],
                        [name, "Zoë"])
                    self.assertEqual(
                        {r['party.']['rec_name'] for r in rows}, {"Zoë"})
                    self.assertEqual(
                        rows[0]['rec_name'] == sale.rec_name, user == seller)

    @staticmethod
    def _read(user, records):
        Record = records[0].__class__
        with Transaction().set_user(user.id), check_access():
            return Record.read([r.id for r in records], [
                    'record', 'record.rec_name', 'party.rec_name',
                    'rec_name'])
