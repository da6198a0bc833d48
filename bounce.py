# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What came back: bounces and complaints, and the addresses they stop"""
import datetime as dt

from sql import Null
from sql.aggregate import Count, Max, Min

from trytond.model import Index, ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from . import schedule, signature
from .mail.address import comparable
from .mail.report import ReportTooLarge, parse, refusal

# An address is stopped by this many soft bounces in so many days, if they are
# not all of one bad week (the rule that Odoo's mailings have proved)
SOFT_BOUNCES = 5
SOFT_WINDOW = 91
SOFT_SPAN = 7


class Bounce(ModelSQL, ModelView):
    "A delivery report or a complaint about an e-mail"
    __name__ = 'marketing.automation.bounce'
    _log = False

    at = fields.DateTime("Date", required=True, readonly=True)
    kind = fields.Selection([
            ('hard', "Hard Bounce"),
            ('soft', "Soft Bounce"),
            ('complaint', "Complaint"),
            ('unknown', "Unknown"),
            ], "Kind", required=True, readonly=True, sort=False)
    kind_string = kind.translated('kind')
    recipient = fields.Char("Recipient", readonly=True)
    status = fields.Char(
        "Code", readonly=True,
        help="The code by which the mail server gives the reason.")
    reason = fields.Char("Reason", readonly=True)
    cause = fields.Selection([
            (None, ""),
            ('address', "Address"),
            ('mailbox', "Mailbox"),
            ('full', "Mailbox Full"),
            ('system', "System"),
            ('network', "Network"),
            ('protocol', "Mail Server"),
            ('content', "Content"),
            ('policy', "Policy"),
            ], "Cause", readonly=True, sort=False,
        help="What is at fault.")
    matched = fields.Boolean(
        "Recognised", readonly=True,
        help="The report carries the mark of an e-mail that was sent.")
    record_activity = fields.Many2One(
        'marketing.automation.record.activity', "Step",
        readonly=True, ondelete='SET NULL')
    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        readonly=True, ondelete='SET NULL')
    mechanism = fields.Many2One(
        'party.contact_mechanism', "Contact Mechanism",
        readonly=True, ondelete='SET NULL')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(t, (t.record_activity, Index.Equality())),
                Index(
                    t,
                    (t.mechanism, Index.Equality()),
                    (t.at, Index.Range())),
                Index(
                    t,
                    (t.activity, Index.Equality()),
                    (t.at, Index.Range())),
                })
        cls._order = [('at', 'DESC'), ('id', 'DESC')]

    def get_rec_name(self, name):
        return ' '.join(filter(None, [
                    self.recipient, self.status, self.reason])) or str(self.id)

    @classmethod
    def receive(cls, data):
        """Store what a message (bytes) reports and stop bad addresses

        Return the bounces.  Messages that only tell of a delay, a delivery
        or an absence are ignored.
        """
        try:
            reports = parse(data)
        except ReportTooLarge as exception:
            return cls.create([cls._new('unknown', reason=str(exception))])
        bounces = []
        for report in reports:
            if report.kind in {'hard', 'soft', 'complaint', 'unknown'}:
                bounces.append(cls._received(report))
        if not reports:
            bounces += cls.create([cls._new('unknown')])
        return bounces

    @classmethod
    def _new(cls, kind, **values):
        return {
            'at': dt.datetime.now(),
            'kind': kind,
            'matched': False,
            **values,
            }

    @classmethod
    def refused(cls, record_activity, recipient, reply):
        """Store that the mail server has refused the e-mail at once

        record_activity -- its id
        reply -- of the server, permanent, with its code
        """
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        sent = RecordActivity(record_activity)
        return cls._create(refusal(recipient, reply), sent, None)

    @classmethod
    def _received(cls, report):
        return cls._create(report, cls._sent(report), report.recipient)

    @classmethod
    def _create(cls, report, sent, recipient):
        values = cls._new(
            report.kind,
            recipient=report.recipient,
            status=report.status,
            cause=report.cause,
            reason=report.reason)
        mechanism = None
        if sent:
            mechanism = cls._mechanism(sent, recipient)
            values.update(
                matched=True,
                record_activity=sent.id,
                activity=sent.activity.id,
                mechanism=mechanism.id if mechanism else None)
        bounce, = cls.create([values])
        if mechanism:
            bounce.suppress()
        return bounce

    @classmethod
    def _sent(cls, report):
        "Return the record activity whose genuine token the report carries"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        RecordActivity = pool.get('marketing.automation.record.activity')
        secret = Configuration.get_secret()
        for token in cls._tokens(report):
            if ids := signature.verify(secret, 'bounce', token, 1):
                for record_activity in RecordActivity.search([
                            ('id', '=', ids[0]),
                            ]):
                    return record_activity

    @staticmethod
    def _tokens(report):
        "Yield what may be the token of the message"
        yield report.headers.get('x-marketing-automation', '').strip()
        for address in report.envelope_to:
            yield address.partition('@')[0].rpartition('+')[2]

    @staticmethod
    def _mechanism(sent, recipient):
        "Return the contact mechanism the e-mail was sent to"
        party = sent.record.party
        if not party:
            return None
        if recipient:
            for mechanism in party.contact_mechanisms:
                if (mechanism.type == 'email'
                        and comparable(mechanism.value)
                        == comparable(recipient)):
                    return mechanism
            return None
        return sent.activity.email_recipient(party)

    def suppress(self):
        "Stop the address if it has to be"
        if self.kind == 'soft' and not self._is_enough():
            return
        if self.kind != 'unknown':
            self.mechanism.marketing_suppress(self.kind, self.reason)

    def _is_enough(self):
        "Return if the soft bounces of the address are too many for too long"
        table = self.__table__()
        cursor = Transaction().connection.cursor()
        since = self.mechanism.marketing_lifted_at or dt.datetime.min
        since = max(since, self.at - dt.timedelta(days=SOFT_WINDOW))
        cursor.execute(*table.select(
                Count(), Min(table.at), Max(table.at),
                where=(table.mechanism == self.mechanism.id)
                & (table.kind == 'soft')
                # The others say nothing about the address
                & ((table.cause == Null)
                    | table.cause.in_(['address', 'mailbox', 'full']))
                & (table.at >= since)))
        count, first, last = cursor.fetchone()
        return (count >= SOFT_BOUNCES
            and schedule.instant(last) - schedule.instant(first)
            >= dt.timedelta(days=SOFT_SPAN))


