# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What mail servers and mailbox providers send back about our messages.

`parse` reads, in this order: feedback reports (RFC 5965, used as RFC 6650
advises), delivery status notifications (RFC 3464, RFC 6533 for addresses
outside ASCII) with the ways real servers deviate from them, automatic replies
(RFC 3834), and the formats older than any RFC (Exim, qmail, Yahoo…), whose
failed addresses flufl.bounce finds.

Anybody can write such a report: it counts only once the caller has found a
genuine token in `headers` or `envelope_to`.

A bounce is hard only if the report says that the address itself is dead, and
soft in every other case: a person must not lose mail for a full mailbox, a
broken network or the sender's reputation.

========================= ==== ================================================
status                    kind why
========================= ==== ================================================
5.1.1 5.1.2 5.1.3 5.1.6   hard RFC 3463: no such mailbox or domain, malformed,
                               moved without a new address
5.1.10                    hard RFC 7505: the domain takes no mail at all;
                               Exchange Online: recipient not found
5.2.1                     hard RFC 3463: mailbox disabled (Gmail: inactive)
5.7.17 5.7.18             hard RFC 7293: the address has a new owner
5.2.2, other 5.2          soft RFC 3463: full, or the message too large
5.1.7 5.1.8, other 5.1    soft RFC 3463: it is the sender's address that is bad
5.3 5.4 5.5 5.6           soft system, network, protocol, content: not the
                               address
other 5.7                 soft policy: content, authentication or reputation of
                               the sender
4, action failed          soft RFC 3463: tried for days, may work again
any, action delayed       delayed: the server goes on trying (RFC 3464 2.3.3)
========================= ==== ================================================

