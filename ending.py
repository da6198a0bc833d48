# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How the journey of a record ends before its last step

A record ends for one reason and at one time: what waits is cancelled with the
reason and nothing more is planned.  The reasons are those of stay and goal.
"""
from sql import Literal, Null

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import Transaction

from . import clock
from .audience import Audience
from .exceptions import Cancel
from .journey import Source
from .sql_expression import Unqualified

ENDINGS = [
    ('left', "Left the Scenario"),
    ('goal', "Goal Reached"),
    ]


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    ended = fields.Selection(
        [(None, ""), *ENDINGS], "Ended", readonly=True, sort=False,
        states={
            'invisible': ~Eval('ended'),
            },
        help="Why nothing more happens to the record in this scenario.")
    ended_at = fields.DateTime(
        "Ended At", readonly=True,
        states={
            'invisible': ~Eval('ended'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            resume={
                'invisible': ~Bool(Eval('ended')) | Eval('blocked', False),
                'icon': 'tryton-refresh',
                'depends': ['ended', 'blocked'],
                },
            )

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="ended"]', 'visual',
                If(Bool(Eval('ended')), 'muted', '')),
            ]

    @classmethod
    def going(cls, table):
        return super().going(table) & (table.ended == Null)

    @classmethod
    def end(cls, ids, reason):
        "Let the journeys of those ids that go on end, and return the records"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.ended, table.ended_at],
                [reason, clock.now().replace(microsecond=0)],
                where=fields.SQL_OPERATORS['in'](table.id, ids)
                & cls.going(table),
                returning=[Unqualified(table.id)]))
        records = cls.browse([id_ for id_, in cursor])
        RecordActivity._cancel_all('record', records, reason)
        return records

    @classmethod
    @ModelView.button
    def resume(cls, records):
        "Let the records go on where they ended"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        for reason in {r.ended for r in records if r.ended}:
            RecordActivity._resume_all(
                'record', [r for r in records if r.ended == reason], reason)
        cls.write(records, {'ended': None, 'ended_at': None})
        cls._catch_up([r for r in records if not r.blocked])


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def facts(cls, activity, ids):
        return {**super().facts(activity, ids), 'ending': {}}

    def decide(self, activity, facts, scopes):
        record = self.record
        if self.state == 'waiting' and not record.blocked and record.record:
            if reason := record.ended or facts['ending'].get(self.id):
                raise Cancel(reason)
        super().decide(activity, facts, scopes)

    @classmethod
    def matching(cls, ids, scenario, domain, clause=None):
        """Return the set of those ids whose records match the domain

        clause -- function of the table of records
        """
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table, record = cls.__table__(), Record.__table__()
        found = Audience(scenario, domain).search(
            ('id', 'in', cls._resources(ids)), order=[], query=True)
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(record, condition=table.record == record.id)
            .join(found, condition=found.id == Record.record.sql_id(
                    record.record, Record))
            .select(
                table.id,
                where=fields.SQL_OPERATORS['in'](table.id, ids)
                & (clause(record) if clause else Literal(True))))
        return {id_ for id_, in cursor}

    @classmethod
    def _resources(cls, ids):
        "Return the query of what the ids are about"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table, record = cls.__table__(), Record.__table__()
        return (table
            .join(record, condition=table.record == record.id)
            .select(
                Record.record.sql_id(record.record, Record),
                where=fields.SQL_OPERATORS['in'](table.id, ids)))

    @classmethod
    def cancelled(cls, ids, reason):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        super().cancelled(ids, reason)
        if reason in dict(ENDINGS):
            Record.end(
                [r.record.id for r in cls.browse(ids)], reason)

    @classmethod
    def plan(cls, activity, records, now):
        super().plan(activity, cls._going(activity, records), now)

    @classmethod
    def _going(cls, activity, records):
        "Return those ids of records that go on, as far as any can end"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        if not records or not activity.scenario.can_end:
            return records
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.id,
                where=fields.SQL_OPERATORS['in'](table.id, records)
                & (table.ended != Null)))
        ended = {id_ for id_, in cursor}
        return [r for r in records if r not in ended]


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @property
    def can_end(self):
        "Whether journeys can end before their last step"
        return False


class Journey(metaclass=PoolMeta):
    __name__ = 'marketing.automation.journey'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.kind.selection += ENDINGS

    @classmethod
    def _sources(cls):
        return [*super()._sources(), cls._ended()]

    @classmethod
    def _ended(cls):
        pool = Pool()
        record = pool.get('marketing.automation.record').__table__()
        return Source(
            record, record, record.ended_at, record.ended,
            {'record': record.id}, where=record.ended != Null)

    def _describe_left(self, subjects):
        return gettext('marketing_automation.msg_journey_left')
