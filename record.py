# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The records in a scenario and what becomes of them in each activity"""
import uuid
from collections import defaultdict

from sql import Conflict, Literal, Null

from trytond.i18n import gettext
from trytond.model import (
    Index, ModelSQL, ModelView, Unique, Workflow, dualmethod, fields)
from trytond.pool import Pool
from trytond.pyson import Eval, If
from trytond.tools import grouped_slice
from trytond.transaction import Transaction

from . import clock, entry
from .condition import evaluate
from .delivery import drain, wake
from .exceptions import Cancel, Skip, SuppressedWarning
from .mixin import ActivityActionMixin, party_of
from .transaction import forget


class Record(ModelSQL, ModelView):
    __name__ = 'marketing.automation.record'
    _log = False

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        required=True, readonly=True, ondelete='CASCADE')
    record = fields.Reference(
        "Record", selection='get_models', required=True, readonly=True)
    pass_number = fields.Integer(
        "Pass", required=True, readonly=True,
        help="How many times the record has entered with this one.")
    party = fields.Function(fields.Many2One(
            'party.party', "Party"), 'get_party', searcher='search_party')
    blocked = fields.Boolean(
        "Unsubscribed",
        states={
            'readonly': ~Eval('blocked', False),
            },
        help="Nothing more happens to the record in this scenario.")
    uuid = fields.Char("UUID", readonly=True, strip=False)
    activities = fields.One2Many(
        'marketing.automation.record.activity', 'record', "Steps",
        order=[('at', 'ASC NULLS LAST'), ('id', 'ASC')], readonly=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('pass_unique',
                Unique(t, t.scenario, t.record, t.pass_number),
                'marketing_automation.msg_record_scenario_record_unique'),
            ('uuid_unique', Unique(t, t.uuid),
                'marketing_automation.msg_record_uuid_unique'),
            ]
        cls._sql_indexes.add(
            Index(
                t,
                (t.scenario, Index.Equality()),
                (t.record, Index.Equality()),
                where=t.pass_number > 1))
        cls._buttons.update(
            block={
                'invisible': Eval('blocked', False),
                'depends': ['blocked'],
                },
            )

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        table_h = cls.__table_handler__(module)
        # The column is new in existing databases
        cursor.execute(*table.update(
                [table.pass_number], [1], where=table.pass_number == Null))
        table_h.not_null_action('pass_number', 'add')
        table_h.drop_constraint('scenario_record_unique')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(Eval('blocked', False), 'muted', '')),
            ]

    @classmethod
    def default_pass_number(cls):
        return 1

    @classmethod
    def default_uuid(cls):
        return uuid.uuid4().hex

    @classmethod
    def going(cls, table):
        "Return the clause of the records that go on in their scenario"
        return table.blocked != Literal(True)

    @classmethod
    def default_blocked(cls):
        return False

    @fields.depends('scenario')
    def get_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        Scenario = pool.get('marketing.automation.scenario')
        if not self.scenario:
            return Scenario.get_models()
        model = self.scenario.model
        return [(model, Model.get_name(model))]

    @classmethod
    def get_party(cls, records, name):
        result = {}
        for record in records:
            party = record.record and party_of(record.record)
            result[record.id] = party.id if party else None
        return result

    @classmethod
    def search_party(cls, name, clause):
        pool = Pool()
        Party = pool.get('party.party')
        Scenario = pool.get('marketing.automation.scenario')
        field, operator, operand, *_ = clause
        if field == name and operator == '=' and isinstance(operand, int):
            # By the index of both columns
            return [
                ('scenario', 'in', Scenario.search([], order=[], query=True)),
                ('record', 'in', Party.marketing_resources(
                        [Party(operand)])),
                ]
        nested = field[len(name):]
        return ['OR', *(
                ('record.marketing_party' + nested, operator, operand, model)
                for model, _ in Scenario.get_models())]

    @property
    def reading_context(self):
        "The context in which the record is read: company and language"
        if not self.record:
            return {}
        return self.scenario.reading_context(self.record)

    def get_rec_name(self, name):
        # As it is a reference, the record may have been deleted
        return self.record.rec_name if self.record else f'({self.id})'

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        if mode == 'create':
            # The default would be the same for all records of the call
            values.setdefault('uuid', cls.default_uuid())
        return values

    @classmethod
    def on_modification(cls, mode, records, field_names=None):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        super().on_modification(mode, records, field_names=field_names)
        if mode == 'write' and 'blocked' in field_names:
            RecordActivity.block([r for r in records if r.blocked])
            RecordActivity.unblock([r for r in records if not r.blocked])
            cls._catch_up([r for r in records if not r.blocked])

    @classmethod
    def _catch_up(cls, records):
        "Enter the records into activities added while they were blocked"
        scenarios = defaultdict(list)
        for record in records:
            scenarios[record.scenario].append(record)
        for scenario, records in scenarios.items():
            if scenario.state == 'running':
                for sub_records in grouped_slice(records, 1000):
                    entry.catch_up(
                        scenario.all_activities, list(sub_records))

    @dualmethod
    @ModelView.button
    def block(cls, records):
        "Stop the scenario for the records"
        pool = Pool()
        Party = pool.get('party.party')
        cls.write(records, {'blocked': True})
        parties = defaultdict(set)
        for record in records:
            if record.scenario.unsubscribable and record.party:
                parties[record.party].add(record.scenario)
        for party, scenarios in parties.items():
            scenarios.difference_update(party.marketing_scenario_unsubscribed)
            party.marketing_scenario_unsubscribed += tuple(scenarios)
        Party.save(parties)


