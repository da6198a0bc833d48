# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Records enter when the transaction that has changed them commits

The transaction only leaves a task for each model: whatever becomes of the
scenarios comes later, in other transactions.  A task that is lost costs
nothing but time, as the cron finds what has not entered.
"""
from collections import defaultdict

import trytond.config as config
from trytond.cache import Cache
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from . import clock, entry
from .delivery import drain, queue_name, wake
from .sql_expression import Unqualified
from .transaction import look

# What changes more records at a time lets all that match enter
MAX_IDS = 1000


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    at_once = fields.Boolean(
        "Enter at Once",
        help="Check to let records enter as soon as they are saved, "
        "and not only when the scheduler looks for them.\n"
        "What comes to match without being saved, such as by the date, "
        "still waits for the scheduler.")

    _at_once_cache = Cache(
        'marketing.automation.scenario.at_once', context=False)

    @classmethod
    def default_at_once(cls):
        return False

    @classmethod
    def on_modification(cls, mode, scenarios, field_names=None):
        super().on_modification(mode, scenarios, field_names=field_names)
        if mode != 'write' or field_names & {'at_once', 'model', 'state'}:
            cls._at_once_cache.clear()

    @classmethod
    def modified(cls, model, records):
        "Let the records of the name of the model enter after the commit"
        if scenarios := cls._at_once().get(model):
            arrivals = Transaction().join(Arrivals())
            arrivals.scenarios[model] = scenarios
            arrivals.ids[model].update(r.id for r in records)

    @classmethod
    def _at_once(cls):
        "Return {model: ids of its running scenarios}"
        result = cls._at_once_cache.get(None)
        if result is None:
            result = defaultdict(list)
            table = cls.__table__()
            cursor = Transaction().connection.cursor()
            cursor.execute(*table.select(
                    table.model, table.id,
                    where=(table.state == 'running') & table.at_once))
            for model, id_ in cursor:
                result[model].append(id_)
            cls._at_once_cache.set(None, dict(result))
        return result

    @classmethod
    def enter_at_once(cls, scenarios, ids):
        """Task of the queue: enter those ids and do what is due for them

        Without ids, enter all that match.
        """
        # Nothing else is to keep a snapshot for all this time
        Transaction().commit()
        scenarios = [s.id for s in scenarios]
        entry.enter_running(scenarios, ids)
        if ids is None:
            wake()
        else:
            now = clock.now()
            drain(now, look(cls._due, scenarios, ids, now))

    @classmethod
    def _due(cls, scenarios, ids, now):
        "Return the ids of the steps of those ids that are due now"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        table, record = RecordActivity.__table__(), Record.__table__()
        cursor = Transaction().connection.cursor()
        models = {s.model for s in cls.browse(scenarios)}
        cursor.execute(*table
            .join(record, condition=table.record == record.id)
            .select(
                table.id,
                where=fields.SQL_OPERATORS['in'](record.scenario, scenarios)
                & fields.SQL_OPERATORS['in'](
                    record.record, [f'{m},{i}' for m in models for i in ids])
                & table.state.in_(RecordActivity.pending)
                & (table.at <= now)))
        return [id_ for id_, in cursor]


class Arrivals:
    """The records that a transaction has changed, until it commits

    ids -- {model: set of ids}
    scenarios -- {model: ids of the scenarios that they may enter}
    """

    def __init__(self):
        self.ids = defaultdict(set)
        self.scenarios = {}

    def __eq__(self, other):
        # There is one in a transaction
        return isinstance(other, Arrivals)

    def tpc_begin(self, transaction):
        pass

    def commit(self, transaction):
        for model, ids in self.ids.items():
            ids = sorted(ids) if len(ids) <= MAX_IDS else None
            _push(transaction, self.scenarios[model], ids)
        self.ids.clear()

    def tpc_vote(self, transaction):
        pass

    def tpc_finish(self, transaction):
        pass

    def tpc_abort(self, transaction):
        self.ids.clear()


def _push(transaction, scenarios, ids):
    """Leave a task to enter the ids

    As Queue.push() does, which reads back what it has written.  Who has made
    the change counts for nothing.
    """
    pool = Pool()
    Queue = pool.get('ir.queue')
    table = Queue.__table__()
    cursor = transaction.connection.cursor()
    database = transaction.database
    now = clock.now()
    data = {
        'model': Scenario.__name__,
        'method': 'enter_at_once',
        'user': 0,
        'context': {},
        'instances': list(scenarios),
        'args': [ids],
        'kwargs': {},
        }
    cursor.execute(*table.insert(
            [table.create_uid, table.create_date, table.name, table.data,
                table.enqueued_at],
            [[0, now, queue_name(), Queue.data.sql_format(data), now]],
            returning=[Unqualified(table.id)]))
    task, = cursor.fetchone()
    if not config.getboolean('queue', 'worker', default=False):
        transaction.tasks.append(task)
    elif database.has_channel():
        database.notify(transaction.connection, Queue.__name__, '')
