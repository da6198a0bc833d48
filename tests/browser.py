# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The application and a real browser in one process

The test drives the browser in a thread of its own while the main thread,
which owns the connection to the database, answers the requests.
"""
import os
import queue
import threading
import unittest
from pathlib import Path

from werkzeug.middleware.shared_data import SharedDataMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

import trytond.config as config
from trytond import __series__, backend
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME, activate_module, drop_db
from trytond.transaction import Transaction
from trytond.wsgi import app

__all__ = [
    'CHROMIUM', 'BrowserTestCase', 'Server', 'browse', 'client', 'missing']

CHROMIUM = os.environ.get('CHROMIUM', '/usr/bin/chromium')
# Where make client puts it
SAO = (Path(__file__).resolve().parent.parent
    / '.build' / f'tryton-sao-{__series__}')
ARGUMENTS = [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update',
    '--disable-sync']


def client():
    "Return the folder of the web client, or None"
    for folder in [os.environ.get('SAO'), SAO, config.get('web', 'root')]:
        if folder and Path(folder, 'dist', 'tryton-sao.js').exists():
            return str(folder)


def missing(with_client=False):
    "Return what is missing to run a browser, or None"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    if not Path(CHROMIUM).exists():
        return f"no browser at {CHROMIUM}, set CHROMIUM"
    if with_client and not client():
        return "no web client, run make client or set SAO"


class _Handler(WSGIRequestHandler):

    def log(self, type, message, *args):
        pass


class _Answer:
    "A request on its way to the main thread"

    def __init__(self, environ):
        self.environ = environ
        self.done = threading.Event()
        self.start = None
        self.body = b''

    def run(self):
        try:
            self.body = b''.join(app(self.environ, self._start))
        except Exception as exception:
            self.start = '500 Internal Server Error', []
            self.body = repr(exception).encode()
        finally:
            self.done.set()

    def _start(self, status, headers, exc_info=None):
        self.start = status, headers


class Server:
    "The application on a free port of loopback"

    def __init__(self):
        self.requests = queue.Queue()
        self.server = make_server(
            '127.0.0.1', 0, self._serve(), threaded=True,
            request_handler=_Handler)
        self.server.daemon_threads = True
        self.url = f'http://127.0.0.1:{self.server.port}/'

    def _serve(self):
        folder = client()
        if not folder:
            return self._application
        files = SharedDataMiddleware(self._application, {'/': folder})

        def serve(environ, start_response):
            if environ['PATH_INFO'] == '/':
                environ['PATH_INFO'] = '/index.html'
            return files(environ, start_response)
        return serve

    def _application(self, environ, start_response):
        answer = _Answer(environ)
        self.requests.put(answer)
        answer.done.wait()
        start_response(*answer.start)
        return [answer.body]

    def run(self, function):
        "Answer requests until the function has returned in its thread"
        result = []

        def target():
            try:
                result.append((function(), None))
            except BaseException as exception:
                result.append((None, exception))
            finally:
                self.requests.put(None)

        server = threading.Thread(
            target=self.server.serve_forever, daemon=True)
        thread = threading.Thread(target=target, daemon=True)
        server.start()
        thread.start()
        try:
            while answer := self.requests.get(timeout=300):
                answer.run()
        finally:
            self.server.shutdown()
        thread.join()
        (value, exception), = result
        if exception:
            raise exception
        return value


def browse(server, function, **options):
    """Return function(page) with a page of the browser

    options -- of the context, such as viewport and java_script_enabled
    """
    from playwright.sync_api import sync_playwright

    def run():
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, headless=True, args=ARGUMENTS)
            try:
                page = browser.new_context(**options).new_page()
                page.set_default_timeout(30_000)
                return function(page)
            finally:
                browser.close()
    return server.run(run)


class BrowserTestCase(unittest.TestCase):
    "Base of the tests that go through a real browser"
    with_client = False
    # The client asks the same of each database: one will do for most tests
    on_each_database = False
    modules = ['marketing_automation']
    password = "correct horse battery"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        reason = missing(cls.with_client)
        if (cls.with_client and not cls.on_each_database
                and backend.name != 'sqlite'):
            reason = "the web client is tested on SQLite"
        if reason:
            raise unittest.SkipTest(reason)
        drop_db()
        activate_module(cls.modules)
        cls.addClassCleanup(drop_db)
        with Transaction().start(DB_NAME, 1) as transaction:
            cls._finish_configuration()
            cls.prepare()
            transaction.commit()

    @classmethod
    def _finish_configuration(cls):
        pool = Pool()
        Item = pool.get('ir.module.config_wizard.item')
        Item.write(Item.search([]), {'state': 'done'})

    @classmethod
    def prepare(cls):
        "Create what the pages show"
        raise NotImplementedError

    def browse(self, function, **options):
        server = Server()

        def run(page):
            try:
                return function(page, server.url)
            except BaseException:
                self.shoot(page, 'failed')
                raise
        return browse(server, run, **options)

    def shoot(self, page, name):
        "Keep a picture of the page in the folder SCREENSHOTS, if it is set"
        if folder := os.environ.get('SCREENSHOTS'):
            page.screenshot(
                path=Path(folder, f'{self._testMethodName}_{name}.png'))

    def login(self, page, url, login='marketing'):
        # The dialog listens only after it has got the list of databases
        page.goto(f'{url}#{DB_NAME}', wait_until='networkidle')
        page.locator('input[name=login]').fill(login)
        page.keyboard.press('Enter')
        page.locator('input[type=password]:visible').fill(self.password)
        page.keyboard.press('Enter')

    def open_menu(self, page, *path):
        "Open the entry of the menu"
        menu = page.locator('#menu')
        for name in path[:-1]:
            menu.locator('tr', has_text=name).first.locator(
                '.expander').click()
        menu.get_by_text(path[-1], exact=True).click()

    def open_row(self, page, text):
        "Open the first row with the text of a list"
        page.locator('tbody td:visible', has_text=text).first.dblclick()
        # A button pressed too early would save what is not loaded as empty
        self.settle(page)

    def see(self, locator):
        "Wait for what is in a frame, which may be replaced meanwhile"
        from playwright.sync_api import Error, TimeoutError
        for _ in range(5):
            try:
                return locator.wait_for()
            except TimeoutError:
                raise
            except Error:
                # Frames have processes of their own, which end with them
                locator.page.wait_for_timeout(200)
        locator.wait_for()

    def settle(self, page):
        "Wait until the client has shown all the answers"
        for _ in range(3):
            page.wait_for_timeout(200)
            page.wait_for_function("jQuery.active === 0")

    def type(self, page, field, value):
        "Type the value in place of what is in the field"
        # The client takes another element for a number that is edited
        field.click()
        page.wait_for_timeout(100)
        page.keyboard.press('Control+a')
        page.keyboard.type(value)

    def enter(self, page, field, value):
        "Type the value and leave the field"
        self.type(page, field, value)
        page.keyboard.press('Tab')
        self.settle(page)

    def select(self, page, field, label):
        field.select_option(label=label)
        # The client takes what it still shows when the field is left
        self.settle(page)
        field.press('Tab')
        self.settle(page)

    def press(self, page, button, done):
        """Click the button of a wizard until done() is true

        The client ignores clicks while it still shows the last answer.
        """
        from playwright.sync_api import Error
        for i in range(30):
            if not i % 5 and button.is_visible() and button.is_enabled():
                button.click()
            self.settle(page)
            try:
                if done():
                    return
            except Error:
                # As for what is seen
                continue
        self.fail(f"The button does nothing: {button}")
