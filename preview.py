# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""E-mails to look at before they are sent, and afterwards

A preview is made of the same parts as what is delivered, but nothing in it
leads back to a record: links go straight to their targets.  Templates are
hostile and so may be who asks for a preview: it shows no more than both the
user and the marketing may read.
"""
from collections import namedtuple
from email.utils import make_msgid
from html import escape

from trytond import backend
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction, check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from .access import AccessScope
from .audience import Audience
from .exceptions import Failure, Outcome, PreviewError
from .mail.address import one_line, parse_address
from .mail.link import Placeholders
from .mail.message import Draft, Envelope, Outbox
from .mail.smtp import Relay

FILENAME = 'preview.html'
ERROR = (
    '<!DOCTYPE html><html><body style="font-family: sans-serif">'
    '<p style="color: #b00020">%s</p></body></html>')
_email = {
    'invisible': Eval('action') != 'send_email',
    }

Preview = namedtuple('Preview', ['title', 'html', 'text'])


class UntrackedLinks(Placeholders):
    "Nobody unsubscribes by a preview"

    def unsubscribe(self, href):
        return '#'


class SampleDraft(Draft):
    "A draft of the activity for a record that need not be in the scenario"

    def __init__(self, activity, record, address=None):
        self.id = 0
        self.activity = activity.id
        self.scenario = root(activity).id
        self.sender = activity.email_from
        self.record = None
        self.uuid = ''
        self.resource = str(record)
        self.name, self.address = None, address
        self.tracking = 'none'
        self.links = UntrackedLinks('own', False)


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


def root(activity):
    "Return the scenario of the activity, even before they are saved"
    parent = activity.parent
    while parent and parent.__name__ == activity.__name__:
        parent = parent.scenario or parent.parent
    return parent


def sample(scenario):
    "Return the first record that would enter the scenario, or None"
    pool = Pool()
    if scenario and scenario.model and scenario.domain:
        Model = pool.get(scenario.model)
        with check_access():
            records = Model.search(
                Audience(scenario).domain, limit=1, order=[('id', 'ASC')])
        if records:
            return records[0]


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


def compose_sample(activity, record, address=None):
    "Return the rendered draft"
    draft = SampleDraft(activity, record, address)
    draft.render(activity, scope(record).proxy(record))
    return draft


def preview(activity, record):
    "Return the Preview of the activity for the record, or of what is wrong"
    if not activity.email_template:
        return Preview('', '', '')
    if not record:
        return _error(gettext('marketing_automation.msg_preview_no_record'))
    try:
        draft = compose_sample(activity, record)
        return Preview(
            draft.title, draft.content.html, draft.content.text)
    except backend.DatabaseOperationalError:
        raise
    except Outcome as exception:
        return _error(exception.detail or exception.reason)
    except Exception as exception:
        return _error(str(exception))


def _error(message):
    return Preview('', ERROR % escape(message), message)


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    email_preview_title = fields.Function(fields.Char(
            "Subject", states=_email), 'get_email_preview')
    email_preview = fields.Function(fields.Binary(
            "Preview", filename='email_preview_name', states=_email,
            help="The e-mail for the first record that matches."),
        'get_email_preview')
    email_preview_name = fields.Function(
        fields.Char("Preview Name"), 'on_change_with_email_preview_name')
    email_preview_text = fields.Function(fields.Text(
            "Plain Text", states=_email,
            help="What readers see that do not show HTML."),
        'get_email_preview')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            preview={
                'invisible': Eval('action') != 'send_email',
                'icon': 'tryton-email',
                'depends': ['action'],
                },
            )

    @classmethod
    def default_email_preview_name(cls):
        return FILENAME

    @fields.depends()
    def on_change_with_email_preview_name(self, name=None):
        return FILENAME

    @fields.depends(
        'action', 'email_from', 'email_title', 'email_template', 'parent')
    def preview_sample(self):
        "Return the Preview for a sample, whether it is saved or not"
        if self.action != 'send_email':
            return Preview('', '', '')
        try:
            record = sample(root(self))
        except backend.DatabaseOperationalError:
            raise
        except Exception as exception:
            return _error(str(exception))
        return preview(self, record)

    @fields.depends(methods=['preview_sample'])
    def _on_change_preview(self):
        "Show what has been changed, rendered once for all the fields"
        preview = self.preview_sample()
        self.email_preview_title = preview.title
        self.email_preview = _binary(preview.html)
        self.email_preview_text = preview.text

    @fields.depends(methods=['_on_change_preview'])
    def on_change_action(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_email_title(self):
        self._on_change_preview()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_email_template(self):
        self._on_change_preview()

    @classmethod
    def get_email_preview(cls, activities, names):
        previews = {a.id: a.preview_sample() for a in activities}
        size = Transaction().context.get(f'{cls.__name__}.email_preview')
        result = {}
        for name in names:
            if name == 'email_preview':
                values = {
                    i: _binary(p.html) for i, p in previews.items()}
                if size == 'size':
                    values = {i: len(v or '') for i, v in values.items()}
            else:
                part = name.removeprefix('email_preview_')
                values = {
                    i: getattr(p, part) for i, p in previews.items()}
            result[name] = values
        return result

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_preview')
    def preview(cls, activities):
        pass


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            show_email={
                'invisible': Eval('activity_action') != 'send_email',
                'icon': 'tryton-email',
                'depends': ['activity_action'],
                },
            )

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_preview')
    def show_email(cls, record_activities):
        pass


class Email(metaclass=PoolMeta):
    __name__ = 'ir.email'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            show_marketing_email={
                'invisible': (
                    ~Bool(Eval('marketing_automation_activity'))
                    | ~Bool(Eval('marketing_automation_record'))),
                'icon': 'tryton-email',
                'depends': [
                    'marketing_automation_activity',
                    'marketing_automation_record'],
                },
            )

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_preview')
    def show_marketing_email(cls, emails):
        pass


class PreviewShow(ModelView):
    __name__ = 'marketing.automation.preview'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True)
    record = fields.Reference(
        "Record", selection='get_models',
        help="For which record the e-mail is shown.")
    language = fields.Many2One(
        'ir.lang', "Language",
        domain=[
            ('translatable', '=', True),
            ],
        help="Leave empty for the language of the party.")
    title = fields.Char("Subject", readonly=True)
    html = fields.Binary("E-mail", readonly=True, filename='name')
    name = fields.Char("Name", readonly=True)
    text = fields.Text("Plain Text", readonly=True)
    address = fields.Char(
        "Send Test To",
        help="The e-mail address that gets a test e-mail.\n"
        "Its links are not tracked and do not unsubscribe.")
    notice = fields.Char(
        "Notice", readonly=True,
        states={
            'invisible': ~Eval('notice'),
            })

    @fields.depends('activity')
    def get_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        Scenario = pool.get('marketing.automation.scenario')
        if not self.activity:
            return Scenario.get_models()
        model = self.activity.scenario.model
        return [(model, Model.get_name(model))]

    @fields.depends('activity', 'record', 'language')
    def on_change_record(self):
        self.show()

    @fields.depends('activity', 'record', 'language')
    def on_change_language(self):
        self.show()

    def show(self):
        if not self.activity:
            return
        with Transaction().set_context(self.reading_context):
            result = preview(*self.translated())
        self.title = result.title
        self.html = _binary(result.html)
        self.name = FILENAME
        self.text = result.text

    @property
    def is_chosen(self):
        return self.record and self.record.id is not None and (
            self.record.id >= 0)

    @property
    def reading_context(self):
        "The context in which the record is read"
        context = {}
        if self.is_chosen:
            context = self.activity.scenario.reading_context(self.record)
        if self.language:
            context['language'] = self.language.code
        return context

    def translated(self):
        "Return activity and record in the language of the transaction"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        record = None
        if self.is_chosen:
            record = pool.get(self.record.__name__)(self.record.id)
        return Activity(self.activity.id), record

    def send(self):
        "Send a test e-mail to the address"
        if not self.is_chosen:
            raise PreviewError(
                gettext('marketing_automation.msg_preview_no_record'))
        _, address = parse_address(self.address or '')
        if not address:
            raise PreviewError(gettext(
                    'marketing_automation.msg_test_address',
                    address=self.address or ''))
        with Transaction().set_context(self.reading_context):
            message = self._compose(address)
        with Relay(sessions=1) as relay:
            (_, result), = relay.deliver([message])
        if result.kind != 'sent':
            raise PreviewError(gettext(
                    'marketing_automation.msg_test_failed',
                    address=address, error=result))
        return address

    def _compose(self, address):
        try:
            draft = compose_sample(*self.translated(), address)
            draft.title = one_line(gettext(
                    'marketing_automation.msg_test_title',
                    title=draft.title))
            return TestEnvelope(Outbox(), draft, {}).seal()
        except (Failure, Outcome) as exception:
            raise PreviewError(gettext(
                    'marketing_automation.msg_test_composition',
                    error=exception.detail or exception.reason)
                ) from exception


class PreviewWizard(Wizard):
    __name__ = 'marketing.automation.preview'
    start = StateView(
        'marketing.automation.preview',
        'marketing_automation.preview_view_form', [
            Button("Close", 'end', 'tryton-close'),
            Button(
                "Send Test E-mail", 'send', 'tryton-send', default=True,
                states={
                    'readonly': ~Bool(Eval('address')),
                    }),
            ])
    send = StateTransition()

    def default_start(self, fields):
        show = self._current() if self._is_open else self._first()
        show.show()
        return {
            'activity': show.activity.id,
            'record': str(show.record) if show.is_chosen else None,
            'language': show.language.id if show.language else None,
            'address': show.address,
            'notice': getattr(show, 'notice', None),
            'title': show.title,
            'html': show.html,
            'name': show.name,
            'text': show.text,
            }

    @property
    def _is_open(self):
        return bool(getattr(self.start, 'activity', None))

    def _current(self):
        return self.start

    def _first(self):
        pool = Pool()
        Show = pool.get('marketing.automation.preview')
        User = pool.get('res.user')
        show = Show(language=None)
        show.address = User(Transaction().user).email
        show.activity, show.record, sent_at = getattr(
            self, '_from_' + self.model.__name__.replace('.', '_'))()
        changed_at = show.activity.write_date
        if sent_at and changed_at and (
                changed_at.replace(microsecond=0) > sent_at):
            show.notice = gettext(
                'marketing_automation.msg_preview_changed')
        return show

    def _from_marketing_automation_activity(self):
        return self.record, _sample(self.record), None

    def _from_marketing_automation_record_activity(self):
        sent_at = self.record.at if self.record.state == 'done' else None
        return self.record.activity, self.record.record.record, sent_at

    def _from_ir_email(self):
        record = self.record.marketing_automation_record
        return (
            self.record.marketing_automation_activity, record.record,
            self.record.at)

    def transition_send(self):
        address = self.start.send()
        self.start.notice = gettext(
            'marketing_automation.msg_test_sent', address=address)
        return 'start'


def _sample(activity):
    try:
        return sample(activity.scenario)
    except backend.DatabaseOperationalError:
        raise
    except Exception:
        # What is wrong with the domain is said elsewhere
        return None


def _binary(html):
    # Without the mark, browsers guess the encoding of a file
    return html.encode('utf-8-sig') if html else None
