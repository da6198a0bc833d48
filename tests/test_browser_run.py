# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A marketer runs scenarios in the web client"""
import datetime as dt

from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    create_activity, create_email, create_marketer, create_party,
    create_record, create_record_activity, create_scenario)

DAY = dt.timedelta(days=1)
SIZE = {'width': 1280, 'height': 800}
MUTE = '<html><body><p>Hello ${record.name}</p></body></html>'
LOCKED = [
    'model', 'domain_source', 'reentry', 'tracking', 'once_per_address']


class RunTestCase(BrowserTestCase):
    "Test what is shown before a scenario runs and while it does"
    with_client = True

    @classmethod
    def prepare(cls):
        pool = Pool()
        Lang = pool.get('ir.lang')
        german, = Lang.search([('code', '=', 'de')])
        Lang.load_translations([german])
        for login, values in [
                ('marketing', {}), ('maria', {'language': german.id})]:
            create_marketer(login, password=cls.password, **values)
        parties = [
            create_party(f"Guest {i}", f'guest{i}@example.com')
            for i in range(12)]
        create_party("Guest without address")
        create_party("Guest who refuses", marketing_unsubscribed=True)
        cls.scenarios = {}
        for name in ["Spring", "Frühling"]:
            scenario = cls.scenarios[name] = create_scenario(
                name=name, domain='[["name", "like", "Guest%"]]')
            welcome = create_email(
                scenario, name="Welcome", sequence=1, email_template=MUTE)
            create_email(
                welcome, name="Offer", event='email_opened', delay=2 * DAY)
            wait = create_activity(
                scenario, name="Wait", delay=7 * DAY, sequence=2)
            create_email(wait, name="Second letter", email_template=MUTE)
            for i, party in enumerate(parties[:3]):
                record = create_record(scenario, party)
                create_record_activity(
                    record, welcome, at=dt.datetime.now() + DAY)
        create_scenario(name="Empty")

    def _watch(self, page):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        return errors

    def _button(self, parent, name):
        return parent.get_by_role('button', name=name, exact=True)

    def test_run(self):
        "Test to look, to think again, to run, and to look at it running"
        self.browse(self._run, viewport=SIZE)
        with Transaction().start(DB_NAME, 0, readonly=True):
            Scenario = Pool().get('marketing.automation.scenario')
            scenario = Scenario(self.scenarios["Spring"].id)
            self.assertEqual(scenario.state, 'running')

    def _run(self, page, url):
        errors = self._watch(page)
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Spring")
        self._button(page, "Run").click()
        dialog = page.locator('.wizard-dialog:visible')
        self._check_dialog(dialog)
        self.shoot(page, 'asked')
        self._button(dialog, "Cancel").click()
        page.locator('.modal-backdrop').wait_for(state='detached')

        self._button(page, "Run").click()
        self._button(dialog, "Run").click()
        page.locator('.modal-backdrop').wait_for(state='detached')
        self._button(page, "Stop").wait_for()
        page.get_by_text("While it runs").wait_for()
        for name in LOCKED:
            with self.subTest(field=name):
                field = page.locator(f'[name={name}]').first
                self.assertTrue(
                    field.evaluate('(e) => e.readOnly || e.disabled'))
        self.shoot(page, 'running')
        page.get_by_role('tab', name="Settings").click()
        self.shoot(page, 'settings')
        self.assertFalse(errors)

    def _check_dialog(self, dialog):
        for text in [
                "At once: send “Welcome”", "1 week later: “Wait”",
                "At once: send “Second letter”"]:
            dialog.locator('td', has_text=text).wait_for()
        for name, value in [('entering_count', '10'), ('reached_count', '9')]:
            number = dialog.locator(f'input[name={name}]').last
            self.assertEqual(number.input_value(), value)
        self.assertEqual(
            dialog.locator('[name=left_out]').input_value().splitlines(),
            ["Already In: 3", "Unsubscribed: 1", "No E-mail Address: 1"])
        notes = dialog.locator('[name=notes]').input_value()
        self.assertIn('"Welcome" has no visible link', notes)
        self.assertIn('"Second letter" has no visible link', notes)

    def test_no_activity(self):
        "Test that there is nothing to run"
        self.browse(self._no_activity, viewport=SIZE)

    def _no_activity(self, page, url):
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Empty")
        self._button(page, "Run").click()
        page.locator('.modal-content:visible').get_by_text(
            "has no activities").wait_for()
        self.shoot(page, 'refused')

    def test_german(self):
        "Test that it fits and is understood in German"
        self.browse(self._german, viewport=SIZE)

    def _german(self, page, url):
        self.login(page, url, login='maria')
        self.open_menu(page, "Marketing", "Automation", "Szenarien")
        self.open_row(page, "Frühling")
        self._button(page, "Starten").click()
        dialog = page.locator('.wizard-dialog:visible')
        dialog.get_by_text("Sofort").first.wait_for()
        self.shoot(page, 'asked')
        self._button(dialog, "Starten").click()
        page.locator('.modal-backdrop').wait_for(state='detached')
        page.get_by_text("Solange es läuft").wait_for()
        self.shoot(page, 'running')
