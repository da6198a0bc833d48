# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Webhooks: JSON about a record for the servers of others, signed"""
import datetime as dt
import json
import secrets
from decimal import Decimal

from trytond.i18n import gettext
from trytond.model import DeactivableMixin, ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta

from . import settings, signature
from .access import AccessScope, RecordProxy
from .action import action_states
from .exceptions import Failure, Skip, WebhookError, explain
from .field_value import label
from .mail.variable import TECHNICAL
from .mixin import marketing_groups, party_of
from .outgoing import signing
from .outgoing.address import split
from .outgoing.post import Request, post
from .template import TemplateRenderError

# Values that JSON can hold, or that are made so
TYPES = {
    'boolean', 'char', 'text', 'integer', 'float', 'numeric', 'date',
    'datetime', 'timestamp', 'selection', 'many2one'}
# Of every model, they tell how the system works
HIDDEN = TECHNICAL - {'active', 'create_date', 'write_date'} | {
    'distance', 'marketing_reach', 'xml_id'}
EVENT = 'marketing_automation.activity'
TEST_EVENT = 'marketing_automation.test'
_webhook = action_states('webhook')


class Webhook(DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'marketing.automation.webhook'

    name = fields.Char("Name", required=True)
    url = fields.Char(
        "URL", required=True, strip=True,
        help="Where the data goes, it starts with https://.")
    secret = fields.Char(
        "Secret", readonly=True,
        help="Give it to the receiver, who can tell by it that the data comes "
        "from you.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            renew={
                'icon': 'tryton-refresh',
                },
            )

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        if mode == 'create':
            values['secret'] = signing.new_secret()
        return values

    @classmethod
    def validate_fields(cls, webhooks, field_names):
        super().validate_fields(webhooks, field_names)
        if not field_names or 'url' in field_names:
            for webhook in webhooks:
                webhook.check_url()

    def check_url(self):
        "Raise an error unless it is a URL with https"
        if not split(self.url):
            raise WebhookError(gettext(
                    'marketing_automation.msg_webhook_url',
                    webhook=self.rec_name))

    @classmethod
    def copy(cls, webhooks, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('secret')
        return super().copy(webhooks, default=default)

    @classmethod
    @ModelView.button
    def renew(cls, webhooks):
        "Sign with another secret from now on"
        for webhook in webhooks:
            cls.write([webhook], {'secret': signing.new_secret()})

    def request(self, id_, key, content):
        "Return the Request of the content"
        return Request(
            id=id_, key=key, url=self.url, secret=self.secret,
            body=json.dumps(content, ensure_ascii=False).encode())


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    webhook = fields.Many2One(
        'marketing.automation.webhook', "Webhook", ondelete='RESTRICT',
        states=action_states('webhook', required=True),
        help="Who gets the data.")
    webhook_fields = fields.MultiSelection(
        'get_webhook_fields', "Data", sort=False, states=_webhook,
        help="What the receiver learns of the record and its party, besides "
        "their identifiers.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.action.selection.append(('webhook', "Call Webhook"))

    @classmethod
    def page_actions(cls):
        return [*super().page_actions(), 'webhook']

    @classmethod
    def calling_actions(cls):
        return super().calling_actions() | {'webhook'}

    @fields.depends('parent', 'scenario')
    def get_webhook_fields(self):
        Model = self.target_model
        if not Model:
            return []
        return [(p, label(Model, p)) for p in self._readable_paths(Model)]

    @classmethod
    def _readable_paths(cls, Model):
        "Return the paths of the fields that the group Marketing may read"
        pool = Pool()
        Party = pool.get('party.party')
        scope = AccessScope(marketing_groups())
        paths = _names(scope, Model)
        if Model != Party:
            paths += [
                f'marketing_party.{n}' for n in _names(scope, Party)]
        return paths

    @fields.depends('action', 'webhook')
    def flow_what(self):
        if self.action == 'webhook':
            return gettext(
                'marketing_automation.msg_flow_what_webhook',
                webhook=self.webhook.rec_name if self.webhook else '…')
        return super().flow_what()

    def execute_webhook(self, record_activity, outbox=None, **kwargs):
        """Put the request into the outbox

        Without an outbox, it is made once the transaction is committed.
        """
        if outbox is None:
            record_activity.__class__.do([record_activity])
            return
        outbox.append(self.webhook.request(
                record_activity.id, record_activity.webhook_key(),
                self.webhook_content(record_activity, outbox.scopes)))

    def webhook_content(self, record_activity, scopes):
        "Return what the receiver of the webhook gets"
        record = record_activity.record.record
        party = party_of(record)
        if not self.webhook.active:
            raise Failure('webhook', self.webhook.rec_name)
        if party and self.scenario.refusing([party.id]):
            raise Skip('unsubscribed')
        due = record_activity.due_since or record_activity.at
        scope = scopes.get(record, record.marketing_action_context)
        return {
            'type': EVENT,
            'timestamp': _json(due),
            'data': {
                'scenario': _named(self.scenario),
                'activity': _named(self),
                **self.webhook_data(record, scope),
                },
            }

    def test_webhook(self, content):
        "Post the content as a test and return the Answer"
        request = self.webhook.request(
            None, f'msg_test_{secrets.token_hex(8)}',
            {**content, 'type': TEST_EVENT})
        return post(
            request, settings.webhook_timeout(), settings.webhook_hosts())

    def webhook_data(self, record, scope):
        "Return the chosen data of the record and its party"
        party = party_of(record)
        proxy = scope.proxy(record)
        data = {
            'record': {'model': record.__name__, 'id': record.id},
            'party': {'id': party.id} if party else None,
            }
        try:
            for path in self.webhook_fields or []:
                *of_party, name = path.split('.')
                if not of_party:
                    data['record'][name] = _json(proxy._read(name))
                elif party:
                    data['party'][name] = _json(
                        scope.proxy(party)._read(name))
        except TemplateRenderError as exception:
            raise Failure('access', explain(exception)) from exception
        return data


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    def webhook_key(self):
        "Return what identifies the step to receivers, the same for each try"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        token = signature.sign(
            Configuration.get_secret(), 'webhook', self.id)
        return f'msg_{token}'

    def get_explanation(self, name):
        if (self.state == 'waiting' and self.reason == 'retry'
                and self.activity.action == 'webhook'):
            return gettext(
                'marketing_automation.msg_explanation_waiting_retry_webhook',
                attempts=self.attempts or 0,
                detail=self.detail or '')
        return super().get_explanation(name)


def _names(scope, Model):
    "Return the names of the fields to offer, sorted by their labels"
    names = {}
    for name in scope.fields(Model):
        if _is_offered(Model._fields[name]):
            label = Model.__names__(name)['field']
            # What criteria choose by may be there also as the model has it
            if label not in names or names[label].startswith('marketing_'):
                names[label] = name
    return [names[label] for label in sorted(names, key=str.casefold)]


def _is_offered(field):
    if field._type == 'many2many':
        return field.get_target().__name__ == 'party.category'
    return field._type in TYPES and field.name not in HIDDEN


def _named(record):
    return {'id': record.id, 'name': record.rec_name}


def _json(value):
    "Return the value of a field as JSON has it"
    if isinstance(value, RecordProxy):
        return {'id': int(value), 'name': value._read('rec_name')}
    if isinstance(value, list):
        return [_json(v) for v in value]
    if isinstance(value, dt.datetime):
        return f'{value.isoformat()}Z'
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        # As text, or digits would get lost
        return str(value)
    return value
