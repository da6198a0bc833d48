# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""SMTP sessions to the mail server, without database

A message is handed to the next free session and the session gets another one
only after its result has been taken: whoever consumes the results and stores
each of them has at most one uncertain message per session when it is killed.
"""
import logging
import re
import smtplib
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from email.utils import parseaddr
from urllib.parse import urlencode, urlsplit, urlunsplit

import trytond.config as config
from trytond.sendmail import get_smtp_server

from .. import settings

logger = logging.getLogger(__name__)
# Seconds that composing and storing a message take at least: more sessions
# than fit in a delivery at this pace would only wait
PACE = 0.0015
_leading_dot = re.compile(rb'^\.', re.MULTILINE)
_line_end = re.compile(r'[\r\n]')


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
    """One connection to the server, opened when needed

    A message is sent in two steps, so that something else can be done while
    the server takes it.
    """

    def __init__(self, uri):
        self.uri = uri
        self.server = None
        self.message = None
        self.result = None
        self.is_reused = False
        self.seconds = 0

    def send(self, message):
        "Deliver the message and return (result, seconds)"
        self.begin(message)
        return self.end()

    def begin(self, message):
        "Hand over the message"
        self.message = message
        self.seconds = 0
        self.is_reused = self.server is not None
        self.result = self._try(self._hand_over)

    def end(self):
        "Return what became of it and the seconds that were waited"
        result = self.result or self._try(self._taken)
        if result.kind == 'relay' and self.is_reused:
            # The server may end a connection that has idled or is used up
            self.is_reused = False
            result = self._try(self._hand_over) or self._try(self._taken)
        return result, self.seconds

    def _try(self, step):
        "Return the result of the step, None if it is not known yet"
        started = time.monotonic()
        try:
            return step()
        except (smtplib.SMTPException, OSError, ValueError) as exception:
            result = classify(exception)
            if result.kind == 'relay':
                self.close()
            else:
                self._reset()
            return result
        finally:
            self.seconds += time.monotonic() - started

    def _hand_over(self):
        "Send all of the message without waiting for the last reply"
        if self.server is None:
            self.server = get_smtp_server(self.uri, strict=True)
        self.server.ehlo_or_helo_if_needed()
        if _line_end.search(self.message.sender + self.message.recipient):
            return Result('permanent', None, "line end in an address")
        self._check(*self._commands())
        data = _leading_dot.sub(b'..', self.message.data)
        if not data.endswith(b'\r\n'):
            data += b'\r\n'
        self.server.send(data + b'.\r\n')

    def _commands(self):
        "Return the replies to MAIL, RCPT and DATA up to the first refusal"
        commands = [
            ' '.join([
                    f'MAIL FROM:<{self.message.sender}>', *self._options()]),
            f'RCPT TO:<{self.message.recipient}>',
            'DATA',
            ]
        # RFC 2920: in one go, with a reply for each
        is_pipelined = self.server.has_extn('pipelining')
        if is_pipelined:
            self._write(*commands)
        replies = []
        for command in commands:
            if not is_pipelined:
                self._write(command)
            replies.append(self.server.getreply())
            code, _ = replies[-1]
            if code == 421 or (code >= 400 and not is_pipelined):
                break
        return replies

    def _options(self):
        sender, recipient = self.message.sender, self.message.recipient
        options = []
        if not (sender.isascii() and recipient.isascii()):
            if not self.server.has_extn('smtputf8'):
                raise smtplib.SMTPNotSupportedError(
                    "SMTPUTF8 not supported by server")
            options.append('SMTPUTF8')
        if self.server.has_extn('8bitmime'):
            options.append('BODY=8BITMIME')
        if self.server.has_extn('size'):
            options.append(f'SIZE={len(self.message.data)}')
        return options

    def _write(self, *commands):
        self.server.send(
            ''.join(f'{c}\r\n' for c in commands).encode('utf-8'))

    def _check(self, mail, rcpt=None, data=None):
        "Raise the error of the first reply that refuses"
        if mail[0] == 250 and rcpt[0] in {250, 251} and data[0] == 354:
            return
        if data and data[0] == 354:
            # There is nobody to send it to, the server has to refuse this
            self.server.send(b'.\r\n')
            self.server.getreply()
        if mail[0] != 250:
            raise smtplib.SMTPSenderRefused(*mail, self.message.sender)
        if rcpt[0] not in {250, 251}:
            raise smtplib.SMTPRecipientsRefused(
                {self.message.recipient: rcpt})
        raise smtplib.SMTPDataError(*data)

    def _taken(self):
        "Return the result if the server has taken the message"
        code, text = self.server.getreply()
        if code != 250:
            raise smtplib.SMTPDataError(code, text)
        return Result('sent')

    def _reset(self):
        "Let the server forget the message"
        try:
            if self.server:
                self.server.rset()
        except (smtplib.SMTPException, OSError):
            self.close()

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

    def deliver(self, queue, seal):
        """Yield (message, result) until the deque of drafts is empty

        seal makes the message of a draft, or None: such a draft is left out.
        The queue may be changed between two results. Its first draft is the
        next one to be sent.
        """
        running = {}
        message = _next(queue, seal)
        while message or running:
            while message and len(running) < self._wanted():
                session = self._session()
                queue.popleft()
                if self._wanted() == 1 and not running:
                    session.begin(message)
                    # While the server takes it
                    _next(queue, seal)
                    yield message, self._measure(session, session.end())
                else:
                    future = self._executor().submit(session.send, message)
                    running[future] = session, message
                message = _next(queue, seal)
            if running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    session, message = running.pop(future)
                    _next(queue, seal)
                    yield message, self._measure(session, future.result())
                message = _next(queue, seal)

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


def _next(queue, seal):
    "Return the message of the first draft that has one"
    while queue:
        if message := seal(queue[0]):
            return message
        queue.popleft()


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
