# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""People who open and click, over real connections to the server of Tryton"""
import re
import threading
import time
from email import message_from_bytes, policy
from http.client import HTTPConnection
from urllib.parse import urlsplit

HEADERS = {
    'Host': 'example.com',
    'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 '
    'Firefox/140.0',
    }
CONNECTIONS = 4
_link = re.compile(r'<a [^>]*?href="([^"]+)"')
_image = re.compile(r'<img [^>]*?src="([^"]+)"')


def paths(messages):
    "Return the paths of the first link and of the pixel of each message"
    clicks, opens = [], []
    for message in messages:
        content = message_from_bytes(
            message.data, policy=policy.default).get_body(('html',))
        html = content.get_content()
        link = next(u for u in _link.findall(html) if 'unsubscribe' not in u)
        clicks.append(_path(link))
        opens.append(_path(_image.findall(html)[-1]))
    return clicks, opens


def _path(url):
    parts = urlsplit(url.replace('&amp;', '&'))
    return f'{parts.path}?{parts.query}' if parts.query else parts.path


class Visits:
    """Requests of some connections for the paths

    rate -- requests a second, None for as many as there are answers
    seconds -- of all together
    latencies -- seconds of each, from when it should have been made
    """

    def __init__(self, port, paths, rate=None, until=None):
        self.port = port
        self.paths = iter(paths)
        self.rate = rate
        self.until = until or threading.Event()
        self.latencies = []
        self.errors = []
        self._lock = threading.Lock()
        self._count = 0

    def run(self):
        self._started = time.perf_counter()
        threads = [
            threading.Thread(target=self._visit) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.perf_counter() - self._started
        if self.errors:
            raise RuntimeError(f"{len(self.errors)} failed: {self.errors[0]}")
        return self

    def _next(self):
        "Return the next path and when it is to be requested"
        with self._lock:
            path = next(self.paths, None)
            at = time.perf_counter()
            if self.rate:
                at = self._started + self._count / self.rate
            self._count += 1
        return path, at

    def _visit(self):
        while not self.until.is_set():
            path, at = self._next()
            if path is None:
                return
            time.sleep(max(0, at - time.perf_counter()))
            try:
                self._request(path)
            except Exception as exception:
                self.errors.append(exception)
            self.latencies.append(time.perf_counter() - at)

    def _request(self, path):
        # The server of Tryton closes after each answer
        connection = HTTPConnection('127.0.0.1', self.port, timeout=60)
        connection.request('GET', path, headers=HEADERS)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status not in {200, 301, 302}:
            raise RuntimeError(f"{answer.status} for {path}")

    def percentile(self, part):
        values = sorted(self.latencies)
        return values[min(len(values) - 1, int(len(values) * part / 100))]
