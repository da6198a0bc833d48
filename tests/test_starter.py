# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The e-mails to start from: those of the module and those of the company"""
import re
from pathlib import Path

from trytond.modules.marketing_automation.mail.sample import preview
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create_email, create_party, create_scenario)

FOLDER = Path(__file__).resolve().parent.parent / 'starters'


class StarterTestCase(DatabaseTestCase):
    "Test the starter templates"
    modules = ['marketing_automation', 'sale']

    def _shipped(self):
        Starter = Pool().get('marketing.automation.email.starter')
        return Starter.search([('file', '!=', None)])

    @with_transaction()
    def test_files(self):
        "Test that each file is offered"
        files = {f.name for f in FOLDER.iterdir()} - {'layout.html'}
        self.assertEqual({s.file for s in self._shipped()}, files)
        self.assertGreaterEqual(len(files), 3)

    @with_transaction(user=0)
    def test_rendered(self):
        "Test that each is valid and shows the name, of a party and of a sale"
        party = create_party("Anna Schmidt", 'anna@example.com')
        Sale = Pool().get('sale.sale')
        for record in [party, self._sale(party)]:
            scenario = create_scenario(model=record.__name__)
            for starter in self._shipped():
                with self.subTest(starter=starter.file, model=scenario.model):
                    self._check(scenario, starter, record)
        self.assertIsInstance(record, Sale)

    def _sale(self, party):
        pool = Pool()
        Company = pool.get('company.company')
        Currency = pool.get('currency.currency')
        Sale = pool.get('sale.sale')
        currency, = Currency.create([{
                    'name': "Euro", 'code': 'EUR', 'symbol': "€"}])
        company, = Company.create([{
                    'party': create_party("Shop").id,
                    'currency': currency.id}])
        with Transaction().set_context(company=company.id):
            sale, = Sale.create([{
                        'company': company.id, 'currency': currency.id,
                        'party': party.id}])
        return Sale(sale.id)

    def _check(self, scenario, starter, record):
        title, template = starter.texts(scenario.model)
        self.assertNotIn('[[', title + template)
        activity = create_email(
            scenario, email_title=title, email_template=template)
        self.assertTrue(activity.can_unsubscribe)
        shown = preview(activity, record)
        self.assertTrue(shown.sender, msg=shown.text)
        self.assertIn("Hello Anna Schmidt,", shown.text)
        self.assertIn("Unsubscribe", shown.text)
        self.assertNotRegex(shown.html, r'src\s*=|url\(|\$\{')

    @with_transaction()
    def test_languages(self):
        "Test that the texts are those of the language of the user"
        Translation = Pool().get('ir.translation')
        Translation.create([{
                    'name': 'ir.message,text', 'lang': 'fr', 'type': 'model',
                    'res_id': self._message('msg_starter_hello').id,
                    'src': "Hello %(name)s,", 'value': "Bonjour %(name)s !",
                    'module': 'marketing_automation', 'fuzzy': False}])
        with Transaction().set_context(language='fr'):
            starter = self._shipped()[0]
            _, template = starter.texts('party.party')
        self.assertIn('lang="fr"', template)
        self.assertIn("Bonjour ${record.name} !", template)

    def _message(self, name):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        Message = pool.get('ir.message')
        return Message(ModelData.get_id('marketing_automation', name))

    @with_transaction()
    def test_use(self):
        "Test that what is typed is only replaced on demand"
        create_party("Anna")
        starter = self._shipped()[0]
        scenario = create_scenario()
        Activity = Pool().get('marketing.automation.activity')
        activity = Activity(
            parent=scenario, action='send_email', email_template=None)
        self.assertIn(
            (str(starter.id), starter.name), activity.get_email_starters())
        activity.email_starter = str(starter.id)
        activity.on_change_email_starter()
        title, template = starter.texts('party.party')
        self.assertEqual(activity.email_title, title)
        self.assertEqual(activity.email_template, template)
        self.assertIn("Hello Anna", activity.email_preview_text)
        self.assertIsNone(activity.email_starter)
        activity.email_template = "typed"
        activity.email_starter = str(starter.id)
        activity.on_change_email_starter()
        self.assertEqual(activity.email_template, "typed")
        activity.use_starter()
        self.assertEqual(activity.email_template, template)

    @with_transaction()
    def test_save(self):
        "Test that an e-mail with its translations is kept as a starter"
        pool = Pool()
        Language = pool.get('ir.lang')
        Starter = pool.get('marketing.automation.email.starter')
        french, = Language.search([('code', '=', 'fr')])
        french.translatable = True
        french.save()
        activity = create_email(name="Own")
        Activity = activity.__class__
        with Transaction().set_context(language='fr'):
            Activity.write(
                [Activity(activity.id)], {'email_title': "Titre"})
        Activity.save_starter([activity])
        starter, = Starter.search([('name', '=', "Own")])
        self.assertEqual(
            starter.texts('party.party'),
            (activity.email_title, activity.email_template))
        with Transaction().set_context(language='fr'):
            starter = Starter(starter.id)
            self.assertEqual(
                starter.texts('party.party'),
                ("Titre", activity.email_template))
        self.assertIn(starter, Starter.offered('party.party'))
        self.assertNotIn(starter, Starter.offered('sale.sale'))

    @with_transaction()
    def test_copy(self):
        "Test that the copy of one of the module can be changed"
        starter = self._shipped()[0]
        copy, = starter.copy([starter])
        self.assertIsNone(copy.file)
        self.assertEqual(copy.texts(), starter.texts())

    @with_transaction()
    def test_preview(self):
        "Test that the form of the starter shows it"
        create_party("Anna Schmidt")
        for starter in self._shipped():
            with self.subTest(starter=starter.file):
                self.assertIn(b"Hello Anna Schmidt", starter.preview)

    def test_colours(self):
        "Test that a colour of the brand stands in few places"
        for file in FOLDER.iterdir():
            with self.subTest(file=file.name):
                colours = re.findall('#1d4ed8', file.read_text())
                self.assertLessEqual(len(colours), 2)
