# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""One request, and what has become of it"""
import datetime as dt
import ssl
import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPS_PORT, HTTPException
from threading import Timer

from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError

from . import signing
from .address import AddressError, resolve, split

# Bytes that are read of an answer, and characters that are kept of it
MAX_ANSWER = 4096
MAX_TEXT = 200
AGENT = 'Tryton-marketing_automation'
# ValueError is what a connection raises that was closed meanwhile
ERRORS = (OSError, HTTPException, HTTPError, ValueError)
# What is worth another try besides errors of the server
AGAIN = {
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS}


class Answer:
    """What became of a request

    kind -- 'done', 'temporary' (the same may be taken later), 'unreachable'
            (nobody answers) or 'permanent'
    text -- the status or the error, on one line
    after -- seconds to wait before the next try, as the server wants it
    """
    __slots__ = ('kind', 'text', 'after')

    def __init__(self, kind, text='', after=0):
        self.kind = kind
        text = ''.join(c if c.isprintable() else ' ' for c in text)
        self.text = ' '.join(text.split())[:MAX_TEXT]
        self.after = after


class Request:
    """A request to post

    id -- of the record activity
    key -- what identifies it to the receiver
    url, secret -- of the receiver
    body -- bytes of JSON
    """
    __slots__ = ('id', 'key', 'url', 'secret', 'body')

    def __init__(self, **values):
        for name, value in values.items():
            setattr(self, name, value)


def post(request, timeout, allowed=()):
    """Post the request and return the Answer

    timeout -- seconds for all of it, once the name is looked up
    allowed -- hosts that may be inside
    """
    parts = split(request.url)
    if not parts:
        return Answer('permanent', "no https URL")
    host, port, target = parts
    try:
        addresses = resolve(host, port, allowed)
    except AddressError:
        return Answer('permanent', f"{host} is not on the Internet")
    except (OSError, UnicodeError) as exception:
        return Answer('unreachable', str(exception))
    headers = {
        'Host': _netloc(host, port),
        'Content-Type': 'application/json',
        'User-Agent': AGENT,
        **signing.headers(
            request.secret, request.key, int(time.time()), request.body),
        }
    return _post(addresses, host, port, target, request.body, headers, timeout)


def _netloc(host, port):
    if ':' in host:
        host = f'[{host}]'
    return host if port == HTTPS_PORT else f'{host}:{port}'


def _post(addresses, host, port, target, body, headers, timeout):
    "Post to the first of the addresses that takes the connection"
    end = time.monotonic() + timeout
    for address in addresses:
        connection = HTTPSConnection(
            address, port, timeout=timeout, server_hostname=host,
            ssl_context=_context())
        with _closing(connection, end - time.monotonic()):
            try:
                connection.connect()
            except ERRORS as exception:
                answer = Answer('unreachable', str(exception))
                continue
            try:
                connection.request(
                    'POST', target, body, headers, preload_content=False)
                return _answer(connection.getresponse())
            except ERRORS as exception:
                return Answer(
                    'unreachable', str(exception) or "no answer in time")
    return answer


@lru_cache(1)
def _context():
    return ssl.create_default_context()


@contextmanager
def _closing(connection, seconds):
    "End the connection also when it gives only a little from time to time"
    timer = Timer(max(0, seconds), _end, [connection])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        connection.close()


def _end(connection):
    if sock := connection.sock:
        try:
            sock.shutdown(2)
        except OSError:
            # It has ended by itself
            pass


def _answer(response):
    status = response.status
    text = f'{status} {response.reason or ""}'
    if 200 <= status < 300:
        return Answer('done', text)
    content = response.read(MAX_ANSWER).decode('utf-8', 'replace')
    text = f'{text}: {content}' if content else text
    if status >= 500 or status in AGAIN:
        after = _retry_after(response.headers.get('Retry-After'))
        return Answer('temporary', text, after)
    return Answer('permanent', text)


def _retry_after(value):
    "Return the seconds of the header (RFC 9110 §10.2.3)"
    value = (value or '').strip()
    if value.isdecimal():
        return int(value[:9])
    try:
        at = parsedate_to_datetime(value)
        wait = at - dt.datetime.now(at.tzinfo)
    except (ValueError, TypeError, OverflowError):
        return 0
    return max(0, int(wait.total_seconds()))
