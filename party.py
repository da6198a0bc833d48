# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from sql import Literal
from sql.operators import Exists

from trytond.model import Index, ModelSQL, fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import (
    Transaction, check_access, inactive_records, without_check_access)

from .mail.address import spellings
from .mixin import MarketingAutomationMixin


class Party(MarketingAutomationMixin, metaclass=PoolMeta):
    __name__ = 'party.party'

    marketing_unsubscribed = fields.Boolean(
        "Unsubscribed from Marketing Automation",
        help="Check to send no e-mail of any scenario to the party.")
    marketing_tracking_refused = fields.Boolean(
        "Tracking Refused",
        help="Check to send e-mails without tracked links nor pixel.")
    marketing_scenario_unsubscribed = fields.Many2Many(
        'party.party-unsubscribed-marketing.automation.scenario',
        'party', 'scenario', "Unsubscribed from Scenarios")
    marketing_unsubscriptions = fields.One2Many(
        'marketing.automation.unsubscription', 'party', "Unsubscriptions",
        readonly=True)
    marketing_records = fields.Function(fields.Many2Many(
            'marketing.automation.record', None, None, "Scenarios",
            help="The scenarios in which the party is or has been."),
        'get_marketing_records')
    marketing_journey = fields.Function(fields.Many2Many(
            'marketing.automation.journey', None, None, "Time Line"),
        'get_marketing_journey')
    marketing_suppressions = fields.Function(fields.Many2Many(
            'party.contact_mechanism', None, None, "Suppressed Addresses",
            help="The addresses to which nothing is sent."),
        'get_marketing_suppressions')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        # Each slice of records that enter leaves these out
        cls._sql_indexes.add(Index(
                t, (t.id, Index.Range()),
                where=t.marketing_unsubscribed == Literal(True)))

    @classmethod
    def default_marketing_unsubscribed(cls):
        return False

    @classmethod
    def default_marketing_tracking_refused(cls):
        return False

    def get_marketing_records(self, name):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        with check_access():
            records = Record.search([('party', '=', self.id)])
        return [r.id for r in records]

    def get_marketing_journey(self, name):
        pool = Pool()
        Journey = pool.get('marketing.automation.journey')
        with check_access():
            entries = Journey.search(
                [('record', 'in', [r.id for r in self.marketing_records])])
        return [e.id for e in entries]

    def get_marketing_suppressions(self, name):
        return [
            m.id for m in self.contact_mechanisms if m.marketing_suppressed]

    def get_marketing_party(self, name):
        return self.id

    @classmethod
    def column_marketing_party(cls, tables):
        table, _ = tables[None]
        return table.id

    @classmethod
    def search_marketing_party(cls, name, clause):
        _, operator, operand, *extra = clause
        nested = clause[0][len(name) + 1:]
        if not nested:
            if operator.endswith('where'):
                query = cls.search(operand, order=[], query=True)
                operator = 'not in' if operator.startswith('not') else 'in'
                return [('id', operator, query)]
            nested = 'rec_name' if isinstance(operand, str) else 'id'
        return [(nested, operator, operand, *extra)]

    @classmethod
    def on_modification(cls, mode, parties, field_names=None):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        super().on_modification(mode, parties, field_names=field_names)
        if mode == 'write' and 'marketing_tracking_refused' in field_names:
            for refused in [True, False]:
                Record.set_anonymous(
                    cls.marketing_resources([
                            p for p in parties
                            if bool(p.marketing_tracking_refused) == refused]),
                    refused)

    @classmethod
    def marketing_settable(cls, types):
        # What people have chosen themselves is theirs to change
        own = {'marketing_tracking_refused', 'marketing_unsubscribed'}
        return [n for n in super().marketing_settable(types) if n not in own]

    @classmethod
    def marketing_unsubscribe(cls, parties):
        "Send no e-mail of any scenario to the parties any more"
        cls.write(parties, {'marketing_unsubscribed': True})

    def marketing_traces(self):
        """Return {model: domain} of what tells something of the party

        Neither access nor what has been deactivated or deleted in the
        meantime restricts it.
        """
        resources = self.marketing_resources([self])
        addresses = self._marketing_addresses()
        sent = ('record_activity.record.record', 'in', resources)
        return {
            'marketing.automation.record': [('record', 'in', resources)],
            'marketing.automation.record.activity': [
                ('record.record', 'in', resources),
                ],
            'marketing.automation.hit': [sent],
            'marketing.automation.bounce': ['OR',
                sent,
                ('mechanism.party', '=', self.id),
                ('recipient', 'in', addresses),
                ],
            'ir.email': ['OR',
                ('marketing_automation_record.record', 'in', resources),
                ('resource', 'in', resources),
                [
                    ('marketing_automation_activity', '!=', None),
                    ('addresses.address', 'in', addresses),
                    ],
                ],
            'party.contact_mechanism': [
                ('party', '=', self.id),
                ('type', '=', 'email'),
                ],
            }

    @classmethod
    def marketing_resources(cls, parties):
        "Return the references of what can enter scenarios for the parties"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        cursor = Transaction().connection.cursor()
        ids = [p.id for p in parties]
        resources = []
        if not ids:
            return resources
        with without_check_access(), inactive_records():
            for name, _ in Scenario.get_models():
                cursor.execute(*pool.get(name).search(
                        [('marketing_party.id', 'in', ids)],
                        order=[], query=True))
                resources.extend(f'{name},{id_}' for id_, in cursor)
        return resources

    def _marketing_addresses(self):
        "Return all the spellings of its e-mail addresses"
        pool = Pool()
        ContactMechanism = pool.get('party.contact_mechanism')
        with without_check_access(), inactive_records():
            mechanisms = ContactMechanism.search([
                    ('party', '=', self.id),
                    ('type', '=', 'email'),
                    ])
            return list({s for m in mechanisms for s in spellings(m.value)})

    @classmethod
    def copy(cls, parties, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('marketing_unsubscriptions')
        return super().copy(parties, default=default)


class PartyUnsubscribedScenario(ModelSQL):
    __name__ = 'party.party-unsubscribed-marketing.automation.scenario'

    party = fields.Many2One(
        'party.party', "Party", required=True, ondelete='CASCADE')
    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        required=True, ondelete='CASCADE')


