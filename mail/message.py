# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""From a template and a record to a message: nothing is written here"""
import re
import secrets
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate
from functools import lru_cache
from html import escape
from urllib.parse import urlencode, urljoin

import idna

from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.transaction import Transaction
from trytond.wsgi import Base64Converter

from .. import settings, signature
from ..condition import Scopes
from ..exceptions import Failure, Skip, explain
from ..mixin import party_of
from ..template import (
    TemplateRenderError, TemplateSyntaxError, compile_markup, compile_text,
    is_mjml, plain)
from ..template.values import Guarded
from .address import is_address, mail_domain, one_line, to_ascii
from .content import CACHE, Content, kept
from .header import (
    POLICY, POLICY_UTF8, Plain, recipient_header, sender_headers)
from .link import Placeholders, substitute

# Many more are a mistake, or made to hurt
MAX_LINKS = 500


def _boundary():
    return f'={secrets.token_hex(8)}'


# The header is made only once
BOUNDARY = _boundary()
_body_end = re.compile('</body', re.IGNORECASE)
PIXEL = '<img src="%s" alt="" width="1" height="1" border="0"/>'

_plain = lru_cache(16)(plain)


def _compiled(compile_):
    "Return the function that keeps what compile_ returns"
    @kept(CACHE)
    def compiled(source):
        template = compile_(source)
        # What is made of it is several times as big
        template.size = 8 * len(source)
        return template
    return compiled


markup = _compiled(compile_markup)
text = _compiled(compile_text)


class Message:
    """A message ready to be handed to the mail server

    id -- of the record activity
    sender, recipient -- addresses of the envelope
    data -- bytes of the message
    links -- how many tracked links it has
    archive -- dictionary of what ir.email.file_marketing takes of it
    cancelled -- it must not be sent any more
    """
    __slots__ = (
        'id', 'sender', 'recipient', 'data', 'links', 'archive', 'cancelled')

    def __init__(self, **values):
        self.cancelled = False
        for name, value in values.items():
            setattr(self, name, value)


class Draft:
    "A rendered message whose links are still placeholders"

    def __init__(
            self, activity, record_activity, resource, party, marks=None):
        # Nothing can be read any more when the links get their ids
        record = record_activity.record
        self.id = record_activity.id
        self.activity = activity.id
        self.scenario = activity.scenario.id
        self.sender = activity.email_from
        self.record = record.id
        self.since = record.create_date if record.pass_number > 1 else None
        self.party = party.id
        self.uuid = record.uuid
        self.resource = str(resource)
        self.name, self.address = recipient(activity, party)
        self.tracking = activity.scenario.tracking
        if party.marketing_tracking_refused:
            self.tracking = 'none'
        self.links = Placeholders(
            'own', self.tracking != 'none',
            _plain(activity.email_template), marks)

    @property
    def mail_domain(self):
        "The domain of the recipient"
        return mail_domain(self.address)

    @property
    def urls(self):
        "The URLs for which an id is needed"
        return self.links.urls | self.content.common.urls

    @property
    def tracked_urls(self):
        "The URLs of tracked links"
        return {*self.links.links, *self.content.common.links}

    def render(self, activity, record, scope):
        """Render title and template of the activity for the record

        scope -- the AccessScope of what may be shown
        """
        source = self.template = activity.email_template
        with _explained():
            title, template = text(activity.email_title), markup(source)
            names = title.names | template.names
            context = {
                name: _confined(value, scope)
                for name, value in activity.email_context(record).items()
                if name in names}
            context['short'] = self.links.short
            self.title = one_line(title.render(context))
            self.content = Content(
                template.chunks(context), self.links, is_mjml(source))
        self._check()

    def _check(self):
        "Raise the Failure of what can not be sent"
        if not _can_be_sent(self.title + self.content.html):
            raise Failure('template', gettext(
                    'marketing_automation.msg_template_character'))
        if len(self.urls) > MAX_LINKS:
            raise Failure('template', gettext(
                    'marketing_automation.msg_template_links',
                    limit=MAX_LINKS))


