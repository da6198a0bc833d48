# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""E-mails to look at and to try, of the same parts as what is delivered

Nothing in them leads back to a record: links go straight to their targets.
Templates are hostile and so may be who asks for one: it shows no more than
both the user and the marketing may read.
"""
from collections import namedtuple
from email.utils import make_msgid, parseaddr
from html import escape

import lxml.html

from trytond import backend
from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.transaction import Transaction, check_access

from .. import settings
from ..access import AccessScope
from ..exceptions import Outcome, PreviewError
from .link import Placeholders, is_http
from .message import Draft, Envelope

# What inboxes show of the text beside the subject
PREHEADER = 110
# Pixels: the width of most e-mails with a margin, and of a small phone
WIDE = 680
PHONE = 360

ERROR = (
    '<!DOCTYPE html><html><body style="font-family: sans-serif">'
    '<p style="color: #b00020">%s</p></body></html>')
# The e-mail is in a frame of its own, whose width its style sees
FRAME = '''<!DOCTYPE html>
<html><head><style>
body { display: flex; flex-direction: column; height: 100vh; margin: 0;
    font: 14px/1.4 sans-serif; color: #1f2937; background: #e5e7eb; }
header { padding: 6px 10px; background: #fff; border-bottom: 1px solid #ccc; }
header p { margin: 0; overflow: hidden; white-space: nowrap;
    text-overflow: ellipsis; }
header span { color: #4b5563; }
.notice { margin: 0; padding: 4px 10px; background: #fef3c7; }
main { position: relative; flex: 1; overflow: auto; }
iframe { position: absolute; box-sizing: border-box; height: 100%%;
    border: 0; background: #fff; }
.phone { left: 50%%; width: min(%(phone)spx, 100vw);
    transform: translateX(-50%%); }
.wide { --scale: min(1, tan(atan2(100vw, %(wide)spx)));
    left: 0; top: 0; width: max(%(wide)spx, 100vw);
    height: calc(100%% / var(--scale)); transform: scale(var(--scale));
    transform-origin: 0 0; }
pre { box-sizing: border-box; height: 100%%; margin: 0; padding: 10px;
    overflow: auto; white-space: pre-wrap; background: #fff; }
h1 { margin: 12px 10px 4px; font-size: 16px; }
table { width: 100%%; border-collapse: collapse; background: #fff; }
th, td { padding: 4px 10px; border-bottom: 1px solid #e5e7eb;
    text-align: left; vertical-align: top; font-weight: normal; }
th { width: 25%%; }
code { padding: 1px 4px; background: #eff4ff; word-break: break-word;
    user-select: all; -webkit-user-select: all; cursor: copy; }
</style></head><body>
%(notice)s%(header)s<main>%(content)s</main>
</body></html>'''


HEADER = '''<header><p>%s</p>
<p><b>%s</b> <span>%s</span></p></header>'''


def page(content, header='', notice=None):
    "Return the page with the HTML of content and header"
    notice = f'<p class="notice">{escape(notice)}</p>' if notice else ''
    return FRAME % {
        'notice': notice,
        'header': header,
        'content': content,
        'wide': WIDE,
        'phone': PHONE,
        }


class Preview(namedtuple('Preview', [
            'language', 'sender', 'title', 'html', 'text'])):
    "An e-mail to look at: without a sender, it is what is wrong"
    __slots__ = ()

    def frame(self, view='wide', notice=None):
        "Return a page that shows it as in an inbox and as in an e-mail"
        if not self.sender:
            return self.html
        header = HEADER % tuple(
            map(escape, [self.sender, self.title, self.preheader]))
        return page(self._content(view), header, notice)

    def _content(self, view):
        if view == 'text':
            return f'<pre>{escape(self.text)}</pre>'
        class_ = 'phone' if view == 'phone' else 'wide'
        content = escape(self.html)
        return f'<iframe class="{class_}" srcdoc="{content}"></iframe>'

    @property
    def preheader(self):
        "The beginning of what is written in it, also where it is hidden"
        tree = lxml.html.document_fromstring(self.html)
        words = ' '.join(tree.xpath(
                '//body//text()[not(parent::style or parent::script)]'
                )).split()
        return ' '.join(words)[:PREHEADER]


EMPTY = Preview(None, '', '', '', '')


class UntrackedLinks(Placeholders):
    "Nobody unsubscribes by a sample"

    def unsubscribe(self, href):
        next_ = href.partition('|')[2]
        return next_ if is_http(next_) else '#'


class SampleDraft(Draft):
    "A draft of the activity for a record that need not be in the scenario"

    def __init__(self, activity, record, address=None):
        self.id = 0
        self.language = Transaction().language
        self.activity = activity.id
        self.scenario = activity.root.id
        self.sender = activity.email_from
        self.record = None
        self.uuid = ''
        self.resource = str(record)
        self.name, self.address = None, address
        self.tracking = 'none'
        self.links = UntrackedLinks(
            'own', False, marks=activity.url_marks)


class TestEnvelope(Envelope):
    "What makes a test e-mail of a draft"

    def _set_headers(self, msg):
        sender = super()._set_headers(msg)
        # Nobody unsubscribes by a test
        for name in [
                'List-Unsubscribe', 'List-Unsubscribe-Post', 'Message-ID',
                'X-Marketing-Automation']:
            del msg[name]
        msg['Message-ID'] = make_msgid(domain=self.outbox.host)
        return sender


def compose(activity, record, address=None, language=None):
    """Return the rendered draft

    It is in the language, by default in that of the recipient, and is read as
    it is when the e-mail is sent.
    """
    pool = Pool()
    Record = pool.get('marketing.automation.record')
    context = reading_context(activity, record, language)
    activity = activity.in_language(context['language'])
    access = scope(record)
    with Transaction().set_context(context):
        record = pool.get(record.__name__)(record.id)
        draft = SampleDraft(activity, record, address)
        draft.render(
            activity, Record(scenario=activity.root, record=record), access)
    return draft


def reading_context(activity, record, language=None):
    "Return the context in which the record is read, with its language"
    pool = Pool()
    Configuration = pool.get('ir.configuration')
    context = activity.root.reading_context(record)
    if language:
        context['language'] = language
    # Who sends is nobody, and has the language of the database
    context.setdefault('language', Configuration.get_language())
    return context


def scope(record):
    "Return the scope of what marketing and the user may read of the record"
    pool = Pool()
    User = pool.get('res.user')
    Model = record.__class__
    context = record.marketing_access_context
    if Transaction().user:
        with check_access():
            if not Model.search([('id', '=', record.id)]):
                raise PreviewError(gettext(
                        'marketing_automation.msg_preview_record',
                        record=record.id))
        groups = set(User.get_groups())
        context['_groups'] = [g for g in context['_groups'] if g in groups]
    return AccessScope(context)


def preview(activity, record, language=None):
    "Return the Preview of the activity for the record, or of what is wrong"
    if not activity.email_template:
        return EMPTY
    if not record:
        return failed(gettext('marketing_automation.msg_preview_no_record'))
    try:
        draft = compose(activity, record, language=language)
        return Preview(
            draft.language, _shown_sender(draft), draft.title,
            draft.content.html, draft.content.text)
    except backend.DatabaseOperationalError:
        raise
    except Outcome as exception:
        return failed(exception.detail or exception.reason)
    except Exception as exception:
        return failed(str(exception))


def _shown_sender(draft):
    name, address = parseaddr(draft.sender or settings.email_from() or '')
    return name or address or '–'


def failed(message):
    "Return the Preview of what is wrong"
    return Preview(None, '', '', ERROR % escape(message), message)
