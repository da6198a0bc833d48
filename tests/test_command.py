# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import mailbox
import os
import subprocess
import unittest
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import parseaddr

from trytond import backend

from .system.farm import Farm

BOUNCES = '''
Bounce = pool.get('marketing.automation.bounce')
result = [
    [b.recipient, b.kind, b.matched]
    for b in Bounce.search([], order=[('id', 'ASC')])]
'''


def report(sender, recipient, status='5.1.1'):
    """Return the report of a mail server that returns nothing of the message

    sender -- of the envelope, to whom it goes
    """
    notification = MIMEMultipart('report', report_type='delivery-status')
    notification['From'] = "MAILER-DAEMON@mx.example.com"
    notification['To'] = sender
    notification['Subject'] = "Undelivered Mail Returned to Sender"
    notification.attach(MIMEText("The mail system"))
    part, server, failed = (Message() for _ in range(3))
    server['Reporting-MTA'] = 'dns; mx.example.com'
    failed['Final-Recipient'] = f'rfc822; {recipient}'
    failed['Action'] = 'failed'
    failed['Status'] = status
    part['Content-Type'] = 'message/delivery-status'
    part.set_payload([server, failed])
    notification.attach(part)
    return notification


class CommandTestCase(unittest.TestCase):
    "Test the way back of what mail servers report, as they hand it over"

    @classmethod
    def setUpClass(cls):
        cls.farm = Farm(
            backend.name, store='memory',
            automation_bounce='bounces@example.com')
        cls.farm.__enter__()
        cls.farm.prepare(4)
        cls.farm.process_all()
        cls.senders = {
            recipient: message.sender
            for message in cls.farm.sink.messages
            for recipient in message.recipients}

    @classmethod
    def tearDownClass(cls):
        cls.farm.__exit__()

    def setUp(self):
        self.maildir = mailbox.Maildir(
            os.path.join(self.farm.folder, self.id()))

    def command(self, *args, input=b'', database='farm'):
        "Return the exit status"
        installation = self.farm.installation
        # Nothing but its configuration says what it uses
        env = {
            n: v for n, v in os.environ.items()
            if not n.startswith('TRYTOND_')}
        return subprocess.run(
            [installation.program('trytond-marketing-bounce'),
                '-c', str(installation.config), '-d', database, *args],
            env=env, input=input, stderr=subprocess.DEVNULL).returncode

    def receive(self, *messages):
        for message in messages:
            self.maildir.add(mailbox.MaildirMessage(message))
        return self.command('-m', self.maildir._path)

    def new(self):
        return os.listdir(os.path.join(self.maildir._path, 'new'))

    def seen(self):
        return [m.get_flags() for m in self.maildir]

    def test_envelope(self):
        "Test each envelope has a sender of its own"
        self.assertEqual(len(set(self.senders.values())), 4)
        for sender in self.senders.values():
            self.assertRegex(sender, r'\Abounces\+[\w-]+@example\.com\Z')
            self.assertEqual(parseaddr(sender), ('', sender))

    def test_maildir(self):
        "Test reports are received once, whatever else is in the folder"
        first, second = 'p1@example.com', 'p2@example.com'
        answer = EmailMessage()
        answer['From'] = first
        answer.set_content("Thank you")
        before = len(self.farm.run(BOUNCES))

        status = self.receive(
            report(self.senders[first], first),
            report('bounces+forged@example.com', second),
            answer)

        self.assertEqual(status, 0)
        suppressed = self.farm.suppressed
        self.assertIn([first, 'hard'], suppressed)
        self.assertNotIn([second, 'hard'], suppressed)
        bounces = self.farm.run(BOUNCES)
        self.assertCountEqual(bounces[before:], [
                [first, 'hard', True],
                [second, 'hard', False],
                [None, 'unknown', False]])
        self.assertEqual(self.new(), [])
        self.assertEqual(self.seen(), ['S'] * 3)

        self.assertEqual(self.receive(), 0)
        self.assertEqual(self.farm.run(BOUNCES), bounces)

    def test_old_messages(self):
        "Test what was seen is not read again"
        os.symlink('nowhere', os.path.join(self.maildir._path, 'cur', '1:2,S'))
        recipient = 'p3@example.com'

        status = self.receive(report(self.senders[recipient], recipient))

        self.assertEqual(status, 0)
        self.assertIn([recipient, 'hard'], self.farm.suppressed)

    def test_pipe(self):
        "Test a message on the standard input"
        recipient = 'p4@example.com'
        data = report(self.senders[recipient], recipient).as_bytes()

        self.assertEqual(self.command(input=data), 0)
        self.assertIn([recipient, 'hard'], self.farm.suppressed)

    def test_again(self):
        "Test what can not be received is to be tried again"
        data = report(self.senders['p4@example.com'], 'p4@example.com')
        self.assertEqual(
            self.command(input=data.as_bytes(), database='nowhere'), 75)
        self.maildir.add(mailbox.MaildirMessage(data))
        self.assertEqual(
            self.command('-m', self.maildir._path, database='nowhere'),
            75)
        self.assertEqual(len(self.new()), 1)
