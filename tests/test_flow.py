# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import datetime as dt
import json

from trytond.modules.marketing_automation.flow import number_lines
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder, PYSONEncoder
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, inactive_records

from .fixtures import (
    DatabaseTestCase, create_activity, create_email, create_party,
    create_record, create_record_activity, create_scenario, forget)

DAY = dt.timedelta(days=1)


class FlowTestCase(DatabaseTestCase):
    "Test the tree of a scenario as people read and build it"

    @with_transaction()
    def test_sentence(self):
        "Test the sentence of an activity"
        welcome = create_email(name="Welcome")
        for values, sentence in [
                ({}, "At once: send “News”"),
                ({'delay': DAY}, "1 day later: send “News”"),
                ({'delay': 14 * DAY}, "2 weeks later: send “News”"),
                ({'delay': 1.5 * DAY}, "36 hours later: send “News”"),
                ({'event': 'email_opened'}, "When opened: send “News”"),
                ({'event': 'email_clicked', 'delay': 2 * DAY},
                    "2 days after being clicked: send “News”"),
                ({'event': 'email_opened', 'negative': True, 'delay': 3 * DAY},
                    "3 days later, if not opened: send “News”"),
                ({'condition': '{"__class__": "Eval", "v": "self"}'},
                    "At once, on condition: send “News”"),
                ]:
            with self.subTest(sentence=sentence):
                activity = create_email(welcome, name="News", **values)
                self.assertEqual(activity.sentence, sentence)

    @with_transaction()
    def test_sentence_without_action(self):
        "Test the sentence of an activity that does nothing itself"
        activity = create_activity(create_scenario(), name="Wait", delay=DAY)

        self.assertEqual(activity.sentence, "1 day later: “Wait”")

    @with_transaction()
    def test_sentence_odd_delay(self):
        "Test a delay that is no whole number of minutes"
        activity = create_activity(create_scenario(), name="Wait")
        activity.delay = dt.timedelta(hours=1, seconds=30)

        self.assertNotIn('.', activity.on_change_with_sentence())

    @with_transaction()
    def test_sentence_changes(self):
        "Test that the sentence follows before the activity is saved"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        activity = Activity(
            name="News", action='send_email', event=None, negative=False,
            condition=None, delay=None)
        activity.delay_number = 2
        activity.delay_unit = 'weeks'
        activity.on_change_delay_number()

        self.assertEqual(
            activity.on_change_with_sentence(),
            "2 weeks later: send “News”")

    @with_transaction()
    def test_follow_up(self):
        "Test that a follow-up becomes the last child"
        welcome = create_email(name="Welcome")
        first = create_email(welcome, name="First", sequence=5)

        FollowUp = Pool().get(
            'marketing.automation.follow_up', type='wizard')
        session, start, _ = FollowUp.create()
        with Transaction().set_context(
                active_model=welcome.__name__, active_id=welcome.id,
                active_ids=[welcome.id]):
            view = FollowUp.execute(session, {}, start)['view']
            self.assertEqual(view['defaults']['parent'], str(welcome))
            FollowUp.execute(session, {start: {
                        'name': "Second",
                        'parent': str(welcome),
                        'event': 'email_opened',
                        }}, 'add')

        forget()
        self.assertEqual(
            [c.name for c in welcome.children], ["First", "Second"])
        self.assertEqual(welcome.children[0], first)
        self.assertEqual(welcome.children[1].scenario, welcome.scenario)

    @with_transaction()
    def test_tree_state(self):
        "Test that a tree is shown as a whole until a branch is closed"
        pool = Pool()
        TreeState = pool.get('ir.ui.view_tree_state')
        scenario = create_scenario()
        root = create_email(scenario)
        child = create_email(root)
        grandchild = create_email(child)
        key = [
            'marketing.automation.activity',
            json.dumps([['parent', '=', scenario.id]]), 'children']

        nodes, _ = TreeState.get(*key)
        self.assertEqual(json.loads(nodes), [
                [root.id], [root.id, child.id],
                [root.id, child.id, grandchild.id]])

        in_list = json.dumps(
            [['parent', '=', [scenario.__name__, scenario.id]]])
        self.assertEqual(TreeState.get(key[0], in_list, key[2])[0], nodes)

        TreeState.set(*key, json.dumps([[root.id]]), '[]')
        nodes, _ = TreeState.get(*key)
        self.assertEqual(json.loads(nodes), [[root.id]])

    @with_transaction()
    def test_picture(self):
        "Test the picture of a scenario with its numbers"
        scenario = create_scenario(name="<Welcome>")
        first = create_email(scenario, name="First")
        create_email(
            first, name="Second", event='email_opened', sequence=2)
        create_email(
            first, name="Third", event='email_clicked', sequence=1,
            active=False)
        create_party()
        self.assertIn(">Match:\N{NO-BREAK SPACE}1<", self._picture(scenario))

        scenario.state = 'running'
        scenario.save()
        for i in range(3):
            record = create_record(scenario, create_party())
            create_record_activity(
                record, first, state='done', email_opened=i < 2)
        forget()
        picture = self._picture(scenario)

        for text in [
                "&lt;Welcome&gt;", "send “First”", "At once", "When clicked",
                "Entered:\N{NO-BREAK SPACE}3",
                "Sent:\N{NO-BREAK SPACE}3",
                "Opened:\N{NO-BREAK SPACE}2"]:
            self.assertIn(f'>{text}<', picture)
        self.assertLess(picture.index("Third"), picture.index("Second"))
        self.assertIn('stroke-dasharray', picture)

    def _picture(self, scenario):
        Report = Pool().get('marketing.automation.flow_picture', type='report')
        extension, content, _, name = Report.execute([scenario.id], {})
        self.assertEqual(extension, 'svg')
        self.assertEqual(scenario.flow_picture_name, 'Welcome.svg')
        return content.decode()

    @with_transaction()
    def test_picture_size(self):
        "Test that a client that asks for the size gets no picture"
        scenario = create_scenario()
        size = len(scenario.flow_picture)
        with Transaction().set_context({
                    f'{scenario.__name__}.flow_picture': 'size'}):
            scenario, = scenario.browse([scenario.id])
            self.assertEqual(scenario.flow_picture, size)

    @with_transaction()
    def test_numbers(self):
        "Test that numbers are those of the language, and kept together"
        self.assertEqual(
            number_lines(
                [('sent', 1234), ('opened', None)], [('clicked', None)]),
            ["Sent:\N{NO-BREAK SPACE}1,234"])

    @with_transaction()
    def test_parents(self):
        "Test that only other activities of the scenario are offered"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        root = create_email(name="Root")
        other = create_email(root, name="Other")
        child = create_email(root, name="Child")
        create_email(child, name="Grandchild")
        create_email(name="Elsewhere")

        self.assertEqual(
            [a.name for a in child.branch], ["Child", "Grandchild"])
        domain = PYSONDecoder({
                'scenario': child.scenario.id,
                'branch': [a.id for a in child.branch],
                }).decode(PYSONEncoder().encode(
                    Activity.parent.domain[Activity.__name__]))
        self.assertEqual(Activity.search([domain]), [root, other])

    @with_transaction()
    def test_move(self):
        "Test that a branch moves to another scenario as a whole"
        root = create_email(name="Root")
        child = create_email(root)
        inactive = create_email(child, active=False)
        goal = create_email(name="Goal")
        scenario = root.scenario

        child.parent = goal
        child.save()

        forget()
        with inactive_records():
            moved = child.search([('scenario', '=', goal.scenario.id)])
        self.assertEqual(set(moved), {goal, child, inactive})
        self.assertEqual(scenario.all_activities, [root])

    @with_transaction()
    def test_update(self):
        "Test that an update finds the scenarios of activities"
        root = create_email()
        child = create_email(create_email(root), active=False)
        scenario = root.scenario
        table = root.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update([table.scenario], [None]))
        forget()

        root.__register__('marketing_automation')

        forget()
        self.assertEqual(root.scenario, scenario)
        self.assertEqual(child.scenario, scenario)
