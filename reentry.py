# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Whether a record enters a scenario again, in another pass

Each pass is a marketing.automation.record of its own.  None begins as long as
something of another waits or the record has unsubscribed.
"""
import datetime as dt

from sql import Literal, Null
from sql.aggregate import Max
from sql.conditionals import Coalesce
from sql.operators import Exists, Or

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.tools import grouped_slice
from trytond.transaction import Transaction

from . import clock
from .exceptions import ScenarioRunningError

_locked = Eval('state', 'draft') == 'running'


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    reentry = fields.Selection([
            ('never', "Never"),
            ('left', "After Leaving"),
            ('pause', "After a Pause"),
            ], "Enter Again", required=True, sort=False,
        states={
            'readonly': _locked,
            },
        help="Never: each record enters once.\n"
        "After Leaving: a record enters again when it matches again, "
        "after it was found not to match.\n"
        "After a Pause: a record that matches enters again so many days "
        "after it has entered last.\n"
        "It never enters while a step of it waits, nor once it has "
        "unsubscribed.")
    reentry_days = fields.Integer(
        "Days of Pause",
        domain=['OR',
            ('reentry_days', '=', None),
            ('reentry_days', '>', 0),
            ],
        states={
            'invisible': Eval('reentry') != 'pause',
            'required': Eval('reentry') == 'pause',
            'readonly': _locked,
            },
        help="How many days after it has entered last "
        "a record enters again at the earliest.")

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        # The column is new in existing databases
        cursor.execute(*table.update(
                [table.reentry], ['never'], where=table.reentry == Null))
        cls.__table_handler__(module).not_null_action('reentry', 'add')

    @classmethod
    def default_reentry(cls):
        return 'never'

    def _check_running(self, values):
        super()._check_running(values)
        for name in ['reentry', 'reentry_days']:
            if name in values and getattr(self, name) != values[name]:
                raise ScenarioRunningError(gettext(
                        'marketing_automation.msg_scenario_running_domain',
                        scenario=self.rec_name))

    @fields.depends('reentry', 'reentry_days')
    def count_reach(self):
        return super().count_reach()

    @fields.depends(methods=['update_counts'])
    def on_change_reentry(self):
        self.update_counts()

    @fields.depends(methods=['update_counts'])
    def on_change_reentry_days(self):
        self.update_counts()

    def keeping_out(self, record):
        clause = super().keeping_out(record)
        if self.reentry in {'left', 'pause'}:
            clause &= Or(self.obstacles(record).values())
        return clause

    def obstacles(self, record):
        "Return {name: clause} of the passes after which none begins"
        clauses = {'blocked': record.blocked == Literal(True)}
        if self.reentry == 'left':
            clauses['left'] = record.left_at == Null
        elif self.reentry == 'pause':
            clauses['pause'] = (
                record.create_date > self.pause_start(clock.now()))
        return {**clauses, 'waiting': _is_waiting(record)}

    def pause_start(self, now):
        "Return when a pause begins that ends now"
        # Without days, it is not saved yet
        return now - dt.timedelta(days=self.reentry_days or 1)

    def next_pass(self, resource):
        if self.reentry == 'never':
            return super().next_pass(resource)
        pool = Pool()
        record = pool.get('marketing.automation.record').__table__()
        return Coalesce(record.select(
                Max(record.pass_number) + 1,
                where=(record.scenario == self.id)
                & (record.record == resource)), 1)

    def prepare_entry(self, audience):
        super().prepare_entry(audience)
        if self.reentry == 'left':
            self._note_left(audience)

    def _note_left(self, audience):
        "Remember which of the records in the scenario do not match any more"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        matching = audience.search(order=[], query=True)
        where = (table.scenario == self.id) & (table.left_at == Null)
        if audience.ids is not None:
            where &= fields.SQL_OPERATORS['in'](
                table.record, [f'{self.model},{i}' for i in audience.ids])
        id_ = Record.record.sql_id(table.record, Record)
        cursor.execute(*table.update(
                [table.left_at], [clock.now().replace(microsecond=0)],
                where=where & ~Exists(matching.select(
                        Literal(1), where=matching.id == id_))))
        Transaction().counter += 1


def _is_waiting(record):
    "Return the clause of the passes that have not ended"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    step = RecordActivity.__table__()
    return Exists(step.select(
            Literal(1),
            where=(step.record == record.id)
            & step.state.in_(RecordActivity.pending)
            # The published module lets rows wait for events for ever
            & ((step.at != Null) | (step.reason != Null))))


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    left_at = fields.DateTime(
        "Left", readonly=True,
        states={
            'invisible': ~Eval('left_at'),
            },
        help="When it was first found not to match the scenario any more.")

    @property
    def passes(self):
        "All the passes of the record through the scenario, with this one"
        return self.search([
                ('scenario', '=', self.scenario.id),
                ('record', '=', str(self.record)),
                ])

    @classmethod
    def superseded(cls, table):
        "Return the clause of the passes after which another has begun"
        later = cls.__table__()
        return Exists(later.select(
                Literal(1),
                # By an index that is empty where nothing enters again
                where=(later.pass_number > 1)
                & (later.scenario == table.scenario)
                & (later.record == table.record)
                & (later.pass_number > table.pass_number)))

    @classmethod
    def on_modification(cls, mode, records, field_names=None):
        super().on_modification(mode, records, field_names=field_names)
        if mode == 'write' and 'blocked' in field_names:
            for blocked in [True, False]:
                cls._hand_on(
                    [r for r in records if r.blocked == blocked], blocked)

    @classmethod
    def _hand_on(cls, records, blocked):
        "Block or unblock also the other passes of the records"
        table = cls.__table__()
        other = cls.__table__()
        cursor = Transaction().connection.cursor()
        others = []
        for sub_records in grouped_slice(records, 1000):
            cursor.execute(*table
                .join(other, condition=(other.scenario == table.scenario)
                    & (other.record == table.record)
                    & (other.blocked != Literal(blocked)))
                .select(
                    other.id,
                    where=fields.SQL_OPERATORS['in'](
                        table.id, [r.id for r in sub_records])))
            others.extend(id_ for id_, in cursor)
        if others:
            cls.write(cls.browse(others), {'blocked': blocked})
