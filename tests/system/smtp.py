# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
An SMTP server on loopback that keeps what it accepts and fails on demand.

Only the standard library is used, so the file also runs as a program::

    python tests/system/smtp.py --port 2525 --control 2526 --maildir /tmp/mail

Three classes offer the same methods (see Control):

    Server   the server in a thread of this process
    Process  the server in a process of its own
    Remote   a running program, through its control port

A session goes through these stages, and a fault strikes at one of them:

    connect   before the greeting
    helo      EHLO or HELO
    mail      MAIL; what is matched is the sender
    rcpt      RCPT; what is matched is the recipient
    data      the DATA command, before 354
    content   the first bytes of the message have come in
    message   the final dot has come in, the message is not yet accepted
    accepted  the message is accepted, 250 is not yet sent

aiosmtpd was measured first: some 1,650 messages of 3-8 kB per second of
processor time, which is less than what the benchmarks have to swallow, and
most of these faults would have needed its private parts.
"""
import argparse
import asyncio
import base64
import inspect
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter, namedtuple
from fnmatch import fnmatchcase

__all__ = ['Message', 'Server', 'Process', 'Remote', 'certificate']

STAGES = [
    'connect', 'helo', 'mail', 'rcpt', 'data', 'content', 'message',
    'accepted']
STORES = ['memory', 'ids', 'count']
FEATURES = ['8BITMIME', 'PIPELINING', 'SMTPUTF8']
MAX_COMMAND = 2000
# RFC 5322 section 2.1.1, without the line end
MAX_LINE = 998

_MESSAGE_ID = re.compile(rb'^message-id:\s*(<[^>\r\n]*>)', re.I | re.M)
_PATH = re.compile(r'\s*<([^<>]*)>\s*(.*)$')

_Message = namedtuple('_Message', [
        'time', 'session', 'sender', 'recipients', 'options', 'data',
        'message_id', 'accepted', 'code', 'path'])


class Message(_Message):
    """
    A message whose content reached the server.

    time: seconds since the epoch when its fate was decided
    session: number of the connection, from 1
    sender, recipients: the envelope; only recipients that were taken
    options: parameters of MAIL, upper case
    data: bytes without the stuffed dots, None if it is not kept in memory
    accepted: whether the server took responsibility for it
    code: reply the server chose, None if it chose to say nothing
    path: name of the file in the mail folder
    """
    __slots__ = ()

    def dump(self):
        "Return what JSON can carry"
        values = self._asdict()
        if self.data is not None:
            values['data'] = base64.b64encode(self.data).decode('ascii')
        return values

    @classmethod
    def load(cls, values):
        if values['data'] is not None:
            values['data'] = base64.b64decode(values['data'])
        return cls(**values)


class Rule:
    "A fault: what happens at which stage, to whom, how often, until when"
    __slots__ = (
        'action', 'at', 'match', 'times', 'until', 'code', 'text', 'seconds')

    def __init__(
            self, action, at, match=None, times=None, lasting=None,
            code=None, text=None, seconds=None):
        if at not in STAGES:
            raise ValueError(f"unknown stage {at!r}, use one of {STAGES}")
        if action == 'reply' and at in {'content', 'accepted'}:
            raise ValueError(f"a server has no reply to give at {at!r}")
        self.action = action
        self.at = at
        self.match = [match] if isinstance(match, str) else match
        self.times = times
        self.until = None if lasting is None else time.monotonic() + lasting
        self.code = code
        self.text = text
        self.seconds = seconds

    def strikes(self, at, addresses):
        "Return whether it applies now, and count it if it does"
        if at != self.at or self.times == 0:
            return False
        if self.until is not None and time.monotonic() >= self.until:
            return False
        if self.match is not None and not any(
                fnmatchcase(a.lower(), m.lower())
                for a in addresses for m in self.match):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Session(asyncio.Protocol):
    "A connection"

    def __init__(self, sink):
        self.sink = sink
        self.number = None
        self.transport = None
        self.buffer = bytearray()
        self.replies = []
        # Whether something must happen before the next command is read
        self.waiting = False
        self.closed = False
        self.tls = False
        self.user = None
        self.helo = None
        self.count = 0
        self.touched = time.monotonic()
        self._login = None
        self._reset()

    def _reset(self):
        self.sender = None
        self.recipients = []
        self.options = []
        self.receiving = False
        self.scanned = 0

    def connection_made(self, transport):
        upgraded = self.transport is not None
        self.transport = transport
        self.tls = transport.get_extra_info('sslcontext') is not None
        if not upgraded:
            self.number = self.sink.opened(self)
            self._step('connect', (), self._greet)
            self._flush()

    def _greet(self):
        if self.sink.full():
            self._reply(421, "4.7.0 Too many sessions", close=True)
        else:
            self._reply(220, "localhost ESMTP")

    def connection_lost(self, exc):
        self.closed = True
        self.sink.lost(self)

    def data_received(self, chunk):
        self.touched = time.monotonic()
        self.buffer += chunk
        if not self.waiting:
            self._advance()

    def _advance(self):
        while not (self.waiting or self.closed):
            if self.receiving:
                if not self._content():
                    break
            elif not self._command():
                break
        self._flush()

    def _reply(self, code, text, close=False):
        lines = [text] if isinstance(text, str) else text
        for line in lines[:-1]:
            self.replies.append(f'{code}-{line}\r\n')
        self.replies.append(f'{code} {lines[-1]}\r\n')
        if close or code == 421:
            self.close()

    def _flush(self):
        if self.replies and not self.transport.is_closing():
            self.transport.write(''.join(self.replies).encode('utf-8'))
        self.replies.clear()

    def close(self):
        self._flush()
        self.closed = True
        self.transport.close()

    def abort(self):
        self.closed = True
        self.transport.abort()

    def _step(self, at, addresses, proceed, failed=None):
        """
        Call proceed unless a fault strikes, then failed with the code of the
        reply or None
        """
        if not self.sink.rules:
            proceed()
            return
        delay, rule = self.sink.strike(at, addresses)
        if delay:
            self.waiting = True
            asyncio.get_running_loop().call_later(
                delay, self._resume, rule, proceed, failed)
        else:
            self._settle(rule, proceed, failed)

    def _resume(self, rule, proceed, failed):
        self.waiting = False
        if not self.closed:
            self._settle(rule, proceed, failed)
            self._advance()
        elif failed:
            failed(None)

    def _settle(self, rule, proceed, failed):
        if rule is None:
            proceed()
            return
        if failed:
            failed(rule.code)
        if rule.action == 'reply':
            self._reply(rule.code, rule.text)
        elif rule.action == 'cut':
            self._flush()
            self.abort()
        else:
            self.waiting = True

    def _command(self):
        "Run the next command of the buffer, return whether there was one"
        end = self.buffer.find(b'\n')
        if end < 0:
            if len(self.buffer) > MAX_COMMAND:
                self._reply(500, "5.5.6 Line too long", close=True)
            return False
        line = bytes(self.buffer[:end]).rstrip(b'\r')
        del self.buffer[:end + 1]
        try:
            line = line.decode('utf-8')
        except UnicodeDecodeError:
            self._reply(500, "5.5.2 Not UTF-8")
            return True
        if self._login is not None:
            self._login_line(line)
            return True
        verb, _, argument = line.partition(' ')
        method = self.COMMANDS.get(verb.upper())
        if method:
            method(self, argument)
        else:
            self._reply(500, "5.5.2 Unknown command")
        return True

    def do_helo(self, argument):
        def proceed():
            self._reset()
            self.helo = argument
            self._reply(250, "localhost")
        self._step('helo', (), proceed)

    def do_ehlo(self, argument):
        def proceed():
            self._reset()
            self.helo = argument
            self._reply(250, ["localhost"] + self.sink.keywords(self))
        self._step('helo', (), proceed)

    def do_starttls(self, argument):
        if self.tls or not self.sink.context:
            self._reply(502, "5.5.1 Not available")
            return
        self._reply(220, "2.0.0 Ready to start TLS")
        self._flush()
        # RFC 3207 section 4.2: forget what was learnt in plain text
        self.buffer.clear()
        self.helo = None
        self.waiting = True
        self.sink.spawn(self._start_tls())

    async def _start_tls(self):
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self.transport, self, self.sink.context, server_side=True)
        except OSError:
            self.abort()
            return
        if transport is None:
            return
        self.transport = transport
        self.tls = True
        self.waiting = False
        self._advance()

    def do_auth(self, argument):
        mechanism, _, initial = argument.partition(' ')
        mechanism = mechanism.upper()
        if not self.sink.users or mechanism not in {'PLAIN', 'LOGIN'}:
            self._reply(504, "5.5.4 Unknown mechanism")
            return
        self._login = (mechanism, [])
        if initial:
            self._login_line(initial)
        else:
            self._reply(334, '' if mechanism == 'PLAIN' else 'VXNlcm5hbWU6')

    def _login_line(self, line):
        mechanism, values = self._login
        try:
            values.append(base64.b64decode(line, validate=True).decode())
        except ValueError:
            self._login = None
            self._reply(501, "5.5.2 Not base64")
            return
        if mechanism == 'PLAIN':
            values[:] = values[0].split('\0')[1:]
        if len(values) < 2:
            self._reply(334, 'UGFzc3dvcmQ6')
            return
        self._login = None
        user, password = values
        if self.sink.users.get(user) == password:
            self.user = user
            self._reply(235, "2.7.0 Welcome")
        else:
            self._reply(535, "5.7.8 Wrong name or password")

    def do_mail(self, argument):
        sender, options = self._parse('FROM:', argument)
        limit = self.sink.limits['messages']
        if self.helo is None or self.sender is not None:
            self._reply(503, "5.5.1 Bad sequence of commands")
        elif self.sink.users and self.user is None:
            self._reply(530, "5.7.0 Authentication required")
        elif sender is None:
            self._reply(501, "5.1.7 Bad sender")
        elif limit is not None and self.count >= limit:
            self._reply(421, "4.7.0 Too many messages in this session")
        elif error := self.sink.refusal(sender, options):
            self._reply(*error)
        else:
            def proceed():
                self.sender = sender
                self.options = options
                self._reply(250, "2.1.0 Sender ok")
            self._step('mail', (sender,), proceed)

    def do_rcpt(self, argument):
        recipient, options = self._parse('TO:', argument)
        if self.sender is None:
            self._reply(503, "5.5.1 Bad sequence of commands")
        elif not recipient:
            self._reply(501, "5.1.3 Bad recipient")
        elif not recipient.isascii() and 'SMTPUTF8' not in self.options:
            self._reply(553, "5.6.7 Address needs SMTPUTF8")
        else:
            def proceed():
                self.recipients.append(recipient)
                self._reply(250, "2.1.5 Recipient ok")
            self._step('rcpt', (recipient,), proceed)

    @classmethod
    def _parse(cls, keyword, argument):
        "Return path and list of parameters, the path is None if malformed"
        if argument[:len(keyword)].upper() != keyword:
            return None, []
        match = _PATH.match(argument[len(keyword):])
        if not match:
            return None, []
        path, options = match.groups()
        return path, options.upper().split()

    def do_data(self, argument):
        if not self.recipients:
            self._reply(503, "5.5.1 No valid recipients")
            return

        def proceed():
            self.receiving = True
            self._reply(354, "End data with <CR><LF>.<CR><LF>")
        self._step('data', self.recipients, proceed)

    def _content(self):
        "Take the message off the buffer, return whether it was all there"
        buffer = self.buffer
        if not buffer:
            return False
        if not self.scanned:
            self.scanned = 1
            self._step(
                'content', self.recipients, lambda: None, self._cut_content)
            if self.waiting or self.closed:
                return False
        if buffer.startswith(b'.\r\n'):
            data = b''
            del buffer[:3]
        else:
            end = buffer.find(b'\r\n.\r\n', max(self.scanned - 4, 0))
            if end < 0:
                self.scanned = len(buffer)
                return False
            data = bytes(buffer[:end + 2])
            del buffer[:end + 5]
        self._finish(self._unstuff(data))
        return True

    @classmethod
    def _unstuff(cls, data):
        if data.startswith(b'..'):
            data = data[1:]
        return data.replace(b'\r\n..', b'\r\n.')

    def _cut_content(self, code):
        self.sink.attempt(self, bytes(self.buffer), False, code)

    def _finish(self, data):
        self.receiving = False
        self.scanned = 0
        if error := self.sink.objection(data):
            self.sink.attempt(self, data, False, error[0])
            self._reset()
            self._reply(*error)
            return

        def proceed():
            self.sink.attempt(self, data, True, 250)
            self.count += 1
            self._step('accepted', self.recipients, acknowledge, done)

        def acknowledge():
            self._reset()
            self._reply(250, "2.0.0 Accepted")

        def failed(code):
            self.sink.attempt(self, data, False, code)
            self._reset()

        def done(code):
            self._reset()

        self._step('message', self.recipients, proceed, failed)

    def do_rset(self, argument):
        self._reset()
        self._reply(250, "2.0.0 Forgotten")

    def do_noop(self, argument):
        self._reply(250, "2.0.0 Nothing done")

    def do_vrfy(self, argument):
        self._reply(252, "2.1.5 Try and see")

    def do_quit(self, argument):
        self._reply(221, "2.0.0 Bye", close=True)

    COMMANDS = {
        'EHLO': do_ehlo,
        'HELO': do_helo,
        'STARTTLS': do_starttls,
        'AUTH': do_auth,
        'MAIL': do_mail,
        'RCPT': do_rcpt,
        'DATA': do_data,
        'RSET': do_rset,
        'NOOP': do_noop,
        'VRFY': do_vrfy,
        'QUIT': do_quit,
        }


class Sink:
    "The server itself; everything runs in its event loop"

    def __init__(
            self, host='127.0.0.1', port=0, store='memory', maildir=None,
            users=None, certfile=None, keyfile=None, implicit_tls=False):
        if store not in STORES:
            raise ValueError(f"unknown store {store!r}, use one of {STORES}")
        self.host = host
        self.port = port
        self.control = None
        self.store = store
        self.users = users or {}
        self.implicit_tls = implicit_tls
        self.context = None
        if certfile:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certfile, keyfile)
        self.maildir = maildir
        if maildir:
            for name in ['cur', 'new', 'tmp']:
                os.makedirs(os.path.join(maildir, name), exist_ok=True)
        self.rules = []
        self.limits = {'sessions': None, 'messages': None, 'idle': None}
        self.features = set(FEATURES)
        self.size = None
        self.sessions = {}
        self.tasks = set()
        self.sweeper = None
        self.connections = 0
        self.peak = 0
        self.server = None
        self.clear()

    # What a control may call

    async def listen(self):
        if self.server is None:
            sock = socket.create_server((self.host, self.port), backlog=512)
            self.port = sock.getsockname()[1]
            self.server = await asyncio.get_running_loop().create_server(
                lambda: Session(self), sock=sock,
                ssl=self.context if self.implicit_tls else None)

    def refuse(self, drop=False):
        if self.server is not None:
            self.server.close()
            self.server = None
        if drop:
            self.drop()

    def drop(self):
        for session in list(self.sessions.values()):
            session.abort()

    def rule(self, **values):
        self.rules.append(Rule(**values))

    def reset(self):
        self.rules.clear()
        self.limits.update(dict.fromkeys(self.limits))
        self.features = set(FEATURES)
        self.size = None

    def limit(self, **limits):
        unknown = limits.keys() - self.limits.keys()
        if unknown:
            raise ValueError(f"unknown limits {sorted(unknown)}")
        self.limits.update(limits)
        if self.sweeper:
            self.sweeper.cancel()
        self._sweep()

    def offer(self, features, size=None):
        self.features = {f.upper() for f in features}
        self.size = size

    def clear(self):
        self.count = 0
        self.recipients = 0
        self.ids = Counter()
        self.attempts = []

    def status(self):
        return {
            'host': self.host,
            'port': self.port,
            'control': self.control,
            'listening': self.server is not None,
            'count': self.count,
            'recipients': self.recipients,
            'sessions': len(self.sessions),
            'connections': self.connections,
            'peak': self.peak,
            'processor': time.process_time(),
            }

    def accepted(self, message_id):
        return self.ids[message_id]

    def duplicates(self):
        return {i: n for i, n in self.ids.items() if n > 1}

    def messages(self, start=0):
        return self.attempts[start:]

    CALLS = {
        'listen', 'refuse', 'drop', 'rule', 'reset', 'limit', 'offer',
        'clear', 'status', 'accepted', 'duplicates', 'messages'}

    async def call(self, name, values):
        if name not in self.CALLS:
            raise ValueError(f"unknown call {name!r}")
        result = getattr(self, name)(**values)
        if inspect.isawaitable(result):
            result = await result
        return result

    async def stop(self):
        self.refuse(drop=True)
        # Let the transports close
        await asyncio.sleep(0)

    # What a session asks

    def spawn(self, coroutine):
        "Run it and keep it, the loop only has a weak reference"
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def opened(self, session):
        self.connections += 1
        self.sessions[self.connections] = session
        self.peak = max(self.peak, len(self.sessions))
        return self.connections

    def lost(self, session):
        self.sessions.pop(session.number, None)

    def full(self):
        limit = self.limits['sessions']
        return limit is not None and len(self.sessions) > limit

    def keywords(self, session):
        keywords = sorted(self.features)
        if self.size is not None:
            keywords.append(f'SIZE {self.size}')
        if self.context and not session.tls:
            keywords.append('STARTTLS')
        if self.users:
            keywords.append('AUTH PLAIN LOGIN')
        return keywords

    def refusal(self, sender, options):
        "Return code and text if a message cannot be announced like this"
        for option in options:
            name, _, value = option.partition('=')
            if name == 'SIZE' and self.size is not None:
                if value.isdigit() and int(value) > self.size:
                    return 552, "5.3.4 Message too big"
            elif name == 'BODY':
                if value == '8BITMIME' and '8BITMIME' not in self.features:
                    return 555, "5.5.4 8BITMIME not supported"
            elif name == 'SMTPUTF8':
                if 'SMTPUTF8' not in self.features:
                    return 555, "5.5.4 SMTPUTF8 not supported"
            elif name != 'AUTH':
                return 555, f"5.5.4 {name} not supported"
        if not sender.isascii() and 'SMTPUTF8' not in options:
            return 553, "5.6.7 Address needs SMTPUTF8"

    def objection(self, data):
        "Return code and text if relays in the wild would not take the content"
        if self.size is not None and len(data) > self.size:
            return 552, "5.3.4 Message too big"
        ends = data.count(b'\r\n')
        if data.count(b'\n') != ends or data.count(b'\r') != ends:
            return 550, "5.5.2 Bare CR or LF"
        if max(map(len, data.split(b'\r\n'))) > MAX_LINE:
            return 550, "5.6.0 Line too long"
        if '8BITMIME' not in self.features and not data.isascii():
            return 554, "5.6.1 8BITMIME not supported"

    def strike(self, at, addresses):
        "Return the delay in seconds and the rule of the faults that strike"
        delay = 0
        for rule in self.rules:
            if rule.strikes(at, addresses):
                if rule.action != 'delay':
                    return delay, rule
                delay += rule.seconds
        return delay, None

    def attempt(self, session, data, accepted, code):
        now = time.time()
        if accepted:
            self.count += 1
            self.recipients += len(session.recipients)
        if self.store == 'count' and not self.maildir:
            return
        message_id = self._message_id(data)
        if accepted:
            self.ids[message_id] += 1
        path = None
        if accepted and self.maildir:
            path = self._write(now, data)
        if self.store != 'memory':
            data = None
        message = Message(
            now, session.number, session.sender, list(session.recipients),
            session.options, data, message_id, accepted, code, path)
        if self.store == 'memory':
            self.attempts.append(message)
        if self.maildir:
            self._journal(message)

    def _message_id(self, data):
        end = data.find(b'\r\n\r\n')
        match = _MESSAGE_ID.search(data, 0, end if end >= 0 else len(data))
        return match[1].decode('ascii', 'replace') if match else None

    def _write(self, now, data):
        name = f'{now:.6f}.{self.count}_{os.getpid()}.localhost'
        temporary = os.path.join(self.maildir, 'tmp', name)
        with open(temporary, 'wb') as file:
            file.write(data)
        path = os.path.join(self.maildir, 'new', name)
        os.rename(temporary, path)
        return path

    def _journal(self, message):
        values = message._replace(data=None).dump()
        with open(os.path.join(self.maildir, 'journal.jsonl'), 'a') as file:
            file.write(json.dumps(values) + '\n')

    def _sweep(self):
        idle = self.limits['idle']
        if idle is None:
            return
        now = time.monotonic()
        for session in list(self.sessions.values()):
            if now - session.touched > idle and not session.closed:
                session._reply(421, "4.4.2 Idle for too long")
        self.sweeper = asyncio.get_running_loop().call_later(
            min(idle / 4, 1), self._sweep)


class Control:
    """
    What a test may ask of a server, wherever it runs.

    match is a pattern (or a list of them) for the address, * and ? allowed;
    times is how often the fault strikes, lasting for how many seconds, both
    without end by default.
    """
    __slots__ = ()

    def _call(self, name, **values):
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.stop()

    def stop(self):
        pass

    def fail(
            self, code, text="Fault on demand", at='rcpt', match=None,
            times=None, lasting=None):
        "Reply with a code; 421 also closes the session"
        self._call(
            'rule', action='reply', code=code, text=text, at=at, match=match,
            times=times, lasting=lasting)

    def cut(self, at='content', match=None, times=None, lasting=None):
        "Cut the connection without a word"
        self._call(
            'rule', action='cut', at=at, match=match, times=times,
            lasting=lasting)

    def hang(self, at='message', match=None, times=None, lasting=None):
        "Never answer, the session stays open"
        self._call(
            'rule', action='hang', at=at, match=match, times=times,
            lasting=lasting)

    def slow(
            self, seconds, at='message', match=None, times=None,
            lasting=None):
        "Answer later; other sessions are not held up"
        self._call(
            'rule', action='delay', seconds=seconds, at=at, match=match,
            times=times, lasting=lasting)

    def limit(self, **limits):
        """
        Limit the open sessions (421 to the next), the messages of a session
        (421 to the next) or the seconds a session may be idle; None lifts
        """
        self._call('limit', **limits)

    def offer(self, features, size=None):
        "Set the announced extensions out of FEATURES and the maximal size"
        self._call('offer', features=list(features), size=size)

    def reset(self):
        "Forget all faults, limits and offers"
        self._call('reset')

    def refuse(self, drop=False):
        "Close the port, and with drop cut the open sessions as well"
        self._call('refuse', drop=drop)

    def listen(self):
        "Open the same port again"
        self._call('listen')

    def drop(self):
        "Cut the open sessions"
        self._call('drop')

    def clear(self):
        "Forget the messages and the counts of them"
        self._call('clear')

    @property
    def status(self):
        "Dictionary of counts and state"
        return self._call('status')

    @property
    def port(self):
        return self.status['port']

    @property
    def uri(self):
        status = self.status
        return f"smtp://{status['host']}:{status['port']}"

    @property
    def count(self):
        "Number of accepted messages"
        return self.status['count']

    @property
    def attempts(self):
        "All messages in order of their fate, accepted or not"
        return self._call('messages')

    @property
    def messages(self):
        "Accepted messages in order"
        return [m for m in self.attempts if m.accepted]

    def accepted(self, message_id):
        "How often a message of this Message-ID was accepted"
        return self._call('accepted', message_id=message_id)

    @property
    def duplicates(self):
        "Message-IDs accepted more than once, with how often"
        return self._call('duplicates')

    def wait(self, count, timeout=10):
        "Wait until so many messages are accepted, return how many are"
        end = time.monotonic() + timeout
        while (done := self.count) < count and time.monotonic() < end:
            time.sleep(0.01)
        return done


class Server(Control):
    "The server in a thread, arguments are those of Sink"

    def __init__(self, **options):
        self._sink = Sink(**options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        try:
            self._call('listen')
        except Exception:
            self._finish()
            raise

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, name, **values):
        return asyncio.run_coroutine_threadsafe(
            self._sink.call(name, values), self._loop).result()

    def stop(self):
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(
            self._sink.stop(), self._loop).result()
        self._finish()

    def _finish(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Remote(Control):
    "A server program, by the number of its control port on loopback"

    def __init__(self, control):
        self._lock = threading.Lock()
        self._socket = socket.create_connection(('127.0.0.1', control))
        self._file = self._socket.makefile('rwb')

    def _call(self, name, **values):
        with self._lock:
            self._file.write(json.dumps([name, values]).encode() + b'\n')
            self._file.flush()
            line = self._file.readline()
        if not line:
            raise ConnectionError("The SMTP server is gone")
        answer = json.loads(line)
        if 'error' in answer:
            raise ValueError(answer['error'])
        if name == 'messages':
            return list(map(Message.load, answer['result']))
        return answer['result']

    def stop(self):
        self._file.close()
        self._socket.close()


class Process(Remote):
    "The server in a process, arguments are those of Sink"

    def __init__(
            self, port=0, store='memory', maildir=None, users=None,
            certfile=None, keyfile=None, implicit_tls=False):
        command = [
            sys.executable, '-I', os.path.abspath(__file__), '--control', '0',
            '--attached', '--port', str(port), '--store', store]
        if maildir:
            command += ['--maildir', str(maildir)]
        if certfile:
            command += ['--certfile', certfile, '--keyfile', keyfile]
        if implicit_tls:
            command += ['--implicit-tls']
        for user, password in (users or {}).items():
            command += ['--user', f'{user}:{password}']
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise OSError("The SMTP server does not start")
        super().__init__(json.loads(line)['control'])

    @property
    def pid(self):
        return self._process.pid

    def kill(self):
        "End it at once, what it kept in memory is lost"
        self._process.kill()
        self.stop()

    def stop(self):
        super().stop()
        self._process.communicate()


def certificate(folder, host='localhost'):
    "Return the files of a new self-signed certificate and its key"
    certfile = os.path.join(folder, 'certificate.pem')
    keyfile = os.path.join(folder, 'key.pem')
    subprocess.run([
            'openssl', 'req', '-x509', '-nodes', '-days', '2',
            '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
            '-subj', f'/CN={host}',
            '-addext', f'subjectAltName=DNS:{host},IP:127.0.0.1',
            '-keyout', keyfile, '-out', certfile],
        check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return certfile, keyfile


async def _controlled(sink, reader, writer):
    "Serve a control connection: a JSON list of name and values a line"
    try:
        while line := await reader.readline():
            answer = await _answer(sink, line)
            writer.write(json.dumps(answer).encode() + b'\n')
            await writer.drain()
    except (asyncio.CancelledError, ConnectionError):
        # This process or the other one ends
        pass
    finally:
        writer.close()


async def _answer(sink, line):
    try:
        name, values = json.loads(line)
        result = await sink.call(name, values)
    except Exception as e:
        return {'error': str(e)}
    if name == 'messages':
        result = [m.dump() for m in result]
    return {'result': result}


async def _serve(arguments):
    users = dict(u.split(':', 1) for u in arguments.user)
    sink = Sink(
        port=arguments.port, store=arguments.store,
        maildir=arguments.maildir, users=users, certfile=arguments.certfile,
        keyfile=arguments.keyfile, implicit_tls=arguments.implicit_tls)
    await sink.listen()
    if arguments.control is not None:
        control = await asyncio.start_server(
            lambda r, w: _controlled(sink, r, w), '127.0.0.1',
            arguments.control)
        sink.control = control.sockets[0].getsockname()[1]
    print(json.dumps(sink.status()), flush=True)

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in [signal.SIGINT, signal.SIGTERM]:
        loop.add_signal_handler(number, ended.set)
    if arguments.attached:
        loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    await sink.stop()


def main():
    parser = argparse.ArgumentParser(
        description="SMTP server on loopback that fails on demand")
    parser.add_argument('--port', type=int, default=2525,
        help="0 for a free one, which is printed")
    parser.add_argument('--control', type=int,
        help="port for the control connections, 0 for a free one")
    parser.add_argument('--maildir', help="folder to store the messages in")
    parser.add_argument('--store', choices=STORES, default='count',
        help="what to keep in memory of the messages")
    parser.add_argument('--user', action='append', default=[],
        help="NAME:PASSWORD that must be used to authenticate")
    parser.add_argument('--certfile')
    parser.add_argument('--keyfile')
    parser.add_argument('--implicit-tls', action='store_true')
    parser.add_argument('--attached', action='store_true',
        help="end when the standard input is closed")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == '__main__':
    main()
