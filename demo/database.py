# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The company of the demo: what is there before any marketing"""
import datetime as dt
import random
from contextlib import contextmanager
from decimal import Decimal

from trytond.pool import Pool
from trytond.tools import grouped_slice
from trytond.transaction import Transaction
from trytond.worker import run_task

from .data import (
    COFFEES, COMPANIES, COMPANY, COUNTRIES, FAMILY_NAMES, GIVEN_NAMES,
    MAIL_HOSTS, SCANNED_HOST, SHARES)
from .environment import DATABASE

PARTIES = 320
# Sales by the state they are brought to
SALES = {
    'draft': 14,
    'quotation': 80,
    'processing': 70,
    'cancelled': 8,
    }
SLICE = 80
MARKETING = 'marketing.group_marketing'
# {login: (name, groups)} besides the administrator
USERS = {
    'marketing': ("Giulia Moretti", [MARKETING]),
    'sales': ("Paolo Sartori", [MARKETING, 'sale.group_sale']),
    }


@contextmanager
def transaction(user=0, **context):
    "Transaction of which the tasks run after it, as in the server"
    with Transaction().start(DATABASE, user, context=context) as t:
        yield t
    while t.tasks:
        run_task(DATABASE, t.tasks.pop())


@contextmanager
def session(login):
    "Transaction of the user, with the access this user has"
    with transaction():
        pool = Pool()
        User = pool.get('res.user')
        user, = User.search([('login', '=', login)])
        with Transaction().set_user(user.id):
            context = User.get_preferences(context_only=True)
    with transaction(user.id, **context, _check_access=True) as t:
        yield t


def load():
    "Load the models of the database"
    # The addresses are examples: the switch of the tests keeps Tryton from
    # asking the name servers for them
    Pool.test = True
    Pool(DATABASE).init()


def set_up(passwords):
    """Create company and users

    passwords -- dictionary by login
    """
    with transaction():
        company = _create_company()
        _number_sales()
        _hurry_crons()
        _skip_wizards()
        _create_users(company, passwords)
        return company.id


def _create_company():
    pool = Pool()
    Company = pool.get('company.company')
    Currency = pool.get('currency.currency')
    Party = pool.get('party.party')
    euro, = Currency.create([{
                'name': "Euro",
                'symbol': "€",
                'code': 'EUR',
                'rounding': Decimal('0.01'),
                }])
    party, = Party.create([{
                'name': COMPANY,
                'addresses': [('create', [{
                                'street': "12 Harbour Street",
                                'postal_code': '34121',
                                'city': "Trieste",
                                }])],
                }])
    company, = Company.create([{'party': party.id, 'currency': euro.id}])
    return company


def _number_sales():
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    Sequence = pool.get('ir.sequence')
    Sequence.write(
        [Sequence(ModelData.get_id('sale.sequence_sale'))],
        {'prefix': 'MC-', 'padding': 4})


def _hurry_crons():
    "Let who plays with the demo wait no longer than a minute"
    pool = Pool()
    Cron = pool.get('ir.cron')
    Cron.write(Cron.search([
                ('method', 'in', [
                        'marketing.automation.scenario|trigger',
                        'marketing.automation.record.activity|process']),
                ]), {
            'interval_number': 1,
            'interval_type': 'minutes',
            })


def _skip_wizards():
    "Do not ask at the first log-in what is configured here"
    pool = Pool()
    Item = pool.get('ir.module.config_wizard.item')
    Item.write(Item.search([]), {'state': 'done'})


def _create_users(company, passwords):
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    User = pool.get('res.user')
    values = {
        'companies': [('add', [company.id])],
        'company': company.id,
        }
    User.write(User.search([('login', '=', 'admin')]), values)
    User.create([{
                **values,
                'name': name,
                'login': login,
                'email': f'{login}@meridian.example.com',
                'password': passwords[login],
                'groups': [('add', [ModelData.get_id(g) for g in groups])],
                } for login, (name, groups) in USERS.items()])


def accept_quotations():
    "Confirm some of the quotations and return how many"
    with transaction():
        pool = Pool()
        Sale = pool.get('sale.sale')
        sales = Sale.search([('state', '=', 'quotation')])[::10]
        Sale.confirm(sales)
        return len(sales)


