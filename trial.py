# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The e-mail of any record to look at, and as a test in one's own inbox"""
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction
from trytond.wizard import Button, StateTransition, StateView, Wizard

from .exceptions import Failure, Outcome, PreviewError
from .mail import sample
from .mail.address import one_line, parse_address
from .mail.message import Outbox
from .mail.smtp import Relay
from .preview import EMAIL_VIEWS, FILENAME, binary, is_saved


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons['show_email'] = {
            'invisible': Eval('action') != 'send_email',
            'icon': 'tryton-email',
            'depends': ['action'],
            }

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_preview')
    def show_email(cls, activities):
        pass


class PreviewShow(ModelView):
    __name__ = 'marketing.automation.preview'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True)
    record = fields.Reference(
        "Record", selection='get_models',
        help="For which record the e-mail is shown.")
    variant = fields.Many2One(
        'marketing.automation.activity.variant', "Variant",
        domain=[
            ('activity', '=', Eval('activity', -1)),
            ],
        help="Which variant of the e-mail is shown.")
    language = fields.Many2One(
        'ir.lang', "Language",
        domain=[
            ('translatable', '=', True),
            ],
        help="Leave empty for the language of the recipient.")
    view = fields.Selection(
        EMAIL_VIEWS, "View", required=True, sort=False,
        help="How the e-mail is shown.")
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

    @classmethod
    def default_view(cls):
        return 'wide'

    @fields.depends('activity')
    def get_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        Scenario = pool.get('marketing.automation.scenario')
        if not self.activity:
            return Scenario.get_models()
        model = self.activity.scenario.model
        return [(model, Model.get_name(model))]

    @fields.depends('activity', 'record', 'variant', 'language', 'view')
    def on_change_record(self):
        self.show()

    @fields.depends(methods=['on_change_record'])
    def on_change_variant(self):
        self.on_change_record()

    @fields.depends(methods=['on_change_record'])
    def on_change_language(self):
        self.on_change_record()

    @fields.depends(methods=['on_change_record'])
    def on_change_view(self):
        self.on_change_record()

    def show(self):
        if not self.activity:
            return
        preview = sample.preview(
            self.shown_activity, self.chosen_record,
            language=self.language_code)
        self.title = preview.title
        self.html = binary(preview.frame(self.view))
        self.name = FILENAME
        self.text = preview.text

    @property
    def chosen_record(self):
        return self.record if is_saved(self.record) else None

    @property
    def shown_activity(self):
        "The activity with the texts of the chosen variant"
        if self.variant:
            return self.variant.applied(self.activity)
        return self.activity

    @property
    def language_code(self):
        return self.language.code if self.language else None

    def send(self):
        "Send a test e-mail to the address"
        if not self.chosen_record:
            raise PreviewError(
                gettext('marketing_automation.msg_preview_no_record'))
        _, address = parse_address(self.address or '')
        if not address:
            raise PreviewError(gettext(
                    'marketing_automation.msg_test_address',
                    address=self.address or ''))
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
            draft = sample.compose(
                self.shown_activity, self.chosen_record, address,
                language=self.language_code)
            draft.title = one_line(gettext(
                    'marketing_automation.msg_test_title',
                    title=draft.title))
            return sample.TestEnvelope(Outbox(), draft, {}).seal()
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
        show = self.start if self._is_open else self._first()
        show.show()
        return {
            'activity': show.activity.id,
            'record': str(show.record) if show.chosen_record else None,
            'variant': show.variant.id if show.variant else None,
            'language': show.language.id if show.language else None,
            'view': show.view,
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

    def _first(self):
        pool = Pool()
        Show = pool.get('marketing.automation.preview')
        User = pool.get('res.user')
        show = Show(language=None, view=Show.default_view())
        show.address = User(Transaction().user).email
        show.activity = self.record
        show.variant = self.record.preview_variant
        show.record = self.record.preview_record
        return show

    def transition_send(self):
        address = self.start.send()
        self.start.notice = gettext(
            'marketing_automation.msg_test_sent', address=address)
        return 'start'
