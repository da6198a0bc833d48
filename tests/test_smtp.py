# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import email.policy
import json
import os
import shutil
import smtplib
import socket
import ssl
import sys
import tempfile
import threading
import time
import unittest
from contextlib import contextmanager
from email.message import EmailMessage

from .system.smtp import Process, Remote, Server, certificate

SENDER = 'sender@example.com'
RECIPIENT = 'recipient@example.com'


def message(number=1, body="Hello"):
    msg = EmailMessage(policy=email.policy.SMTP)
    msg['From'] = SENDER
    msg['To'] = RECIPIENT
    msg['Subject'] = "Test"
    msg['Message-ID'] = f'<{number}@example.com>'
    msg.set_content(body)
    return msg


class _TestCase(unittest.TestCase):

    def serve(self, **options):
        server = Server(**options)
        self.addCleanup(server.stop)
        return server

    @contextmanager
    def client(self, server, timeout=5):
        client = smtplib.SMTP('127.0.0.1', server.port, timeout=timeout)
        try:
            yield client
        finally:
            client.close()

    def send(self, server, number=1, to=RECIPIENT, timeout=5, **options):
        with self.client(server, timeout=timeout) as client:
            return client.send_message(
                message(number), SENDER, to, **options)

    def assertCode(self, code, function, *args, **kwargs):
        with self.assertRaises(smtplib.SMTPException) as cm:
            function(*args, **kwargs)
        error = cm.exception
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            codes = {c for c, _ in error.recipients.values()}
        else:
            codes = {error.smtp_code}
        self.assertEqual(codes, {code})


