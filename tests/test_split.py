# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A record goes down only one branch of a split"""
import datetime as dt
from collections import Counter

from trytond.model.exceptions import (
    DomainValidationError, RequiredValidationError)
from trytond.modules.marketing_automation import clock, delivery, entry
from trytond.modules.marketing_automation.estimate import expected, most
from trytond.modules.marketing_automation.exceptions import (
    RunError, SplitError)
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .delivering import CommittedTestCase
from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_party,
    create_record, create_record_activity, create_scenario, forget)
from .tools import count_statements

DAY = dt.timedelta(days=1)


class SplitTestCase(CommittedTestCase):
    "Test who goes where, as the crons do it"

    def _split(self, *shares, **values):
        "Return a running split with branches of the shares"
        scenario = create_scenario(domain='[["name", "=", "split"]]')
        split = create_activity(
            scenario, name="Which Way", action='split',
            children=[('create', [
                        {'name': n, 'share': s, **values}
                        for n, s in zip("ABCDE", shares)])])
        scenario.state = 'running'
        scenario.save()
        return split

    def _enter(self, split, count):
        "Let new parties enter and come to their branches"
        Party = Pool().get('party.party')
        Party.create([{'name': "split"} for _ in range(count)])
        Transaction().commit()
        entry.enter([split.scenario])
        Transaction().commit()
        self._drain()

    def _drain(self, at=None):
        with clock.stopped(at or dt.datetime.now() + DAY):
            delivery.drain(clock.now())
        Transaction().commit()
        forget()

    def _ways(self, split):
        "Return {record: names of the branches}"
        RecordActivity = Pool().get('marketing.automation.record.activity')
        ways = {}
        for step in RecordActivity.search(
                [('activity.scenario', '=', split.scenario.id)]):
            ways.setdefault(step.record.record, [])
            if step.activity != split:
                ways[step.record.record].append(step.activity.name)
        return ways

    def test_one_branch(self):
        "Test each record goes down exactly one branch, by the shares"
        split = self._split(70, 20, 10)
        self._enter(split, 300)

        ways = self._ways(split)
        self.assertGreaterEqual(len(ways), 300)
        self.assertEqual({len(w) for w in ways.values()}, {1})
        counts = Counter(w for w, in ways.values())
        self.assertAlmostEqual(
            counts["A"] / len(ways), .7, delta=.1)
        self.assertTrue(counts["C"])

    def test_again(self):
        "Test another pass of a record goes down the same branch"
        split = self._split(50, 50)
        self._enter(split, 30)
        before = self._ways(split)
        Record = Pool().get('marketing.automation.record')
        Record.delete(Record.search(
                [('scenario', '=', split.scenario.id)]))
        self._enter(split, 0)

        self.assertEqual(self._ways(split), before)

    def test_new_branch(self):
        "Test nobody goes down a second branch that comes later"
        split = self._split(50, 50)
        self._enter(split, 30)
        before = self._ways(split)
        create_activity(split, name="New", share=100)
        Transaction().commit()
        self._enter(split, 30)

        after = self._ways(split)
        for record, ways in after.items():
            self.assertEqual(len(ways), 1)
            self.assertEqual(before.get(record, ways), ways)
        self.assertIn(["New"], after.values())

    def test_first_branch(self):
        "Test who has passed a split without branches gets those added"
        split = self._split()
        self._enter(split, 20)
        Activity = Pool().get('marketing.automation.activity')
        Activity.create([
                {'name': n, 'parent': str(split), 'share': 50} for n in "AB"])
        Transaction().commit()
        entry.enter([split.scenario])
        Transaction().commit()

        ways = self._ways(split)
        self.assertEqual({len(w) for w in ways.values()}, {1})
        self.assertEqual({w for w, in ways.values()}, {"A", "B"})

    def test_inactive(self):
        "Test what was the share of an inactive branch goes to the others"
        split = self._split(50, 50)
        Activity = Pool().get('marketing.automation.activity')
        Activity.write([split.children[1]], {'active': False})
        Transaction().commit()
        self._enter(split, 10)

        self.assertEqual(
            {w for w, in self._ways(split).values()}, {"A"})

    def test_killed(self):
        "Test a split done again after its shares have changed adds no branch"
        split = self._split(100, 0)
        self._enter(split, 10)
        RecordActivity = Pool().get('marketing.automation.record.activity')
        Activity = Pool().get('marketing.automation.activity')
        first, second = split.children
        Activity.write([first], {'share': 0}, [second], {'share': 100})
        steps = RecordActivity.search([('activity', '=', split.id)])
        RecordActivity.follow(Activity(split.id), [s.id for s in steps])

        self.assertEqual(
            {w for w, in self._ways(split).values()}, {"A"})

    def test_statements(self):
        "Test a slice needs one statement for each branch"
        counts = []
        for shares in [(50,), (50, 30, 20)]:
            split = self._split(*shares)
            party = create_party()
            step = create_record_activity(
                create_record(split.scenario, party), split)
            Activity = Pool().get('marketing.automation.activity')
            activity = Activity(split.id)
            counts.append(count_statements(
                    step.__class__.follow, activity, [step.id]))
        self.assertLessEqual(counts[1] - counts[0], 2)

    def test_explanation(self):
        "Test the time line tells which branch it was"
        split = self._split(100)
        self._enter(split, 1)
        Journey = Pool().get('marketing.automation.journey')
        entry_, = Journey.search([
                ('activity', '=', split.id),
                ('kind', '=', 'done'),
                ], limit=1)
        self.assertEqual(
            entry_.description, "Goes down the branch “A”.")

    def test_rehearsal(self):
        "Test a rehearsal goes where the record really goes, each time"
        pool = Pool()
        Rehearsal = pool.get('marketing.automation.rehearsal')
        split = self._split(50, 50, delay=DAY)
        party = create_party("split")
        Transaction().commit()
        with Transaction().set_user(1):
            rehearsal = Rehearsal(scenario=split.scenario, record=party)
            rehearsal.begin()
            rehearsal.add('next')
            told = rehearsal.steps[1].what
            rehearsal.add('next')
            self.assertEqual(rehearsal.steps[1].what, told)
        self._enter(split, 0)

        way, = self._ways(split)[party]
        self.assertEqual(told, f"Goes down the branch “{way}”.")