class Outbox:
    "The drafts of a slice of record activities and what they have in common"

    def __init__(self):
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        database = Base64Converter(None).to_url(
            Transaction().database.name)
        self.drafts = []
        # id of a record activity: id of its variant
        self.variants = {}
        # id of a variant and language: the activity with its texts
        self.applied = {}
        self.secret = Configuration.get_secret()
        self.base = urljoin(settings.automation_base(), f'm/{database}/')
        self.host = settings.host()
        self.scopes = Scopes()
        self._marks = {}  # id of an activity: its Marks
        self._refusing = {}  # id of a party: whether it wants no e-mails

    def compose(self, activity, record_activity):
        "Add the e-mail of the activity for the record"
        record = record_activity.record.record
        if not record:
            raise Skip('deleted')
        party = party_of(record)
        if not party:
            raise Skip('no_party')
        if not party.active:
            raise Skip('inactive')
        if self._refuses(activity.scenario, party):
            raise Skip('unsubscribed')
        draft = Draft(
            activity, record_activity, record, party,
            self._get_marks(activity))
        draft.render(
            activity, record_activity.record, self.scopes.get(record))
        self.drafts.append(draft)

    def _get_marks(self, activity):
        "Return the Marks for the links of the activity, or None"
        if activity.id not in self._marks:
            self._marks[activity.id] = activity.url_marks
        return self._marks[activity.id]

    def _refuses(self, scenario, party):
        "Return if the party wants no e-mails of the scenario"
        if party.id not in self._refusing:
            # What is read together is asked together
            ids = {party.id, *party._ids}
            refusing = scenario.refusing(ids)
            self._refusing.update((id_, id_ in refusing) for id_ in ids)
        return self._refusing[party.id]

    @property
    def urls(self):
        "The (activity, URL) pairs for which an id is needed"
        return {(d.activity, url) for d in self.drafts for url in d.urls}

    def seal(self, draft, ids):
        "Return the message, ids gives the id of each (activity, URL)"
        return Envelope(self, draft, ids).seal()

    def sign(self, purpose, *ids):
        return signature.sign(self.secret, purpose, *ids)


