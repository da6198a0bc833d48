# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How a marketer chooses who enters, in a real browser"""
from trytond.pool import Pool

from .browser import BrowserTestCase
from .fixtures import create, create_marketer, create_party, create_scenario

WINDOW = {'width': 1280, 'height': 800}


class AudienceTestCase(BrowserTestCase):
    "Test the audience as a user of the group Marketing"
    with_client = True

    @classmethod
    def prepare(cls):
        pool = Pool()
        Lang = pool.get('ir.lang')
        german, = Lang.search([('code', '=', 'de')])
        german.translatable = True
        german.save()
        create_marketer(
            name="Marketing User", password=cls.password)
        create_marketer(
            'german', name="Marketing", password=cls.password,
            language=german.id)
        country = create('country.country', name="Germany", code='DE')
        for i, name in enumerate(["Zoë", "Bob", "Bill", "Ann"]):
            party = create_party(
                name, f'{name[0]}@example.com',
                addresses=[('create', [{
                                'country': country.id,
                                'city': "Berlin",
                                'postal_code': f'1011{i}',
                                }])])
            party.lang = german
            party.save()
        create_party("No Address")
        create_party("Refuses", 'r@example.com', marketing_unsubscribed=True)
        create_scenario(name="Welcome")

    def test_show(self):
        self.browse(self._show, viewport=WINDOW)

    def _show(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Welcome")
        page.locator('input[name=reached_count]:visible').wait_for()
        page.wait_for_timeout(500)
        self.shoot(page, 'form')
        page.get_by_role('button', name="Show Matching Records").click()
        page.locator('tbody td:visible', has_text="Zoë").first.wait_for()
        page.wait_for_timeout(500)
        self.shoot(page, 'matching')
        self.assertFalse(errors)
