# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The people who receive the e-mails, and a machine that reads theirs first

All that is known here comes out of the mailbox, and all that is done goes
through HTTP.
"""
import mailbox
import random
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email import policy
from email.parser import BytesParser
from email.utils import parseaddr
from html.parser import HTMLParser
from http.client import HTTPConnection
from urllib.parse import urlsplit

from .data import SCANNED_HOST
from .environment import MAIL, DemoError

BROWSERS = [
    'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 '
    '(KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36',
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) '
    'AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 '
    'Safari/604.1']
OPENING, CLICKING = 0.62, 0.5

# links: tracked URLs; pixel, unsubscribe: URLs or None; one_click: if the
# headers allow to unsubscribe by a POST (RFC 8058)
Letter = namedtuple('Letter', [
        'id', 'address', 'subject', 'html', 'language', 'links', 'pixel',
        'unsubscribe', 'one_click'])


class _Reader(HTMLParser):
    "Collects what can be fetched"

    def __init__(self):
        super().__init__()
        self.language = None
        self.links = []
        self.images = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'html':
            self.language = attrs.get('lang')
        elif tag == 'a' and attrs.get('href'):
            self.links.append(attrs['href'])
        elif tag == 'img' and attrs.get('src'):
            self.images.append(attrs['src'])


def _letter(message):
    html = message.get_body(['html']).get_content()
    reader = _Reader()
    reader.feed(html)
    return Letter(
        message['Message-ID'], parseaddr(message['To'])[1],
        message['Subject'], html, reader.language,
        [u for u in dict.fromkeys(reader.links) if '/c/' in u],
        next((u for u in reader.images if '/o/' in u), None),
        (message['List-Unsubscribe'] or '').strip('<>'),
        message['List-Unsubscribe-Post'] == 'List-Unsubscribe=One-Click')


class Readers:
    """All that happens outside of Tryton, by Message-ID

    letters -- {Message-ID: letter}
    opened, clicked -- by people
    scanned -- by the machine
    stopped -- unsubscribed through
    """

    def __init__(self):
        self.mailbox = mailbox.Maildir(MAIL, create=False)
        self.parser = BytesParser(policy=policy.default)
        self.keys = set()
        self.letters = {}
        self.opened, self.clicked = set(), set()
        self.scanned, self.stopped = set(), set()
        self.requests = 0
        self.machine_requests = 0

    def collect(self):
        "Return the letters that have come in since the last time"
        new = []
        for key in set(self.mailbox.keys()) - self.keys:
            self.keys.add(key)
            letter = self._get(key)
            self.letters[letter.id] = letter
            new.append(letter)
        # Several sessions deliver at once: no matter who was first
        return sorted(new, key=lambda x: (x.address, x.subject))

    def _get(self, key):
        return _letter(self.parser.parsebytes(self.mailbox.get_bytes(key)))

    @contextmanager
    def scanning(self):
        "Let the machine fetch what arrives during the block"
        ended = threading.Event()
        with ThreadPoolExecutor(1) as executor:
            scan = executor.submit(self._scan, ended)
            try:
                yield
            finally:
                ended.set()
            scan.result()

    def _scan(self, ended):
        folder = MAIL / 'new'
        seen = set(self.keys)
        while True:
            is_last = ended.wait(0.1)
            for path in set(folder.iterdir()):
                if path.name not in seen:
                    seen.add(path.name)
                    if f'@{SCANNED_HOST}'.encode() in path.read_bytes():
                        self._fetch_all(self._get(path.name))
            if is_last:
                break

    def _fetch_all(self, letter):
        "Fetch everything at once, as security products do"
        for url in [letter.pixel, *letter.links]:
            if url:
                self._request('GET', url, BROWSERS[1])
                self.machine_requests += 1
        self.scanned.add(letter.id)

    def read(self, letter):
        "Open the letter or not, follow a link or not"
        if letter.id in self.scanned:
            # What people do there is another story
            return
        # The same letter meets the same mood each time
        mood = random.Random(f'{letter.address} {letter.subject}')
        browser = mood.choice(BROWSERS)
        if mood.random() > OPENING:
            return
        if letter.pixel:
            self._request('GET', letter.pixel, browser)
            self.opened.add(letter.id)
        if letter.links and mood.random() < CLICKING:
            self._click(mood.choice(letter.links), browser)
            self.clicked.add(letter.id)

    def _click(self, url, browser):
        response = self._request('GET', url, browser)
        target = response.headers['Location'] or ''
        if response.status != 302 or not target.startswith(
                'https://shop.example.com/'):
            raise DemoError(
                f"A link leads to {target or response.status}: {url}")

    def is_read(self, letter):
        return letter.id in self.opened | self.clicked | self.scanned

    def unsubscribe(self, letter):
        "Do what the button of mail programs does (RFC 8058)"
        if not letter.one_click:
            raise DemoError(f"No one can unsubscribe from {letter.subject}")
        # Looking at the page does nothing
        self._request('GET', letter.unsubscribe, BROWSERS[0])
        self._request(
            'POST', letter.unsubscribe, BROWSERS[0],
            b'List-Unsubscribe=One-Click', {
                'Content-Type': 'application/x-www-form-urlencoded'})
        self.stopped.add(letter.id)

    def _request(self, method, url, browser, body=None, headers={}):
        "Return the response without following where it leads"
        target = urlsplit(url)
        connection = HTTPConnection(target.hostname, target.port, timeout=60)
        connection.request(
            method, f'{target.path}?{target.query}'.rstrip('?'), body,
            {'User-Agent': browser, **headers})
        response = connection.getresponse()
        response.read()
        connection.close()
        self.requests += 1
        if response.status not in {200, 302}:
            raise DemoError(f"{method} answers {response.status}: {url}")
        return response
