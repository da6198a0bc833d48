# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who enters again, and why somebody gets no e-mail, in the web client"""
import json

from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    create, create_email, create_marketer, create_party, create_scenario)

WINDOW = {'width': 1280, 'height': 800}


class WhyTestCase(BrowserTestCase):
    "Test the rules of entry and to ask why"
    with_client = True

    @classmethod
    def prepare(cls):
        create_marketer(name="Marketing User", password=cls.password)
        create_party("Jane", 'jane@example.com')
        create_party("Bob")
        scenario = create_scenario(name="Welcome")
        create('marketing.automation.criterion', scenario=scenario.id,
            field='name', operator='starts', text="J")
        hello = create_email(scenario, name="Hello")
        create_email(hello, name="Offer", event='email_opened')
        scenario.run([scenario])
        create_scenario(
            name="Thanks", domain=json.dumps([('code', '!=', None)]))

    def browse(self, function):
        errors = []

        def run(page, url):
            page.on('pageerror', lambda error: errors.append(error))
            self.login(page, url)
            function(page)

        super().browse(run, viewport=WINDOW)
        self.assertFalse(errors)

    def test_why(self):
        "Test why is told of a scenario and of a party"
        self.browse(self._why)

    def _why(self, page):
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        page.locator('.nav-tabs:visible').get_by_text("Running").click()
        self.open_row(page, "Welcome")
        page.get_by_role('button', name="Why?", exact=True).click()
        dialog = page.locator('.wizard-dialog:visible')
        self._see(dialog, "The e-mail would be sent to jane@example.com.")
        self.shoot(page, 'scenario')
        dialog.get_by_role('button', name="Close").click()

        page.locator('#menu').locator(
            'tr', has_text="Parties").first.locator('.expander').click()
        page.locator('#menu').get_by_text("Parties", exact=True).nth(1).click()
        self.open_row(page, "Bob")
        page.locator('.nav-tabs:visible').get_by_text(
            "Marketing", exact=True).click()
        self.shoot(page, 'page')
        page.get_by_role('button', name="Why?", exact=True).click()
        self._see(dialog, "Name starts with J")
        self._see(dialog, "Skipped because the party has no e-mail")
        self.shoot(page, 'party')

    def _see(self, dialog, text):
        dialog.locator('tr', has_text=text).first.wait_for()

    def test_rules(self):
        "Test to let records enter again and at once"
        self.browse(self._rules)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Scenario = Pool().get('marketing.automation.scenario')
            scenario, = Scenario.search([('name', '=', "Thanks")])
            self.assertEqual(
                (scenario.reentry, scenario.reentry_days, scenario.at_once),
                ('pause', 30, True))

    def _rules(self, page):
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Thanks")
        self.select(
            page, page.locator('select[name=reentry]:visible'),
            "After a Pause")
        self.enter(
            page, page.locator('input[name=reentry_days]:visible'), '30')
        page.locator('input[name=at_once]:visible').check()
        self.settle(page)
        self.shoot(page, 'changed')
        page.get_by_title("Save").first.click()
        self.settle(page)
