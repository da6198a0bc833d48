# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Which variant of an e-mail does best, and goes to the rest

The rest of the audience waits with the reason test and without a time, so
that nothing is asked for each record.  What has a winner is looked for when
the work is started, and who waits for it then becomes due slice by slice.
"""
import datetime as dt

from sql import Literal, Null
from sql.aggregate import Count
from sql.operators import Exists

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from . import clock
from .exceptions import VariantError
from .progress import rate
from .schedule import instant
from .transaction import commit, forget, look
from .variant_result import NOTHING

# How old e-mails have to be before they are counted: they are to be opened
SETTLED = dt.timedelta(hours=1)
UNITS = {
    'hours': dt.timedelta(hours=1),
    'days': dt.timedelta(days=1),
    }
SLICE = 10_000

_tested = {
    'invisible': ~Bool(Eval('test_by')),
    }
_measured = Eval('test_by').in_(['email_opened', 'email_clicked', 'goal'])


class Variant(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity.variant'

    is_winner = fields.Function(fields.Boolean("Winner"), 'get_winner')
    is_decided = fields.Function(fields.Boolean("Decided"), 'get_winner')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            choose={
                'invisible': (
                    Eval('is_decided', False) | (Eval('id', -1) < 0)),
                'depends': ['is_decided'],
                },
            )

    @classmethod
    def get_winner(cls, variants, names):
        values = {
            'is_winner': {v.id: v == v.activity.winner for v in variants},
            'is_decided': {v.id: bool(v.activity.winner) for v in variants},
            }
        return {name: values[name] for name in names}

    @classmethod
    def validate_fields(cls, variants, field_names):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        super().validate_fields(variants, field_names)
        if field_names and field_names & {'active', 'share'}:
            for activity in Activity.browse({v.activity for v in variants}):
                activity.check_test()

    @classmethod
    def check_modification(
            cls, mode, variants, values=None, external=False):
        super().check_modification(
            mode, variants, values=values, external=external)
        if mode == 'delete' and external:
            for variant in variants:
                if variant.email_sent or variant.is_winner:
                    raise VariantError(gettext(
                            'marketing_automation.msg_variant_sent',
                            variant=variant.rec_name))

    @classmethod
    @ModelView.button
    def choose(cls, variants):
        "Let the variant win, as a person has decided"
        for variant in variants:
            if not variant.activity.win(variant, chosen=True):
                raise VariantError(gettext(
                        'marketing_automation.msg_test_decided',
                        activity=variant.activity.rec_name))


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    test_by = fields.Selection([
            (None, "No Test"),
            ('email_opened', "Opens"),
            ('email_clicked', "Clicks"),
            ('goal', "Goals"),
            ('person', "A Person Decides"),
            ], "Winner By", sort=False,
        states={
            'invisible': Eval('action') != 'send_email',
            },
        help="Choose it to send variants of the e-mail to a part of the "
        "recipients.\nThe variant that wins is sent to the rest.")
    test_share = fields.Integer(
        "Take Part",
        domain=['OR',
            ('test_share', '=', None),
            [('test_share', '>', 0), ('test_share', '<=', 100)],
            ],
        states={
            'required': Bool(Eval('test_by')),
            **_tested,
            },
        help="How many percent of the recipients get a variant before there "
        "is a winner.\nThe others wait for it.")
    test_number = fields.Integer(
        "Decide After",
        domain=['OR',
            ('test_number', '=', None),
            ('test_number', '>', 0),
            ],
        states={
            'required': _measured,
            'invisible': ~_measured,
            },
        help="How long after the first e-mail, or after how many e-mails, "
        "the winner is decided.\n"
        "An e-mail counts one hour after it was sent.")
    test_unit = fields.Selection([
            (None, ""),
            ('hours', "Hours"),
            ('days', "Days"),
            ('emails', "E-mails"),
            ], "Unit", sort=False,
        states={
            'required': _measured,
            'invisible': ~_measured,
            })
    test_started_at = fields.DateTime(
        "First E-mail", readonly=True,
        states={
            'invisible': ~Eval('test_started_at'),
            })
    winner = fields.Many2One(
        'marketing.automation.activity.variant', "Winner",
        readonly=True, ondelete='SET NULL',
        states={
            'invisible': ~Eval('winner'),
            })
    winner_at = fields.DateTime("Won At", readonly=True)
    winner_chosen = fields.Boolean("Chosen by a Person", readonly=True)

    @classmethod
    def default_test_share(cls):
        return 20

    @classmethod
    def default_test_number(cls):
        return 1

    @classmethod
    def default_test_unit(cls):
        return 'days'

    @classmethod
    def copy(cls, activities, default=None):
        default = default.copy() if default is not None else {}
        for name in ['test_started_at', 'winner', 'winner_at']:
            default.setdefault(name)
        default.setdefault('winner_chosen', False)
        return super().copy(activities, default=default)

    # What can be decided

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        if not field_names or field_names & {'test_by', 'variants', 'parent'}:
            for activity in activities:
                activity.check_test()

    def check_test(self):
        "Raise an error if nothing could win"
        if not self.test_by:
            return
        if sum(bool(v.share) for v in self.variants) < 2:
            raise VariantError(gettext(
                    'marketing_automation.msg_test_variants',
                    activity=self.rec_name))
        if self.scenario and self.scenario.state == 'running':
            self.check_measure()

    def check_measure(self):
        "Raise an error if what is to decide is not known"
        if (self.test_by in {'email_opened', 'email_clicked'}
                and self.scenario.tracking != 'individual'):
            raise VariantError(gettext(
                    'marketing_automation.msg_test_tracking',
                    activity=self.rec_name))
        if self.test_by == 'goal' and not self.scenario.goal_mode:
            raise VariantError(gettext(
                    'marketing_automation.msg_test_goal',
                    activity=self.rec_name))

    # How the variants do

    def variant_counts(self):
        """Return {variant: (whole, part)} by which the winner is decided

        Another module that adds to the selection of test_by extends it.
        """
        pool = Pool()
        Variant = pool.get('marketing.automation.activity.variant')
        counts = Variant.count([v.id for v in self.variants])
        index = {'email_opened': 1, 'goal': 3}.get(self.test_by, 2)
        result = {}
        for variant in self.variants:
            count = counts.get(variant.id, NOTHING)
            result[variant] = count[0], count[index]
        return result

    @property
    def leading_variant(self):
        "The variant with the highest rate so far, the first of equal ones"
        counts = self.variant_counts()
        return max(
            counts, default=None,
            key=lambda v: rate(*reversed(counts[v]), digits=9))

    # What is decided

    def decided_at(self, start):
        "Return when the winner is decided, None if no time does it"
        if start and self.test_unit in UNITS and self.test_by != 'person':
            return start + self.test_number * UNITS[self.test_unit]

    @classmethod
    def start_tests(cls, variants):
        "Note when the first of the ids of variants was sent"
        pool = Pool()
        Variant = pool.get('marketing.automation.activity.variant')
        table = cls.__table__()
        variant = Variant.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.test_started_at],
                [clock.now().replace(microsecond=0)],
                where=(table.test_started_at == Null)
                & table.id.in_(variant.select(
                        variant.activity,
                        where=fields.SQL_OPERATORS['in'](
                            variant.id, list(variants))))))

    @classmethod
    def decide_tests(cls):
        "Decide what is due, and let go on what waits for what is decided"
        for id_, is_decided in look(cls._tests):
            if is_decided or commit(cls._decide_test, id_):
                while commit(cls._release, id_):
                    pass

    @classmethod
    def _tests(cls):
        "Return (id, if there is a winner) of the tests to look at"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        Variant = pool.get('marketing.automation.activity.variant')
        table = cls.__table__()
        scenario = Scenario.__table__()
        variant = Variant.__table__()
        cursor = Transaction().connection.cursor()
        decided = (table.winner != Null) | (table.test_by == Null)
        cursor.execute(*table
            .join(scenario, condition=table.scenario == scenario.id)
            .select(
                table.id, decided.as_('decided'),
                table.test_started_at, table.test_number, table.test_unit,
                where=(scenario.state == 'running')
                & table.id.in_(variant.select(variant.activity))
                & ((decided & Exists(cls._waiting(table.id)))
                    | (~decided & (table.test_by != 'person')
                        & (table.test_started_at != Null)))))
        now = clock.now()
        return [
            (id_, bool(is_decided))
            for id_, is_decided, start, number, unit in cursor
            if is_decided or unit not in UNITS
            or instant(start) + number * UNITS[unit] <= now]

    @classmethod
    def _waiting(cls, activity):
        "Return the query of the ids of the rows that wait for the winner"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        return table.select(
            table.id,
            where=(table.activity == activity)
            & (table.at == Null)
            & (table.state == 'waiting')
            & (table.reason == 'test'))

    @classmethod
    def _decide_test(cls, id_):
        "Return if there is a winner now"
        activity = cls(id_)
        if activity.winner:
            return True
        if activity.test_unit == 'emails' and not activity._is_enough():
            return False
        winner = activity.leading_variant
        return bool(winner) and activity.win(winner)

    def _is_enough(self):
        "Return if as many e-mails were sent as decide the test"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        sent = table.select(
            Literal(1),
            where=(table.activity == self.id)
            & (table.variant != Null)
            & table.state.in_(['delivered', 'done'])
            & (table.at <= clock.now() - SETTLED),
            limit=self.test_number)
        cursor.execute(*sent.select(Count()))
        count, = cursor.fetchone()
        return count >= self.test_number

    def win(self, variant, chosen=False):
        "Store the winner unless there is one, and return if that was done"
        table = self.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.winner, table.winner_at, table.winner_chosen],
                [variant.id, clock.now().replace(microsecond=0), chosen],
                where=(table.id == self.id) & (table.winner == Null)))
        forget(self.__class__, [self.id])
        return cursor.rowcount == 1

    @classmethod
    def _release(cls, id_):
        "Let some go on that wait for the winner, return if there may be more"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        waiting = cls._waiting(id_)
        waiting.limit = SLICE
        cursor = Transaction().connection.cursor()
        # That it had to wait does not make it late
        cursor.execute(*table.update(
                [table.at, table.reason, table.due_since],
                [clock.now().replace(microsecond=0), None, None],
                where=table.id.in_(waiting)))
        Transaction().counter += 1
        return cursor.rowcount == SLICE


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    def check_run(self):
        super().check_run()
        for activity in self.all_activities:
            if activity.test_by:
                activity.check_measure()


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def process(cls):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Activity.decide_tests()
        super().process()