No status, or a vague one (x.0.0, 5.1.0, 5.3.0, 5.4.1, 5.4.4, 5.5.0), is first
made precise by what the server wrote (`PHRASES`): Exchange Online says "5.4.1
Recipient address rejected: Access denied" and Outlook.com "5.5.0 mailbox
unavailable" for unknown recipients, Postfix 5.4.4 for unknown domains.
"""
import base64
import logging
import quopri
import re
import unicodedata
from email.parser import BytesHeaderParser, BytesParser

from flufl.bounce import all_failures

__all__ = ['parse', 'Report', 'ReportTooLarge', 'MAX_SIZE']

logger = logging.getLogger(__name__)

MAX_SIZE = 10 * 1024 * 1024  # bytes; more is refused
HEAD_SIZE = 256 * 1024  # bytes read: a report precedes the message it returns
MAX_LINE = 1000  # RFC 5322 2.1.1 allows 998
MAX_LINES = 4000
MAX_PARTS = 40
MAX_RECIPIENTS = 100
MAX_FORWARDS = 2
MAX_HEADERS = 200
MAX_TEXT = 2000  # characters of a header or of an explanation
MAX_REASON = 200

HARD = {
    '5.1.1', '5.1.2', '5.1.3', '5.1.6', '5.1.10', '5.2.1', '5.7.17', '5.7.18'}
VAGUE = re.compile(r'\d\.0\.\d+|5\.[123]\.0|5\.4\.[014]|5\.5\.0')
CAUSES = {
    '1': 'address', '2': 'mailbox', '3': 'system', '4': 'network',
    '5': 'protocol', '6': 'content', '7': 'policy'}
# What servers write, the blameless reasons first
POLICY = '5.7.1'
PHRASES = [(status, re.compile(pattern, re.I)) for status, pattern in [
        (POLICY, r"\bspam|blocked|(black|block|deny)-?list|reputation|policy"
            r"|\bdmarc|\bspf\b|\bdkim"),
        ('5.1.8', r"sender (verif|address|domain)|envelope sender"),
        ('5.2.2', r"quota|mailbox (is )?full|full mailbox|exceeded storage"
            r"|out of (storage )?space|insufficient system storage"),
        ('5.2.1', r"(mailbox|account|user|address|recipient)\b.{0,40}\b"
            r"(disabled|inactive|deactivated|suspended|discontinued)"),
        ('5.1.2', r"(host|domain) (name )?not found|no such domain|nxdomain"
            r"|unrouteable (mail )?(address|domain)|couldn't find any host"),
        ('5.1.1', r"(user|recipient|mailbox|address|account)\b.{0,40}\b"
            r"(unknown|not found|not exist|doesn't (exist|have)|unavailable)"
            r"|(unknown|invalid|no such) (local )?(user|recipient|mailbox"
            r"|address|account)|no mailbox here"
            r"|address rejected: access denied"),
        ]]
# What a person presses a button for (RFC 6650).  A virus report, a failed
# authentication (RFC 6591) and "not-spam" (RFC 6430) are none.
COMPLAINTS = {'abuse', 'fraud', 'opt-out', 'opt-out-list', 'miscategorized'}

ADDRESS = re.compile(
    r'[^\s<>()\[\]",;:@\\]{1,256}@[^\s<>()\[\]",;:@\\]{1,255}')
STATUS = re.compile(r'(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?!\.?\d)')
CODE = re.compile(r'(?<![\w.])[245]\d\d(?=[\s:-]|$)')
FIELD = re.compile(r'([!-9;-~]{1,76}):[ \t]*(.*)')
DAEMON = re.compile(
    r'[\s"<]*(mailer-?daemon|mail-?daemon|mdaemon|postmaster|mmdf'
    r'|microsoftexchange)', re.I)
AUTO_SUBJECT = re.compile(
    r'\W*(out of (the )?office|auto(matic|mated)?[ -]?(reply|response)'
    r'|vacation|abwesenheit|réponse automatique|absence du bureau'
    r'|respuesta automática|risposta automatica|automatisch antwoord)', re.I)
EXPLANATION_END = re.compile(
    r'\n[ \t]*\n|\n-{3,}|\n[ \t]*<?[^\s@<]+@[^\s@<]+[ \t]*(?=\n)')
CONTENT_TYPE = re.compile(
    rb'^content-type:[^\n]*(?:\n[ \t][^\n]*)*', re.I | re.M)
MESSAGE_TYPES = {'rfc822', 'global', 'rfc822-headers', 'global-headers'}
STATUS_TYPES = {'delivery-status', 'global-delivery-status'}
CHARSETS = re.compile(
    r'(utf-?(7|16|16[bl]e)|iso-?8859-\d+|windows-?\d+|cp\d+|koi8-?[ru]'
    r'|shift[-_]jis|iso-2022-(jp|kr)|euc-(jp|kr)|gbk?|gb2312|gb18030|big5)$',
    re.I)


class ReportTooLarge(ValueError):
    """The message has more than `MAX_SIZE` bytes."""


class Report:
    """What one report says of one recipient.

    kind: 'hard', 'soft', 'complaint', 'delayed', 'delivered', 'auto-reply'
    or 'unknown' (a report that says nothing about the address)
    recipient: the address we wrote to (of an automatic reply: the one that
    wrote it), its domain in lower case, or None
    status: RFC 3463 status 'x.y.z' or None; code: SMTP code (int) or None
    reason: one line in the server's words, at most `MAX_REASON` characters
    message_id: the Message-ID of the original message or None
    headers: {lower-case name: value} of the original message, if returned
    envelope_to: the addresses the report was sent to
    """
    __slots__ = ('kind', 'recipient', 'status', 'code', 'reason',
        'message_id', 'headers', 'envelope_to')

    def __init__(self, kind, recipient=None, status=None, code=None,
            reason=''):
        self.kind = kind
        self.recipient = recipient
        self.status = status
        self.code = code
        self.reason = _clean(reason)
        self.message_id = None
        self.headers = {}
        self.envelope_to = []

    @property
    def cause(self):
        """What is at fault: 'address', 'mailbox', 'full', 'system',
        'network', 'protocol', 'content', 'policy' or None."""
        if self.status:
            _, subject, detail = self.status.split('.')
            return ('full' if (subject, detail) == ('2', '2')
                else CAUSES.get(subject))

    def __repr__(self):
        return '<Report %s %s %s>' % (self.kind, self.recipient, self.status)


def parse(data):
    """Return the list of `Report` in the message `data` (bytes), one per
    recipient; empty if it is no report.

    Raise only ReportTooLarge.
    """
    if len(data) > MAX_SIZE:
        raise ReportTooLarge("%d bytes" % len(data))
    try:
        return _reports(data)
    except Exception:
        # A defect of the parsers underneath must not block a mailbox
        logger.exception("unreadable delivery report")
        return []


def _reports(data, forwards=MAX_FORWARDS):
    message = _read(data)
    daemon = _is_daemon(message)
    parts = list(_parts(message, daemon))
    reports = (
        _feedback(message, parts)
        or _delivery_status(message, parts, daemon)
        or _other(message, parts, daemon))
    _complete(reports, message, parts)
    if not reports and forwards and not daemon:
        for kind, content in parts:
            if kind in MESSAGE_TYPES:
                reports.extend(
                    r for r in _reports(content, forwards - 1)
                    if r.kind not in {'auto-reply', 'unknown'})
    return reports[:MAX_RECIPIENTS]


# Reading


def _read(data):
    """Parse the head of data into a Message.

    message/* becomes text/*, which the email package leaves alone: it would
    otherwise neither decode it nor bound its nesting.
    """
    count = 0

    def replace(match):
        nonlocal count
        count += 1
        if count > MAX_PARTS:
            return b'X-Ignored:'
        return re.sub(
            rb'(?i)^(content-type:\s*"?)message/', rb'\1text/',
            match[0][:MAX_LINE])

    return BytesParser().parsebytes(
        CONTENT_TYPE.sub(replace, _cut(data).lstrip(b'\n')))


def _cut(data):
    "The head of data in lines of bounded number and length"
    data = data[:HEAD_SIZE].replace(b'\r\n', b'\n').replace(b'\r', b'\n')
    lines = data.split(b'\n', MAX_LINES)[:MAX_LINES]
    return b'\n'.join(line[:MAX_LINE] for line in lines)


def _parts(message, daemon):
    """Yield (sub type, content) of the leaves in reading order: bytes for
    a message, str for a text.  Leave only the texts in the message."""
    trusted = daemon or message.get_content_type() == 'multipart/report'
    for part in message.walk():
        if part.is_multipart():
            continue
        kind, content, text = part.get_content_subtype(), _content(part), ''
        if part.get_content_maintype() == 'multipart':
            kind = 'plain'  # without a boundary
        if part.get_content_maintype() in {'text', 'multipart'}:
            if kind in MESSAGE_TYPES:
                yield kind, content
            else:
                text = _decode(content, part.get_content_charset())
                if trusted and kind not in STATUS_TYPES:
                    text, copy = _split(text)
                    yield 'rfc822', copy.encode('utf-8', 'replace')
                yield kind, text
        part.set_payload(text)


def _content(part):
    encoding = _header(part, 'content-transfer-encoding').lower()
    del part['content-transfer-encoding']
    content = part.get_payload(decode=True) or b''
    if encoding == 'quoted-printable':
        content = quopri.decodestring(content)
    elif encoding == 'base64' and not re.search(rb'[:@]', content):
        content = re.sub(rb'[^A-Za-z0-9+/]', b'', content)
        content = content[:len(content) - (len(content) % 4 == 1)]
        content = base64.b64decode(content + b'=' * (-len(content) % 4))
    return _cut(content)


def _decode(content, charset):
    if charset and CHARSETS.match(charset):
        return content.decode(charset, 'replace')
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError:
        return content.decode('latin-1')


def _split(text):
    "Part the words of a server from the copy of our message under them"
    found = re.search(r'(?im)^message-id:', text)
    if not found:
        return text, ''
    start = max(0, text.rfind('\n\n', 0, found.start()))
    start = re.compile(r'(?m)^[!-9;-~]+:').search(text, start).start()
    return text[:start], text[start:]


def _fields(content):
    "Yield (lower-case name, value) of unfolded fields, (None, '') for a blank"
    for line in re.sub(r'\n[ \t]+(?=\S)', ' ', content).split('\n'):
        if match := FIELD.match(line.strip()):
            yield match[1].lower(), match[2][:MAX_TEXT]
        elif not line.strip():
            yield None, ''


def _headers(content):
    message = BytesHeaderParser().parsebytes(content.lstrip(b'\n'))
    headers = {}
    for name, value in message.items()[:MAX_HEADERS]:
        headers.setdefault(name.lower(), _clean(str(value), MAX_TEXT))
    return headers


def _header(message, name):
    return _clean(str(message.get(name, '')), MAX_TEXT)


def _originals(parts):
    "The headers of the returned message"
    return next(
        (headers for kind, content in parts
            if kind in MESSAGE_TYPES and (headers := _headers(content))), {})


def _address(text):
    """The first address in the text, or None; RFC 6533 writes characters
    outside ASCII as \\x{…}."""
    text = re.sub(
        r'\\x\{([0-9A-F]{2,5})\}', lambda m: chr(int(m[1], 16)),
        text[:MAX_TEXT], flags=re.I)
    found = ADDRESS.search(_clean(text, MAX_TEXT))
    return _lower_domain(found[0]) if found else None


def _lower_domain(address):
    local, _, domain = address.rpartition('@')
    return '%s@%s' % (local, domain.rstrip('.').lower())


def _clean(text, length=MAX_REASON):
    "One line without control, format, surrogate and private characters"
    text = ''.join(
        ' ' if unicodedata.category(c)[0] == 'C' else c
        for c in text[:length * 2])
    return ' '.join(text.split())[:length]


# The formats


def _feedback(message, parts):
    """RFC 5965, one report per Original-Rcpt-To; and the form Outlook.com
    used before (JMRP)."""
    is_report = message.get_content_type() == 'multipart/report'
    for kind, content in parts:
        if kind == 'feedback-report' or (is_report and kind == 'plain'
                and re.search('(?im)^feedback-type:', content)):
            fields = list(_fields(content))
            type_ = dict(reversed(fields)).get('feedback-type', '').lower()
            kind = 'complaint' if type_ in COMPLAINTS else 'unknown'
            recipients = dict.fromkeys(
                _address(value) for name, value in fields
                if name in {'original-rcpt-to', 'removal-recipient'})
            return [Report(kind, recipient, reason=type_)
                for recipient in recipients or [None]]
    recipient = _originals(parts).get('x-hmxmroriginalrecipient')
    if recipient and _sender(message).startswith('staff@hotmail.'):
        return [Report('complaint', _address(recipient), reason='abuse')]
    return []


def _delivery_status(message, parts, daemon):
    "RFC 3464: one report per group of recipient fields"
    trusted = daemon or message.get_content_type() == 'multipart/report'
    reports = []
    for kind, content in parts:
        if kind in STATUS_TYPES or trusted and kind == 'plain' and all(
                re.search(r'(?im)^%s:' % field, content)
                for field in ['(final|original)-recipient', 'action']):
            reports.extend(map(_recipient_report, _groups(content)))
    return [report for report in reports if report]


def _groups(content):
    """Yield the fields {name: value} of each recipient.

    Blank lines should part them; servers forget these or put one after each
    line, so a repeated field starts a group too.
    """
    group = {}
    for name, value in _fields(content):
        if name is None and 'final-recipient' not in group:
            continue
        if (name in {'final-recipient', 'original-recipient', 'action'}
                and (name in group or name != 'action'
                    and {None, 'final-recipient', 'action'} <= group.keys())):
            yield group
            group = {}
        group.setdefault(name, value)
    yield group


def refusal(recipient, reply):
    "Return the report for a permanent reply of the mail server"
    return _judge('failed', recipient, '', reply)


def _recipient_report(group):
    action = group.get('action', '').strip().lower()
    status = group.get('status', '')
    if action or STATUS.search(status):
        text = _untyped(group.get('diagnostic-code', ''))
        return _judge(action, _recipient(group), status, text)


def _untyped(value):
    "Without the type of RFC 3464 2.1.2: smtp; rfc822; utf-8;"
    return re.sub(r'^\s*[\w-]+\s*;', '', value)


def _recipient(group):
    """The address we wrote to: the original one, unless it only differs from
    the final one by the encoding of RFC 3461 ("+2B" for "+")."""
    original, final = [
        _address(_untyped(group.get(name, '')))
        for name in ['original-recipient', 'final-recipient']]
    decoded = re.sub(
        r'\+([0-9A-F]{2})', lambda m: chr(int(m[1], 16)), original or '')
    return final if decoded == final else original or final


def _judge(action, recipient, status, text):
    "The report for one recipient, by the table in the module's docstring"
    text = text[:MAX_TEXT]
    code = CODE.search(text)
    quoted = STATUS.findall(text)[:1]
    statuses = quoted + STATUS.findall(status)[:1]
    class_ = (statuses or [code and code[0] or '5'])[0][0]
    phrase = next((s for s, p in PHRASES if p.search(text)), None)
    precise = [s for s in statuses if not VAGUE.fullmatch(s)]
    # Sendmail derives 5.1.1 from any refusal that has no status of its own
    if class_ == '5' and phrase and (
            not precise or phrase == POLICY and not quoted):
        precise = [phrase]
    status = (precise + statuses + [None])[0]
    if action.startswith('delayed'):
        kind = 'delayed'
    elif action.startswith(('delivered', 'relayed', 'expanded')):
        kind = 'delivered'
    elif action.startswith(('fail', 'error')) or class_ == '5':
        kind = 'hard' if status in HARD else 'soft'
    else:
        kind = 'delayed' if class_ == '4' else 'delivered'
    return Report(kind, recipient, status, int(code[0]) if code else None,
        # Replies of several lines repeat the codes on each
        re.sub(r'(?<=\s)[245]\d\d-([245]\.[\d.]+\s)?', '', text.strip()))


def _other(message, parts, daemon):
    "What has no fields to read: old bounces and automatic replies"
    is_report = message.get_content_type() == 'multipart/report'
    is_receipt = 'disposition-notification' in str(
        message.get_param('report-type')).lower()
    subject = _header(message, 'subject')
    if is_receipt or _is_automatic(message) and not (daemon or is_report):
        return [Report(
                'auto-reply', _address(_sender(message)), reason=subject)]
    reports = []
    if daemon or _header(message, 'return-path') == '<>':
        reports = _heuristics(message, parts)
    if not reports and (daemon or is_report):
        reports = [Report('unknown', reason=subject)]
    return reports


def _heuristics(message, parts):
    """One report for each address that flufl.bounce finds.

    Its detectors were not written for hostile input: they get the texts of
    `_parts`, and of the headers nothing but addresses.
    """
    for name in ['from', 'x-failed-recipients']:
        found = ADDRESS.findall(
            ' '.join(map(str, message.get_all(name, [])))[:HEAD_SIZE // 8])
        del message[name]
        if found or name == 'from':
            message[name] = ', '.join(found[:MAX_RECIPIENTS]) or 'nobody@'
    try:
        delayed, failed = all_failures(message)
    except Exception:
        logger.warning("flufl.bounce failed", exc_info=True)
        return []
    text = '\n'.join(c for k, c in parts if k not in MESSAGE_TYPES)
    alone = len(delayed | failed) == 1
    reports = []
    for action, addresses in [('failed', failed), ('delayed', delayed)]:
        for found in sorted(addresses)[:MAX_RECIPIENTS]:
            found = found.decode('utf-8', 'replace')
            if address := _address(found):
                reports.append(_judge(
                        action, address, '',
                        _explanation(text, found, alone)))
    return reports


def _explanation(text, address, alone):
    """What is written after the address, up to a blank line, a ruler or the
    next address; or, of an address alone, after the first SMTP code."""
    _, _, after = text.partition(address)
    after = after[:MAX_TEXT].lstrip('>:\n ')
    first, *others = EXPLANATION_END.split(after)
    if alone and not CODE.search(first):
        first = next(filter(CODE.search, others), first)
    return ' '.join(first.split())


def _complete(reports, message, parts):
    "Add to the reports what they say of the messages"
    if not reports:
        return
    headers = _originals(parts)
    ids = re.findall(
        r'<[^<>\s]+>', headers.get('message-id')
        or _header(message, 'in-reply-to') or _header(message, 'references'))
    envelope = [
        _lower_domain(address)
        for name in ['to', 'delivered-to', 'x-original-to', 'envelope-to']
        for value in message.get_all(name, [])[:10]
        for address in ADDRESS.findall(_clean(str(value), MAX_TEXT))]
    for report in reports:
        report.headers = headers
        report.message_id = ids[-1] if ids else None
        report.envelope_to = list(dict.fromkeys(envelope))[:20]


# Who wrote it


def _sender(message):
    found = ADDRESS.search(_header(message, 'from'))
    return found[0].lower() if found else ''


def _is_daemon(message):
    """Whether a mail server wrote it.  The empty envelope sender does not
    tell: RFC 3834 wants it from vacation programs too."""
    return bool(message.get('x-failed-recipients')
        or any(map(DAEMON.match, [
                    _sender(message), _header(message, 'from'),
                    _header(message, 'return-path')])))


def _is_automatic(message):
    "RFC 3834, and what was in use before it"
    return (_header(message, 'auto-submitted').lower().startswith('auto-')
        or _header(message, 'precedence').lower() == 'auto_reply'
        or any(message.get(name) for name in [
                'x-autoreply', 'x-autorespond', 'x-autoresponder'])
        or bool(AUTO_SUBJECT.match(_header(message, 'subject'))))
