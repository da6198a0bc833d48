# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How a marketer says who stays, what the goal is, and what is too much"""
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    EVERYTHING, create_email, create_marketer, create_party, create_scenario)

WINDOW = {'width': 1280, 'height': 800}


class EndingTestCase(BrowserTestCase):
    "Test the pages as a user of the group Marketing"
    with_client = True
    modules = EVERYTHING

    @classmethod
    def prepare(cls):
        create_marketer(name="Marketing User", password=cls.password)
        create_party("Ada", 'ada@example.com')
        create_email(create_scenario(name="Win back"), name="Welcome")

    def test_ending(self):
        "Test to choose, to save, and to be asked before it is run"
        self.browse(self._ending, viewport=WINDOW)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Scenario = Pool().get('marketing.automation.scenario')
            scenario, = Scenario.search([])
            self.assertEqual(
                [scenario.stay_mode, scenario.goal_mode, scenario.cap_over],
                ['audience', 'criteria', 'skip'])
            self.assertEqual(
                scenario.filter_domain('goal'), [['name', 'ilike', 'Ada%']])
            self.assertFalse(scenario.criteria)
            self.assertEqual(
                list(scenario.held_back_by), ['overdue_invoice'])
            self.assertEqual(scenario.cap_rule, (3, 7))

    def _ending(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self._set_cap(page)
        page.locator('#menu').get_by_text("Scenarios", exact=True).click()
        self.open_row(page, "Win back")
        self._choose(page)
        self._save(page)
        self.shoot(page, 'saved')
        page.get_by_role('button', name="Run", exact=True).click()
        dialog = page.locator('.wizard-dialog:visible')
        dialog.locator('[name=rules]').wait_for()
        self.shoot(page, 'asked')
        rules = dialog.locator('[name=rules]').input_value().splitlines()
        self.assertEqual(len(rules), 4)
        self.assertIn("at most 3 e-mails in 7 days", rules[2])
        self.assertFalse(errors)

    def _set_cap(self, page):
        self.open_menu(
            page, "Marketing", "Automation", "Configuration",
            "Notifications and Limits")
        page.wait_for_function(
            '''() => [...document.querySelectorAll(
                'input[name=complaint_limit]')].some((i) => i.value == '0.30')
            ''')
        self.enter(page, page.locator('[name=cap_count]:visible').first, '3')
        self.shoot(page, 'configuration')
        self._save(page)

    def _save(self, page):
        page.keyboard.press('Control+s')
        self.settle(page)

    def _choose(self, page):
        page.get_by_role('tab', name="Stay and Goal").click()
        for name, label in [
                ('stay_mode', "The Audience"), ('goal_mode', "Criteria")]:
            self.select(
                page, page.locator(f'select[name={name}]:visible'), label)
        page.locator('.form-one2many:visible').locator(
            'button[title=New]:visible, button[title=Add]:visible'
            ).first.click()
        self.settle(page)
        line = page.locator('.list-form-item:visible').last
        for name, label in [
                ('field', "Name"), ('operator', "starts with")]:
            self.select(page, line.locator(f'select[name={name}]'), label)
        self.enter(page, line.locator('input[name=text]'), "Ada")
        self.shoot(page, 'ending')
        page.get_by_role('tab', name="Settings").click()
        for name, label in [
                ('cap_over', "Skip"), ('held_back_by', "Overdue Invoice")]:
            self.select(
                page, page.locator(f'select[name={name}]:visible'), label)
        self.shoot(page, 'settings')
