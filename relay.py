# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""SMTP sessions to the mail server, without database

A message is handed to the next free session and the session gets another one
only after its result has been taken: whoever consumes the results and stores
each of them has at most one uncertain message per session when it is killed.
"""
import logging
import smtplib
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from email.utils import parseaddr
from urllib.parse import urlencode, urlsplit, urlunsplit

import trytond.config as config
from trytond.sendmail import get_smtp_server

from . import settings

logger = logging.getLogger(__name__)
# Seconds that composing and storing a message take at least: more sessions
# than fit in a delivery at this pace would only wait
PACE = 0.0015


class Result:
    """What became of a message

    kind -- 'sent', 'temporary', 'permanent' (of this message)
            or 'relay' (the server can not be used)
    code -- SMTP reply code, or None
    text -- reply of the server or the error, on one line
    """
    __slots__ = ('kind', 'code', 'text')

    def __init__(self, kind, code=None, text=''):
        self.kind = kind
        self.code = code
        if isinstance(text, bytes):
            text = text.decode('utf-8', 'replace')
        self.text = ' '.join(str(text).split())[:500]

    def __str__(self):
        return f'{self.code} {self.text}' if self.code else self.text


class Session:
    "One connection to the server, opened when needed"

    def __init__(self, uri):
        self.uri = uri
        self.server = None

    def send(self, message):
        "Deliver the message and return (result, seconds)"
        started = time.monotonic()
        is_reused = self.server is not None
        result = self._send(message)
        if result.kind == 'relay' and is_reused:
            # The server may end a connection that has idled or is used up
            result = self._send(message)
        return result, time.monotonic() - started

    def _send(self, message):
        try:
            if self.server is None:
                self.server = get_smtp_server(self.uri, strict=True)
            return self._transfer(message)
        except (smtplib.SMTPException, OSError, ValueError) as exception:
            result = classify(exception)
            if result.kind == 'relay':
                self.close()
            return result

    def _transfer(self, message):
        self.server.ehlo_or_helo_if_needed()
        options = []
        if not (message.recipient.isascii() and message.sender.isascii()):
            options.append('SMTPUTF8')
        if self.server.has_extn('8bitmime'):
            options.append('BODY=8BITMIME')
        self.server.sendmail(
            message.sender, [message.recipient], message.data, options)
        return Result('sent')

    def close(self):
        server, self.server = self.server, None
        if server:
            try:
                server.close()
            except Exception:
                logger.debug("closing failed", exc_info=True)

    def quit(self):
        if self.server:
            try:
                self.server.quit()
            except (smtplib.SMTPException, OSError):
                self.close()
            self.server = None


def classify(exception):
    "Return the result for an exception of smtplib (RFC 5321 §4.2.1)"
    if isinstance(exception, smtplib.SMTPRecipientsRefused):
        (code, text), = exception.recipients.values()
        return _by_code(code, text)
    if isinstance(exception, smtplib.SMTPNotSupportedError):
        return Result('permanent', None, exception)
    if (isinstance(exception, smtplib.SMTPResponseException)
            and not isinstance(exception, (
                    smtplib.SMTPSenderRefused,
                    smtplib.SMTPConnectError,
                    smtplib.SMTPHeloError,
                    smtplib.SMTPAuthenticationError))):
        return _by_code(exception.smtp_code, exception.smtp_error)
    # The other errors do not depend on the recipient
    code = getattr(exception, 'smtp_code', None)
    text = getattr(exception, 'smtp_error', None) or exception
    return Result('relay', code, text or type(exception).__name__)


def _by_code(code, text):
    if code == 421 or code < 400:
        return Result('relay', code, text)
    return Result('permanent' if code >= 500 else 'temporary', code, text)


class Relay:
    "The sessions of one worker process"

    def __init__(self, uri=None, sessions=None):
        self.uri = _with_timeout(uri or config.get('email', 'uri'))
        self.limit = sessions or settings.sessions()
        self.sessions = deque([Session(self.uri)])
        self.opened = 1
        self.latency = 0
        # In a row, counted by whoever takes the results
        self.failures = 0
        self.executor = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for session in self.sessions:
            session.quit()
        if self.executor:
            self.executor.shutdown()

    def deliver(self, queue):
        """Yield (message, result) until the deque of messages is empty

        The queue may be changed between two results.
        """
        running = {}
        while queue or running:
            while queue and len(running) < self._wanted():
                session = self._session()
                message = queue.popleft()
                if self._wanted() == 1 and not running:
                    sent = session.send(message)
                    yield message, self._measure(session, sent)
                else:
                    future = self._executor().submit(session.send, message)
                    running[future] = session, message
            if running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    session, message = running.pop(future)
                    yield message, self._measure(session, future.result())

    def _wanted(self):
        "Return how many sessions keep the process busy at this latency"
        return max(1, min(self.limit, round(self.latency / PACE)))

    def _session(self):
        if not self.sessions:
            self.opened += 1
            return Session(self.uri)
        return self.sessions.popleft()

    def _measure(self, session, sent):
        result, seconds = sent
        self.latency += (seconds - self.latency) / 8
        self.sessions.appendleft(session)
        return result

    def _executor(self):
        if not self.executor:
            self.executor = ThreadPoolExecutor(
                self.limit, thread_name_prefix='smtp')
        return self.executor


def _with_timeout(uri):
    "Return the URI with a timeout: without one a silent server stops all"
    parts = urlsplit(uri)
    if 'timeout=' in parts.query:
        return uri
    query = '&'.join(filter(None, [
                parts.query,
                urlencode({'timeout': settings.smtp_timeout()})]))
    return urlunsplit(parts._replace(query=query))


def domain(address):
    "Return the domain of the address in lower case"
    return parseaddr(address)[1].rpartition('@')[2].lower()