class SplitFormTestCase(DatabaseTestCase):
    "Test how a split is written, shown and refused"

    def _split(self, *shares, **values):
        scenario = create_scenario()
        split = create_activity(scenario, name="Way", action='split')
        return split, [
            create_activity(split, name=n, share=s, **values)
            for n, s in zip("ABC", shares)]

    @with_transaction()
    def test_sentence(self):
        "Test the sentences of a split and its branches"
        split, (first, second) = self._split(60, 90)
        self.assertEqual(split.sentence, "At once: split “Way”")
        self.assertEqual(first.sentence, "40% · At once: “A”")
        self.assertEqual(second.sentence, "60% · At once: “B”")

    @with_transaction()
    def test_picture(self):
        "Test the picture has the shares"
        split, _ = self._split(75, 25)
        picture = split.scenario.flow_picture.decode()
        for text in ["split “Way”", "75% · At", "25% · At"]:
            self.assertIn(text, picture)

    @with_transaction()
    def test_estimate(self):
        "Test an estimate knows the shares, and the branch with the most"
        split, (first, second) = self._split(25, 75)
        create_email(first)
        create_email(second)
        create_email(second, delay=DAY)

        emails = expected(split.scenario.activities, {})
        self.assertEqual(emails, {DAY * 0: 1, DAY: .75})
        self.assertEqual(
            most(split.scenario.activities, [set()]).total(), 2)

    @with_transaction()
    def test_no_branch(self):
        "Test a split without branches can not be run"
        scenario = create_scenario()
        split = create_activity(scenario, name="Way", action='split')
        with self.assertRaisesRegex(RunError, '"Way" has no branches'):
            scenario.check_run()

        create_activity(split)
        scenario.check_run()

    @with_transaction()
    def test_no_branch_running(self):
        "Test a split without branches is refused while the scenario runs"
        scenario = create_scenario(state='running')
        with self.assertRaisesRegex(SplitError, '"Way" has no branches'):
            create_activity(scenario, name="Way", action='split')

    @with_transaction()
    def test_no_share(self):
        "Test branches without any share are refused"
        split, (first, second) = self._split(100, 0)
        with self.assertRaisesRegex(SplitError, "No branch .*\"Way\""):
            first.share = 0
            first.save()

    @with_transaction()
    def test_share(self):
        "Test each branch needs a share, which is no less than nothing"
        split, _ = self._split(100)
        for share, error in [
                (None, RequiredValidationError),
                (-1, DomainValidationError)]:
            with self.assertRaises(error):
                create_activity(split, share=share)


del CommittedTestCase, DatabaseTestCase
