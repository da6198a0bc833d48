# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A marketer splits a scenario and tests variants in the web client"""
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    TEMPLATE, create_activity, create_email, create_marketer, create_party,
    create_record, create_record_activity, create_scenario)

SIZE = {'width': 1280, 'height': 900}


class VariantTestCase(BrowserTestCase):
    "Test to add variants, to look at their results and to choose one"
    with_client = True

    @classmethod
    def prepare(cls):
        create_marketer(password=cls.password)
        create_party("Zoë", 'zoe@example.com')
        scenario = create_scenario(name="Tea")
        split = create_activity(scenario, name="Which offer", action='split')
        create_email(split, name="Free shipping", share=70)
        create_email(split, name="Ten percent", share=30)
        cls._prepare_results()

    @classmethod
    def _prepare_results(cls):
        scenario = create_scenario(name="Coffee")
        email = create_email(
            scenario, name="News", email_title="News",
            test_by='email_opened', variants=[('create', [
                        {'name': "As it is"},
                        {'name': "Question", 'email_title': "Coffee?",
                            'email_template': TEMPLATE.replace(
                                "Hello", "Coffee,")}])])
        cls.variants = email.variants
        for i in range(60):
            create_record_activity(
                create_record(scenario, create_party()), email, state='done',
                variant=email.variants[i % 2].id, email_opened=i % 5 == 0)

    def test_variants(self):
        "Test all of it by clicking"
        self.browse(self._variants, viewport=SIZE)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Activity = Pool().get('marketing.automation.activity')
            activity, = Activity.search([('name', '=', "Free shipping")])
            self.assertEqual(activity.test_by, 'email_clicked')
            self.assertEqual(
                [(v.name, v.email_title or None) for v in activity.variants],
                [("Plain", None), ("Bold", "Free today")])
            activity, = Activity.search([('name', '=', "News")])
            self.assertEqual(activity.winner.name, "Question")
            self.assertTrue(activity.winner_chosen)

    def _variants(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self._open_activities(page, "Tea")
        self._add(page)
        self._choose(page)
        self.assertFalse(errors)

    def _open_activities(self, page, name):
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, name)
        page.get_by_role('tab', name="Activities").click()
        self.settle(page)

    def _add(self, page):
        "Give an e-mail of a branch two variants"
        self._row(page, "Free shipping").get_by_text("70").wait_for()
        self.shoot(page, 'split')
        self._row(page, "Free shipping").get_by_text(
            "Free shipping").first.dblclick()
        dialog = page.locator('.modal-content:visible')
        dialog.get_by_role('tab', name="Variants").click()
        self.select(
            page, dialog.locator('select[name=test_by]:visible'), "Clicks")
        for name, title in [("Plain", ""), ("Bold", "Free today")]:
            dialog.locator('button[title=New]:visible').last.click()
            self.settle(page)
            form = page.locator('.modal-content:visible').last
            for field, value in [('name', name), ('email_title', title)]:
                self.enter(
                    page, form.locator(f'input[name={field}]:visible'), value)
            self.shoot(page, f'variant_{name}')
            form.get_by_role('button', name="Add", exact=True).click()
            self.settle(page)
            dialog.locator('td:visible', has_text=name).first.wait_for()
        self.shoot(page, 'added')
        dialog.get_by_role('button', name="Apply Changes").click()
        self.settle(page)
        with page.expect_response(
                lambda r: '.write"' in (r.request.post_data or '')):
            page.keyboard.press('Control+s')
        page.get_by_role('tab', name="Picture").click()
        page.wait_for_timeout(500)
        self.shoot(page, 'picture')

    def _choose(self, page):
        "Look at the results and choose the winner"
        page.reload()
        self._open_activities(page, "Coffee")
        self._row(page, "News").get_by_text("News").first.dblclick()
        dialog = page.locator('.modal-content:visible')
        dialog.get_by_role('tab', name="Variants").click()
        result = dialog.locator('textarea[name=test_result]:visible')
        result.wait_for()
        self.assertIn("Too early to tell", result.input_value())
        self.shoot(page, 'results')
        row = dialog.locator('tr', has_text="Question")
        row.get_by_text("Question").first.click()
        row.locator('.selection-state input:checked').wait_for()
        row.get_by_role('button').click()
        page.get_by_text("Do you want to choose it").wait_for()
        self.shoot(page, 'confirm')
        page.locator('.modal-content:visible').last.get_by_role(
            'button', name="OK").click()
        self.settle(page)
        self.shoot(page, 'chosen')

    def _row(self, page, text):
        return page.locator('tr:visible', has_text=text)
