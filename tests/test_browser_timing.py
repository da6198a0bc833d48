# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A marketer lets activities wait in the web client"""
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import create_activity, create_marketer, create_scenario

SIZE = {'width': 1280, 'height': 800}


class TimingTestCase(BrowserTestCase):
    "Test to wait for a date and for a condition"
    with_client = True
    modules = ['marketing_automation', 'sale']

    @classmethod
    def prepare(cls):
        create_marketer(password=cls.password)
        create_activity(
            create_scenario(name="Follow-up", model='sale.sale'), name="Wait")

    def test_timing(self):
        self.browse(self._wait, viewport=SIZE)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Activity = Pool().get('marketing.automation.activity')
            activity, = Activity.search([])
            self.assertEqual(
                activity.sentence,
                "Until the condition is fulfilled, "
                "for at most 2 weeks: “Wait”")
            self.assertEqual(activity.awaited, [['state', '=', 'done']])

    def _wait(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Follow-up")
        page.get_by_role('tab', name="Activities").click()
        self.open_row(page, "Wait")
        self._for_date(page)
        self._for_condition(page)
        self.assertFalse(errors)

    def _for_date(self, page):
        self._choose(page, 'timing', "By a Date")
        self._choose(page, 'date_field', "Shipping Date")
        self.enter(
            page, page.locator('input[name=date_number]:visible'), '3')
        self.assertEqual(
            self._sentence(page),
            "3 days before “Shipping Date”, at 09:00: “Wait”")
        self.shoot(page, 'date')

    def _for_condition(self, page):
        self._choose(page, 'timing', "Until a Condition")
        self.enter(
            page, page.locator('input[name=delay_number]:visible'), '14')
        page.locator('.form-one2many:visible').filter(
            has=page.locator('.list-form')).locator(
            'button[title=New]').click()
        self._choose(page, 'field', "State")
        self._choose(page, 'operator', "is")
        self._choose(page, 'choice', "Done")
        self.shoot(page, 'condition')
        page.get_by_role('button', name="Apply Changes").click()
        self.settle(page)
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved.").wait_for()
        self.shoot(page, 'saved')

    def _choose(self, page, name, label):
        self.select(
            page, page.locator(f'select[name={name}]:visible').last, label)

    def _sentence(self, page):
        return page.locator(
            'input[name=sentence]:visible').last.input_value()
