# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A marketer tries a scenario in the web client before it is run"""
import datetime as dt

from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    create_email, create_marketer, create_party, create_scenario)

DAY = dt.timedelta(days=1)
LINKED = (
    '<html><body><h1>%s</h1><p>Hello ${record.name}, have a look at our '
    '<a href="https://example.org/">novelties</a>.</p>'
    '<p><a href="unsubscribe">Unsubscribe</a></p></body></html>')
KEPT = ['record', 'record.activity', 'hit', 'link', 'unsubscription']
WINDOW = {'width': 1280, 'height': 800}


class TryingTestCase(BrowserTestCase):
    "Test to rehearse a scenario and to estimate its e-mails"
    with_client = True

    @classmethod
    def prepare(cls):
        create_marketer(name="Marketing User", password=cls.password)
        for name in ["Zoë", "Bob"]:
            create_party(name, f'{name[0]}@example.com'.lower())
        scenario = create_scenario(
            name="Welcome", domain='[["name", "in", ["Zoë", "Bob"]]]')
        welcome = cls._email(scenario, "Welcome")
        guide = cls._email(
            welcome, "Guide", event='email_opened', delay=2 * DAY)
        cls._email(guide, "Offer", event='email_clicked', delay=1 * DAY)
        cls._email(
            welcome, "Reminder", event='email_opened', negative=True,
            delay=3 * DAY)

    @staticmethod
    def _email(parent, name, **values):
        return create_email(
            parent, name=name, email_title=f"{name} for ${{record.name}}",
            email_template=LINKED % name, **values)

    def test_rehearsal(self):
        "Test to rehearse a scenario both ways, by clicking"
        self.browse(self._rehearse, viewport=WINDOW)
        with Transaction().start(DB_NAME, 0, readonly=True):
            pool = Pool()
            for name in KEPT:
                Model = pool.get(f'marketing.automation.{name}')
                self.assertEqual(Model.search([], count=True), 0)
            Email = pool.get('ir.email')
            self.assertEqual(Email.search([], count=True), 0)

    def _open(self, page, url, button):
        "Return the dialog that the button of the scenario opens"
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Welcome")
        page.get_by_role('button', name=button, exact=True).click()
        return page.locator('.wizard-dialog:visible')

    def _rehearse(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        dialog = self._open(page, url, "Rehearse")
        self._see(dialog, "The record enters the scenario.")
        self.shoot(page, 'begun')

        frame = dialog.frame_locator(
            '.form-document iframe').frame_locator('iframe')

        def heading(name):
            return frame.get_by_role('heading', name=name)

        def line(text):
            return dialog.get_by_text(text).first

        self._click(dialog, "Next Step", heading("Welcome"))
        self._see(dialog, "The e-mail is sent to")
        self.shoot(page, 'sent')
        self._click(
            dialog, "Opened",
            line("Cancelled because the event has happened."))
        self._click(dialog, "Next Step", heading("Guide"))
        self._click(
            dialog, "Clicked", line("A link of the e-mail is followed."))
        self._click(dialog, "Next Step", heading("Offer"))
        self.shoot(page, 'opened')

        self._click(dialog, "Start Over", line("Is due."))
        self.enter(
            page, dialog.locator('input[name=wait_number]:visible'), '3')
        self._click(dialog, "Wait", heading("Reminder"))
        self._see(dialog, "Waits 3 days for the e-mail to be opened.")
        self.shoot(page, 'not_opened')
        self._click(
            dialog, "Unsubscribed", line("The recipient unsubscribes."))
        self._close(dialog)
        self.assertFalse(errors)

    def _click(self, dialog, name, then):
        "Click the button, after which something is seen"
        self.press(dialog.page, self._button(dialog, name), then.is_visible)

    def _close(self, dialog):
        backdrop = dialog.page.locator('.modal-backdrop')
        self.press(
            dialog.page, self._button(dialog, "Close"),
            lambda: not backdrop.count())

    @staticmethod
    def _button(dialog, name):
        return dialog.get_by_role('button', name=name, exact=True)

    @staticmethod
    def _see(dialog, text):
        dialog.get_by_text(text).first.wait_for()

    def test_estimate(self):
        "Test to see the past weeks, and to give rates"
        self.browse(self._estimate, viewport=WINDOW)

    def _estimate(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        dialog = self._open(page, url, "Estimate")
        self._see(dialog, "Busiest Week")
        dialog.locator('.graph svg').first.wait_for()
        self._wait_value(page, 'first_count', '2')
        # Both get the first e-mail, and at most one or two more later
        self._wait_value(page, 'peak_week_emails', '2')
        for name, percent in [('open_rate', '50'), ('click_rate', '10')]:
            self.enter(
                page, dialog.locator(f'input[name={name}]:visible'), percent)
            self._wait_value(page, name, f'{percent}.00')
        page.wait_for_function(
            '''() => !document.querySelector('textarea[name=notes]').value
                .includes("Without the rates")''')
        weeks = dialog.locator('select[name=weeks]:visible')
        weeks.select_option(label="12 Weeks")
        weeks.press('Tab')
        self.shoot(page, 'graph')
        dialog.get_by_role('tab', name="Numbers").click()
        dialog.locator(
            'th.integer:visible', has_text="E-mails at Most").wait_for()
        self.shoot(page, 'list')
        self.assertEqual(dialog.locator('tbody tr:visible').count(), 12)
        self._close(dialog)
        self.assertFalse(errors)

    @staticmethod
    def _wait_value(page, name, value):
        page.wait_for_function(
            '''([name, value]) => [...document.querySelectorAll(
                `input[name=${name}]`)].some((i) => i.value == value)
            ''', arg=[name, value])