class Shop:
    "Creates parties, products and sales, the same ones each time"

    def __init__(self, company):
        self.company = company
        self.random = random.Random(8)
        self.addresses = set()

    def transaction(self):
        return transaction(company=self.company, companies=[self.company])

    def fill(self):
        self._create_parties()
        self._create_products()
        self._create_sales()

    def _create_parties(self):
        with transaction():
            pool = Pool()
            Category = pool.get('party.category')
            Country = pool.get('country.country')
            Lang = pool.get('ir.lang')
            club, = Category.create([{'name': "Meridian Club"}])
            langs = {x.code: x.id for x in Lang.search([])}
            countries = {
                code: country.id for code, country in zip(
                    COUNTRIES, Country.create([
                            {'name': name, 'code': code.upper()}
                            for code, (name, _) in COUNTRIES.items()]))}
            values = [
                self._party(i, club.id, langs, countries)
                for i in range(PARTIES)]
        for slice_ in grouped_slice(values, SLICE):
            # The language of a party is that of a company
            with self.transaction():
                pool = Pool()
                Party = pool.get('party.party')
                Party.create(list(slice_))

    def _party(self, i, club, langs, countries):
        code = self.random.choices(list(SHARES), SHARES.values())[0]
        is_company = i % 7 == 0
        if is_company:
            name = '{} {}'.format(
                self.random.choice(COMPANIES[code]),
                self.random.choice(FAMILY_NAMES[code]))
        else:
            name = '{} {}'.format(
                self.random.choice(GIVEN_NAMES[code]),
                self.random.choice(FAMILY_NAMES[code]))
        city = self.random.choice(COUNTRIES[code][1])
        values = {
            'name': name,
            'lang': langs[code],
            'addresses': [('create', [{
                            'city': city,
                            'country': countries[code],
                            }])],
            'contact_mechanisms': [('create', [{
                            'type': 'email',
                            'value': self._address(i, name),
                            }])],
            }
        if i % 40 == 5:
            # Somebody without an e-mail address
            del values['contact_mechanisms']
        if i % 80 == 9:
            values['marketing_tracking_refused'] = True
        if not is_company:
            values['categories'] = [('add', [club])]
        return values

    def _address(self, i, name):
        "Return an address nobody else has"
        local = '.'.join(name.lower().split()[-2:]).translate(ASCII)
        host = self.random.choice(MAIL_HOSTS)
        if i % 45 == 11:
            host = SCANNED_HOST
        elif i % 90 == 22:
            # The mail server of the demo does not know these
            local = 'gone'
        address, number = f'{local}@{host}', 1
        while address in self.addresses:
            number += 1
            address = f'{local}{number}@{host}'
        self.addresses.add(address)
        return address

    def _create_products(self):
        with self.transaction():
            pool = Pool()
            Company = pool.get('company.company')
            Template = pool.get('product.template')
            Uom = pool.get('product.uom')
            kilogram, = Uom.search([('symbol', '=', 'kg')])
            templates = Template.create([{
                        'name': name,
                        'type': 'goods',
                        'default_uom': kilogram.id,
                        'salable': True,
                        'sale_uom': kilogram.id,
                        'list_price': Decimal(price),
                        'products': [('create', [{}])],
                        } for name, price in COFFEES.items()])
            self.currency = Company(self.company).currency.id
            self.kilogram = kilogram.id
            self.products = [
                (t.products[0].id, t.list_price) for t in templates]

    def _create_sales(self):
        with self.transaction():
            pool = Pool()
            Party = pool.get('party.party')
            buyers = [
                (p.id, p.addresses[0].id) for p in Party.search([
                        ('addresses.country', '!=', None),
                        ], order=[('id', 'ASC')])]
        for state, count in SALES.items():
            values = [self._sale(buyers, state) for _ in range(count)]
            with self.transaction():
                pool = Pool()
                Sale = pool.get('sale.sale')
                self._bring(Sale.create(values), state)

    def _sale(self, buyers, state):
        party, address = self.random.choice(buyers)
        return {
            'company': self.company,
            'currency': self.currency,
            'party': party,
            'invoice_address': address,
            'shipment_address': address,
            'quotation_validity': dt.timedelta(days=30),
            'invoice_method': 'manual',
            'shipment_method': 'manual',
            'lines': [('create', [
                        self._line(product)
                        for product in self.random.sample(
                            self.products, self.random.randint(2, 4))])],
            }

    def _line(self, product):
        product, price = product
        return {
            'type': 'line',
            'product': product,
            'quantity': self.random.randint(1, 12),
            'unit': self.kilogram,
            'unit_price': price,
            }

    @staticmethod
    def _bring(sales, state):
        pool = Pool()
        Sale = pool.get('sale.sale')
        if state != 'draft':
            Sale.quote(sales)
        if state == 'processing':
            # A task processes what is confirmed
            Sale.confirm(sales)
        elif state == 'cancelled':
            Sale.cancel(sales)


ASCII = str.maketrans('äáàâçéèêëíìîïñöóôüúùû', 'aaaaceeeeiiiinooouuuu') | {
    ord('ß'): 'ss', ord('’'): None}