class Envelope:
    "What turns one draft into a message"

    def __init__(self, outbox, draft, ids):
        self.outbox = outbox
        self.draft = draft
        # Without individual tracking, nothing leads to the record
        self.tracked = draft.id if draft.tracking == 'individual' else 0
        self.urls = {}
        for links in [draft.links, draft.content.common]:
            self.urls[links.owner, 'link'] = [
                self._link_url(ids, url, constant)
                for url, (_, constant) in links.links.items()]
            self.urls[links.owner, 'unsubscribe'] = [
                self._unsubscribe_url(ids, url, constant)
                for url, (_, constant) in links.nexts.items()]

    def _link_url(self, ids, url, constant):
        link = ids[self.draft.activity, constant]
        token, query = self._carry('click', url, constant, link, self.tracked)
        return f'{self.outbox.base}c/{token}' + (query and f'?{query}')

    def _unsubscribe_url(self, ids, url='', constant=''):
        link = ids[self.draft.activity, constant] if url else 0
        token, query = self._carry(
            'unsubscribe', url, constant, self.draft.id, link)
        return (f'{self.outbox.base}unsubscribe?r={self.draft.uuid}&t={token}'
            + (query and f'&{query}'))

    def _carry(self, purpose, url, constant, *ids):
        "Return the token and the query with the URL if it is not stored"
        if url == constant:
            return self.outbox.sign(purpose, *ids), ''
        return (
            self.outbox.sign(f'{purpose} {url}', *ids),
            urlencode({'u': url}))

    def _pixel_url(self):
        token = self.outbox.sign(
            'open', self.draft.activity, self.tracked)
        return f'{self.outbox.base}o/{token}.gif'

    def _add_pixel(self, html):
        if self.draft.tracking == 'none':
            return html
        pixel = PIXEL % escape(self._pixel_url())
        # Lower case may be longer, and its positions others
        ends = [m.start() for m in _body_end.finditer(html)]
        end = ends[-1] if ends else len(html)
        return html[:end] + pixel + html[end:]

    def seal(self):
        draft = self.draft
        msg = EmailMessage(
            policy=POLICY if draft.address.isascii() else POLICY_UTF8)
        try:
            sender = self._set_headers(msg)
        except (ValueError, IndexError) as exception:
            raise Failure('address', str(exception)) from exception
        self._set_content(msg)
        bounce = settings.bounce_address()
        if bounce:
            local, _, host = bounce.partition('@')
            sender = f'{local}+{self.outbox.sign("bounce", draft.id)}@{host}'
        return Message(
            id=draft.id,
            sender=sender, recipient=draft.address,
            data=msg.as_bytes(), links=len(draft.tracked_urls),
            archive=self._archive(msg))

    def _set_headers(self, msg):
        "Set the headers and return the address of the sender"
        draft = self.draft
        from_ = settings.email_from()
        headers, sender = sender_headers(
            from_, one_line(draft.sender or '') or from_)
        for header in headers:
            msg[header.name] = header
        msg['To'] = recipient_header(draft.name, draft.address)
        msg['Subject'] = substitute(draft.title, self.urls, str)
        msg['Date'] = formatdate()
        self._set_plain(msg, 'Message-ID', '<%s@%s>' % (
                self.outbox.sign('message', draft.id), self.outbox.host))
        # RFC 2369 and RFC 8058, a URL is neither encoded nor folded
        self._set_plain(
            msg, 'List-Unsubscribe', f'<{self._unsubscribe_url({})}>')
        msg['List-Unsubscribe-Post'] = 'List-Unsubscribe=One-Click'
        # RFC 2919: the phrase names the list, the identifier never changes
        msg['List-Id'] = f'<scenario-{draft.scenario}.{self.outbox.host}>'
        # RFC 3834: nobody should answer automatically
        msg['Auto-Submitted'] = 'auto-generated'
        msg['Precedence'] = 'bulk'
        self._set_plain(
            msg, 'X-Marketing-Automation',
            self.outbox.sign('bounce', draft.id))
        return sender

    @staticmethod
    def _set_plain(msg, name, value):
        msg[name] = Plain(name, value)

    def _set_content(self, msg):
        content = self.draft.content
        text = substitute(content.text, self.urls, str)
        html = self._add_pixel(substitute(content.html, self.urls, escape))
        boundary = BOUNDARY
        while boundary in text or boundary in html:
            boundary = _boundary()
        msg.set_content(text)
        msg.add_alternative(html, subtype='html')
        msg.set_boundary(boundary)

    def _archive(self, msg):
        draft = self.draft
        return {
            'resource': draft.resource,
            'recipients': str(msg['To']),
            'address': draft.address,
            'subject': substitute(draft.title, draft.content.targets, str),
            'sender': str(msg['From']),
            'draft': draft,
            'message_id': str(msg['Message-ID']),
            'marketing_automation_activity': draft.activity,
            'marketing_automation_record': draft.record,
            }


def recipient(activity, party):
    "Return the name and the address (ASCII domain) of the party"
    mechanism = activity.email_recipient(party)
    address = mechanism and (mechanism.value or '').strip()
    if not address:
        raise Skip('no_address')
    if mechanism.marketing_suppressed:
        raise Skip('suppressed')
    if not is_address(address):
        raise Failure('address', address)
    try:
        address = to_ascii(address)
    except idna.IDNAError as exception:
        raise Failure('address', f'{address}: {exception}') from exception
    return one_line(mechanism.name or party.rec_name), address


def render(source, context, scope):
    "Return the text of the source, with what the scope allows of the context"
    with _explained():
        template = text(source)
        return template.render({
                n: _confined(v, scope) for n, v in context.items()
                if n in template.names})


def _can_be_sent(text):
    "Return if there is neither a NUL nor a lone surrogate in the text"
    try:
        text.encode('utf-8')
    except UnicodeEncodeError:
        return False
    return '\0' not in text


@contextmanager
def _explained():
    "Turn the errors of templates into the Failure to be shown"
    try:
        yield
    except (TemplateSyntaxError, TemplateRenderError) as exception:
        raise Failure('template', explain(exception)) from exception


def _confined(value, scope):
    "Return what a template gets of the value, which the scope allows"
    if callable(value) or isinstance(value, Guarded):
        return value
    return scope.wrap(value)
