# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The time line of a record: all that has happened, in one list"""
from collections import namedtuple

from sql import Cast, Literal, Null, Union
from sql.conditionals import Case
from sql.functions import DateTrunc

from trytond.i18n import gettext
from trytond.model import ModelSQL, ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import check_access

from .sent_email import ShowEmailMixin

ICONS = {
    'entered': 'tryton-forward',
    'waiting': 'tryton-date',
    'sent': 'tryton-send',
    'done': 'tryton-ok',
    'skipped': 'tryton-remove',
    'failed': 'tryton-error',
    'cancelled': 'tryton-cancel',
    'opened': 'tryton-email',
    'clicked': 'tryton-link',
    'unsubscribed': 'tryton-notification-off',
    'resubscribed': 'tryton-notification-on',
    'bounced': 'tryton-undo',
    'left': 'tryton-exit',
    'goal': 'tryton-star',
    'complained': 'tryton-warning',
    }
# Columns that lead to what an entry is made of
NAMES = [
    'record', 'activity', 'record_activity', 'hit', 'unsubscription',
    'bounce']
# Ids of several tables side by side need more room than those of one
ID = 'BIGINT'
# Where entries come from: the tables, that which gives the id, the SQL of time
# and kind, and {name: SQL} of the other columns
Source = namedtuple(
    'Source', [
        'from_', 'table', 'at', 'kind', 'columns', 'by_machine', 'where'],
    defaults=[Literal(False), None])


