# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What people meet in a real browser: marketing and recipients"""
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction
from trytond.wsgi import Base64Converter

from .browser import BrowserTestCase
from .fixtures import (
    create_email, create_marketer, create_party, create_record,
    create_scenario)

TEMPLATE = (
    '<html><body><h1>Hello ${record.name}</h1>'
    '<p><a href="unsubscribe">Unsubscribe</a></p></body></html>')
PHONE = {'width': 360, 'height': 640}
# WCAG 2.2 success criterion 1.4.3
CONTRAST = 4.5
# Of each element with a text of its own: the text and the contrast of its
# colour with the first opaque background below it
CONTRASTS = '''() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (color) => {
        const [r, g, b] = channels(color).slice(0, 3).map((c) => {
            c /= 255;
            return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
        });
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const background = (element) => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            const alpha = channels(color)[3];
            if (alpha === undefined || alpha === 1) return color;
        }
        return 'rgb(255, 255, 255)';
    };
    const result = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(
            (n) => n.nodeType === 3 && n.textContent.trim());
        if (!own) continue;
        const a = luminance(getComputedStyle(element).color);
        const b = luminance(background(element));
        result.push([
            element.textContent.trim(),
            (Math.max(a, b) + .05) / (Math.min(a, b) + .05)]);
    }
    return result;
}'''
OVERFLOW = '''() => document.documentElement.scrollWidth
    - document.documentElement.clientWidth'''


class ClientTestCase(BrowserTestCase):
    "Test the web client as a user of the group Marketing"
    with_client = True

    @classmethod
    def prepare(cls):
        create_marketer(name="Marketing User", password=cls.password)
        for name in ["Zoë", "Bob", "Bill"]:
            create_party(name)
        scenario = create_scenario(
            name="Welcome", domain='[["name", "!=", null]]')
        email = {
            'email_title': "Hello ${record.name}",
            'email_template': TEMPLATE,
            }
        first = create_email(scenario, name="First", **email)
        create_email(first, name="Second", event='email_opened', **email)

    def test_scenario(self):
        "Test the form of a scenario with its tree and the preview"
        self.browse(self._scenario, viewport={'width': 1440, 'height': 900})

    def _scenario(self, page, url):
        errors = []
        page.on('pageerror', lambda error: errors.append(error))
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Welcome")
        self._wait_count(page, 3)
        self._check_domain(page)
        self._check_tree(page)
        self._check_preview(page)
        self.shoot(page, 'preview')
        self.assertFalse(errors)

    def test_activity(self):
        "Test an activity and its child that are not saved yet"
        self.browse(self._activity, viewport={'width': 1440, 'height': 900})

    def _activity(self, page, url):
        self.login(page, url)
        self.open_menu(page, "Marketing", "Automation", "Scenarios")
        self.open_row(page, "Welcome")
        self._wait_count(page, 3)
        page.get_by_role('tab', name="Activities").click()
        self._add(page, "Third")
        dialog = page.locator('.modal-content:visible').last
        dialog.locator('textarea[name=email_template]').wait_for()
        self.shoot(page, 'email')
        delay = dialog.locator('input[name=delay_number]:visible')
        delay.fill('2')
        delay.press('Tab')
        dialog.locator('input[name=email_title]').fill("Third")
        template = dialog.locator('textarea[name=email_template]')
        template.fill(TEMPLATE)
        template.press('Tab')
        dialog.get_by_role('tab', name="Children").click()
        self._add(page, "Fourth")
        child = page.locator('.modal-content:visible').last
        on = child.locator('select[name=on]:visible')
        on.select_option(label="Email Opened")
        self.shoot(page, 'child')

    def _add(self, page, name):
        "Open the dialog of a new activity that sends an e-mail"
        dialogs = page.locator('.modal-content:visible')
        count = dialogs.count()
        page.locator(
            '.form-one2many:visible button[title^=New]').last.click()
        dialog = dialogs.nth(count)
        field = dialog.locator('input[name=name]:visible')
        field.fill(name)
        field.press('Tab')
        action = dialog.locator('select[name=action]:visible')
        action.select_option(label="Send E-mail")
        action.press('Tab')

    def _wait_count(self, page, value):
        page.wait_for_function(
            '''(value) => [...document.querySelectorAll(
                'input[name=matching_count]')].some((i) => i.value == value)
            ''', arg=value)

    def _check_domain(self, page):
        "What is typed counts at once and is kept when it is wrong"
        domain = page.locator('textarea[name=domain_source]:visible')
        self.assertEqual(domain.input_value(), "[('name', '!=', None)]")
        domain.fill("[('name', 'like', 'B%')]")
        domain.press('Tab')
        self._wait_count(page, 2)
        wrong = "[('name', 'like', 'B%'"
        domain.fill(wrong)
        page.keyboard.press('Control+s')
        dialog = page.locator('.modal-content:visible')
        dialog.get_by_text("Check the brackets").wait_for()
        dialog.get_by_text("OK", exact=True).click()
        # The keys go to the dialog until it has faded away
        page.locator('.modal-backdrop').wait_for(state='detached')
        self.assertEqual(domain.input_value(), wrong)
        domain.fill('[["name", "!=", null]]')
        domain.press('Tab')
        self._wait_count(page, 3)
        page.keyboard.press('Control+s')
        page.get_by_text("Record saved").first.wait_for()
        self.assertEqual(domain.input_value(), "[('name', '!=', None)]")

    def _check_tree(self, page):
        page.get_by_role('tab', name="Activities").click()
        page.locator('td:visible', has_text="opened: send “Second”").wait_for()
        page.locator('td:visible', has_text="send “First”").first.dblclick()

    def _check_preview(self, page):
        "The preview follows the template before it is saved"
        template = page.locator('textarea[name=email_template]:visible')
        shown = page.frame_locator('.form-document iframe')
        frame = shown.frame_locator('iframe')
        self.see(frame.get_by_text("Hello Zoë"))
        template.fill(TEMPLATE.replace("Hello", "Good morning"))
        template.press('Tab')
        self.see(frame.get_by_text("Good morning Zoë"))
        template.fill(TEMPLATE.replace('record.name', 'record.nome'))
        template.press('Tab')
        self.see(shown.get_by_text('no field "nome"'))


