# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
What runs in an environment to be measured: this module's or the peer's.

A program that obeys one JSON list [name, arguments] a line and answers one
JSON object a line.  It uses nothing but trytond and what both modules have in
common.  What a cron does is done as the cron does it: in a transaction of the
root user, then the tasks of the queue without a worker.
"""
import argparse
import datetime as dt
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

from sql import Cast, Flavor, Literal, Select, Union, With
from sql.aggregate import Count
from sql.functions import CurrentTimestamp
from sql.operators import Concat

FOLDER = Path(__file__).resolve().parent
CRONS = {
    'trigger': ('marketing.automation.scenario', 'trigger'),
    'process': ('marketing.automation.record.activity', 'process'),
    }


class Child:
    "The commands"

    def __init__(self, database):
        from trytond import backend
        from trytond.pool import Pool
        from trytond.transaction import Transaction
        self.database = database
        Flavor.set(backend.Database.flavor)
        Pool.start()
        self.pool = Pool(database)
        with Transaction().start(database, 0, readonly=True):
            self.pool.init()

    def _start(self, **options):
        from trytond.transaction import Transaction
        return Transaction().start(
            self.database, 0, context={'_skip_warnings': True}, **options)

    def prepare(self):
        "Create the running scenario with the one activity that sends"
        Scenario = self.pool.get('marketing.automation.scenario')
        Activity = self.pool.get('marketing.automation.activity')
        Cron = self.pool.get('ir.cron')
        with self._start():
            scenario = Scenario(
                name="Benchmark", model='party.party', domain='[]')
            scenario.save()
            Activity(
                name="Newsletter", parent=scenario, action='send_email',
                email_from="Shop <shop@example.com>",
                email_title="News for ${record.rec_name}",
                email_template=(FOLDER / 'newsletter.html').read_text(),
                ).save()
            Scenario.run([scenario])
            # What is measured is started from here
            Cron.write(Cron.search([]), {'active': False})

    def parties(self, count, email=True):
        "Insert parties by SQL, each with an address"
        Party = self.pool.get('party.party')
        Mechanism = self.pool.get('party.contact_mechanism')
        party = Party.__table__()
        mechanism = Mechanism.__table__()
        with self._start() as transaction:
            cursor = transaction.connection.cursor()
            numbers = With('number', recursive=True)
            numbers.query = Union(
                Select([Cast(Literal(1), 'INTEGER')]),
                numbers.select(
                    numbers.number + Literal(1),
                    where=numbers.number < count),
                all_=True)
            first = self._max(cursor, party) + 1
            text = Cast(numbers.number + first, 'VARCHAR')
            cursor.execute(*party.insert(
                    [party.create_uid, party.create_date, party.active,
                        party.name, party.code],
                    numbers.select(
                        Literal(0), CurrentTimestamp(), Literal(True),
                        Concat('Party ', text), Concat('B', text),
                        with_=[numbers])))
            if email:
                cursor.execute(*mechanism.insert(
                        [mechanism.create_uid, mechanism.create_date,
                            mechanism.active, mechanism.party,
                            mechanism.type, mechanism.value,
                            mechanism.value_compact],
                        party.select(
                            Literal(0), CurrentTimestamp(), Literal(True),
                            party.id, Literal('email'),
                            Concat(Concat('p', Cast(party.id, 'VARCHAR')),
                                '@example.com'),
                            Concat(Concat('p', Cast(party.id, 'VARCHAR')),
                                '@example.com'),
                            where=party.id >= first)))
        return {}

    @staticmethod
    def _max(cursor, table):
        cursor.execute(*table.select(
                table.id, order_by=[table.id.desc], limit=1))
        row = cursor.fetchone()
        return row[0] if row else 0

    def delay(self, days):
        "Let the activity be due after some days"
        Activity = self.pool.get('marketing.automation.activity')
        with self._start():
            activities = Activity.search([])
            Activity.write(activities, {'delay': dt.timedelta(days=days)})

    def branches(self, count, action=None):
        "Let the e-mail follow in as many branches on a step with the action"
        Activity = self.pool.get('marketing.automation.activity')
        with self._start():
            email, = Activity.search([])
            step = Activity(name="Step", parent=email.parent)
            step.save()
            Activity.write([email], {
                    'parent': str(step), 'delay': dt.timedelta(days=30)})
            for _ in range(count - 1):
                Activity.copy([email], {'parent': str(step)})
            Activity.write([step], {'action': action})

    def rules(self):
        "Ask of each e-mail whether it is to be sent"
        Configuration = self.pool.get('marketing.automation.configuration')
        Scenario = self.pool.get('marketing.automation.scenario')
        with self._start():
            Configuration.write([Configuration(1)], {
                    'cap_count': 100, 'cap_days': 7})
            scenarios = Scenario.search([])
            Scenario.stop(scenarios)
            Scenario.write(scenarios, {
                    'window_days': [str(d) for d in range(7)],
                    'stay_mode': 'expert',
                    'stay_domain': '[["name", "like", "Party %"]]',
                    'goal_mode': 'expert',
                    'goal_domain': '[["code", "=", "nobody"]]',
                    })
            Scenario.run(scenarios)

    def at_once(self, count):
        "Let so many scenarios take parties in when they are saved"
        Scenario = self.pool.get('marketing.automation.scenario')
        with self._start():
            Scenario.stop(Scenario.search([('state', '=', 'running')]))
            scenarios = Scenario.create([{
                        'name': f"At once {i}",
                        'model': 'party.party',
                        'domain': '[["name", "like", "Business%"]]',
                        'at_once': True,
                        } for i in range(count)])
            Scenario.run(scenarios)

    def create(self, count):
        "Return the seconds of transactions that create a party each"
        Party = self.pool.get('party.party')
        seconds = []
        for i in range(count):
            started = time.perf_counter()
            with self._start():
                Party.create([{'name': f'Business {i}'}])
            seconds.append(time.perf_counter() - started)
        return seconds

    def wait(self, timing):
        "Let the activity only wait, for a condition or for a date"
        Activity = self.pool.get('marketing.automation.activity')
        values = {
            'until': {
                'delay': dt.timedelta(days=30),
                'until_mode': 'expert',
                'until_domain': '[["name", "=", "Fulfilling"]]',
                },
            'date': {
                'date_field': 'create_date',
                'date_number': 30,
                'date_unit': 'days',
                'date_side': 'after',
                },
            }[timing]
        with self._start():
            Activity.write(
                Activity.search([]),
                {'timing': timing, 'action': None, **values})

    def change(self, count):
        "Let some parties fulfil the condition, and move their date"
        party = self.pool.get('party.party').__table__()
        some = self.pool.get('party.party').__table__()
        with self._start() as transaction:
            transaction.connection.cursor().execute(*party.update(
                    [party.name, party.create_date],
                    ['Fulfilling', dt.datetime.now()],
                    where=party.id.in_(some.select(
                            some.id, where=some.name.like('Party %'),
                            limit=count))))

    def cron(self, name, profile=None):
        "Run a cron and the tasks it leaves when there is no worker"
        if profile:
            import cProfile
            profiler = cProfile.Profile()
            profiler.runcall(self._cron, name)
            profiler.dump_stats(profile)
        else:
            self._cron(name)

    def _cron(self, name):
        from trytond.worker import run_task
        model, method = CRONS[name]
        with self._start() as transaction:
            getattr(self.pool.get(model), method)()
        while transaction.tasks:
            run_task(self.pool, transaction.tasks.pop())

    def states(self):
        "Return how many record activities are in which state"
        RecordActivity = self.pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        with self._start(readonly=True) as transaction:
            cursor = transaction.connection.cursor()
            cursor.execute(*table.select(
                    table.state, Count(Literal(1)), group_by=[table.state]))
            return dict(cursor.fetchall())

    def analyze(self):
        "Let the database know its tables, as it would after some time"
        from trytond import backend
        database = backend.Database(self.database)
        connection = database.get_connection(autocommit=True)
        try:
            connection.cursor().execute(
                'VACUUM ANALYZE' if backend.name == 'postgresql'
                else 'ANALYZE')
        finally:
            database.put_connection(connection)

    def insert_rates(self, count):
        "Return the rows per second the database takes by itself"
        Record = self.pool.get('marketing.automation.record')
        return {
            'multi-row': self._insert_rows(Record, count),
            'select': self._insert_select(Record, count),
            }

    def _insert_rows(self, Record, count, size=1000):
        table = Record.__table__()
        columns = [
            table.create_uid, table.create_date, table.scenario,
            table.record, table.blocked, table.uuid]
        # What the peer does not have
        more = [1] if 'pass_number' in Record._fields else []
        if more:
            columns.append(table.pass_number)
        now = dt.datetime.now()
        with self._start() as transaction:
            scenario = self._scenario()
            cursor = transaction.connection.cursor()
            started = time.perf_counter()
            for start in range(0, count, size):
                cursor.execute(*table.insert(columns, [
                            [0, now, scenario, f'party.party,{-1 - i}',
                                False, f'{i:032x}', *more]
                            for i in range(start, start + size)]))
            transaction.rollback()
            return count / (time.perf_counter() - started)

    def _insert_select(self, Record, count):
        table = Record.__table__()
        party = self.pool.get('party.party').__table__()
        more = 'pass_number' in Record._fields
        with self._start() as transaction:
            scenario = self._scenario()
            cursor = transaction.connection.cursor()
            cursor.execute(*table.delete())
            started = time.perf_counter()
            cursor.execute(*table.insert(
                    [table.create_uid, table.create_date, table.scenario,
                        table.record, table.blocked, table.uuid,
                        *([table.pass_number] if more else [])],
                    party.select(
                        Literal(0), CurrentTimestamp(), Literal(scenario),
                        Concat('party.party,', Cast(party.id, 'VARCHAR')),
                        Literal(False), Cast(party.id, 'VARCHAR'),
                        *([Literal(1)] if more else []),
                        limit=count)))
            rows = cursor.rowcount
            seconds = time.perf_counter() - started
            transaction.rollback()
            return rows / seconds

    def _scenario(self):
        Scenario = self.pool.get('marketing.automation.scenario')
        scenario, = Scenario.search([], limit=1)
        return scenario.id

    def memory(self):
        "Return the greatest resident memory so far, in MiB"
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(child, input_, output):
    for line in input_:
        name, arguments = json.loads(line)
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        try:
            answer = {'result': getattr(child, name)(**arguments)}
        except Exception:
            answer = {'error': traceback.format_exc()}
        after = resource.getrusage(resource.RUSAGE_SELF)
        answer['seconds'] = time.perf_counter() - started
        answer['processor'] = (
            after.ru_utime + after.ru_stime
            - before.ru_utime - before.ru_stime)
        output.write(json.dumps(answer) + '\n')
        output.flush()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    parser.add_argument('database')
    arguments = parser.parse_args()
    import trytond.config as config
    config.update_etc(arguments.config)
    # What is printed must not get into the answers
    output = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    child = Child(arguments.database)
    output.write('{}\n')
    output.flush()
    serve(child, sys.stdin, output)


if __name__ == '__main__':
    main()
