# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How many e-mails a party gets in some days, from all the scenarios together

Each e-mail that counts takes one of the numbered places of its party, which
is free again after the days, or when the e-mail is not sent after all.  That
a place is taken is decided by the database in one statement: of the workers
that want the last one, one gets it.
"""
import datetime as dt
from collections import defaultdict, namedtuple

from sql import Conflict, Null
from sql.aggregate import Max
from sql.conditionals import Coalesce

from trytond.cache import Cache
from trytond.i18n import gettext
from trytond.model import Index, ModelSQL, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from . import clock, schedule
from .exceptions import Postponement, Skip
from .sql_expression import Excluded, Unqualified

# At most so many e-mails in so many days
Rule = namedtuple('Rule', ['limit', 'days'])


class Configuration(metaclass=PoolMeta):
    __name__ = 'marketing.automation.configuration'

    cap_count = fields.Integer(
        "At Most",
        domain=['OR',
            ('cap_count', '=', None),
            ('cap_count', '>', 0),
            ],
        help="How many e-mails a party gets from all the scenarios together.\n"
        "Leave empty for no limit.")
    cap_days = fields.Integer(
        "In",
        domain=['OR',
            ('cap_days', '=', None),
            [('cap_days', '>', 0), ('cap_days', '<=', 366)],
            ],
        states={
            'required': Bool(Eval('cap_count')),
            },
        help="In how many days.")
    cap_reserved = fields.Integer(
        "Kept for Priority",
        domain=['OR',
            ('cap_reserved', '=', None),
            [('cap_reserved', '>=', 0),
                ('cap_reserved', '<', Eval('cap_count', 0))],
            ],
        help="How many of them only scenarios with priority may use.")

    _cap_cache = Cache(
        'marketing.automation.configuration.cap', context=False)

    @classmethod
    def default_cap_days(cls):
        return 7

    @classmethod
    def on_modification(cls, mode, records, field_names=None):
        super().on_modification(mode, records, field_names=field_names)
        cls._cap_cache.clear()

    @classmethod
    def cap(cls):
        "Return (count, days, reserved), None without a cap"
        cap = cls._cap_cache.get(None, -1)
        if cap == -1:
            configuration = cls(1)
            cap = None
            if configuration.cap_count and configuration.cap_days:
                cap = (
                    configuration.cap_count, configuration.cap_days,
                    configuration.cap_reserved or 0)
            cls._cap_cache.set(None, cap)
        return cap


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    cap = fields.Selection([
            ('normal', "Counts"),
            ('priority', "Counts, with Priority"),
            ('exempt', "Does Not Count"),
            ], "Frequency Cap", required=True, sort=False,
        help="Counts: its e-mails count among those that a party may get.\n"
        "Counts, with Priority: it may also use what is kept for priority.\n"
        "Does Not Count: its e-mails are sent whatever a party has got, "
        "for example about an order.")
    cap_over = fields.Selection([
            ('postpone', "Wait Until It Is Allowed"),
            ('skip', "Skip"),
            ], "What Is Too Much", required=True, sort=False,
        states={
            'invisible': Eval('cap') == 'exempt',
            },
        help="What becomes of an e-mail to a party that has got enough.\n"
        "It does not wait longer than the activity is worth it.")

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        table_h = cls.__table_handler__(module)
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        # The columns are new in existing databases
        for name in ['cap', 'cap_over']:
            column = getattr(table, name)
            cursor.execute(*table.update(
                    [column], [getattr(cls, f'default_{name}')()],
                    where=column == Null))
            table_h.not_null_action(name, 'add')

    @classmethod
    def default_cap(cls):
        return 'normal'

    @classmethod
    def default_cap_over(cls):
        return 'postpone'

    def rules(self):
        yield from super().rules()
        if rule := self.cap_rule:
            yield gettext(
                f'marketing_automation.msg_rule_cap_{self.cap_over}',
                **rule._asdict())

    @property
    def cap_rule(self):
        "The Rule for its e-mails, None if they are not limited"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        if self.cap == 'exempt' or not (cap := Configuration.cap()):
            return None
        count, days, reserved = cap
        return Rule(
            count if self.cap == 'priority' else count - reserved, days)


class Cap(ModelSQL):
    "A place for an e-mail to a party"
    __name__ = 'marketing.automation.cap'
    _log = False

    party = fields.Many2One(
        'party.party', "Party", required=True, ondelete='CASCADE')
    number = fields.Integer("Number", required=True)
    at = fields.DateTime("At", required=True)
    # Empty when it has been deleted, the e-mail counts all the same
    record_activity = fields.Many2One(
        'marketing.automation.record.activity', "Step", ondelete='SET NULL')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('party_number_unique', Unique(t, t.party, t.number),
                'marketing_automation.msg_cap_party_number_unique'),
            ]
        cls._sql_indexes.add(
            Index(t, (t.record_activity, Index.Equality())))

    @classmethod
    def beyond(cls, activity, drafts):
        """Take a place for each draft, return {id: values} without

        values -- what is to be stored of the record activity
        """
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        activity = Activity(activity)
        beyond = {}
        if rule := activity.scenario.cap_rule:
            wanting = {d.id: d.party for d in drafts}
            while wanting:
                places, free_at = cls._find(wanting, rule)
                taken = cls._take(places, rule)
                beyond.update(free_at)
                # Others may have been faster
                wanting = {
                    id_: party for id_, party in wanting.items()
                    if id_ not in taken and id_ not in free_at}
        return {
            id_: cls._over(activity, id_, at).values
            for id_, at in beyond.items()}

    @classmethod
    def _find(cls, wanting, rule):
        """Return {id: (party, number)} of places and {id: when one is free}

        wanting -- {id of record activity: party}
        """
        parties = cls._parties(set(wanting.values()), rule)
        places, free_at = {}, {}
        for id_, party in wanting.items():
            places_of = parties[party]
            if (number := places_of.find(id_, rule)) is not None:
                places[id_] = (party, number)
            else:
                free_at[id_] = places_of.free_at(rule)
        return places, free_at

    @classmethod
    def _parties(cls, parties, rule):
        "Return {party: _Places} of what is taken"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = cls.__table__()
        row = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(row, 'LEFT', condition=table.record_activity == row.id)
            .select(
                table.party, table.number, table.at, row.id,
                where=fields.SQL_OPERATORS['in'](table.party, list(parties))
                & (table.at > _horizon(rule))
                & (Coalesce(row.state, 'done').in_(
                        [*RecordActivity.pending, 'done']))))
        result = defaultdict(_Places)
        for party, number, at, id_ in cursor:
            result[party].add(number, schedule.instant(at), id_)
        return result

    @classmethod
    def _take(cls, places, rule):
        "Return the set of the ids whose places nobody has taken before"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        if not places:
            return set()
        transaction = Transaction()
        table = cls.__table__()
        row = RecordActivity.__table__()
        cursor = transaction.connection.cursor()
        now = clock.now().replace(microsecond=0)
        is_free = (
            (table.at <= _horizon(rule))
            | (table.record_activity == Excluded(table.record_activity))
            | table.record_activity.in_(row.select(
                    row.id,
                    where=(row.id == table.record_activity)
                    & ~row.state.in_([*RecordActivity.pending, 'done']))))
        columns = [table.at, table.record_activity]
        cursor.execute(*table.insert(
                [table.create_uid, table.create_date, table.party,
                    table.number, *columns],
                # In one order, so that workers do not wait for each other
                [[transaction.user, now, party, number, now, id_]
                    for party, number, id_ in sorted(
                        (*place, id_) for id_, place in places.items())],
                on_conflict=Conflict(
                    table, [table.party, table.number], columns=columns,
                    values=list(map(Excluded, columns)), where=is_free),
                returning=[Unqualified(table.record_activity)]))
        return {id_ for id_, in cursor}

    @classmethod
    def _over(cls, activity, id_, at):
        "Return the Outcome of what may be sent at the time at the earliest"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        until = RecordActivity(id_).worth_until(activity)
        if (activity.scenario.cap_over == 'skip'
                or until and at > until):
            return Skip('cap')
        return Postponement('cap', at)

    @classmethod
    def clean(cls):
        "Forget the e-mails of the past"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        _, days, _ = Configuration.cap() or (None, 0, None)
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.delete(
                where=table.at <= _horizon(Rule(None, days))))


class _Places:
    "The places of a party that are taken"

    def __init__(self):
        self.at = {}  # number: when it was taken
        self.own = {}  # record activity: number

    def add(self, number, at, id_):
        self.at[number] = at
        self.own[id_] = number

    def find(self, id_, rule):
        "Return a place for the record activity, None if there is none"
        if (number := self.own.get(id_)) is None:
            if len(self.at) >= rule.limit:
                return None
            number = next(
                n for n in range(rule.limit) if n not in self.at)
        self.add(number, clock.now().replace(microsecond=0), id_)
        return number

    def free_at(self, rule):
        "Return when the next place is free"
        times = sorted(self.at.values())
        return times[len(times) - rule.limit] + dt.timedelta(days=rule.days)


class Replace(metaclass=PoolMeta):
    __name__ = 'party.replace'

    def transition_replace(self):
        self._move_marketing_places()
        return super().transition_replace()

    def _move_marketing_places(self):
        "Let the places of both parties have numbers of their own"
        pool = Pool()
        table = pool.get('marketing.automation.cap').__table__()
        cursor = Transaction().connection.cursor()
        source, destination = self.ask.source.id, self.ask.destination.id
        cursor.execute(*table.select(
                Coalesce(Max(table.number), 0) + 1,
                where=table.party.in_([source, destination])))
        offset, = cursor.fetchone()
        cursor.execute(*table.update(
                [table.number], [table.number + offset],
                where=table.party == source))

    @classmethod
    def fields_to_replace(cls):
        return [
            *super().fields_to_replace(),
            ('marketing.automation.cap', 'party'),
            ]


def _horizon(rule):
    "Return the time since which e-mails count"
    return clock.now().replace(microsecond=0) - dt.timedelta(days=rule.days)
