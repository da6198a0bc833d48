# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import time
import unittest
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trytond.modules.marketing_automation.mail import report as mail_report
from trytond.modules.marketing_automation.mail.report import (
    HARD, MAX_FORWARDS, MAX_LINE, MAX_LINES, MAX_REASON, MAX_RECIPIENTS,
    MAX_SIZE, ReportTooLarge, logger, parse)

SAMPLES = {
    path.stem: path.read_bytes() for path in sorted(
        Path(__file__).with_name('delivery_reports').glob('*.eml'))}
KINDS = {
    'hard', 'soft', 'complaint', 'delayed', 'delivered', 'auto-reply',
    'unknown'}
LIMIT = 5  # seconds, many times what the worst known input takes

# sample: [(kind, recipient, status, code)]
EXPECTED = {
    'arf_abuse_redacted': [('complaint', None, None, None)],
    'arf_abuse_yahoo_style': [('complaint', 'yves@example.net', None, None)],
    'arf_auth_failure': [('unknown', 'zora@example.net', None, None)],
    'arf_not_spam': [('unknown', 'zora@example.net', None, None)],
    'bounce_of_bounce': [('hard', 'abuse@forged.invalid', '5.1.2', 550)],
    'bounce_of_bounce_text': [('hard', 'abuse@forged.invalid', '5.1.2', None)],
    'exchange_odd_charset': [('hard', 'mia@example.org', '5.2.1', None)],
    'exim_delayed': [('delayed', 'dave@example.org', None, None)],
    'exim_no_codes': [
        ('hard', 'ivan@example.net', '5.1.2', None),
        ('soft', 'judy@example.net', '5.2.2', None)],
    'exim_unknown_user': [('hard', 'bob@example.net', '5.1.1', 550)],
    'forwarded': [('hard', 'Bob@example.net', '5.1.1', 550)],
    'gmail_old_text': [('hard', 'nina@example.com', '5.2.1', 550)],
    'gmail_unknown_user': [('hard', 'nina@example.com', '5.1.1', 550)],
    'human_reply': [],
    'jmrp_complaint': [('complaint', 'walt@hotmail.test', None, None)],
    'malformed_base64_status': [
        ('hard', 'user+news@example.net', '5.1.1', None)],
    'malformed_cut_off': [('hard', 'Bob@example.net', '5.1.1', None)],
    'malformed_daemon_prose': [('unknown', None, None, None)],
    'malformed_double_spaced': [
        ('hard', 'victor@example.net', '5.1.1', 550),
        ('soft', 'walter@example.net', '5.2.2', 552)],
    'malformed_no_blank_lines': [
        ('hard', 'victor@example.net', '5.1.1', 550),
        ('soft', 'walter@example.net', '5.2.2', 552)],
    'malformed_no_boundary': [('hard', 'victor@example.net', '5.1.1', None)],
    'malformed_wrong_type': [('hard', 'victor@example.net', '5.1.1', 550)],
    'office365_edge_block': [('hard', 'leo@example.org', '5.1.1', 550)],
    'office365_unknown_user': [('hard', 'kim@example.org', '5.1.10', 550)],
    'out_of_office_exchange': [('auto-reply', 'bob@example.net', None, None)],
    'out_of_office_no_headers': [
        ('auto-reply', 'bob@example.net', None, None)],
    'out_of_office_vacation': [('auto-reply', 'bob@example.net', None, None)],
    'postfix_delayed': [('delayed', 'dave@example.org', '4.4.1', None)],
    'postfix_delivered': [('delivered', 'heidi@example.net', '2.0.0', 250)],
    'postfix_expired': [('soft', 'erin@example.org', '4.4.1', None)],
    'postfix_mailbox_full': [('soft', 'carol@example.net', '5.2.2', 552)],
    'postfix_no_domain': [('hard', 'frank@gone.invalid', '5.1.2', None)],
    'postfix_policy': [('soft', 'grace@example.net', '5.7.1', 550)],
    'postfix_unknown_user': [('hard', 'Bob@example.net', '5.1.1', 550)],
    'qmail_unknown_user': [
        ('hard', 'peggy@example.net', '5.1.1', 550),
        ('hard', 'quentin@example.net', '5.1.1', None),
        ('soft', 'rupert@example.net', '5.2.2', None)],
    'read_receipt': [('auto-reply', 'bob@example.net', None, None)],
    'sendmail_derived_status': [
        ('soft', 'trent@example.org', '5.7.1', 550),
        ('hard', 'ursula@example.org', '5.1.1', 550)],
    'ses_unknown_user': [('hard', 'sybil@example.com', '5.1.1', 550)],
    'utf8_address': [('hard', 'zoë@example.net', '5.1.1', 550)],
    'yahoo_no_account': [('hard', 'oscar@example.org', '5.1.1', 554)],
    }