class UnsubscribeTestCase(BrowserTestCase):
    "Test the page of recipients"

    @classmethod
    def prepare(cls):
        scenario = create_scenario(
            name="Internal name", public_name="Our newsletter")
        create_email(scenario, email_from="Example Shop <shop@example.com>")
        cls.records = {}
        for name in ["Alice", "Bob"]:
            record = create_record(scenario, create_party(name))
            cls.records[name] = record.id, record.uuid

    def _url(self, base, name):
        database = Base64Converter(None).to_url(DB_NAME)
        return f'{base}m/{database}/unsubscribe?r={self.records[name][1]}'

    def _is_blocked(self, name):
        with Transaction().start(DB_NAME, 0, readonly=True):
            Record = Pool().get('marketing.automation.record')
            return Record(self.records[name][0]).blocked

    def test_keyboard(self):
        "Test to unsubscribe with the keyboard, without scripts, on a phone"
        def unsubscribe(page, base):
            page.goto(self._url(base, "Alice"))
            self.shoot(page, 'asked')
            page.get_by_text("Example Shop", exact=True).wait_for()
            page.get_by_text("Our newsletter", exact=True).wait_for()
            self.assertEqual(page.get_by_text("Internal name").count(), 0)
            page.keyboard.press('Tab')
            page.keyboard.press('Enter')
            page.get_by_role('status').wait_for()
            self.shoot(page, 'done')

        self.browse(unsubscribe, viewport=PHONE, java_script_enabled=False)

        self.assertTrue(self._is_blocked("Alice"))
        self.assertFalse(self._is_blocked("Bob"))

    def test_readable(self):
        "Test language, names, contrast and width of each state of the page"
        def read(page, base):
            page.goto(self._url(base, "Bob"))
            self._check_readable(page)
            page.get_by_role('button').first.click()
            page.get_by_role('status').wait_for()
            self._check_readable(page)
            page.get_by_role('button').last.click()
            page.get_by_role('status').wait_for()
            self._check_readable(page)

        self.browse(read, viewport=PHONE)

        self.assertFalse(self._is_blocked("Bob"))

    def test_not_found(self):
        "Test the page of a link that does not work has margins on a phone"
        def read(page, base):
            page.goto(self._url(base, "Bob") + 'wrong')
            self.shoot(page, 'page')
            box = page.locator('main').bounding_box()
            self.assertGreaterEqual(box['x'], 12)
            self.assertLessEqual(box['x'] + box['width'], 360 - 12)

        self.browse(read, viewport=PHONE)

    def _check_readable(self, page):
        self.assertTrue(page.title())
        self.assertEqual(page.locator('html').get_attribute('lang'), 'en')
        self.assertEqual(page.get_by_role('heading', level=1).count(), 1)
        self.assertLessEqual(page.evaluate(OVERFLOW), 0)
        contrasts = page.evaluate(CONTRASTS)
        self.assertTrue(contrasts)
        for text, contrast in contrasts:
            with self.subTest(text=text):
                self.assertGreaterEqual(contrast, CONTRAST)
        for button in page.get_by_role('button').all():
            self.assertTrue(button.inner_text().strip())
            # What a thumb hits, success criterion 2.5.8 asks for half of it
            self.assertGreaterEqual(button.bounding_box()['height'], 44)
            button.focus()
            style = button.evaluate('(e) => getComputedStyle(e).outlineStyle')
            self.assertNotEqual(style, 'none')
