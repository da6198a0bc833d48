# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Writing and trying an e-mail in a real browser"""
from unittest.mock import patch

from trytond.modules.marketing_automation.mail.sample import preview
from trytond.pool import Pool

from .browser import BrowserTestCase
from .fixtures import (
    create_email, create_marketer, create_party, create_scenario)
from .system.smtp import Server
from .test_browser import OVERFLOW
from .tools import configure, received

SMALL = {'width': 1280, 'height': 800}
LARGE = {'width': 1440, 'height': 900}


class StarterTestCase(BrowserTestCase):
    "Test how the starter templates of the module look"

    @classmethod
    def prepare(cls):
        Starter = Pool().get('marketing.automation.email.starter')
        party = create_party("Anna Schmidt")
        scenario = create_scenario()
        cls.emails = {}
        for starter in Starter.search([('file', '!=', None)]):
            title, template = starter.texts('party.party')
            activity = create_email(
                scenario, email_title=title, email_template=template)
            cls.emails[starter.file] = preview(activity, party).html

    def test_phone(self):
        "Test that each fits on a phone"
        self.browse(self._look, viewport={'width': 360, 'height': 900})

    def test_wide(self):
        "Test that each fits in a wide window"
        self.browse(self._look, viewport={'width': 1000, 'height': 900})

    def _look(self, page, url):
        for name, html in self.emails.items():
            with self.subTest(starter=name):
                page.set_content(html)
                self.shoot(page, name)
                self.assertLessEqual(page.evaluate(OVERFLOW), 0)


