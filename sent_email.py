# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""E-mails as they were sent

What the recipients of a template get differs in little.  So each e-mail is
kept compressed with a dictionary: what the template gives without a record.
It is stored once for each template, and holds nothing of the recipients.

What is kept has no tokens: its links lead straight to their targets, count
nothing and unsubscribe nobody.
"""
import datetime as dt
import hashlib
import logging
from html import unescape

import zstandard
from sql import Conflict, Null

from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.model.fields.field import get_eval_fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction, check_access
from trytond.wizard import Button, StateView, Wizard

from . import settings
from .mail import sample
from .preview import binary
from .transaction import commit

logger = logging.getLogger(__name__)
FILENAME = 'email.html'
# Of zstd: higher ones take several times as long to save a tenth
LEVEL = 3
# Nothing else contains it
SEPARATOR = '\0'


class Dictionary(ModelSQL):
    "What the e-mails of a template have in common"
    __name__ = 'marketing.automation.sent_email.dictionary'
    _log = False

    digest = fields.Char(
        "Digest", required=True,
        help="SHA-256 of the template.")
    data = fields.Binary("Data", required=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('digest_unique', Unique(t, t.digest),
                'marketing_automation.msg_dictionary_unique'),
            ]

    @classmethod
    def compress(cls, emails):
        """Return the list of (id of the dictionary, bytes)

        emails -- list of (sender, draft)

        (None, None) stands for what can not be kept: that must not keep the
        others from being filed.
        """
        samples = {_digest(d.template): (s, d) for s, d in emails}
        compressors = {
            digest: (id_, _compressor(bytes(data)))
            for digest, (id_, data) in cls._get(samples).items()}
        result = []
        for sender, draft in emails:
            id_, compressor = compressors[_digest(draft.template)]
            try:
                data = compressor.compress(
                    _join(sender, *draft.content.readable))
            except Exception:
                logger.exception("e-mail of %s not kept", draft.id)
                id_ = data = None
            result.append((id_, data))
        return result

    @classmethod
    def _get(cls, samples):
        "Return {digest: (id, data)}, created where needed of the samples"
        found = cls._find(samples)
        missing = [d for d in samples if d not in found]
        if missing:
            table = cls.__table__()
            transaction = Transaction()
            cursor = transaction.connection.cursor()
            now = dt.datetime.now()
            cursor.execute(*table.insert(
                    [table.create_uid, table.create_date,
                        table.digest, table.data],
                    [[transaction.user, now, d, _pack(*samples[d])]
                        for d in missing],
                    on_conflict=Conflict(table)))
            found = cls._find(samples)
        return found

    @classmethod
    def _find(cls, digests):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.digest, table.id, table.data,
                where=fields.SQL_OPERATORS['in'](
                    table.digest, list(digests))))
        return {d: (id_, data) for d, id_, data in cursor}

    def decompress(self, data):
        "Return the list of the sender, the HTML and the text"
        decompressor = zstandard.ZstdDecompressor(
            dict_data=_dictionary(bytes(self.data)))
        return decompressor.decompress(data).decode('utf-8').split(SEPARATOR)


def _digest(template):
    source = template.encode('utf-8', 'surrogatepass')
    return hashlib.sha256(source).hexdigest()


def _join(*parts):
    return SEPARATOR.join(parts).encode('utf-8')


def _pack(sender, draft):
    "Return the data of the dictionary for e-mails such as the draft"
    try:
        parts = draft.content.impersonal(unescape(draft.template)).readable
    except Exception:
        # It only has to resemble them
        parts = [draft.template]
    return zstandard.ZstdCompressor().compress(_join(sender, *parts))


def _dictionary(data):
    return zstandard.ZstdCompressionDict(
        zstandard.ZstdDecompressor().decompress(data),
        dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _compressor(data):
    dictionary = _dictionary(data)
    dictionary.precompute_compress(level=LEVEL)
    return zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True)


class ShowEmailMixin:
    "The button that opens the wizard"
    __slots__ = ()

    @classmethod
    def __setup__(cls):
        super().__setup__()
        has_email = cls._has_email()
        cls._buttons['show_email'] = {
            'invisible': ~has_email,
            'icon': 'tryton-email',
            'depends': sorted(get_eval_fields(has_email)),
            }

    @classmethod
    def _has_email(cls):
        "Return the PYSON that tells if there is an e-mail to show"
        return Eval('activity_action') == 'send_email'

    @property
    def shown_email(self):
        "The activity, the resource, the filed e-mail and if it was sent"
        raise NotImplementedError

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_sent_email')
    def show_email(cls, records):
        pass


class Email(ShowEmailMixin, metaclass=PoolMeta):
    __name__ = 'ir.email'

    marketing_automation_content = fields.Binary("Content", readonly=True)
    marketing_automation_dictionary = fields.Many2One(
        'marketing.automation.sent_email.dictionary', "Dictionary",
        readonly=True, ondelete='RESTRICT')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t, (t.create_date, Index.Range()),
                where=t.marketing_automation_content != Null))

    @classmethod
    def file_marketing(cls, emails):
        pool = Pool()
        Dictionary = pool.get('marketing.automation.sent_email.dictionary')
        contents = [(None, None)] * len(emails)
        if emails and settings.content_age():
            contents = Dictionary.compress(
                [(e['sender'], e['draft']) for e in emails])
        super().file_marketing([{
                    **{n: v for n, v in email.items()
                        if n not in {'sender', 'draft'}},
                    'marketing_automation_dictionary': dictionary,
                    'marketing_automation_content': content,
                    } for email, (dictionary, content) in zip(
                        emails, contents)])

    @property
    def marketing_preview(self):
        "The Preview of it as it was sent, or None if it is not kept"
        content = self.marketing_automation_content
        if not content:
            return None
        sender, html, text = self.marketing_automation_dictionary.decompress(
            content)
        return sample.Preview(None, sender, self.subject or '', html, text)

    @property
    def marketing_text(self):
        "The plain text as it was sent"
        preview = self.marketing_preview
        return preview.text if preview else ''

    @classmethod
    def forget_marketing(cls):
        "Forget what old e-mails said, of which the headers stay"
        before = dt.datetime.now() - dt.timedelta(days=settings.content_age())
        while commit(cls._forget_slice, before):
            pass
        commit(cls._forget_dictionaries, before)

    @classmethod
    def _forget_slice(cls, before, size=5000):
        "Forget some contents and return if there may be more"
        table = cls.__table__()
        old = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.marketing_automation_content,
                    table.marketing_automation_dictionary],
                [None, None],
                where=table.id.in_(old.select(
                        old.id,
                        where=(old.marketing_automation_content != Null)
                        & (old.create_date < before),
                        limit=size))))
        return cursor.rowcount == size

    @classmethod
    def _forget_dictionaries(cls, before):
        "Delete what is not used any more"
        pool = Pool()
        Dictionary = pool.get('marketing.automation.sent_email.dictionary')
        table = cls.__table__()
        dictionary = Dictionary.__table__()
        cursor = Transaction().connection.cursor()
        used = table.select(
            table.marketing_automation_dictionary,
            where=table.marketing_automation_dictionary != Null)
        cursor.execute(*dictionary.delete(
                where=(dictionary.create_date < before)
                & ~dictionary.id.in_(used)))

    @classmethod
    def _has_email(cls):
        return (
            Bool(Eval('marketing_automation_activity'))
            & Bool(Eval('marketing_automation_record')))

    @property
    def shown_email(self):
        return self.marketing_automation_activity, self.resource, self, True


class RecordActivity(ShowEmailMixin, metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @property
    def shown_email(self):
        is_sent = self.state in {'delivered', 'done'}
        return (
            self.sent_activity, self.record.record, self.filed_email, is_sent)

    @property
    def filed_email(self):
        "The e-mail that was sent, or None"
        pool = Pool()
        Email = pool.get('ir.email')
        with check_access():
            emails = Email.search([
                    ('marketing_automation_activity', '=', self.activity.id),
                    ('marketing_automation_record', '=', self.record.id),
                    ], order=[('id', 'DESC')], limit=1)
        return emails[0] if emails else None


class SentEmail(ModelView):
    __name__ = 'marketing.automation.sent_email'

    notice = fields.Char(
        "Notice", readonly=True,
        states={
            'invisible': ~Eval('notice'),
            })
    at = fields.DateTime("Sent At", readonly=True)
    sender = fields.Char("From", readonly=True)
    recipients = fields.Char("To", readonly=True)
    title = fields.Char("Subject", readonly=True)
    html = fields.Binary("E-mail", readonly=True, filename='name')
    name = fields.Char("Name", readonly=True)
    text = fields.Text("Plain Text", readonly=True)


class ShowSentEmail(Wizard):
    __name__ = 'marketing.automation.sent_email'
    start_state = 'show'
    show = StateView(
        'marketing.automation.sent_email',
        'marketing_automation.sent_email_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def default_show(self, fields):
        activity, resource, email, is_sent = self.record.shown_email
        if resource:
            # Raises an error if the user may not read it
            sample.scope(resource)
        shown = email and email.marketing_preview
        notice = None
        if not shown:
            shown = sample.preview(activity, resource)
            notice = gettext(
                'marketing_automation.msg_sent_email_not_kept' if is_sent
                else 'marketing_automation.msg_sent_email_not_sent')
        return {
            'notice': notice,
            'at': email.at if email else None,
            'recipients': email.recipients if email else None,
            'sender': shown.sender,
            'title': shown.title,
            'html': binary(shown.html),
            'name': FILENAME,
            'text': shown.text,
            }