class Replace(metaclass=PoolMeta):
    __name__ = 'party.replace'

    def transition_replace(self):
        state = super().transition_replace()
        self._replace_marketing_records()
        self._replace_marketing_consent()
        return state

    def _replace_marketing_records(self):
        """Move the records of the party itself to its replacement

        Where the replacement is in the scenario already, the record stays
        with its history but nothing more happens to it.
        """
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        other = Record.__table__()
        cursor = Transaction().connection.cursor()
        source, destination = str(self.ask.source), str(self.ask.destination)
        cursor.execute(*table.update(
                [table.record], [destination],
                where=(table.record == source)
                & ~Exists(other.select(
                        Literal(1),
                        where=(other.scenario == table.scenario)
                        & (other.record == destination)))))
        Transaction().counter += 1
        Record.write(Record.search([
                    ('record', '=', source),
                    ('blocked', '!=', True),
                    ]), {'blocked': True})

    def _replace_marketing_consent(self):
        "Keep every refusal of both parties"
        pool = Pool()
        Party = pool.get('party.party')
        source, destination = self.ask.source, self.ask.destination
        destination.marketing_scenario_unsubscribed = list({
                *destination.marketing_scenario_unsubscribed,
                *source.marketing_scenario_unsubscribed,
                })
        destination.save()
        # Also what does not change, for the records that have been moved
        Party.write([destination], {
                name: any(getattr(p, name) for p in [source, destination])
                for name in [
                    'marketing_unsubscribed', 'marketing_tracking_refused']})

    @classmethod
    def fields_to_replace(cls):
        return [
            *super().fields_to_replace(),
            ('marketing.automation.unsubscription', 'party'),
            ]


class Erase(metaclass=PoolMeta):
    __name__ = 'party.erase'

    def to_erase(self, party_id):
        pool = Pool()
        Address = pool.get('ir.email.address')
        Bounce = pool.get('marketing.automation.bounce')
        ContactMechanism = pool.get('party.contact_mechanism')
        Email = pool.get('ir.email')
        Hit = pool.get('marketing.automation.hit')
        Party = pool.get('party.party')
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        traces = Party(party_id).marketing_traces()
        sent = traces[Email.__name__]
        return [
            *super().to_erase(party_id),
            (Email, sent, True,
                ['recipients', 'recipients_secondary', 'recipients_hidden',
                    'subject', 'body', 'message_id',
                    'marketing_automation_content',
                    'marketing_automation_dictionary'],
                [None] * 8),
            (Address, [('email', 'where', sent)], True,
                ['address'], ['****']),
            (Hit, traces[Hit.__name__], True,
                ['record_activity', 'settled'], [None, True]),
            (RecordActivity, traces[RecordActivity.__name__], True,
                ['detail'], [None]),
            (Bounce, traces[Bounce.__name__], True,
                ['recipient', 'reason'], [None, None]),
            (ContactMechanism, [('party', '=', party_id)], False,
                ['marketing_suppressed_reason'], [None]),
            # What it does from now on is not stored either
            (Party, [('id', '=', party_id)], False,
                ['marketing_tracking_refused'], [True]),
            (Record, traces[Record.__name__], False, ['anonymous'], [True]),
            ]