# Reports that return nothing of our message
WITHOUT_TOKEN = {
    'bounce_of_bounce', 'bounce_of_bounce_text', 'exim_delayed',
    'malformed_cut_off', 'malformed_daemon_prose', 'malformed_no_boundary',
    'out_of_office_exchange', 'out_of_office_no_headers',
    'out_of_office_vacation', 'read_receipt'}


def status_report(fields):
    return (
        b'From: mailer-daemon@example.net\n'
        b'Content-Type: message/delivery-status\n\n'
        b'Final-Recipient: rfc822; bob@example.net\n'
        + fields.encode('utf-8'))


class DeliveryReportTestCase(unittest.TestCase):
    "Test parsing of delivery reports"

    def test_samples(self):
        "Test kind, recipient and codes of every sample"
        self.assertEqual(set(SAMPLES), set(EXPECTED))
        for name, data in SAMPLES.items():
            with self.subTest(sample=name):
                with self.assertNoLogs(logger):
                    reports = parse(data)
                self.assertEqual(
                    [(r.kind, r.recipient, r.status, r.code)
                        for r in reports], EXPECTED[name])

    def test_token(self):
        "Test the original's headers come back wherever they are returned"
        for name, data in SAMPLES.items():
            with self.subTest(sample=name):
                for report in parse(data):
                    if name in WITHOUT_TOKEN:
                        self.assertNotIn(
                            'x-marketing-automation', report.headers)
                        continue
                    self.assertEqual(
                        report.headers['x-marketing-automation'], "TOKEN")
                    self.assertRegex(
                        report.message_id, r'^<ma\.42\.\d+@example\.com>$')
                    self.assertEqual(
                        report.headers['message-id'], report.message_id)

    def test_crlf(self):
        "Test line endings do not matter"
        for name, data in SAMPLES.items():
            for ending in [b'\r\n', b'\r']:
                with self.subTest(sample=name, ending=ending):
                    self.assertEqual(
                        [(r.kind, r.recipient, r.status, r.code)
                            for r in parse(data.replace(b'\n', ending))],
                        EXPECTED[name])

    def test_envelope_to(self):
        "Test the addresses the report was sent to"
        report, = parse(SAMPLES['exim_delayed'])
        self.assertEqual(report.envelope_to, ['bounce+TOKEN@example.com'])
        report, = parse(
            b'X-Original-To: b+ToKeN@EXAMPLE.com\n'
            b'Envelope-To: <c@example.com>\n'
            b'Auto-Submitted: auto-replied\n'
            b'To: "A, B" <a@example.com>, c@example.com\n\n')
        self.assertEqual(report.envelope_to, [
                'a@example.com', 'c@example.com', 'b+ToKeN@example.com'])

    def test_forwarded_envelope_to(self):
        "Test a forwarded report knows where it was sent to first"
        report, = parse(SAMPLES['forwarded'])
        self.assertEqual(report.envelope_to, ['bounce+TOKEN@example.com'])

    def test_auto_reply_message_id(self):
        "Test an automatic reply names the message it replies to"
        report, = parse(SAMPLES['out_of_office_vacation'])
        self.assertEqual(report.message_id, '<ma.42.78@example.com>')

    def test_status(self):
        "Test the table of hard and soft statuses"
        soft = {
            '5.1.4', '5.1.7', '5.1.8', '5.2.2', '5.2.3', '5.2.4', '5.3.4',
            '5.4.6', '5.5.3', '5.6.1', '5.7.1', '5.7.26', '5.0.0', '4.1.1',
            '4.2.2', '4.4.7'}
        for kind, statuses in [('hard', HARD), ('soft', soft)]:
            for status in statuses:
                with self.subTest(status=status):
                    report, = parse(status_report(
                            'Action: failed\nStatus: %s\n' % status))
                    self.assertEqual(
                        (report.kind, report.status), (kind, status))

    def test_phrases(self):
        "Test what is said when the status is vague"
        for text, kind, status in [
                ("550 5.5.0 Requested action not taken: mailbox unavailable",
                    'hard', '5.1.1'),
                ("550 Requested action aborted", 'soft', '5.0.0'),
                ("550 5.4.1 No answer from host", 'soft', '5.4.1'),
                ("550 no such user", 'hard', '5.1.1'),
                ("550 Sender address rejected: Domain not found",
                    'soft', '5.1.8'),
                ("550 user unknown, blocked by our spam filter",
                    'soft', '5.7.1'),
                ("552 over quota", 'soft', '5.2.2'),
                ("550 this account has been deactivated", 'hard', '5.2.1'),
                ("451 4.7.1 user unknown for now", 'soft', '4.7.1'),
                ("host 192.0.2.25 said: 550 5.1.1. Sorry", 'hard', '5.1.1'),
                ]:
            with self.subTest(text=text):
                report, = parse(status_report(
                        "Action: failed\nStatus: 5.0.0\n"
                        "Diagnostic-Code: smtp; %s\n" % text))
                self.assertEqual(
                    (report.kind, report.status), (kind, status))

    def test_action(self):
        "Test the action decides before the status"
        for action, status, kind in [
                ("delayed", '5.1.1', 'delayed'),
                ("Failed (to deliver)", '5.1.1', 'hard'),
                ("error", '5.1.1', 'hard'),
                ("relayed", '2.0.0', 'delivered'),
                ("expanded", '2.0.0', 'delivered'),
                ("", '4.4.1', 'delayed'),
                ("", '5.1.1', 'hard'),
                ("", '2.0.0', 'delivered'),
                ]:
            with self.subTest(action=action, status=status):
                report, = parse(status_report(
                        'Action: %s\nStatus: %s\n' % (action, status)))
                self.assertEqual(report.kind, kind)

    def test_cause(self):
        "Test what is at fault"
        for status, cause in [
                ('5.1.1', 'address'), ('5.2.2', 'full'), ('4.2.2', 'full'),
                ('5.2.1', 'mailbox'), ('5.7.26', 'policy'),
                ('4.4.1', 'network'), ('5.9.9', None)]:
            report, = parse(status_report(
                    'Action: failed\nStatus: %s\n' % status))
            self.assertEqual(report.cause, cause)

    def test_original_recipient(self):
        "Test the address we wrote to is preferred to where it was forwarded"
        report, = parse(status_report(
                'Original-Recipient: rfc822;alias@Example.ORG\n'
                'Action: failed\nStatus: 5.1.1\n'))
        self.assertEqual(report.recipient, 'alias@example.org')

    def test_field_order(self):
        "Test the original recipient may come last"
        report, = parse(
            b'From: mailer-daemon@example.net\n'
            b'Content-Type: message/delivery-status\n\n'
            b'Reporting-MTA: dns; mx.example.net\n\n'
            b'Final-Recipient: rfc822; bob@example.net\n'
            b'Action: failed\n'
            b'Original-Recipient: rfc822; alias@example.net\n'
            b'Status: 5.1.1\n')
        self.assertEqual(
            (report.kind, report.recipient), ('hard', 'alias@example.net'))

    def test_not_base64(self):
        "Test fields that are not encoded as declared"
        report, = parse(status_report(
                'Action: failed\nStatus: 5.1.1\n').replace(
                b'\n\n', b'\nContent-Transfer-Encoding: base64\n\n', 1))
        self.assertEqual(report.kind, 'hard')

    def test_empty_envelope_sender(self):
        "Test what no daemon signs, but no person sends"
        body = SAMPLES['qmail_unknown_user'].partition(b'\n\n')[2]
        head = b'From: help@example.net\nReturn-Path: %s\n\n'
        self.assertEqual(len(parse(head % b'<>' + body)), 3)
        self.assertEqual(parse(head % b'<help@example.net>' + body), [])

    def test_returned_bounce(self):
        "Test the addresses in a returned bounce are let alone"
        report, = parse(
            b'From: mailer-daemon@example.net\n'
            b'Content-Type: multipart/mixed; boundary=b\n\n'
            b'--b\n\nSomething went wrong\n'
            b'--b\nContent-Type: message/rfc822\n\n'
            + SAMPLES['qmail_unknown_user'] + b'\n--b--\n')
        self.assertEqual((report.kind, report.recipient), ('unknown', None))

    def test_forwards(self):
        "Test how often a report may be forwarded"
        data = SAMPLES['ses_unknown_user']
        for times in range(4):
            self.assertEqual(len(parse(data)), times <= MAX_FORWARDS)
            data = (
                b'From: anna@example.com\n'
                b'Content-Type: multipart/mixed; boundary=f%d\n\n'
                b'--f%d\nContent-Type: message/rfc822\n\n%s\n--f%d--\n'
                % (times, times, data, times))

    def test_feedback_types(self):
        "Test only a person's complaint is one"
        sample = SAMPLES['arf_abuse_yahoo_style']
        for type_, kind in [
                ('Abuse', 'complaint'), ('fraud', 'complaint'),
                ('opt-out', 'complaint'), ('not-spam', 'unknown'),
                ('virus', 'unknown'), ('other', 'unknown'),
                ('dmarc', 'unknown'), ('', 'unknown')]:
            with self.subTest(type=type_):
                report, = parse(sample.replace(
                        b'Feedback-Type: abuse',
                        b'Feedback-Type: ' + type_.encode()))
                self.assertEqual(report.kind, kind)

    def test_reason(self):
        "Test the reason is one short harmless line"
        report, = parse(status_report(
                'Action: failed\nDiagnostic-Code: smtp; 550 5.1.1 \x1b[31m'
                'a\u202eb\x00\n c\r\n \td ' + 'e' * 900))
        self.assertEqual(report.code, 550)
        self.assertLessEqual(len(report.reason), MAX_REASON)
        self.assertTrue(report.reason.startswith("550 5.1.1 [31ma b c d e"))
        report, = parse(SAMPLES['gmail_unknown_user'])
        self.assertTrue(report.reason.startswith(
                "550-5.1.1 The email account that you tried to reach does not"
                " exist. Please try double-checking"))

    def test_people(self):
        "Test people's mail is no report, whatever it quotes"
        quoted = SAMPLES['postfix_unknown_user'].partition(b'\n\n')[2]
        self.assertEqual(
            parse(b'From: Bob <bob@example.net>\n'
                b'Subject: Re: news\n\nLook:\n\n' + quoted), [])
        for data in [b'', b'\n', b'\x00' * 100, b'hello', b'a: b']:
            self.assertEqual(parse(data), [])

    def test_too_large(self):
        "Test the only exception"
        self.assertEqual(parse(b'x' * MAX_SIZE), [])
        with self.assertRaises(ReportTooLarge):
            parse(b'x' * (MAX_SIZE + 1))
        self.assertTrue(issubclass(ReportTooLarge, ValueError))

    def test_hostile(self):
        "Test input made to cost time, memory or stack"
        daemon = b'From: mailer-daemon@example.net\n'
        size = 300_000
        for name, data in {
                'nested multiparts': daemon + b''.join(
                    b'Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n'
                    % (i, i) for i in range(5000)),
                'nested messages': b'Content-Type: message/rfc822\n\n' * 9000,
                'nested forwards': (
                    b'Content-Type: multipart/mixed; boundary=b\n\n'
                    + b'--b\nContent-Type: message/rfc822\n\n' * 5000),
                'blank lines': daemon + b'\n' * size,
                'encoded blank lines': (daemon
                    + b'Content-Transfer-Encoding: base64\n\n'
                    + (b'CgoK' * 16 + b'\n') * 3900),
                'folded quotes': (b'Content-Type: text/plain'
                    + (b';"' * 490 + b'\n ') * 300),
                'one line': daemon + b'\n' + b'a@' * size,
                'headers': daemon + b'a:\n' * size,
                'quotes': b'Content-Type: text/plain' + b';"' * size,
                'comments': (
                    daemon + b'X-Failed-Recipients: ' + b'(\n ' * size),
                'charset': (daemon
                    + b'Content-Type: text/plain; charset=punycode\n\n'
                    + b'\xe9' + b'a-9z' * (size // 4)),
                'folds': daemon + b'\nFinal-Recipient: x\n' + b' y\n' * size,
                'exchange': (daemon
                    + b'\ndid not reach the following recipient\n'
                    + (b'SMTP=' * 199 + b'\n') * 300),
                }.items():
            with self.subTest(name):
                start = time.perf_counter()
                with self.assertNoLogs(level='WARNING'):
                    mail_report._reports(data)
                self.assertLess(time.perf_counter() - start, LIMIT)

    def test_cut(self):
        "Test texts have a bounded number of lines, encoded or not"
        for data in [b'a\n' * 100_000, b'a' * 100_000]:
            lines = mail_report._cut(data).split(b'\n')
            self.assertLessEqual(len(lines), MAX_LINES)
            self.assertLessEqual(len(lines[0]), MAX_LINE)
        message = mail_report._read(
            b'Content-Type: text/plain' + b';"\n ' * 3000)
        self.assertLessEqual(len(message['content-type']), MAX_LINE)
        message = mail_report._read(
            b'Content-Transfer-Encoding: quoted-printable\n\n'
            + b'=0A=0A=0A\n' * 3000)
        (_, text), = mail_report._parts(message, False)
        self.assertEqual(text.count('\n') + 1, MAX_LINES)

    def test_many_recipients(self):
        "Test the number of reports is limited"
        groups = ''.join(
            'Final-Recipient: rfc822; a%d@example.net\nAction: failed\n\n' % i
            for i in range(1000))
        self.assertEqual(
            len(parse(status_report('Action: failed\n\n' + groups))),
            MAX_RECIPIENTS)
        failed = b',\n '.join(b'a%d@example.net' % i for i in range(1000))
        self.assertEqual(
            len(parse(b'X-Failed-Recipients: ' + failed + b'\n\nfailed\n')),
            MAX_RECIPIENTS)

    def check(self, data):
        start = time.perf_counter()
        # Not parse: it would hide a failure
        with self.assertNoLogs(level='WARNING'):
            reports = mail_report._reports(data)
        self.assertLess(time.perf_counter() - start, LIMIT)
        self.assertLessEqual(len(reports), MAX_RECIPIENTS)
        for report in reports:
            self.assertIn(report.kind, KINDS)
            self.assertTrue(report.reason.isprintable(), report.reason)
            self.assertLessEqual(len(report.reason), MAX_REASON)
            if report.recipient:
                self.assertRegex(report.recipient, r'^[^\s@]+@[^\s@]+$')
                self.assertLess(len(report.recipient), MAX_LINE)
            self.assertRegex(report.status or '5.1.1', r'^[245]\.\d+\.\d+$')

    @given(st.data())
    @settings(max_examples=300, deadline=None, derandomize=True)
    def test_mutated_samples(self, draw):
        "Test damaged samples never raise"
        data = draw.draw(st.sampled_from(sorted(SAMPLES.values())))
        lines = data.split(b'\n')
        indexes = st.integers(0, len(lines) - 1)
        for index in draw.draw(st.lists(indexes, max_size=5)):
            lines[index:index] = [lines[index]] * draw.draw(
                st.integers(1, 3))  # duplicate a header or a line
        for index in draw.draw(st.lists(indexes, max_size=5)):
            lines[index] = draw.draw(st.sampled_from([
                        b'', lines[index][::-1], lines[index] + b';"',
                        b' ' + lines[index], lines[index].swapcase()]))
        data = bytearray(b'\n'.join(lines))
        positions = st.integers(0, len(data) - 1)
        for position in draw.draw(st.lists(positions, max_size=20)):
            data[position] = draw.draw(st.integers(0, 255))
        cut = draw.draw(st.one_of(st.just(len(data)), positions))
        self.check(bytes(data[:cut]))

    @given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([
                        b'Content-Type: ', b'multipart/report; boundary=b\n',
                        b'message/rfc822\n', b'message/delivery-status\n',
                        b'Final-Recipient: rfc822; a@b.test\n', b'\n', b'\n\n',
                        b'Action: failed\n', b'Status: 5.1.1\n', b'--b\n',
                        b'From: mailer-daemon@b.test\n', b'--b--\n',
                        b'Content-Transfer-Encoding: base64\n',
                        b'Feedback-Type: abuse\n', b'Message-ID: <a@b>\n',
                        b'; charset="', b'=?utf-8?b?', b'<a@b.test>:\n'])),
                max_size=40))
    @settings(max_examples=300, deadline=None, derandomize=True)
    def test_random(self, chunks):
        "Test random pieces of reports never raise"
        self.check(b''.join(chunks))
