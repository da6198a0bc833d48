# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The e-mail of an activity beside its template, while it is written"""
from trytond import backend
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction, check_access

from .audience import Audience
from .mail import sample, variable

FILENAME = 'preview.html'
TEXTS = ['email_from', 'email_title', 'email_template']
EMAIL_VIEWS = [
    ('wide', "Wide"),
    ('phone', "Phone"),
    ('text', "Plain Text"),
    ]
VIEWS = [
    *EMAIL_VIEWS,
    ('fields', "Fields"),
    ]
_email = {
    'invisible': Eval('action') != 'send_email',
    }


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @property
    def sample(self):
        """A matching record to show e-mails for, or None

        It is the first that can get them or, if none can, the first.
        """
        if not self.model or not self.domain:
            return None
        for clauses in [self._reached, []]:
            with check_access():
                records = Audience(self).entering(
                    *clauses, limit=1, order=[('id', 'ASC')])
            if records:
                return records[0]

    @property
    def _reached(self):
        "The domain of the records whose party can get an e-mail"
        return [('marketing_party.contact_mechanisms', 'where', [
                    ('type', '=', 'email'),
                    ('marketing_suppressed', '=', None),
                    ])]


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    preview_record = fields.Function(fields.Reference(
            "Shown For", selection='get_preview_models', states=_email,
            help="For which record the e-mail is shown."),
        'get_preview_record', setter='set_unstored')
    preview_language = fields.Function(fields.Selection(
            'get_preview_languages', "Language", sort=False, states=_email,
            help="In which language the e-mail is shown."),
        'get_preview_language', setter='set_unstored')
    preview_view = fields.Function(fields.Selection(
            VIEWS, "View", required=True, sort=False, states=_email,
            help="How the e-mail is shown."),
        'get_preview_view', setter='set_unstored')
    email_preview_title = fields.Function(
        fields.Char("Subject", states=_email), 'get_email_preview')
    email_preview = fields.Function(fields.Binary(
            "Preview", filename='email_preview_name', states=_email),
        'get_email_preview')
    email_preview_name = fields.Function(
        fields.Char("Preview Name"), 'on_change_with_email_preview_name')
    email_preview_text = fields.Function(fields.Text(
            "Plain Text", states=_email,
            help="What readers see that do not show HTML."),
        'get_email_preview')

    @classmethod
    def default_preview_view(cls):
        return 'wide'

    @classmethod
    def default_email_preview_name(cls):
        return FILENAME

    @fields.depends()
    def on_change_with_email_preview_name(self, name=None):
        return FILENAME

    @property
    def root(self):
        "The scenario at the root of the tree, also before it is saved"
        parent = self.parent
        while isinstance(parent, self.__class__):
            parent = parent.scenario or parent.parent
        return parent

    @fields.depends('parent')
    def get_preview_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        Scenario = pool.get('marketing.automation.scenario')
        if model := getattr(self.root, 'model', None):
            return [(None, ''), (model, Model.get_name(model))]
        return [(None, ''), *Scenario.get_models()]

    @classmethod
    def get_preview_languages(cls):
        pool = Pool()
        Language = pool.get('ir.lang')
        recipient = gettext('marketing_automation.msg_preview_recipient')
        return [
            (None, recipient),
            *((l.code, l.name) for l in Language.search([
                        ('translatable', '=', True),
                        ])),
            ]

    def get_preview_record(self, name):
        if self.action == 'send_email':
            record = self._sample()
            return str(record) if record else None

    def get_preview_language(self, name):
        return None

    def get_preview_view(self, name):
        return self.default_preview_view()

    @classmethod
    def set_unstored(cls, activities, name, value):
        "It only tells what to show"

    def _sample(self):
        try:
            return self.root.sample if self.root else None
        except backend.DatabaseOperationalError:
            raise
        except Exception:
            # What is wrong with the domain is said elsewhere
            return None

    def in_language(self, code):
        """Return a copy with the texts as they are sent in the language

        What is typed and not saved yet counts, unless there is a translation.
        """
        values = {n: getattr(self, n, None) for n in TEXTS}
        for name, text in self._translations(code).items():
            values[name] = text
        return self.__class__(id=self.id, parent=self.parent, **values)

    def _translations(self, code):
        "Return the texts that are other ones in the language"
        if code == Transaction().language or not is_saved(self):
            return {}
        own = self.__class__(self.id)
        with Transaction().set_context(language=code):
            other = self.__class__(self.id)
        return {
            n: getattr(other, n) for n in TEXTS
            if getattr(other, n) != getattr(own, n)}

    @fields.depends(
        'action', 'email_from', 'email_title', 'email_template', 'parent',
        'preview_language', methods=['_shown_record'])
    def preview_sample(self):
        "Return the Preview for the chosen record, whether it is saved or not"
        if self.action != 'send_email':
            return sample.EMPTY
        return sample.preview(
            self, self._shown_record(), language=self.preview_language)

    @fields.depends('parent', 'preview_record')
    def _shown_record(self):
        if is_saved(self.preview_record):
            return self.preview_record
        return self._sample()

    @fields.depends(
        'preview_view', methods=['preview_sample', '_shown_record'])
    def _on_change_preview(self):
        "Show what has been changed, rendered once for all the fields"
        preview = self.preview_sample()
        self.email_preview_title = preview.title
        if self.preview_view == 'fields':
            html, self.email_preview_text = variable.show(
                self, self._shown_record(), self.preview_language)
            self.email_preview = binary(html)
        else:
            self.email_preview = self._framed(preview)
            self.email_preview_text = preview.text

    def _framed(self, preview):
        return binary(preview.frame(
                self.preview_view, self._preview_notice(preview)))

    def _preview_notice(self, preview):
        "Return what to know if what is shown is not what is being written"
        pool = Pool()
        Language = pool.get('ir.lang')
        if preview.language and self._translations(preview.language):
            return gettext(
                'marketing_automation.msg_preview_translation',
                shown=Language.get(preview.language).name,
                written=Language.get().name)

    @fields.depends(
        'action', 'parent', 'preview_record', methods=['_on_change_preview'])
    def on_change_action(self):
        if self.action == 'send_email' and not self.preview_record:
            self.preview_record = self._sample()
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_email_from(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_email_title(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_email_template(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_preview_record(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_preview_language(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_preview_view(self):
        self._on_change_preview()

    @classmethod
    def get_email_preview(cls, activities, names):
        previews = {a: a.preview_sample() for a in activities}
        size = Transaction().context.get(f'{cls.__name__}.email_preview')
        result = {}
        for name in names:
            if name == 'email_preview':
                values = {a.id: a._framed(p) for a, p in previews.items()}
                if size == 'size':
                    values = {i: len(v or '') for i, v in values.items()}
            else:
                part = name.removeprefix('email_preview_')
                values = {
                    a.id: getattr(p, part) for a, p in previews.items()}
            result[name] = values
        return result


def is_saved(record):
    "Return if the record, which may be only its model, is in the database"
    return bool(record) and record.id is not None and record.id >= 0


def binary(html):
    "Return the bytes of the HTML as the clients show it"
    # Without the mark, browsers guess the encoding of a file
    return html.encode('utf-8-sig') if html else None
