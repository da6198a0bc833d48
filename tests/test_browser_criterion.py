# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How a marketer chooses by criteria who enters, in a real browser"""
from trytond.pool import Pool

from .browser import BrowserTestCase
from .fixtures import create, create_marketer, create_party

WINDOW = {'width': 1280, 'height': 800}


class CriterionTestCase(BrowserTestCase):
    "Test the criteria as a user of the group Marketing"
    with_client = True
    modules = ['marketing_automation', 'sale']

    @classmethod
    def prepare(cls):
        pool = Pool()
        Group = pool.get('res.group')
        Lang = pool.get('ir.lang')
        german, = Lang.search([('code', '=', 'de')])
        Lang.load_translations([german])
        create_marketer(name="Marketing User", password=cls.password)
        create_marketer(
            'german', name="Marketing", password=cls.password,
            language=german.id)
        seller = create_marketer(
            'seller', name="Seller", password=cls.password)
        seller.groups += tuple(Group.search([('name', '=', "Sales")]))
        seller.save()
        countries = [
            create('country.country', name=name)
            for name in ["Germany", "Gabon"]]
        for i, name in enumerate(["Zoë", "Bob", "Bill", "Ann"]):
            create_party(
                name, f'{name[0]}@example.com',
                addresses=[('create', [{
                                'country': countries[i == 1].id,
                                'city': "Bonn" if i == 2 else "Berlin",
                                }])])

    def _new(self, page, name, model):
        "Start a new scenario"
        page.locator('.toolbar:visible button[id=new], '
            'button[title=New]:visible, button[title=Neu]:visible'
            ).first.click()
        self.settle(page)
        page.locator('input[name=name]:visible').fill(name)
        page.keyboard.press('Tab')
        page.locator('select[name=model]:visible').select_option(label=model)
        self.settle(page)

    def _add(self, page, field, operator, value=None, pick=None):
        "Add a criterion, with a value to type and maybe to pick by it"
        lines = page.locator('.list-form-item:visible')
        number = lines.count()
        page.locator('.form-one2many:visible').filter(
            has=page.locator('.list-form')).locator(
            'button[title=New], button[title=Neu]').click()
        line = lines.nth(number)
        line.wait_for()
        line.locator('select[name=field]').select_option(label=field)
        self.settle(page)
        line.locator('select[name=operator]').select_option(label=operator)
        self.settle(page)
        if value is not None:
            self.type(page, line.locator('input:visible').first, value)
            if pick:
                line.get_by_text(pick).first.click()
            page.keyboard.press('Tab')
            self.settle(page)

    def _number(self, page, name='matching_count'):
        return page.locator(f'input[name={name}]:visible').input_value()

    def test_choose(self):
        self.browse(self._choose, viewport=WINDOW)

    def _choose(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self._new(page, "Welcome", "Party")
        self.assertEqual(self._number(page), '4')
        self._add(page, "Country", "is", "Germ", "Germany")
        self.assertEqual(self._number(page), '3')
        self._add(page, "City", "starts with", "ber")
        self.assertEqual(self._number(page), '2')
        self._add(page, "Created at", "in the last … days")
        self.assertEqual(self._number(page), '')
        page.keyboard.press('Control+s')
        page.get_by_text(
            'Enter what "Created at" is compared with in line 3').wait_for()
        self.shoot(page, 'lacking')
        page.get_by_role('button', name="OK").click()
        self.enter(page, page.locator('input[name=days]:visible'), '3')
        self.assertEqual(self._number(page), '2')
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved.").wait_for()
        self.settle(page)
        self.shoot(page, 'saved')
        self._be_expert(page)
        page.get_by_role('button', name="Show Matching Records").click()
        page.locator('tbody td:visible', has_text="Zoë").first.wait_for()
        self.settle(page)
        self.assertFalse(page.get_by_text("Bob").count())
        self.shoot(page, 'matching')
        self.assertFalse(errors)

    def _be_expert(self, page):
        "Write an expert filter and come back"
        page.locator('.panel-heading a', has_text="Expert Filter").click()
        page.get_by_role('button', name="Write Expert Filter").wait_for()
        page.get_by_role(
            'button', name="Write Expert Filter").scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        self.shoot(page, 'result')
        page.get_by_role('button', name="Write Expert Filter").click()
        self.settle(page)
        source = page.locator('textarea[name=domain_source]:visible')
        self.assertIn('delta_days=-3', source.input_value())
        source.fill("[('name', '=', 'Bob')]")
        page.keyboard.press('Tab')
        self.settle(page)
        self.shoot(page, 'expert')
        page.get_by_role('button', name="Choose by Criteria").click()
        page.get_by_text("Copy it if it is still needed.").wait_for()
        self.shoot(page, 'asked')
        page.get_by_role('button', name="No", exact=True).click()
        self.settle(page)
        self.assertEqual(source.input_value(), "[('name', '=', 'Bob')]")
        page.get_by_role('button', name="Choose by Criteria").click()
        page.get_by_role('button', name="Yes", exact=True).click()
        self.settle(page)
        self.assertEqual(self._number(page), '2')

    def test_german(self):
        self.browse(self._show_german, viewport=WINDOW)

    def _show_german(self, page, url):
        self.login(page, url, 'german')
        self.open_menu(page, "Marketing", "Automation", "Szenarien")
        self._new(page, "Willkommen", "Partei")
        self._add(page, "Land", "ist nicht", "Ga", "Gabon")
        self._add(page, "Ort", "beginnt mit", "Ber")
        self.assertEqual(self._number(page), '2')
        self.shoot(page, 'form')

    def test_sale(self):
        self.browse(self._choose_sales, viewport=WINDOW)

    def _choose_sales(self, page, url):
        self.login(page, url, 'seller')
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self._new(page, "Follow-up", "Sale")
        self._add(page, "State", "is")
        lines = page.locator('.list-form-item:visible')
        lines.nth(0).locator('select[name=choice]').select_option(
            label="Quotation")
        self.settle(page)
        self._add(page, "Amount", "is at least", "100")
        self._add(page, "Sale Date", "more than … days ago", "14")
        self._add(page, "Party: Country", "is not", "Ga", "Gabon")
        self._add(page, "Party: Purchases", "is", "1")
        self.assertEqual(self._number(page), '0')
        self.shoot(page, 'form')
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved.").wait_for()
