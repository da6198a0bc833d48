# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What would hurt the delivery of a scenario, in plain words"""
from email.utils import parseaddr

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import PoolMeta
from trytond.wizard import Button, StateView, Wizard

from . import settings
from .mail import sample
from .mail.address import mail_domain
from .mail.header import sender_headers

# Gmail cuts longer messages and hides the link to unsubscribe with the rest
GMAIL_SIZE = 102 * 1024


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(check_delivery={})

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_delivery_check')
    def check_delivery(cls, scenarios):
        pass


class DeliveryCheck(Wizard):
    __name__ = 'marketing.automation.delivery_check'

    start = StateView(
        'marketing.automation.delivery_check.result',
        'marketing_automation.delivery_check_result_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def default_start(self, fields):
        problems = list(find(self.record))
        return {
            'result': '\n\n'.join(problems) or gettext(
                'marketing_automation.msg_check_nothing'),
            }


class DeliveryCheckResult(ModelView):
    __name__ = 'marketing.automation.delivery_check.result'

    result = fields.Text("Result", readonly=True)


def find(scenario):
    "Yield a sentence for each problem"
    for activity in scenario.email_activities:
        if not activity.can_unsubscribe:
            yield activity.unsubscribe_problem
    base = settings.automation_base()
    if not base.startswith('https://'):
        yield gettext('marketing_automation.msg_check_https', url=base)
    record = scenario.sample
    for activity in scenario.email_activities:
        yield from _sender(activity)
        yield from _address(activity)
        if record:
            yield from _content(activity, record)


def _sender(activity):
    "What recipients see must be aligned with the envelope (RFC 7489)"
    configured = settings.email_from() or ''
    wanted = activity.email_from or configured
    headers, sender = sender_headers(configured, wanted)
    shown = next((h for h in headers if h.name == 'From'), wanted)
    envelope = settings.bounce_address() or sender
    if _domain(shown) != _domain(wanted):
        yield gettext(
            'marketing_automation.msg_check_replaced',
            activity=activity.rec_name,
            sender=parseaddr(wanted)[1],
            shown=parseaddr(str(shown))[1])
    if not _is_aligned(_domain(shown), _domain(envelope)):
        yield gettext(
            'marketing_automation.msg_check_sender',
            activity=activity.rec_name,
            sender=parseaddr(str(shown))[1],
            envelope=_domain(envelope))


def _is_aligned(shown, envelope):
    "One is the other or below it: relaxed alignment (RFC 7489 §3.1)"
    return f'.{shown}'.endswith(f'.{envelope}') or (
        f'.{envelope}'.endswith(f'.{shown}'))


def _domain(address):
    return mail_domain(parseaddr(str(address))[1])


def _address(activity):
    template = activity.email_template or ''
    address = settings.address()
    if 'sender_address' in template or address and address in template:
        return
    yield gettext(
        'marketing_automation.msg_check_address',
        activity=activity.rec_name)


def _content(activity, record):
    result = sample.preview(activity, record)
    size = len(result.html.encode())
    if size > GMAIL_SIZE:
        yield gettext(
            'marketing_automation.msg_check_size',
            activity=activity.rec_name,
            size=size // 1024,
            limit=GMAIL_SIZE // 1024)
    if not result.text.strip():
        yield gettext(
            'marketing_automation.msg_check_text',
            activity=activity.rec_name)