class WritingTestCase(BrowserTestCase):
    "Test to write and to try an e-mail as a user of the group Marketing"
    with_client = True

    @classmethod
    def prepare(cls):
        pool = Pool()
        Language = pool.get('ir.lang')
        german, = Language.search([('code', '=', 'de')])
        Language.load_translations([german])
        create_marketer(password=cls.password, email='mia@example.com')
        create_marketer(
            login='maria', password=cls.password, language=german.id)
        create_party("Zoë", 'zoe@example.com')
        create_party("Anton", 'anton@example.com', lang=german.id)
        scenario = create_scenario(
            name="Welcome", domain='[["name", "!=", null]]')
        create_email(scenario, name="First")

    def test_writing(self):
        "Test to choose a starter and what is shown of it, and to send a test"
        smtp = Server()
        self.addCleanup(smtp.stop)
        self.addCleanup(patch.stopall)
        configure('email', uri=smtp.uri)
        self.browse(
            self._writing, viewport=SMALL,
            permissions=['clipboard-read', 'clipboard-write'])
        test, = received(smtp)
        self.assertEqual(test['To'], 'mia@example.com')
        self.assertTrue(test['Subject'].startswith("[Test] Come to us, Zoë"))

    def _writing(self, page, url):
        self.login(page, url)
        dialog = self._open(page, "Marketing", "Scenarios", "Activities")
        shown = dialog.frame_locator('.form-document iframe')
        self._choose_starter(page, dialog, shown)
        self._choose_what_is_shown(page, dialog, shown)
        self._copy_field(page, dialog, shown)
        self._try(page, dialog)

    def _open(self, page, menu, scenarios, activities):
        "Return the dialog of the activity"
        self.open_menu(page, menu, "Automation", scenarios)
        self.open_row(page, "Welcome")
        return self._open_activity(page, activities)

    def _open_activity(self, page, activities):
        page.get_by_role('tab', name=activities).click()
        page.locator(
            '.form-one2many td:visible', has_text="First").first.dblclick()
        dialog = page.locator('.modal-content:visible').last
        dialog.locator('textarea[name=email_template]').wait_for()
        return dialog

    def _choose_starter(self, page, dialog, shown):
        email = shown.frame_locator('iframe')
        self.see(email.get_by_text("Hello Zoë"))
        starter = dialog.locator('select[name=email_starter]')
        starter.select_option(label="Invitation")
        starter.press('Tab')
        dialog.get_by_role('button', name="Replace").click()
        sure = page.locator('.modal-content:visible').last
        sure.get_by_text("OK", exact=True).click()
        self.see(email.get_by_text("something to drink"))
        title = dialog.locator('input[name=email_title]')
        title.fill("Come to us, ${record.name}")
        title.press('Tab')
        self.see(shown.get_by_text("Come to us, Zoë"))
        self._check_in_sight(page, dialog)
        self.shoot(page, 'starter')

    def _check_in_sight(self, page, dialog):
        "Template and preview are seen beside each other without scrolling"
        template = dialog.locator('textarea[name=email_template]')
        preview = dialog.locator('.form-document iframe')
        buttons = dialog.locator('.modal-footer').bounding_box()
        left, right = template.bounding_box(), preview.bounding_box()
        self.assertLess(left['y'] + left['height'], buttons['y'])
        self.assertLess(right['y'] + 300, buttons['y'])
        self.assertLess(left['x'] + left['width'], right['x'])
        self.assertLessEqual(
            right['x'] + right['width'], page.viewport_size['width'])

    def _choose_what_is_shown(self, page, dialog, shown):
        reference = dialog.locator('.form-reference:visible').last
        with page.expect_response(
                lambda r: 'on_change' in (r.request.post_data or '')):
            reference.locator('[title^=Clear]').click()
        page.wait_for_timeout(500)
        reference.locator('input:visible').press_sequentially("Anton")
        page.locator('.dropdown-menu a:visible', has_text="Anton").click()
        self.see(shown.get_by_text("Come to us, Anton"))
        self.select(
            page, dialog.locator('select[name=preview_language]'), "German")
        self.select(
            page, dialog.locator('select[name=preview_view]'), "Phone")
        frame = shown.locator('iframe.phone')
        frame.wait_for()
        self.assertEqual(frame.bounding_box()['width'], 360)
        self.shoot(page, 'phone')
        self.select(
            page, dialog.locator('select[name=preview_view]'), "Plain Text")
        self.see(shown.locator('pre').get_by_text("Hello Anton"))
        self.shoot(page, 'text')

    def _copy_field(self, page, dialog, shown):
        self.select(
            page, dialog.locator('select[name=preview_view]'), "Fields")
        self.shoot(page, 'fields')
        shown.get_by_text('${record.code}', exact=True).click()
        page.keyboard.press('Control+c')
        title = dialog.locator('input[name=email_title]')
        title.focus()
        title.press('End')
        title.press('Control+v')
        title.press('Tab')
        self.settle(page)
        self.assertEqual(
            title.input_value(), "Come to us, ${record.name}${record.code}")

    def _try(self, page, dialog):
        dialog.get_by_role('button', name="Apply Changes").click()
        page.locator('.modal-backdrop').wait_for(state='detached')
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved").first.wait_for()
        dialog = self._open_activity(page, "Activities")
        dialog.get_by_role('button', name="Try E-mail").click()
        wizard = page.locator('.modal-content:visible').last
        address = wizard.locator('input[name=address]')
        address.wait_for()
        self.settle(page)
        self.assertEqual(address.input_value(), 'mia@example.com')
        self.shoot(page, 'try')
        wizard.get_by_role('button', name="Send Test E-mail").click()
        page.wait_for_function(
            """() => [...document.querySelectorAll('input[name=notice]')]
                .some((i) => i.value.includes('has been sent'))""")
        shown = wizard.frame_locator('.form-document iframe')
        self.see(shown.frame_locator('iframe').get_by_text("Hello Zoë"))
        self.shoot(page, 'sent')

    def test_german(self):
        "Test that nothing is cut in German, which is longer"
        self.browse(self._german, viewport=SMALL)
        self.browse(self._german, viewport=LARGE)

    def _german(self, page, url):
        self.login(page, url, 'maria')
        dialog = self._open(page, "Marketing", "Szenarien", "Aktivitäten")
        shown = dialog.frame_locator('.form-document iframe')
        self.see(shown.frame_locator('iframe').get_by_text("Hello Zoë"))
        self._check_in_sight(page, dialog)
        self.shoot(page, str(page.viewport_size['width']))