class RecordActivity(ActivityActionMixin, Workflow, ModelSQL, ModelView):
    __name__ = 'marketing.automation.record.activity'
    _log = False
    # States in which a worker still has something to do
    pending = ['waiting', 'delivered']
    # Reasons to skip that may have gone
    passing_reasons = [
        'cap', 'condition', 'duplicate', 'guard', 'inactive', 'late',
        'no_address', 'no_party', 'no_user', 'suppressed', 'unsubscribed']

    record = fields.Many2One(
        'marketing.automation.record', "Record",
        required=True, readonly=True, ondelete='CASCADE')
    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True, ondelete='CASCADE')
    at = fields.DateTime(
        "Date",
        states={
            'readonly': Eval('state') != 'waiting',
            'required': Eval('state') == 'done',
            },
        help="When the step is due or was finished.\n"
        "Empty while it waits for an event.")
    email_opened = fields.Boolean(
        "Opened", readonly=True,
        states={
            'invisible': Eval('activity_action') != 'send_email',
            })
    email_clicked = fields.Boolean(
        "Clicked", readonly=True,
        states={
            'invisible': Eval('activity_action') != 'send_email',
            })
    state = fields.Selection([
            ('waiting', "Waiting"),
            ('delivered', "Delivered"),
            ('done', "Done"),
            ('skipped', "Skipped"),
            ('failed', "Failed"),
            ('cancelled', "Cancelled"),
            ], "State", required=True, readonly=True, sort=False)
    reason = fields.Selection([
            (None, ""),
            ('retry', "Temporary Failure"),
            ('limit', "Sending Limit"),
            ('window', "Outside Sending Hours"),
            ('cap', "Frequency Cap"),
            ('date', "Date Not Known"),
            ('test', "Waits for the Winner"),
            ('condition', "Condition Not Fulfilled"),
            ('blocked', "Unsubscribed from the Scenario"),
            ('unsubscribed', "Unsubscribed"),
            ('suppressed', "Address Suppressed"),
            ('deleted', "Record Deleted"),
            ('no_party', "No Party"),
            ('no_address', "No E-mail Address"),
            ('duplicate', "Same Address"),
            ('inactive', "Party Deactivated"),
            ('late', "Too Late"),
            ('guard', "Held Back"),
            ('event', "Event Happened"),
            ('left', "Left the Scenario"),
            ('goal', "Goal Reached"),
            ('deactivated', "Activity Deactivated"),
            ('address', "Invalid E-mail Address"),
            ('template', "Template Error"),
            ('refused', "Refused by the Mail Server"),
            ('no_user', "Nobody to Notify"),
            ('access', "Access Denied"),
            ('readonly', "Field Can Not Be Changed"),
            ('change', "Change Refused"),
            ('webhook', "Refused by the Webhook"),
            ('expired', "Tried Too Long"),
            ('worker', "Too Much for the System"),
            ('error', "Error"),
            ], "Reason", readonly=True, sort=False)
    detail = fields.Text("Detail", readonly=True)
    explanation = fields.Function(fields.Char(
            "Explanation", help="What happened and why."),
        'get_explanation')
    attempts = fields.Integer(
        "Attempts", readonly=True,
        help="How many times the delivery has failed temporarily.")
    tried_since = fields.DateTime("Tried Since", readonly=True)
    links = fields.Integer(
        "Links", readonly=True,
        help="How many tracked links the e-mail has.")
    lease = fields.Timestamp(
        "Lease", readonly=True,
        help="Until when a worker keeps the step for itself.")
    claims = fields.Integer(
        "Claims", readonly=True,
        help="How many workers have ended while they worked on it.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('activity_record_unique', Unique(t, t.activity, t.record),
                'marketing_automation.msg_activity_record_unique'),
            ]
        cls._sql_indexes.update({
                Index(
                    t,
                    (t.activity, Index.Equality()),
                    (t.at, Index.Range()),
                    where=t.state.in_(cls.pending)),
                Index(
                    t,
                    (t.state, Index.Equality(cardinality='low')),
                    (t.activity, Index.Equality()),
                    where=t.state == 'failed'),
                Index(t, (t.record, Index.Equality())),
                Index(
                    t,
                    (t.activity, Index.Equality()),
                    (t.at, Index.Range())),
                })
        cls._order = [('id', 'DESC')]
        cls._transitions |= {
            ('waiting', 'done'),
            ('waiting', 'skipped'),
            ('waiting', 'failed'),
            ('waiting', 'cancelled'),
            ('failed', 'waiting'),
            }
        is_sent = ((Eval('state') == 'done')
            & (Eval('activity_action') == 'send_email'))
        cls._buttons.update(
            on_email_opened={
                'invisible': ~is_sent | Eval('email_opened', False),
                'depends': ['state', 'activity_action', 'email_opened'],
                },
            on_email_clicked={
                'invisible': ~is_sent | Eval('email_clicked', False),
                'depends': ['state', 'activity_action', 'email_clicked'],
                },
            retry={
                'invisible': ~(
                    (Eval('state') == 'failed')
                    | ((Eval('state') == 'waiting')
                        & (Eval('reason') == 'retry'))
                    | ((Eval('state') == 'skipped')
                        & Eval('reason').in_(cls.passing_reasons))),
                'icon': 'tryton-refresh',
                'depends': ['state', 'reason'],
                },
            )

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('state') == 'failed', 'danger',
                    If(Eval('reason') == 'retry', 'warning',
                        If(Eval('state').in_(['skipped', 'cancelled']),
                            'muted', '')))),
            ]

    @classmethod
    def default_email_opened(cls):
        return False

    @classmethod
    def default_email_clicked(cls):
        return False

    @classmethod
    def default_state(cls):
        return 'waiting'

    def get_rec_name(self, name):
        return f'{self.activity.rec_name} - {self.record.rec_name}'

    @classmethod
    def search_rec_name(cls, name, clause):
        return [('activity.rec_name', *clause[1:])]

    def get_explanation(self, name):
        name = f'{self.state}_{self.reason}' if self.reason else self.state
        if self.state == 'waiting' and not self.reason and not self.at:
            name = 'waiting_event'
        return gettext(
            f'marketing_automation.msg_explanation_{name}',
            detail=self.explained_detail or '',
            attempts=self.attempts or 0)

    @property
    def explained_detail(self):
        "The detail as people read it"
        return self.detail

    @classmethod
    def process(cls):
        "Have done what is due, by workers or in this process"
        pool = Pool()
        Hit = pool.get('marketing.automation.hit')
        Hit.settle()
        wake()

    @classmethod
    def drain(cls, record_activities, until):
        "Task of the queue: do what was due at until, as long as time allows"
        # Nothing else is to keep a snapshot for all this time
        Transaction().commit()
        drain(until)

    @classmethod
    def do(cls, record_activities):
        """Do the waiting activities, whenever they are due

        A task does it once the transaction is committed.
        """
        cls.__queue__.do_now(record_activities)

    @classmethod
    def do_now(cls, record_activities):
        "Task of the queue: do the activities, whenever they are due"
        Transaction().commit()
        drain(None, [r.id for r in record_activities])

    @classmethod
    def happened(cls, activity, ids):
        "Return those ids whose negative event has happened to the parent"
        if not (activity.event and activity.negative):
            return set()
        table = cls.__table__()
        parent = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(parent, condition=(table.record == parent.record)
                & (parent.activity == activity.parent.id))
            .select(
                table.id,
                where=fields.SQL_OPERATORS['in'](table.id, ids)
                & getattr(parent, activity.event)))
        return {id_ for id_, in cursor}

    @classmethod
    def facts(cls, activity, ids):
        """Return what is found out for all of the ids together

        A dictionary of what decide needs, an extension adds its own.
        """
        return {'happened': cls.happened(activity, ids)}

    def decide(self, activity, facts, scopes):
        """Raise the Outcome that keeps the record from the activity

        facts -- what the class method facts has found out
        scopes -- the Scopes in which conditions are read
        """
        record = self.record
        if self.state == 'delivered':
            return
        if self.id in facts['happened']:
            raise Cancel('event')
        if record.blocked:
            raise Cancel('blocked')
        if not record.record:
            raise Skip('deleted')
        if not evaluate(activity.condition, record.record, scopes):
            raise Skip('condition')

    @classmethod
    def follow(cls, activity, ids):
        "Plan the children that do not wait for a positive event"
        if not ids:
            return
        table = cls.__table__()
        now = clock.now()
        steps = []
        for child in activity.children:
            where = cls._leading_to(child, table, ids)
            if where is not None:
                where &= activity.way_to(child, table.record)
                steps.append((where, child, child.due(now)))
        # What is written makes all be read again
        for step in steps:
            cls.insert_from(table, table.record, *step)

    @classmethod
    def _leading_to(cls, child, table, ids):
        """Return the clause of those done ids that the child follows

        None if it waits for a positive event.
        """
        if not child.event or child.negative:
            return fields.SQL_OPERATORS['in'](table.id, ids)

    @classmethod
    @ModelView.button
    def retry(cls, record_activities):
        "Try again, from now on"
        cls._lift(record_activities)
        cls.write(record_activities, {
                'state': 'waiting',
                'at': clock.now(),
                'attempts': 0,
                'tried_since': None,
                'due_since': None,
                'reason': None,
                'detail': None,
                'claims': 0,
                })

    @classmethod
    def _lift(cls, record_activities):
        "Lift what stops the addresses, if the user wants to send to them"
        pool = Pool()
        Warning = pool.get('res.user.warning')
        ContactMechanism = pool.get('party.contact_mechanism')
        mechanisms = set()
        for record_activity in record_activities:
            party = record_activity.record.party
            mechanism = party and (
                record_activity.activity.email_recipient(party))
            if mechanism and mechanism.marketing_suppressed:
                mechanisms.add(mechanism)
        if not mechanisms:
            return
        key = Warning.format('marketing_lift', mechanisms)
        if Warning.check(key):
            names = sorted(m.value for m in mechanisms)
            raise SuppressedWarning(key, gettext(
                    'marketing_automation.msg_retry_suppressed',
                    addresses=', '.join(names[:5])
                    + ('…' if len(names) > 5 else '')))
        ContactMechanism.marketing_lift(list(mechanisms))

    @classmethod
    @ModelView.button
    def on_email_opened(cls, record_activities):
        cls.happen([r.id for r in record_activities], ['email_opened'])

    @classmethod
    @ModelView.button
    def on_email_clicked(cls, record_activities):
        # There is no click without an open
        cls.happen(
            [r.id for r in record_activities],
            ['email_opened', 'email_clicked'])

    @classmethod
    def happen(cls, ids, events):
        """Note the events on the ids that were sent and plan what follows

        events -- list of email_opened and email_clicked
        """
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        table = cls.__table__()
        sent = defaultdict(list)
        for sub_ids in grouped_slice(ids, 1000):
            where = (fields.SQL_OPERATORS['in'](table.id, list(sub_ids))
                & table.state.in_(['delivered', 'done']))
            cursor.execute(*table.select(
                    table.activity, table.record, where=where))
            for activity, record in cursor:
                sent[activity].append(record)
            cursor.execute(*table.update(
                    [getattr(table, e) for e in events],
                    [True for e in events], where=where))
        transaction.counter += 1
        for activity in Activity.browse(sent):
            for child in activity.children:
                if child.event not in events:
                    continue
                records = sent[activity.id]
                if child.negative:
                    cls._cancel(child, records)
                else:
                    late = cls.settled(child, records)
                    cls.plan(
                        child, [r for r in records if r not in late],
                        clock.now())
        cls._refresh(ids)

    @classmethod
    def settled_by(cls, activity):
        """Return the ids of the activities that settle the activity's event

        Once "not opened" has been done for a record, it is too late for
        "opened".
        """
        if not activity.event or activity.negative:
            return []
        return [
            a.id for a in activity.parent.children
            if a.event == activity.event and a.negative]

    @classmethod
    def settled(cls, activity, records):
        "Return the set of those records for which the event comes too late"
        ids = cls.settled_by(activity)
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        result = set()
        for sub_records in grouped_slice(records if ids else [], 1000):
            cursor.execute(*table.select(
                    table.record,
                    where=fields.SQL_OPERATORS['in'](table.activity, ids)
                    & fields.SQL_OPERATORS['in'](
                        table.record, list(sub_records))
                    & table.state.in_(['delivered', 'done'])))
            result.update(r for r, in cursor)
        return result

    @classmethod
    def _cancel(cls, activity, records):
        "Cancel what waited in vain for the event not to happen"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        for sub_records in grouped_slice(records, 1000):
            cursor.execute(*table.update(
                    [table.state, table.reason, table.at],
                    ['cancelled', 'event',
                        clock.now().replace(microsecond=0)],
                    where=(table.activity == activity.id)
                    & (table.state == 'waiting')
                    & fields.SQL_OPERATORS['in'](
                        table.record, list(sub_records))))

    @classmethod
    def plan(cls, activity, records, now):
        "Let the activity become due for the ids of records after its delay"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        at = activity.due(now)
        for sub_records in grouped_slice(records, 1000):
            sub_records = list(sub_records)
            # The published module creates rows that wait for the event
            cursor.execute(*table.update(
                    [table.at, table.reason], [at, waiting_reason(at)],
                    where=(table.activity == activity.id)
                    & (table.state == 'waiting')
                    & (table.at == Null)
                    & fields.SQL_OPERATORS['in'](table.record, sub_records)))
            cls.insert([(activity.id, r, at) for r in sub_records])

    @classmethod
    def _row_values(cls, **values):
        return {
            'create_uid': Transaction().user,
            'create_date': clock.now(),
            'state': 'waiting',
            'email_opened': False,
            'email_clicked': False,
            'attempts': 0,
            **values,
            }

    @classmethod
    def insert(cls, rows, **values):
        "Insert (activity, record, at) rows unless they exist already"
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        if rows:
            values.setdefault('reason', waiting_reason(rows[0][-1]))
        defaults = cls._row_values(**values)
        names = ['activity', 'record', 'at', *defaults]
        if rows:
            cursor.execute(*table.insert(
                    [getattr(table, n) for n in names],
                    [[*row, *defaults.values()] for row in rows],
                    on_conflict=Conflict(table)))
            transaction.counter += 1

    @classmethod
    def insert_from(cls, from_, record, where, activity, at):
        """Insert the activity at the time for the records of a query

        from_ -- table to select from
        record -- its column with the id of the record
        where -- its clause
        """
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        defaults = cls._row_values(
            activity=activity.id, reason=waiting_reason(at))
        cursor.execute(*table.insert(
                [table.record, table.at,
                    *(getattr(table, n) for n in defaults)],
                from_.select(
                    record, cls.at.sql_cast(Literal(at)),
                    *map(Literal, defaults.values()), where=where),
                on_conflict=Conflict(table)))
        transaction.counter += 1

    @classmethod
    def deactivate(cls, activities):
        "Cancel all that waits in the activities"
        cls._cancel_all('activity', activities, 'deactivated')

    @classmethod
    def cancelled(cls, ids, reason):
        "What follows from that the ids were cancelled for the reason"

    @classmethod
    def activate(cls, activities):
        "Let wait again what was cancelled with the activities"
        cls._resume_all('activity', activities, 'deactivated')

    @classmethod
    def block(cls, records):
        "Cancel all that waits for the records"
        cls._cancel_all('record', records, 'blocked')

    @classmethod
    def unblock(cls, records):
        "Let wait again what was cancelled with the records"
        cls._resume_all('record', records, 'blocked')

    @classmethod
    def _cancel_all(cls, name, targets, reason):
        cls._switch(
            name, targets, ('waiting', None), ('cancelled', reason))

    @classmethod
    def _resume_all(cls, name, targets, reason):
        cls._switch(
            name, targets, ('cancelled', reason), ('waiting', None))

    @classmethod
    def _switch(cls, name, targets, from_, to):
        """Change the state of what belongs to the targets

        from_, to -- states with their reason, None for any

        When it is due stays as it is.
        """
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        for sub_targets in grouped_slice(targets, 1000):
            where = ((table.state == from_[0])
                & fields.SQL_OPERATORS['in'](
                    getattr(table, name), [t.id for t in sub_targets]))
            if from_[1]:
                where &= table.reason == from_[1]
            cursor.execute(*table.update(
                    [table.state, table.reason], list(to), where=where))
        Transaction().counter += 1

    @classmethod
    def _refresh(cls, ids):
        "Forget what was cached of the ids after they were changed by SQL"
        forget(cls, ids)


def waiting_reason(at):
    "Return the reason why a step waits until then, None for an unknown date"
    return None if at else 'date'