class ContactMechanism(metaclass=PoolMeta):
    __name__ = 'party.contact_mechanism'

    marketing_suppressed = fields.Selection([
            (None, ""),
            ('hard', "Hard Bounce"),
            ('soft', "Soft Bounces"),
            ('complaint', "Complaint"),
            ], "Suppressed", readonly=True, sort=False,
        states={
            'invisible': Eval('type') != 'email',
            },
        help="Why marketing automation sends nothing to the address.")
    marketing_suppressed_at = fields.DateTime(
        "Suppressed At", readonly=True,
        states={
            'invisible': ~Eval('marketing_suppressed'),
            })
    marketing_suppressed_reason = fields.Char(
        "Suppression Reason", readonly=True,
        states={
            'invisible': ~Eval('marketing_suppressed'),
            })
    marketing_lifted_at = fields.DateTime("Suppression Lifted", readonly=True,
        states={
            'invisible': ~Eval('marketing_lifted_at'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            marketing_lift={
                'invisible': ~Eval('marketing_suppressed'),
                'depends': ['marketing_suppressed'],
                },
            )

    def marketing_suppress(self, kind, reason):
        if self.marketing_suppressed:
            return
        self.__class__.write([self], {
                'marketing_suppressed': kind,
                'marketing_suppressed_at': dt.datetime.now(),
                'marketing_suppressed_reason': reason,
                })

    @classmethod
    @ModelView.button
    def marketing_lift(cls, mechanisms):
        "Send to the addresses again"
        cls.write(mechanisms, {
                'marketing_suppressed': None,
                'marketing_suppressed_at': None,
                'marketing_suppressed_reason': None,
                'marketing_lifted_at': dt.datetime.now(),
                })

    @classmethod
    def on_modification(cls, mode, mechanisms, field_names=None):
        super().on_modification(mode, mechanisms, field_names=field_names)
        if mode == 'write' and 'value' in field_names:
            # Another address has not bounced
            changed = [m for m in mechanisms if m.marketing_suppressed]
            if changed:
                cls.marketing_lift(changed)

    @classmethod
    def copy(cls, mechanisms, default=None):
        default = default.copy() if default is not None else {}
        for name in [
                'marketing_suppressed', 'marketing_suppressed_at',
                'marketing_suppressed_reason', 'marketing_lifted_at']:
            default.setdefault(name)
        return super().copy(mechanisms, default=default)
