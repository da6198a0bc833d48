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
from itertools import islice
from urllib.parse import urlencode, urlsplit, urlunsplit

import trytond.config as config
from trytond.sendmail import get_smtp_server

from .. import settings

logger = logging.getLogger(__name__)
# Failures of the mail server in a row after which it is left in peace
BREAKER = 5
# Seconds that composing and storing a message take at least: more sessions
# than fit in a delivery at this pace would only wait
PACE = 0.0015
# What Exchange says of too many sessions, whatever the command was
TOO_MANY = 432
_leading_dot = re.compile(rb'^\.', re.MULTILINE)
# What no database stores and no address holds: controls, lone surrogates
_forbidden = re.compile('[\x00-\x1f\x7f\ud800-\udfff]+')


class Result:
    """What became of a message

    kind -- 'sent', 'temporary', 'permanent' (of this message),
            'relay' (the server can not be used)
            or 'busy' (the server takes no further session)
    code -- SMTP reply code, or None
    text -- reply of the server or the error, on one line
    """
    __slots__ = ('kind', 'code', 'text')

    def __init__(self, kind, code=None, text=''):
        self.kind = kind
        self.code = code
        if isinstance(text, bytes):
            text = text.decode('utf-8', 'replace')
        text = _forbidden.sub(' ', str(text))
        self.text = ' '.join(text.split())[:500]

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
        self.seconds = 0
        # The server has taken a message in this session
        self.is_proven = False
        # All of the message is with the server, which may have taken it
        self.is_uncertain = False

    def send(self, message):
        "Deliver the message and return (result, seconds)"
        self.begin(message)
        return self.end()

    def begin(self, message):
        "Hand over the message"
        self.message = message
        self.seconds = 0
        self.is_uncertain = False
        is_reused = self.server is not None
        self.result = self._try(self._hand_over)
        if (is_reused and not self.is_uncertain
                and self.result and self.result.kind in {'relay', 'busy'}):
            # The server may end a connection that has idled or is used up
            self.result = self._try(self._hand_over)

    def end(self):
        """Return what became of it and the seconds that were waited

        Whether the server has taken it is uncertain when its last reply is
        lost.  It is not sent again at once: RFC 5321 §4.5.3.2.6.
        """
        result = self.result or self._try(self._taken)
        self.is_proven |= result.kind == 'sent'
        return result, self.seconds

    def _try(self, step):
        "Return the result of the step, None if it is not known yet"
        started = time.monotonic()
        try:
            return step()
        except (smtplib.SMTPException, OSError, ValueError) as exception:
            result = classify(exception)
            if result.kind in {'relay', 'busy'}:
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
        if _forbidden.search(self.message.sender + self.message.recipient):
            return Result('permanent', None, "forbidden sign in an address")
        self._check(*self._commands())
        data = _leading_dot.sub(b'..', self.message.data)
        if not data.endswith(b'\r\n'):
            data += b'\r\n'
        self.is_uncertain = True
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
        timeout = self.server.sock.gettimeout()
        self.server.sock.settimeout(settings.smtp_final_timeout())
        code, text = self.server.getreply()
        self.server.sock.settimeout(timeout)
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
        self.is_proven = False
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
    kind = 'busy' if code and 400 <= code < 500 else 'relay'
    return Result(kind, code, text or type(exception).__name__)


def _by_code(code, text):
    if code == TOO_MANY:
        return Result('busy', code, text)
    if code == 421 or code < 400:
        return Result('relay', code, text)
    return Result('permanent' if code >= 500 else 'temporary', code, text)


class Relay:
    """The sessions of one worker process

    is_down -- the server can not be used for the moment
    is_busy -- the server takes no session of this process for the moment
    reason -- what it has said last of not being usable
    """

    def __init__(self, uri=None, sessions=None):
        self.uri = _with_timeout(uri or config.get('email', 'uri'))
        self.limit = sessions or settings.sessions()
        self.sessions = deque([Session(self.uri)])
        self.latency = 0
        self.failures = 0  # in a row
        self.reason = None
        self.is_busy = False
        self.executor = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for session in self.sessions:
            session.quit()
        if self.executor:
            self.executor.shutdown()

    @property
    def is_down(self):
        return self.failures >= BREAKER

    def deliver(self, messages):
        """Yield (message, result) for what comes from the iterator

        A message is taken from it at the earliest when one is under way.  One
        that has been cancelled meanwhile is left out, as are those that can
        not be sent because the server is down or busy.  Nothing more is sent
        then, but what is under way still comes to its result: who consumes
        the results must take them all.
        """
        self.is_busy = False
        yield from _Delivery(self, messages).run()

    def wanted(self):
        "Return how many sessions keep the process busy at this latency"
        return max(1, min(self.limit, round(self.latency / PACE)))

    def session(self):
        return self.sessions.popleft() if self.sessions else Session(self.uri)

    def measure(self, session, seconds):
        self.latency += (seconds - self.latency) / 8
        self.sessions.appendleft(session)

    def submit(self, *args):
        if not self.executor:
            self.executor = ThreadPoolExecutor(
                self.limit, thread_name_prefix='smtp')
        return self.executor.submit(*args)

    def count(self, result):
        "Remember if the server works"
        if self.is_down:
            # What was under way does not send more after it
            return
        if result.kind == 'relay':
            self.failures += 1
            self.reason = str(result)
        elif result.kind != 'busy':
            self.failures = 0
            self.reason = None


class _Delivery:
    "One use of a relay"

    def __init__(self, relay, messages):
        self.relay = relay
        self.messages = iter(messages)
        self.ahead = deque()  # taken from messages and not under way
        self.running = {}  # future: (session, message)

    def run(self):
        while True:
            while (message := self._next()) and (
                    len(self.running) < self.relay.wanted()):
                self.ahead.popleft()
                if self.relay.wanted() == 1 and not self.running:
                    yield from self._send(message)
                else:
                    session = self.relay.session()
                    future = self.relay.submit(session.send, message)
                    self.running[future] = session, message
            if not self.running:
                break
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in done:
                session, message = self.running.pop(future)
                yield from self._result(session, message, future.result())

    def _next(self):
        "Return the next message, which stays ahead"
        if self.relay.is_down or self.relay.is_busy:
            return None
        while self.ahead and self.ahead[0].cancelled:
            self.ahead.popleft()
        if not self.ahead:
            self.ahead.extend(islice(self.messages, 1))
        return self.ahead[0] if self.ahead else None

    def _send(self, message):
        session = self.relay.session()
        session.begin(message)
        # While the server takes it
        self._next()
        yield from self._result(session, message, session.end())

    def _result(self, session, message, sent):
        result, seconds = sent
        self.relay.measure(session, seconds)
        self.relay.count(result)
        if result.kind == 'busy' and (others := self._others()):
            # Make do with the sessions there are
            self.relay.limit = others
            self.ahead.appendleft(message)
            return
        if result.kind == 'busy':
            # The server may have given all its sessions to other processes
            self.relay.is_busy = True
            result.kind = 'temporary'
        yield message, result

    def _others(self):
        "Return how many sessions work"
        return len(self.running) + sum(
            s.is_proven for s in self.relay.sessions)


def _with_timeout(uri):
    "Return the URI with a timeout: without one a silent server stops all"
    parts = urlsplit(uri)
    if 'timeout=' in parts.query:
        return uri
    query = '&'.join(filter(None, [
                parts.query,
                urlencode({'timeout': settings.smtp_timeout()})]))
    return urlunsplit(parts._replace(query=query))
