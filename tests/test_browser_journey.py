# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What marketing reads of a record and of a party in a real browser"""
import datetime as dt
from unittest.mock import patch

from trytond.modules.marketing_automation.mail.message import Outbox
from trytond.pool import Pool

from .browser import BrowserTestCase
from .fixtures import (
    create, create_activity, create_email, create_hit, create_link,
    create_marketer, create_party, create_record, create_record_activity,
    create_scenario)
from .tools import configure

TEMPLATE = (
    '<html><body style="font-family: sans-serif; margin: 2em">'
    '<h1>Hello ${record.name}</h1>'
    '<p>Your voucher is waiting.</p>'
    '<p><a href="https://www.example.com/voucher">Use it</a></p>'
    '<p><small><a href="unsubscribe">Unsubscribe</a></small></p>'
    '</body></html>')
URL = 'https://www.example.com/voucher'


class JourneyTestCase(BrowserTestCase):
    "Test the time line and the e-mail as it was sent"
    with_client = True

    @classmethod
    def prepare(cls):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Email = pool.get('ir.email')
        Link = pool.get('marketing.automation.link')
        cls.addClassCleanup(patch.stopall)
        configure('marketing', email_from="Shop <shop@example.com>")
        create_marketer(name="Marketing User", password=cls.password)
        party = create_party("Zoë Miller", 'zoe@example.com')
        scenario = create_scenario(name="Welcome")
        email = create_email(
            scenario, name="Voucher", email_template=TEMPLATE,
            email_title="A voucher for ${record.name}",
            email_from="Shop <shop@example.com>")
        reminder = create_email(
            email, name="Reminder", event='email_clicked', negative=True,
            delay=dt.timedelta(days=2), email_template=TEMPLATE)
        late = create_activity(scenario, name="VIP only")
        record = create_record(scenario, party)
        now = dt.datetime.now().replace(microsecond=0)
        sent = create_record_activity(
            record, email, state='done', at=now + dt.timedelta(minutes=1),
            email_opened=True)
        create_hit(
            sent, verdict='machine', at=now + dt.timedelta(minutes=2))
        create_hit(sent, at=now + dt.timedelta(minutes=30))
        create_hit(
            sent, create_link(email, URL), at=now + dt.timedelta(minutes=31))
        create_record_activity(
            record, late, state='skipped', reason='condition',
            at=now + dt.timedelta(minutes=1))
        create_record_activity(
            record, reminder, at=now + dt.timedelta(days=2))
        create(
            'marketing.automation.unsubscription', party=party.id,
            record=record.id, scenario=scenario.id, activity=email.id,
            at=now + dt.timedelta(hours=1))
        outbox = Outbox()
        outbox.compose(email, sent)
        message = outbox.seal(outbox.drafts[0], Link.get_ids(outbox.urls))
        Email.file_marketing([message.archive])
        Activity.write([email], {
                'email_template': TEMPLATE.replace("Hello", "Goodbye")})
        mechanism, = party.contact_mechanisms
        mechanism.marketing_suppress('hard', "550 No such user")

    def setUp(self):
        super().setUp()
        self.errors = []

    def browse(self, function, **options):
        super().browse(
            function, viewport={'width': 1280, 'height': 800}, **options)
        self.assertFalse(self.errors)

    def login(self, page, url):
        page.on('pageerror', lambda error: self.errors.append(error))
        super().login(page, url)

    def test_record(self):
        "Test a record tells its journey and shows the e-mail as it was sent"
        self.browse(self._record)

    def _record(self, page, url):
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        row = page.locator('tbody td:visible', has_text="Welcome").first
        row.click()
        page.get_by_title("Relate").first.click()
        page.locator('.dropdown-menu:visible').get_by_text(
            "Records", exact=True).click()
        self.open_row(page, "Zoë")
        self._check_time_line(page)
        self.shoot(page, 'time_line')
        self._read(page)

    def _check_time_line(self, page):
        for text in [
                'Entered the scenario "Welcome".',
                "Sent: A voucher for Zoë Miller",
                "Skipped because the condition was not fulfilled.",
                "Opened by a machine, which does not count.",
                "Opened.",
                f"Clicked: {URL}",
                "Unsubscribed from this scenario.",
                "Planned.",
                ]:
            page.locator('tr:visible', has_text=text).first.wait_for()
        rows = page.locator('tr:visible', has_text="voucher for Zoë")
        self.assertEqual(rows.get_by_role('button', name="Read").count(), 1)

    def _read(self, page):
        row = page.locator('tr:visible', has_text="voucher for Zoë").first
        # The client acts on the selected row only
        row.locator('td', has_text="voucher").first.click()
        row.get_by_role('button', name="Read").click()
        dialog = page.locator('.modal-content:visible')
        frame = dialog.frame_locator('.form-document iframe')
        self.see(frame.get_by_text("Hello Zoë Miller"))
        self.assertEqual(frame.get_by_text("Goodbye").count(), 0)
        link = frame.get_by_text("Use it")
        self.assertEqual(link.get_attribute('href'), URL)
        self.assertEqual(
            frame.get_by_text("Unsubscribe").get_attribute('href'), '#')
        self.assertEqual(
            dialog.locator('input[name=recipients]').input_value(),
            "Zoë Miller <zoe@example.com>")
        self.shoot(page, 'email')
        dialog.get_by_role('tab', name="Plain Text").click()
        self.shoot(page, 'text')
        dialog.get_by_role('button', name="Close").last.click()

    def test_party(self):
        "Test the page of a party"
        self.browse(self._party)

    def _party(self, page, url):
        self.login(page, url)
        menu = page.locator('#menu')
        menu.locator('tr', has_text="Parties").locator('.expander').click()
        menu.get_by_text("Addresses", exact=True).wait_for()
        menu.get_by_text("Parties", exact=True).last.click()
        self.open_row(page, "Zoë")
        page.get_by_role('tab', name="Marketing").click()
        self._check_time_line(page)
        self.shoot(page, 'time_line')
        self._read(page)
        for name, text in [
                ("Scenarios", "Welcome"),
                ("Unsubscribed", "Voucher"),
                ("Suppressed Addresses", "550 No such user")]:
            page.get_by_role('tab', name=name).click()
            page.locator('tr:visible', has_text=text).first.wait_for()
            self.shoot(page, name.lower().replace(' ', '_'))
