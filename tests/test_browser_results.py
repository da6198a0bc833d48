# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a marketing person reads in the web client after the sending"""
import datetime as dt

from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .browser import BrowserTestCase
from .fixtures import (
    create, create_email, create_hit, create_link, create_marketer,
    create_party, create_record, create_record_activity, create_scenario)

SIZE = {'width': 1280, 'height': 800}
# What is left of each list at the right of its panel
CUT = '''() => [...document.querySelectorAll('.tab-pane.active th label')]
    .filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1)
    .map((e) => e.textContent)'''
# The list that got the focus has scrolled its page
TOP = '''(e) => {
    for (; e; e = e.parentElement) e.scrollTop = 0;
}'''


def days_ago(days, **values):
    return dt.datetime.now().replace(microsecond=0) - dt.timedelta(
        days=days, **values)


def create_campaign():
    "Return a running scenario of which 30 parties have got two e-mails"
    scenario = create_scenario(name="Spring Sale", state='running')
    first = create_email(scenario, name="Invitation")
    second = create_email(
        first, name="Reminder", event='email_opened', negative=True,
        delay=dt.timedelta(days=2))
    links = [
        create_link(first, f'https://example.org/{name}')
        for name in ['catalogue', 'shop', 'imprint']]
    for i in range(30):
        party = create_party(f"Customer {i}", f'customer{i}@example.com')
        record = create_record(scenario, party)
        at = days_ago(i % 12, hours=i % 5)
        opened, clicked = i % 2 == 0, i % 6 == 0
        sent = create_record_activity(
            record, first, state='done', at=at, email_opened=opened,
            email_clicked=clicked)
        if opened:
            create_hit(sent, at=at + dt.timedelta(minutes=40))
        if clicked:
            for link in links[:1 + i % 2]:
                create_hit(sent, link, at=at + dt.timedelta(minutes=42))
        if i % 3 == 0:
            create_hit(sent, links[1], at=at, verdict='machine')
        if not opened and i != 11:
            create_record_activity(
                record, second, at=days_ago(-2 - i),
                state='waiting')
        _came_back(i, sent, party, record)
    return scenario


def _came_back(i, sent, party, record):
    Unsubscription = Pool().get('marketing.automation.unsubscription')
    if i == 4:
        Unsubscription.stop(record, sent.activity)
    elif i == 6:
        Unsubscription.stop(record, sent.activity, everything=True)
    elif i in {7, 8, 9}:
        kind = {7: 'hard', 8: 'soft', 9: 'complaint'}[i]
        bounce = create(
            'marketing.automation.bounce',
            at=days_ago(1), kind=kind, recipient=f'customer{i}@example.com',
            reason="550 5.1.1 User unknown", status='5.1.1', matched=True,
            record_activity=sent.id, activity=sent.activity.id,
            mechanism=party.contact_mechanisms[0].id)
        bounce.suppress()
    elif i == 11:
        sent.state, sent.reason = 'failed', 'template'
        sent.detail = "The record has no field \"nome\"."
        sent.save()


