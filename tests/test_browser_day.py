# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The day of a marketing person, from the first filter to the results

With the group Marketing only, by clicking and typing, on a real mail server.
"""
from unittest.mock import patch

from proteus import config

from .browser import BrowserTestCase
from .fixtures import create, create_marketer, create_party
from .test_browser_flow import DRAWN
from .tools import (
    enter, follow, links, pass_time, pixel, process, received, start_smtp)

WINDOW = {'width': 1280, 'height': 800}
SHOP = 'https://www.example.com/'
INVITATION, REMINDER = "Invitation", "Reminder"


class DayTestCase(BrowserTestCase):
    "Test to choose, write, try, run and read"
    with_client = True
    on_each_database = True

    @classmethod
    def prepare(cls):
        create_marketer(
            name="Mia", password=cls.password, email='mia@example.com')
        germany, gabon = [
            create('country.country', name=name)
            for name in ["Germany", "Gabon"]]
        for name, country in [
                ("Zoë", germany), ("Anton", germany), ("Carla", germany),
                ("Bob", gabon)]:
            create_party(
                name, f'{name[0]}@example.com'.lower(),
                addresses=[('create', [{'country': country.id}])])
        create_party(
            "Emil", addresses=[('create', [{'country': germany.id}])])

    def test_day(self):
        "Test the whole of it"
        config.set_trytond()
        self.smtp = start_smtp()
        self.addCleanup(patch.stopall)
        for part in [self._plan, self._try, self._run]:
            self._sit_down(part)
        self._test_was_sent()
        self._people_read()
        self._sit_down(self._read)

    def _sit_down(self, part):
        "Do a part in a session of its own"
        self.errors, self.foreign, self.failed = [], [], []

        def run(page, url):
            page.on('pageerror', lambda error: self.errors.append(error))
            page.on('request', lambda request: self._check(request, url))
            page.on('response', lambda response: self._note(response))
            self.login(page, url)
            part(page)
        self.browse(run, viewport=WINDOW)
        self.assertFalse(self.errors)
        self.assertFalse(self.foreign)
        self.assertFalse(self.failed)

    def _check(self, request, url):
        if not request.url.startswith((url, 'data:', 'blob:', 'about:')):
            self.foreign.append(request.url)

    def _note(self, response):
        if response.status >= 500:
            self.failed.append(response.url)

    def _button(self, parent, name):
        return parent.get_by_role('button', name=name, exact=True)

    def _tab(self, page, name):
        page.get_by_role('tab', name=name, exact=True).click()
        self.settle(page)

    def _save(self, page):
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved").first.wait_for()
        self.settle(page)

    def _open_scenario(self, page, state="Draft"):
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        page.locator('a:visible', has_text=state).last.click()
        self.settle(page)
        self.open_row(page, "Tasting")

    # Whom, what and when

    def _plan(self, page):
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        page.locator('button[title=New]:visible').first.click()
        self.settle(page)
        self.enter(
            page, page.locator('input[name=name]:visible'), "Tasting")
        self.select(
            page, page.locator('select[name=model]:visible'), "Party")
        self._choose(page)
        self._save(page)
        self._tab(page, "Activities")
        self._write(page)
        self._save(page)
        self._remind(page)
        self._tab(page, "Picture")
        page.wait_for_function(DRAWN)
        self.shoot(page, 'picture')

    def _choose(self, page):
        page.locator('.form-one2many:visible').filter(
            has=page.locator('.list-form')).locator(
            'button[title=New]').click()
        line = page.locator('.list-form-item:visible')
        self.select(page, line.locator('select[name=field]'), "Country")
        self.select(page, line.locator('select[name=operator]'), "is")
        self.type(page, line.locator('input:visible').first, "Germ")
        line.get_by_text("Germany").first.click()
        self.settle(page)
        for name, value in [
                ('matching_count', '4'), ('reached_count', '3'),
                ('no_address_count', '1')]:
            self.assertEqual(self._number(page, name), value)
        self.shoot(page, 'audience')

    def _number(self, page, name):
        return page.locator(f'input[name={name}]:visible').input_value()

    def _write(self, page):
        page.locator('.form-one2many:visible button[title^=New]').click()
        dialog = page.locator('.modal-content:visible')
        self.enter(page, dialog.locator('input[name=name]'), INVITATION)
        self.select(
            page, dialog.locator('select[name=action]'), "Send E-mail")
        self.select(
            page, dialog.locator('select[name=email_starter]'), "Invitation")
        self.enter(
            page, dialog.locator('input[name=email_title]'),
            "Come to us, ${record.name}")
        shown = dialog.frame_locator('.form-document iframe')
        self.see(shown.get_by_text("Come to us, Zoë"))
        self.shoot(page, 'email')
        self._button(dialog, "Add").click()
        page.locator('.modal-backdrop').wait_for(state='detached')

    def _remind(self, page):
        row = page.locator('tr:visible', has_text=f"“{INVITATION}”")
        row.get_by_text(INVITATION).first.click()
        row.locator('.selection-state input:checked').wait_for()
        row.get_by_role('button').click()
        dialog = page.locator('.wizard-dialog:visible')
        self.settle(page)
        self.enter(
            page, dialog.locator('input[name=name]:visible'), REMINDER)
        self.select(
            page, dialog.locator('select[name=action]:visible'),
            "Send E-mail")
        self.select(
            page, dialog.locator('select[name=on]:visible'),
            "Email Not Opened")
        self.enter(
            page, dialog.locator('input[name=delay_number]:visible'), '2')
        self.enter(
            page, dialog.locator('input[name=email_title]'),
            "Still free, ${record.name}")
        template = dialog.locator('textarea[name=email_template]')
        template.fill(
            f'<p>There is a seat left. <a href="{SHOP}seat">Take it</a></p>'
            '<p><a href="unsubscribe">Unsubscribe</a></p>')
        template.press('Tab')
        self.settle(page)
        self.press(
            page, self._button(dialog, "Add"), lambda: not dialog.count())
        row.locator('.expander:visible').click()
        page.locator('tr:visible', has_text=f"“{REMINDER}”").wait_for()
        self.shoot(page, 'tree')

    # Trying and running

    def _try(self, page):
        self._open_scenario(page)
        self._tab(page, "Activities")
        page.locator(
            '.form-one2many td:visible', has_text=INVITATION
            ).first.dblclick()
        dialog = page.locator('.modal-content:visible')
        self.settle(page)
        self._button(dialog, "Try E-mail").click()
        wizard = page.locator('.modal-content:visible').last
        self.settle(page)
        self.press(
            page, self._button(wizard, "Send Test E-mail"),
            lambda: self.smtp.messages)
        self._close(page, wizard)
        self.shoot(page, 'tried')
        dialog.get_by_role('button', name="Apply Changes").click()
        page.locator('.modal-backdrop').wait_for(state='detached')
        self._rehearse(page)

    def _close(self, page, wizard):
        dialogs = page.locator('.modal-content:visible')
        count = dialogs.count()
        self.press(
            page, self._button(wizard, "Close"),
            lambda: dialogs.count() < count)

    def _rehearse(self, page):
        self._button(page, "Rehearse").click()
        dialog = page.locator('.wizard-dialog:visible')
        self.settle(page)
        sent = dialog.get_by_text("The e-mail is sent to")
        for number in [1, 2]:
            self.press(
                page, self._button(dialog, "Next Step"),
                lambda: sent.count() == number)
        self.shoot(page, 'rehearsed')
        self._close(page, dialog)
        self._button(page, "Estimate").click()
        self.settle(page)
        dialog.get_by_text("Busiest Week").first.wait_for()
        self._close(page, dialog)

    def _run(self, page):
        self._open_scenario(page)
        self._button(page, "Run").click()
        dialog = page.locator('.wizard-dialog:visible')
        self.settle(page)
        dialog.locator('td', has_text=INVITATION).wait_for()
        self.shoot(page, 'asked')
        self.press(
            page, self._button(dialog, "Run"), lambda: not dialog.count())
        self._button(page, "Stop").wait_for()
        self.shoot(page, 'running')

    # What is received

    def _test_was_sent(self):
        test, = received(self.smtp)
        self.assertEqual(test['To'], 'mia@example.com')
        self.assertEqual(test['Subject'], "[Test] Come to us, Zoë")
        self.smtp.clear()

    def _people_read(self):
        enter()
        process()
        letters = {m['To'].split()[0]: m for m in received(self.smtp)}
        self.assertEqual(set(letters), {"Zoë", "Anton", "Carla"})
        # Who is quicker than a person is a machine
        pass_time(hours=3)
        follow(pixel(letters["Zoë"]))
        link, *_, unsubscribe = links(letters["Zoë"])
        follow(link)
        self.assertEqual(
            follow(links(letters["Carla"])[-1], method='POST').status_code,
            200)
        pass_time(days=2)
        self.smtp.clear()
        process()
        reminder, = received(self.smtp)
        self.assertEqual(reminder['Subject'], "Still free, Anton")

    # Reading

    def _read(self, page):
        self._open_scenario(page, "Running")
        self._tab(page, "Results")
        for name, value in [
                ('email_sent', '4'), ('email_opened', '1'),
                ('email_clicked', '1'), ('record_count_blocked', '1')]:
            self.assertEqual(self._number(page, name), value)
        self.shoot(page, 'results')
        self._tab(page, "Picture")
        page.wait_for_function(DRAWN)
        self.shoot(page, 'picture_run')
        page.locator('a:visible, button:visible', has_text="Records"
            ).last.click()
        self.settle(page)
        self.open_row(page, "Zoë")
        for text in ["Sent: Come to us, Zoë", "Opened.", "Clicked:"]:
            page.locator('tr:visible', has_text=text).first.wait_for()
        self.shoot(page, 'time_line')
        page.locator('#menu').get_by_text("Dashboard", exact=True).click()
        page.locator(
            '.board td:visible', has_text="Tasting").first.wait_for()
        self.shoot(page, 'dashboard')
