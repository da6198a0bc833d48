# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who does not want e-mails any more, since when and because of which"""
import re
from email.utils import parseaddr
from html import unescape

from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.report import Report
from trytond.transaction import Transaction, inactive_records

from . import clock, settings, signature
from .mail.link import to_uri

_next = re.compile(r"""unsubscribe\|([^"'<>]*)""")


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    public_name = fields.Char(
        "Shown to Recipients", translate=True,
        help="What the page to unsubscribe calls these e-mails, "
        "such as \"Our newsletter\".")

    def sender_name(self, record):
        "Return who sends to the record, in words for the recipient"
        senders = [
            a.email_from for a in self.all_activities if a.email_from]
        name, address = parseaddr((senders or [settings.email_from()])[0])
        return name or address


class Unsubscription(ModelSQL, ModelView):
    "What a recipient has stopped"
    __name__ = 'marketing.automation.unsubscription'

    party = fields.Many2One(
        'party.party', "Party", readonly=True, ondelete='CASCADE')
    record = fields.Many2One(
        'marketing.automation.record', "Record",
        readonly=True, ondelete='SET NULL')
    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        readonly=True, ondelete='SET NULL')
    everything = fields.Boolean(
        "Everything", readonly=True,
        help="Not only the scenario but all marketing automation.")
    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        readonly=True, ondelete='SET NULL',
        help="The activity whose e-mail led to the unsubscription.")
    at = fields.DateTime("Date", required=True, readonly=True)
    undone_at = fields.DateTime(
        "Taken Back", readonly=True,
        help="When the recipient took it back.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.record, Index.Equality())),
                Index(t, (t.activity, Index.Equality())),
                })
        cls._order = [('at', 'DESC'), ('id', 'DESC')]

    @classmethod
    def find(cls, uuid, token=None, next_=None):
        """Return (record, activity, URL to go on) of an unsubscribe URL

        The record is None if there is none.  Without a genuine token, the
        activity is None; next_ is then where the URL asks to go on, as those
        of the published module do.
        """
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        if not uuid or len(uuid) > 64 or '\0' in uuid:
            return None, None, None
        records = Record.search([('uuid', '=', uuid)])
        if not records:
            return None, None, None
        record, = records
        if token:
            activity, url = cls._signed(record, token, next_)
        else:
            activity, url = None, next_ or ''
            if not cls.is_next(record, url):
                url = ''
        return record, activity, to_uri(url)

    @classmethod
    def _signed(cls, record, token, next_):
        "Return the activity and the URL to go on of the token"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        Link = pool.get('marketing.automation.link')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity, url = None, ''
        purpose = f'unsubscribe {next_}' if next_ else 'unsubscribe'
        ids = signature.verify(Configuration.get_secret(), purpose, token, 2)
        if ids:
            record_activity_id, link_id = ids
            for record_activity in RecordActivity.search([
                        ('id', '=', record_activity_id),
                        ('record', '=', record.id),
                        ]):
                activity = record_activity.activity
            for link in Link.search([('id', '=', link_id)]):
                url = next_ or link.url
        return activity, url

    @classmethod
    def is_next(cls, record, url):
        """Return if a template of the scenario leads to the URL

        The e-mails of the published module carry it unsigned.
        """
        with inactive_records(), \
                Transaction().set_context(record.reading_context):
            return any(
                url in _nexts(a.email_template)
                for a in record.scenario.all_activities)

    @classmethod
    def act(cls, record, activity, action):
        """Do what the recipient has chosen, return if it takes back

        action -- 'everything', 'undo', or whatever a one-click request sends
        """
        if action == 'undo':
            cls.undo(record)
            return True
        cls.stop(record, activity, everything=action == 'everything')
        return False

    @classmethod
    def stop(cls, record, activity=None, everything=False):
        "Unsubscribe the record, once"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        party = record.party
        is_new = not record.blocked
        Record.block([record])
        if everything and party and not party.marketing_unsubscribed:
            party.marketing_unsubscribed = True
            party.save()
            is_new = True
        if is_new:
            cls.create([{
                        'party': party.id if party else None,
                        'record': record.id,
                        'scenario': record.scenario.id,
                        'everything': everything,
                        'activity': activity.id if activity else None,
                        'at': clock.now(),
                        }])

    @classmethod
    def undo(cls, record):
        "Take back what the recipient has stopped through the record"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        party = record.party
        stopped = cls.search([
                ['OR',
                    ('record', 'in', [r.id for r in record.passes]),
                    [
                        ('party', '=', party.id if party else -1),
                        ('everything', '=', True),
                        ],
                    ],
                ('undone_at', '=', None),
                ])
        if not stopped:
            return
        cls.write(stopped, {'undone_at': clock.now()})
        records = list({s.record for s in stopped if s.record})
        Record.write(records, {'blocked': False})
        if party:
            if any(s.everything for s in stopped):
                party.marketing_unsubscribed = False
            scenarios = {r.scenario for r in records}
            party.marketing_scenario_unsubscribed = [
                s for s in party.marketing_scenario_unsubscribed
                if s not in scenarios]
            party.save()


def _nexts(template):
    "Return the set of the URLs to which the template leads afterwards"
    return {
        unescape(u).strip() for u in _next.findall(template or '')}


class Unsubscribe(Report):
    "The page a recipient sees"
    __name__ = 'marketing.automation.unsubscribe'

    @classmethod
    def get_context(cls, records, header, data):
        context = super().get_context(records, header, data)
        record, = records
        party = record.party
        context['party'] = party
        context['sender'] = record.scenario.sender_name(record.record)
        context['public_name'] = record.scenario.public_name
        context['everything'] = bool(party and party.marketing_unsubscribed)
        context['stopped'] = bool(record.blocked or context['everything'])
        context['undone'] = data.get('undone', False)
        context['next'] = data.get('next')
        # BCP 47
        context['language'] = Transaction().language.replace('_', '-')
        return context