class ResultsTestCase(BrowserTestCase):
    "Test the lists, reports and the dashboard of the group Marketing"
    with_client = True

    @classmethod
    def prepare(cls):
        Language = Pool().get('ir.lang')
        german, = Language.search([('code', '=', 'de')])
        Language.load_translations([german])
        create_marketer(name="Marketing User", password=cls.password)
        create_marketer(
            'german', name="Marketing User", password=cls.password,
            language=german.id)
        create_campaign()

    def test_lists(self):
        "Test each entry of the menu"
        self.browse(self._lists, viewport=SIZE)

    def _lists(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Records")
        self._read(page, 'records', "Customer 5", "Reminder")
        for name, path, texts in [
                ('failures', ["Failures"], ["Customer 11", "nome"]),
                ('unsubscribed', ["Unsubscribed"], ["Invitation"]),
                ('suppressed', ["Suppressed"],
                    ["customer7@example.com", "550 5.1.1"]),
                ('bounces', ["Bounces and Complaints"],
                    ["customer7@example.com"]),
                ]:
            self._open(page, *path)
            self._read(page, name, *texts)
        self._lift(page)
        page.locator('#menu tr', has_text="Reporting").last.locator(
            '.expander').click()
        for name, path in [
                ('links', "Links"), ('totals', "All E-mails"),
                ('activities', "Activities")]:
            self._open(page, path)
            self._read(page, name)
        self.assertFalse(errors)

    def _lift(self, page):
        self._open(page, "Suppressed")
        cause = page.locator('td:visible', has_text="Hard Bounce")
        cause.click()
        page.locator('button:visible', has_text="Lift Suppression").click()
        cause.wait_for(state='detached')

    def test_results(self):
        "Test the dashboard, and the page of results of a scenario"
        self.browse(self._results, viewport=SIZE)

    def _results(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Dashboard")
        for text in ["Spring Sale", "Customer 11", "Customer 6",
                "customer9@example.com"]:
            page.locator('.board td:visible', has_text=text).first.wait_for()
        page.locator('.board svg .bb-bars').first.wait_for()
        page.locator('.board').evaluate(TOP)
        self._read(page, 'dashboard')
        self._open(page, "Scenarios")
        page.locator('a:visible', has_text="Draft").wait_for()
        page.locator('a:visible', has_text="Running").last.click()
        page.locator('td:visible', has_text="Spring Sale").last.dblclick()
        page.get_by_role('tab', name="Results").click()
        page.locator('.form-one2many svg .bb-bars').first.wait_for(
            state='attached')
        self._read(page, 'scenario')
        self.assertEqual(
            page.locator('input[name=email_sent]:visible').input_value(),
            '29')
        page.get_by_role('tab', name="Activities").click()
        page.locator('td:visible', has_text="Invitation").first.dblclick()
        dialog = page.locator('.modal-content:visible')
        dialog.get_by_role('tab', name="Results").click()
        dialog.locator('input[name=complained]:visible').wait_for()
        self._read(page, 'activity')
        self.assertFalse(errors)

    def test_notified(self):
        "Test what is told, and the configuration of it"
        with Transaction().start(DB_NAME, 0) as transaction:
            Pool().get('marketing.automation.notice').send()
            transaction.commit()
        self.browse(self._notified, viewport=SIZE)

    def _notified(self, page, url):
        self.login(page, url)
        self.open_menu(
            page, "Marketing", "Automation", "Configuration",
            "Notifications and Limits")
        page.wait_for_function(
            '''() => [...document.querySelectorAll(
                'input[name=complaint_limit]')].some((i) => i.value == '0.30')
            ''')
        self.shoot(page, 'configuration')
        page.get_by_text("Marketing User").first.click()
        page.locator('.notification-description', has_text="failed").wait_for()
        self.shoot(page, 'told')
        page.locator('.notification-description', has_text="failed").click()
        page.locator('td:visible').first.wait_for()
        self.shoot(page, 'opened')

    def test_german(self):
        "Test no header is cut in German either"
        self.browse(self._german, viewport=SIZE)

    def _german(self, page, url):
        self.login(page, url, 'german')
        self.open_menu(page, "Marketing", "Automation", "Übersicht")
        page.locator(
            '.board td:visible', has_text="Spring Sale").first.wait_for()
        page.locator('.board').evaluate(TOP)
        self._read(page, 'dashboard')
        for name, path in [
                ('records', "Datensätze"), ('failures', "Fehlschläge"),
                ('unsubscribed', "Abgemeldet"),
                ('suppressed', "Gesperrte Adressen")]:
            self._open(page, path)
            self._read(page, name)
        page.locator('#menu tr', has_text="Auswertungen").last.locator(
            '.expander').click()
        for name, path in [
                ('links', "Links"), ('totals', "Alle E-Mails"),
                ('activities', "Aktivitäten"), ('scenarios', "Szenarien")]:
            page.locator('#menu').get_by_text(path, exact=True).last.click()
            self._read(page, name)

    def _open(self, page, name):
        page.locator('#menu').get_by_text(name, exact=True).click()

    def _read(self, page, name, *texts):
        "Wait until the list shows the texts, no header of it is cut"
        for text in texts:
            page.locator('td:visible', has_text=text).first.wait_for()
        page.wait_for_timeout(700)
        self.shoot(page, name)
        self.assertEqual(page.evaluate(CUT), [])
