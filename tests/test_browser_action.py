# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How a marketer chooses what an activity does, in a real browser"""
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    create, create_activity, create_marketer, create_party, create_scenario)

WINDOW = {'width': 1280, 'height': 800}


class ActionTestCase(BrowserTestCase):
    "Test the actions as a user of the group Marketing"
    with_client = True

    @classmethod
    def prepare(cls):
        create_marketer(name="Marketing User", password=cls.password)
        create_party("Zoë")
        create('party.category', name="VIP")
        create_activity(create_scenario(name="Welcome"), name="Step")

    def test_actions(self):
        "Test to let an activity set fields, and to choose another action"
        self.browse(self._actions, viewport=WINDOW)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Activity = Pool().get('marketing.automation.activity')
            activity, = Activity.search([])
            self.assertEqual(activity.action, 'add_category')
            self.assertEqual(activity.category.name, "VIP")
            self.assertFalse(activity.action_values)

    def _actions(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        page.locator('tbody td:visible', has_text="Welcome").first.dblclick()
        page.get_by_title("Relate").first.click()
        page.locator('.dropdown-menu:visible').get_by_text(
            "Activities", exact=True).click()
        page.locator('tr:visible', has_text="“Step”").get_by_text(
            "Step").first.dblclick()
        self.settle(page)
        self._select(page, page, 'action', "Set Fields")
        self.shoot(page, 'action')
        self._line(page, "Name", "becomes").locator(
            'input[name=text]').fill("Dear ${record.name}")
        page.keyboard.press('Tab')
        line = self._line(page, "Language", "becomes")
        self.shoot(page, 'line')
        record = line.locator('.form-reference input:visible')
        record.click()
        page.keyboard.type("Germ")
        line.get_by_text("German", exact=True).first.click()
        page.keyboard.press('Tab')
        self._save(page)
        self.shoot(page, 'set_fields')
        page.get_by_role('button', name="Try Action").click()
        dialog = page.locator('.wizard-dialog:visible')
        dialog.locator('textarea[name=what]').wait_for()
        self.settle(page)
        self.shoot(page, 'try')
        self.assertEqual(
            dialog.locator('textarea[name=what]').input_value(),
            "Name: Zoë → Dear Zoë\nLanguage: – → German")
        dialog.get_by_role('button', name="Close").click()
        page.locator('.modal-backdrop').wait_for(state='detached')
        # The client reads again what the wizard may have changed
        self.settle(page)
        self.assertEqual(
            page.locator('input[name=sentence]').input_value(),
            "At once: set Name, Language")
        self._select(page, page, 'action', "Add Category")
        page.locator('input[name=category]:visible').click()
        page.keyboard.type("VI")
        page.get_by_text("VIP", exact=True).first.click()
        page.keyboard.press('Tab')
        self._save(page)
        self.shoot(page, 'add_category')
        self._look(page, "Notify")
        self._look(page, "Create Record")
        self._look(page, "Call Webhook")
        self.assertFalse(errors)

    def _look(self, page, action):
        "See the fields of the action"
        self._select(page, page, 'action', action)
        self.shoot(page, action.lower().replace(' ', '_'))

    def _select(self, page, form, name, label):
        form.locator(f'select[name={name}]:visible').select_option(label=label)
        page.keyboard.press('Tab')
        self.settle(page)

    def _line(self, page, field, operator):
        "Add a line and return it"
        lines = page.locator('.list-form-item:visible')
        number = lines.count()
        page.locator('.form-one2many:visible').filter(
            has=page.locator('.list-form')).get_by_title("New").click()
        line = lines.nth(number)
        line.wait_for()
        self.settle(page)
        self._select(page, line, 'field', field)
        self._select(page, line, 'operator', operator)
        return line

    def _save(self, page):
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved.").wait_for()
        self.settle(page)