class Journey(ShowEmailMixin, ModelSQL, ModelView):
    "What has happened to a record in a scenario, or is to happen"
    __name__ = 'marketing.automation.journey'

    at = fields.DateTime(
        "At", help="When it happened or is to happen.\n"
        "Empty while it waits for an event.")
    sequence = fields.Integer(
        "Sequence", help="What comes first within a second.")
    kind = fields.Selection([
            ('entered', "Entered"),
            ('waiting', "Waiting"),
            ('sent', "Sent"),
            ('done', "Done"),
            ('skipped', "Skipped"),
            ('failed', "Failed"),
            ('cancelled', "Cancelled"),
            ('opened', "Opened"),
            ('clicked', "Clicked"),
            ('unsubscribed', "Unsubscribed"),
            ('resubscribed', "Subscribed Again"),
            ('bounced', "Bounced"),
            ('complained', "Complained"),
            ], "What", sort=False)
    record = fields.Many2One(
        'marketing.automation.record', "Record", required=True)
    activity = fields.Many2One('marketing.automation.activity', "Activity")
    record_activity = fields.Many2One(
        'marketing.automation.record.activity', "Step")
    hit = fields.Many2One('marketing.automation.hit', "Hit")
    by_machine = fields.Boolean(
        "By Machine",
        help="Opened or clicked by a scanner or a proxy, which counts "
        "nothing.")
    unsubscription = fields.Many2One(
        'marketing.automation.unsubscription', "Unsubscription")
    bounce = fields.Many2One('marketing.automation.bounce', "Bounce")
    scenario = fields.Function(
        fields.Many2One('marketing.automation.scenario', "Scenario"),
        'get_scenario', searcher='search_scenario')
    party = fields.Function(
        fields.Many2One('party.party', "Party"),
        'get_party', searcher='search_party')
    description = fields.Function(fields.Char(
            "What Happened"), 'get_description')
    icon = fields.Function(fields.Char("Icon"), 'get_icon')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('record')
        cls._order = [
            ('at', 'ASC NULLS LAST'), ('sequence', 'ASC'), ('id', 'ASC')]

    @classmethod
    def view_attributes(cls):
        kind = Eval('kind')
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(kind.in_(['failed', 'bounced', 'complained']), 'danger',
                    If(kind == 'unsubscribed', 'warning',
                        If(Eval('by_machine', False)
                            | kind.in_(['waiting', 'skipped', 'cancelled']),
                            'muted',
                            If(kind.in_(['opened', 'clicked']), 'success',
                                ''))))),
            ]

    @classmethod
    def table_query(cls):
        sources = cls._sources()
        return Union(*(
                cls._select(source, i, len(sources))
                for i, source in enumerate(sources)), all_=True)

    @classmethod
    def _select(cls, source, index, count):
        "Return the query of the source, the columns of all are of same types"
        columns = [
            # Each source has ids of its own
            (Cast(source.table.id, ID) * count + index).as_('id'),
            # Some times are stored with fractions of a second
            cls.at.sql_cast(DateTrunc('second', source.at)).as_('at'),
            cls.sequence.sql_cast(Literal(index)).as_('sequence'),
            cls.kind.sql_cast(source.kind).as_('kind'),
            cls.by_machine.sql_cast(source.by_machine).as_('by_machine'),
            ]
        for name in NAMES:
            column = source.columns.get(name, Null)
            columns.append(getattr(cls, name).sql_cast(column).as_(name))
        return source.from_.select(*columns, where=source.where)

    @classmethod
    def _sources(cls):
        "Return the Sources, an extension adds its own at the end"
        return [
            cls._entered(), cls._step(), cls._hit(), cls._unsubscribed(),
            cls._resubscribed(), cls._bounced()]

    @classmethod
    def _entered(cls):
        pool = Pool()
        record = pool.get('marketing.automation.record').__table__()
        return Source(
            record, record, record.create_date, Literal('entered'),
            {'record': record.id})

    @classmethod
    def _step(cls):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity.__table__()
        step = RecordActivity.__table__()
        is_done = step.state.in_(['delivered', 'done'])
        is_sent = activity.action.in_(
            sorted(Activity.sending_actions()))
        return Source(
            step.join(activity, condition=step.activity == activity.id),
            step, step.at,
            Case((is_done & is_sent, 'sent'), (is_done, 'done'),
                else_=step.state), {
                'record': step.record,
                'activity': step.activity,
                'record_activity': step.id,
                })

    @classmethod
    def _of_step(cls, name, Model, kind, **options):
        "Return the Source of what has come back for an e-mail"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        step = RecordActivity.__table__()
        table = Model.__table__()
        return Source(
            table.join(step, condition=table.record_activity == step.id),
            table, table.at, kind(table), {
                'record': step.record,
                'activity': step.activity,
                'record_activity': step.id,
                name: table.id,
                }, **{n: sql(table) for n, sql in options.items()})

    @classmethod
    def _hit(cls):
        pool = Pool()
        return cls._of_step(
            'hit', pool.get('marketing.automation.hit'),
            lambda hit: Case((hit.link == Null, 'opened'), else_='clicked'),
            by_machine=lambda hit: hit.verdict == 'machine')

    @classmethod
    def _bounced(cls):
        pool = Pool()
        return cls._of_step(
            'bounce', pool.get('marketing.automation.bounce'),
            lambda bounce: Case(
                (bounce.kind == 'complaint', 'complained'), else_='bounced'))

    @classmethod
    def _unsubscribed(cls):
        return cls._of_unsubscription('at', 'unsubscribed')

    @classmethod
    def _resubscribed(cls):
        return cls._of_unsubscription('undone_at', 'resubscribed')

    @classmethod
    def _of_unsubscription(cls, name, kind):
        pool = Pool()
        Unsubscription = pool.get('marketing.automation.unsubscription')
        table = Unsubscription.__table__()
        at = getattr(table, name)
        return Source(
            table, table, at, Literal(kind), {
                'record': table.record,
                'activity': table.activity,
                'unsubscription': table.id,
                }, where=(at != Null) & (table.record != Null))

    def get_rec_name(self, name):
        return self.description

    @classmethod
    def get_scenario(cls, entries, name):
        return {e.id: e.record.scenario.id for e in entries}

    @classmethod
    def search_scenario(cls, name, clause):
        nested = clause[0][len(name):]
        return [('record.scenario' + nested, *clause[1:])]

    @classmethod
    def get_party(cls, entries, name):
        return {e.id: e.record.party and e.record.party.id for e in entries}

    @classmethod
    def search_party(cls, name, clause):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        nested = clause[0][len(name):]
        # PostgreSQL passes ids on to each source, but no query
        records = Record.search(
            [('party' + nested, *clause[1:])], order=[])
        return [('record', 'in', [r.id for r in records])]

    @classmethod
    def get_icon(cls, entries, name):
        return {e.id: ICONS.get(e.kind) for e in entries}

    @property
    def shown_email(self):
        return self.record_activity.shown_email

    @classmethod
    def _has_email(cls):
        return Eval('kind') == 'sent'

    @classmethod
    def get_description(cls, entries, name):
        subjects = cls._subjects(entries)
        return {e.id: e._describe(subjects) for e in entries}

    @classmethod
    def _subjects(cls, entries):
        "Return {(activity, record): subject} of what the user may read"
        pool = Pool()
        Email = pool.get('ir.email')
        records = {e.record.id for e in entries if e.kind == 'sent'}
        with check_access():
            emails = Email.search([
                    ('marketing_automation_record', 'in', list(records)),
                    ], order=[('id', 'ASC')])
        return {
            (e.marketing_automation_activity, e.marketing_automation_record):
            e.subject for e in emails}

    def _describe(self, subjects):
        "Return the sentence"
        if self.kind in {'waiting', 'done', 'skipped', 'failed', 'cancelled'}:
            return self.record_activity.explanation
        return getattr(self, f'_describe_{self.kind}')(subjects)

    def _describe_entered(self, subjects):
        number = self.record.pass_number
        return gettext(
            'marketing_automation.msg_journey_entered_again' if number > 1
            else 'marketing_automation.msg_journey_entered',
            scenario=self.record.scenario.rec_name,
            number=number)

    def _describe_sent(self, subjects):
        subject = subjects.get((self.activity, self.record))
        subject = subject or self.activity.rec_name
        if variant := self.record_activity.variant:
            return gettext(
                'marketing_automation.msg_journey_sent_variant',
                subject=subject, variant=variant.rec_name)
        return gettext(
            'marketing_automation.msg_journey_sent', subject=subject)

    def _describe_opened(self, subjects):
        return gettext(
            'marketing_automation.msg_journey_opened_machine'
            if self.by_machine else 'marketing_automation.msg_journey_opened')

    def _describe_clicked(self, subjects):
        return gettext(
            'marketing_automation.msg_journey_clicked_machine'
            if self.by_machine else 'marketing_automation.msg_journey_clicked',
            url=self.hit.link.url)

    def _describe_unsubscribed(self, subjects):
        return gettext(
            'marketing_automation.msg_journey_unsubscribed_everything'
            if self.unsubscription.everything
            else 'marketing_automation.msg_journey_unsubscribed')

    def _describe_resubscribed(self, subjects):
        return gettext('marketing_automation.msg_journey_resubscribed')

    def _describe_bounced(self, subjects):
        return gettext(
            'marketing_automation.msg_journey_bounced',
            kind=self.bounce.kind_string, reason=self.bounce.reason or '')

    def _describe_complained(self, subjects):
        return gettext('marketing_automation.msg_journey_complained')


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    journey = fields.Function(fields.Many2Many(
            'marketing.automation.journey', None, None, "Time Line"),
        'get_journey')

    @classmethod
    def get_journey(cls, records, name):
        pool = Pool()
        Journey = pool.get('marketing.automation.journey')
        result = {r.id: [] for r in records}
        with check_access():
            entries = Journey.search([('record', 'in', list(result))])
        for entry in entries:
            result[entry.record.id].append(entry.id)
        return result