class SMTPAcceptTestCase(_TestCase):
    "Test what the SMTP server keeps of messages"

    def test_message(self):
        "Test envelope and content are kept as they were sent"
        server = self.serve()
        before = time.time()

        msg = message(body="Hello\n.\n..\n.x\n")
        with self.client(server) as client:
            client.send_message(
                msg, SENDER, [RECIPIENT, 'other@example.com'])

        kept, = server.messages
        self.assertEqual(kept.sender, SENDER)
        self.assertEqual(kept.recipients, [RECIPIENT, 'other@example.com'])
        self.assertEqual(kept.data, msg.as_bytes())
        self.assertEqual(kept.message_id, '<1@example.com>')
        self.assertEqual(kept.code, 250)
        self.assertTrue(before <= kept.time <= time.time())
        self.assertEqual(server.accepted('<1@example.com>'), 1)
        self.assertEqual(server.accepted('<2@example.com>'), 0)

    def test_empty_sender(self):
        "Test the null sender of a bounce"
        server = self.serve()

        with self.client(server) as client:
            client.send_message(message(), '', RECIPIENT)

        kept, = server.messages
        self.assertEqual(kept.sender, '')

    def test_big_message(self):
        "Test a message that comes in many pieces"
        server = self.serve()
        msg = message(body="0123456789\n" * 300_000)

        with self.client(server) as client:
            client.send_message(msg, SENDER, RECIPIENT)

        kept, = server.messages
        self.assertEqual(kept.data, msg.as_bytes())

    def test_pieces(self):
        "Test commands and the final dot may come byte by byte"
        server = self.serve()
        dialog = (
            b'EHLO x\r\nMAIL FROM:<a@example.com>\r\n'
            b'RCPT TO:<b@example.com>\r\nDATA\r\n'
            b'Message-ID: <1@example.com>\r\n\r\nx\r\n.\r\n')

        with socket.create_connection(('127.0.0.1', server.port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in dialog:
                sock.sendall(bytes([byte]))
                time.sleep(0.001)
            self.assertEqual(server.wait(1), 1)

        kept, = server.messages
        self.assertEqual(
            kept.data, b'Message-ID: <1@example.com>\r\n\r\nx\r\n')

    def test_pipelining(self):
        "Test commands may come all at once"
        server = self.serve()
        dialog = b'EHLO x\r\n' + (
            b'MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n'
            b'DATA\r\nx: y\r\n\r\nz\r\n.\r\n') * 3 + b'QUIT\r\n'

        with socket.create_connection(('127.0.0.1', server.port)) as sock:
            sock.sendall(dialog)
            with sock.makefile('rb') as file:
                lines = file.read().splitlines()

        self.assertEqual(server.count, 3)
        self.assertEqual(sum(line.startswith(b'354') for line in lines), 3)
        self.assertEqual(lines[-1][:3], b'221')

    def test_duplicates(self):
        "Test messages accepted twice are found"
        server = self.serve()

        for number in [1, 2, 1]:
            self.send(server, number)

        self.assertEqual(server.duplicates, {'<1@example.com>': 2})
        server.clear()
        self.assertEqual(server.duplicates, {})
        self.assertEqual(server.count, 0)

    def test_sessions(self):
        "Test sessions are numbered and counted"
        server = self.serve()

        with self.client(server) as first, self.client(server) as second:
            first.send_message(message(1))
            second.send_message(message(2))
            first.send_message(message(3))
            self.assertEqual(server.status['sessions'], 2)

        self.assertEqual([m.session for m in server.messages], [1, 2, 1])
        self.assertEqual(server.status['connections'], 2)
        self.assertEqual(server.status['peak'], 2)

    def test_bad_sequence(self):
        "Test commands out of order are refused"
        server = self.serve()

        with self.client(server) as client:
            self.assertEqual(client.docmd('MAIL FROM:<a@example.com>')[0], 503)
            client.ehlo()
            self.assertEqual(client.docmd('RCPT TO:<a@example.com>')[0], 503)
            self.assertEqual(client.docmd('DATA')[0], 503)
            self.assertEqual(client.docmd('MAIL FROM:a@example.com')[0], 501)
            self.assertEqual(client.docmd('WHAT')[0], 500)

    def test_maildir(self):
        "Test messages are written to a folder"
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        server = self.serve(maildir=folder, store='count')

        self.send(server, 1)
        server.fail(550, at='message')
        self.assertCode(550, self.send, server, 2)

        name, = os.listdir(os.path.join(folder, 'new'))
        with open(os.path.join(folder, 'new', name), 'rb') as file:
            self.assertEqual(file.read(), message().as_bytes())
        with open(os.path.join(folder, 'journal.jsonl')) as file:
            values = list(map(json.loads, file))
        self.assertEqual(
            [(v['message_id'], v['accepted']) for v in values],
            [('<1@example.com>', True), ('<2@example.com>', False)])
        self.assertEqual(os.path.basename(values[0]['path']), name)


class SMTPContentTestCase(_TestCase):
    "Test what the SMTP server takes for a message"

    def refused(self, server, data, **options):
        with self.client(server) as client:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(RECIPIENT)
            client.docmd('DATA')
            client.sock.sendall(data)
            code, _ = client.getreply()
        self.assertEqual(server.count, 0)
        return code

    def test_bare_line_feed(self):
        "Test a bare line feed is refused, and does not end the message"
        server = self.serve()

        self.assertEqual(
            self.refused(server, b'x: y\r\n\r\na\n.\nb\r\n.\r\n'), 550)

    def test_long_line(self):
        "Test lines are limited"
        server = self.serve()

        self.assertEqual(
            self.refused(server, b'\r\n' + b'x' * 999 + b'\r\n.\r\n'), 550)

    def test_8bit(self):
        "Test 8-bit content needs the extension"
        server = self.serve()
        data = b'\r\n' + "é".encode() + b'\r\n.\r\n'

        server.offer([])
        self.assertEqual(self.refused(server, data), 554)
        server.reset()
        with self.client(server) as client:
            client.sendmail(SENDER, RECIPIENT, data[:-3])

        self.assertEqual(server.count, 1)

    def test_body_option(self):
        "Test BODY=8BITMIME needs the extension"
        server = self.serve()
        server.offer([])

        with self.client(server) as client:
            client.ehlo()
            code, _ = client.docmd(f'MAIL FROM:<{SENDER}> BODY=8BITMIME')

        self.assertEqual(code, 555)

    def test_smtputf8(self):
        "Test international addresses need the extension"
        server = self.serve()
        address = 'grüße@example.com'

        self.send(server, to=address)
        server.offer([])
        with self.assertRaises(smtplib.SMTPNotSupportedError):
            self.send(server, to=address)
        with self.client(server) as client:
            client.command_encoding = 'utf-8'
            client.ehlo()
            client.mail(SENDER)
            code, _ = client.docmd(f'RCPT TO:<{address}>')

        kept, = server.messages
        self.assertEqual(kept.recipients, [address])
        self.assertIn('SMTPUTF8', kept.options)
        self.assertEqual(code, 553)

    def test_size(self):
        "Test messages too big are refused, announced or not"
        server = self.serve()
        server.offer(['8BITMIME'], size=1000)

        with self.client(server) as client:
            with self.assertRaises(smtplib.SMTPSenderRefused) as cm:
                client.send_message(message(body="Hello\n" * 1000))
        self.assertEqual(cm.exception.smtp_code, 552)
        self.assertEqual(
            self.refused(server, b'\r\n' + b'xx\r\n' * 1000 + b'.\r\n'), 552)


class SMTPFaultTestCase(_TestCase):
    "Test faults of the SMTP server"

    def test_refuse(self):
        "Test the port is closed and opened again"
        server = self.serve()
        port = server.port

        with self.client(server) as client:
            client.send_message(message(1))
            server.refuse()
            with self.assertRaises(ConnectionRefusedError):
                self.send(server)
            # Open sessions go on
            client.send_message(message(2))
        server.listen()
        self.send(server, 3)

        self.assertEqual(server.port, port)
        self.assertEqual(server.count, 3)

    def test_refuse_and_drop(self):
        "Test the open sessions are cut"
        server = self.serve()

        with self.client(server) as client:
            client.ehlo()
            server.refuse(drop=True)
            with self.assertRaises(smtplib.SMTPServerDisconnected):
                client.send_message(message())

    def test_first_fail(self):
        "Test the first messages fail"
        server = self.serve()
        server.fail(451, at='message', times=2)

        for number in [1, 2]:
            self.assertCode(451, self.send, server, number)
        self.send(server, 3)

        self.assertEqual(
            [(m.code, m.accepted) for m in server.attempts],
            [(451, False), (451, False), (250, True)])
        self.assertEqual(server.accepted('<1@example.com>'), 0)
        self.assertEqual(server.accepted('<3@example.com>'), 1)

    def test_fail_for_a_time(self):
        "Test recipients fail for a time"
        server = self.serve()
        server.fail(450, lasting=0.3)

        self.assertCode(450, self.send, server)
        time.sleep(0.3)
        self.send(server)

        self.assertEqual(server.count, 1)

    def test_fail_recipient(self):
        "Test matching recipients fail"
        server = self.serve()
        server.fail(550, "5.1.1 Unknown", match=['bad@*', '*@nowhere.*'])

        refused = self.send(
            server, to=[RECIPIENT, 'Bad@example.com', 'x@nowhere.org'])

        self.assertEqual(
            refused, {
                'Bad@example.com': (550, b'5.1.1 Unknown'),
                'x@nowhere.org': (550, b'5.1.1 Unknown'),
                })
        self.assertEqual(server.messages[0].recipients, [RECIPIENT])
        self.assertCode(550, self.send, server, to='bad@example.com')

    def test_fail_mail(self):
        "Test 421 at MAIL closes the session"
        server = self.serve()
        server.fail(421, at='mail', times=1)

        self.assertCode(421, self.send, server)
        self.assertEqual(server.status['sessions'], 0)
        self.send(server)

        self.assertEqual(server.count, 1)

    def test_fail_connect(self):
        "Test no greeting"
        server = self.serve()
        server.fail(554, at='connect')

        self.assertCode(554, self.send, server)

    def test_fail_data(self):
        "Test DATA fails"
        server = self.serve()
        server.fail(451, at='data', times=1)

        self.assertCode(451, self.send, server)
        self.send(server)

        self.assertEqual(server.count, 1)

    def test_cut_content(self):
        "Test the connection is cut within the message"
        server = self.serve()
        server.cut(times=1)

        with self.assertRaises(smtplib.SMTPServerDisconnected):
            self.send(server)
        self.assertEqual(server.count, 0)
        self.send(server)

        self.assertEqual([m.accepted for m in server.attempts], [False, True])
        self.assertEqual(server.accepted('<1@example.com>'), 1)

    def test_cut_message(self):
        "Test the connection is cut before the message is accepted"
        server = self.serve()
        server.cut(at='message')

        with self.assertRaises(smtplib.SMTPServerDisconnected):
            self.send(server)

        attempt, = server.attempts
        self.assertFalse(attempt.accepted)
        self.assertIsNone(attempt.code)
        self.assertEqual(attempt.message_id, '<1@example.com>')

    def test_cut_accepted(self):
        "Test the connection is cut after the message is accepted"
        server = self.serve()
        server.cut(at='accepted', times=1)

        with self.assertRaises(smtplib.SMTPServerDisconnected):
            self.send(server)
        self.assertEqual(server.accepted('<1@example.com>'), 1)
        self.send(server)

        self.assertEqual(server.duplicates, {'<1@example.com>': 2})

    def test_hang(self):
        "Test no answer ever comes"
        for at, accepted in [
                ('connect', 0), ('helo', 0), ('mail', 0), ('rcpt', 0),
                ('data', 0), ('content', 0), ('message', 0), ('accepted', 1)]:
            with self.subTest(at=at):
                server = self.serve()
                server.hang(at=at)

                with self.assertRaises((TimeoutError, smtplib.SMTPException)):
                    self.send(server, timeout=0.2)

                self.assertEqual(server.count, accepted)

    def test_slow(self):
        "Test answers take time, and only their own session's"
        server = self.serve()
        server.slow(0.2)

        start = time.monotonic()
        threads = [
            threading.Thread(target=self.send, args=(server, n))
            for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        duration = time.monotonic() - start

        self.assertEqual(server.count, 10)
        self.assertGreaterEqual(duration, 0.2)
        self.assertLess(duration, 1)

    def test_slow_and_gone(self):
        "Test a message is not accepted once the client is gone"
        server = self.serve()
        server.slow(0.2)

        with self.assertRaises((TimeoutError, smtplib.SMTPException)):
            self.send(server, timeout=0.1)
        time.sleep(0.3)

        attempt, = server.attempts
        self.assertFalse(attempt.accepted)

    def test_slow_and_fail(self):
        "Test a fault after a delay"
        server = self.serve()
        server.slow(0.1, at='rcpt')
        server.fail(450)

        start = time.monotonic()
        self.assertCode(450, self.send, server)
        self.assertGreaterEqual(time.monotonic() - start, 0.1)

    def test_limit_sessions(self):
        "Test a session too many is sent away"
        server = self.serve()
        server.limit(sessions=1)

        with self.client(server) as client:
            client.noop()
            self.assertCode(421, self.send, server)
            client.quit()
        self.send(server)

        self.assertEqual(server.count, 1)

    def test_limit_messages(self):
        "Test a session ends after some messages"
        server = self.serve()
        server.limit(messages=2)

        with self.client(server) as client:
            client.send_message(message(1))
            client.send_message(message(2))
            self.assertCode(421, client.send_message, message(3))
        self.send(server, 3)

        self.assertEqual(server.count, 3)

    def test_limit_idle(self):
        "Test an idle session is closed"
        server = self.serve()
        server.limit(idle=0.2)

        with self.client(server) as client:
            client.send_message(message(1))
            time.sleep(0.5)
            with self.assertRaises(smtplib.SMTPException):
                client.send_message(message(2))

        self.assertEqual(server.count, 1)
        self.assertEqual(server.status['sessions'], 0)

    def test_reset(self):
        "Test all faults are forgotten"
        server = self.serve()
        server.fail(450)
        server.limit(sessions=0)

        server.reset()
        self.send(server)

        self.assertEqual(server.count, 1)

    def test_mistakes(self):
        "Test faults that cannot be are refused"
        server = self.serve()

        with self.assertRaises(ValueError):
            server.cut(at='nowhere')
        with self.assertRaises(ValueError):
            server.fail(450, at='accepted')
        with self.assertRaises(ValueError):
            server.limit(weight=1)


class SMTPSecurityTestCase(_TestCase):
    "Test encryption and authentication of the SMTP server"

    def test_authentication(self):
        "Test a name and a password are asked"
        server = self.serve(users={'user': 'secret'})

        with self.client(server) as client:
            self.assertCode(530, client.send_message, message())
            self.assertCode(535, client.login, 'user', 'wrong')
        for mechanism in ['PLAIN', 'LOGIN']:
            with self.client(server) as client:
                client.ehlo()
                client.user, client.password = 'user', 'secret'
                client.auth(
                    mechanism, getattr(client, f'auth_{mechanism.lower()}'))
                client.send_message(message())

        self.assertEqual(server.count, 2)

    def certify(self):
        if not shutil.which('openssl'):
            self.skipTest("openssl is needed to make a certificate")
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        certfile, keyfile = certificate(folder)
        return certfile, keyfile, ssl.create_default_context(cafile=certfile)

    def test_starttls(self):
        "Test a session becomes encrypted"
        certfile, keyfile, context = self.certify()
        server = self.serve(certfile=certfile, keyfile=keyfile)

        with smtplib.SMTP('localhost', server.port, timeout=5) as client:
            client.starttls(context=context)
            self.assertFalse(client.has_extn('starttls'))
            client.send_message(message())

        self.assertEqual(server.count, 1)

    def test_implicit_tls(self):
        "Test a session is encrypted from the start"
        certfile, keyfile, context = self.certify()
        server = self.serve(
            certfile=certfile, keyfile=keyfile, implicit_tls=True)

        with smtplib.SMTP_SSL(
                'localhost', server.port, timeout=5,
                context=context) as client:
            client.send_message(message())

        self.assertEqual(server.count, 1)


class SMTPProcessTestCase(_TestCase):
    "Test the SMTP server in its own process"

    def serve(self, **options):
        server = Process(**options)
        self.addCleanup(server.stop)
        return server

    def test_message(self):
        "Test messages come back whole"
        server = self.serve()

        self.send(server)

        kept, = server.messages
        self.assertEqual(kept.data, message().as_bytes())
        self.assertEqual(kept.recipients, [RECIPIENT])
        self.assertEqual(server.accepted('<1@example.com>'), 1)

    def test_faults(self):
        "Test faults are set at run time"
        server = self.serve()

        server.fail(450, times=1)
        self.assertCode(450, self.send, server)
        server.cut(at='accepted', times=1)
        with self.assertRaises(smtplib.SMTPServerDisconnected):
            self.send(server)
        server.refuse()
        with self.assertRaises(ConnectionRefusedError):
            self.send(server)
        server.listen()
        self.send(server)

        self.assertEqual(server.duplicates, {'<1@example.com>': 2})
        with self.assertRaises(ValueError):
            server.cut(at='nowhere')

    def test_remote(self):
        "Test another control of the same server"
        server = self.serve()
        port = server.status['control']

        with Remote(port) as other:
            other.fail(450)
            self.assertCode(450, self.send, server)
            other.reset()
            self.send(server)
            self.assertEqual(other.count, 1)
            self.assertEqual(other.uri, server.uri)

    def test_count_only(self):
        "Test only the number of messages is kept"
        server = self.serve(store='count')

        self.send(server)

        self.assertEqual(server.count, 1)
        self.assertEqual(server.attempts, [])

    def test_kill(self):
        "Test the server is gone when it is killed"
        server = Process()
        port = server.port

        server.kill()

        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port)).close()

    @unittest.skipUnless(sys.platform == 'linux', "It looks into /proc")
    def test_end(self):
        "Test the server ends with its standard input"
        server = Process()
        self.assertTrue(os.path.exists(f'/proc/{server.pid}'))

        server.stop()

        self.assertFalse(os.path.exists(f'/proc/{server.pid}'))
