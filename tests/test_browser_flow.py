# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A marketer builds the tree of a scenario in the web client"""
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import TEMPLATE, create_email, create_marketer, create_scenario

SIZE = {'width': 1280, 'height': 800}
FOCUSED = 'name => document.activeElement.name == name'
DRAWN = '''() => [...document.querySelectorAll('.form-document img')]
    .some((i) => i.naturalWidth > 0)'''


class FlowTestCase(BrowserTestCase):
    "Test to build and to order a tree, and its picture"
    with_client = True

    @classmethod
    def prepare(cls):
        create_marketer(password=cls.password)
        create_email(create_scenario(name="Welcome"), name="Hello")
        create_email(create_scenario(name="Farewell"), name="Good-bye")

    def test_tree(self):
        "Test to build a tree of three levels, to order it and to move in it"
        self.browse(self._tree, viewport=SIZE)
        parents = self._parents()
        self.assertEqual(parents, {
                "Hello": "Welcome",
                "Reminder": "Hello",
                "Guide": "Reminder",
                "Offer": "Guide",
                })
        names = list(parents)
        self.assertLess(names.index("Reminder"), names.index("Guide"))

    def _parents(self):
        "Return {name: name of the parent} of the activities in their order"
        with Transaction().start(DB_NAME, 0, readonly=True):
            Activity = Pool().get('marketing.automation.activity')
            activities = Activity.search([('scenario.name', '=', "Welcome")])
            return {a.name: a.parent.name for a in activities}

    def _tree(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Welcome")
        page.get_by_role('tab', name="Activities").click()
        self._follow(page, "Hello", "Guide", "Email Opened")
        self._follow(page, "Guide", "Offer", "Email Clicked", delay='2')
        self._unfold(page, "Guide", "Offer")
        self._follow(page, "Hello", "Reminder", "Email Not Opened", delay='3')
        self._row(page, "Reminder").wait_for()
        self.shoot(page, 'built')
        self._drag(page, "Reminder", "Guide")
        self.shoot(page, 'ordered')
        page.get_by_role('tab', name="Picture").click()
        page.wait_for_function(DRAWN)
        self.shoot(page, 'picture')
        self._move(page)
        self.assertFalse(errors)

    def _row(self, page, name):
        return page.locator('tr:visible', has_text=f'“{name}”')

    def _follow(self, page, name, follower, event, delay=None):
        "Add a follower to the activity of the name"
        row = self._row(page, name)
        row.get_by_text(name).first.click()
        row.locator('.selection-state input:checked').wait_for()
        row.get_by_role('button').click()
        dialog = page.locator('.wizard-dialog:visible')
        page.wait_for_function(FOCUSED, arg='name')
        # As a person, who types where the cursor is
        page.keyboard.type(follower)
        page.keyboard.press('Tab')
        self.select(
            page, dialog.locator('select[name=action]:visible'), "Send E-mail")
        self.select(
            page, dialog.locator('select[name=on]:visible'), event)
        if delay:
            self.enter(
                page, dialog.locator('input[name=delay_number]:visible'),
                delay)
        dialog.locator('input[name=email_title]').fill(follower)
        template = dialog.locator('textarea[name=email_template]')
        template.fill(TEMPLATE)
        template.press('Tab')
        dialog.get_by_role('button', name="Add", exact=True).click()
        # Nothing is selected once the tree is read again
        row.locator('.selection-state input:not(:checked)').wait_for()

    def _drag(self, page, name, before):
        "Drag the activity of the name before another one"
        source, target = [
            self._row(page, n).locator('.draggable-handle').bounding_box()
            for n in [name, before]]
        page.mouse.move(source['x'] + 5, source['y'] + 5)
        page.mouse.down()
        page.mouse.move(source['x'] + 5, source['y'] - 5, steps=5)
        page.mouse.move(target['x'] + 5, target['y'] + 2, steps=10)
        page.mouse.up()
        self._save(page)

    def _save(self, page):
        with page.expect_response(
                lambda r: '.write"' in (r.request.post_data or '')):
            page.keyboard.press('Control+s')

    def _move(self, page):
        "Choose another parent, among those that can be"
        page.get_by_title("Relate").first.click()
        page.locator('.dropdown-menu:visible').get_by_text(
            "Activities", exact=True).click()
        self._row(page, "Guide").get_by_text("Guide").first.dblclick()
        parent = page.locator('input[name=parent]:visible')
        parent.fill('')
        parent.press('F2')
        dialog = page.locator('.modal-content:visible')
        self._row(dialog, "Hello").wait_for()
        self.shoot(page, 'parents')
        self.assertEqual(dialog.locator('tbody tr:visible').count(), 2)
        self._row(dialog, "Reminder").get_by_text("Reminder").first.dblclick()
        page.locator('.modal-backdrop').wait_for(state='detached')
        self._save(page)

    def _unfold(self, page, name, child):
        self._row(page, name).locator('.expander:visible').click()
        self._row(page, child).wait_for()
