# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import json

from trytond.modules.marketing_automation.exceptions import PreviewError
from trytond.modules.marketing_automation.inquiry import ask
from trytond.pool import Pool
from trytond.pyson import Eval, PYSONEncoder
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_activity, create_email, create_marketer,
    create_party, create_record, create_record_activity, create_scenario,
    forget)

DAY = dt.timedelta(days=1)
KEPT = ['record', 'record.activity', 'unsubscription', 'link']


class WhyTestCase(DatabaseTestCase):
    "Test what is said about why a record gets an e-mail, or not"

    def _scenario(self, **values):
        return create_scenario(**{
                'domain': json.dumps([('name', 'like', 'J%')]),
                'state': 'running', **values})

    def _ask(self, scenario, resource):
        "Return the lines, what is asked must leave nothing"
        pool = Pool()
        Transaction().commit()
        models = [pool.get(f'marketing.automation.{n}') for n in KEPT]
        counts = [m.search([], count=True) for m in models]
        lines = ask(scenario, resource)
        forget()
        self.assertEqual([m.search([], count=True) for m in models], counts)
        return lines

    def _answers(self, scenario, resource):
        return [line.answer for line in self._ask(scenario, resource)]

    def _clean(self):
        pool = Pool()
        for name in ['marketing.automation.scenario', 'party.party']:
            table = pool.get(name).__table__()
            Transaction().connection.cursor().execute(*table.delete())
        Transaction().commit()

    def _test(func):
        "Commit, as what is asked is done in other transactions"
        @with_transaction()
        def wrapper(self):
            try:
                func(self)
            finally:
                Transaction().rollback()
                self._clean()
        wrapper.__doc__ = func.__doc__
        return wrapper

    @_test
    def test_yes(self):
        "Test who would get an e-mail now"
        scenario = self._scenario()
        create_email(scenario, name="Welcome")
        party = create_party("Jane", 'jane@example.com')
        entry, step = self._ask(scenario, party)
        self.assertEqual((entry.answer, entry.activity), ('yes', None))
        self.assertEqual((step.answer, step.activity), ('yes', "Welcome"))
        self.assertEqual(
            step.why, "The e-mail would be sent to jane@example.com.")

    @_test
    def test_reasons(self):
        "Test each of the reasons is that of the engine, with what to do"
        pool = Pool()
        ContactMechanism = pool.get('party.contact_mechanism')
        scenario = self._scenario()
        create_email(scenario, condition=PYSONEncoder().encode(
                Eval('self', {}).get('code') != 'X'))
        suppressed = create_party("Jim", 'jim@example.com')
        ContactMechanism.write(
            list(suppressed.contact_mechanisms),
            {'marketing_suppressed': 'hard'})
        for party, why, advice in [
                (create_party("Jane"), "no e-mail address", "Add an e-mail"),
                (suppressed, "suppressed", "Lift"),
                (create_party("Joe", 'joe@example.com', code='X'),
                    "condition", "Change"),
                (create_party("Jil", 'jim@@example.com'), "not valid",
                    "Correct"),
                ]:
            with self.subTest(party=party.name):
                _, step = self._ask(scenario, party)
                self.assertEqual(step.answer, 'no')
                self.assertIn(why, step.why)
                self.assertIn(advice, step.advice)

    @_test
    def test_not_matching(self):
        "Test who does not match, and which of the criteria"
        scenario = create_scenario()
        for values in [
                {'field': 'name', 'operator': 'starts', 'text': "J"},
                {'field': 'code', 'operator': 'not_empty'}]:
            create('marketing.automation.criterion',
                scenario=scenario.id, **values)
        create_email(scenario)
        scenario.run([scenario])
        party = create_party("Bob", 'bob@example.com')
        entry, step = self._ask(scenario, party)
        self.assertEqual((entry.answer, step.answer), ('no', 'no'))
        self.assertIn("Name starts with J", entry.why)
        self.assertNotIn("Code", entry.why)
        self.assertIn("bob@example.com", step.why)

    @_test
    def test_expert(self):
        "Test which clause of an expert filter is not fulfilled"
        scenario = self._scenario()
        entry, = self._ask(scenario, create_party("Bob"))
        self.assertIn("'J%'", entry.why)

    @_test
    def test_inactive(self):
        "Test who is deactivated"
        scenario = self._scenario()
        entry, = self._ask(scenario, create_party("Jane", active=False))
        self.assertEqual(entry.why, "It is deactivated.")

    @_test
    def test_refusing(self):
        "Test who has unsubscribed"
        scenario = self._scenario()
        create_email(scenario)
        party = create_party(
            "Jane", 'jane@example.com', marketing_unsubscribed=True)
        entry, step = self._ask(scenario, party)
        self.assertEqual(entry.why, "The party has unsubscribed.")
        self.assertEqual(step.answer, 'no')

    @_test
    def test_draft(self):
        "Test a scenario that does not run"
        scenario = self._scenario(state='draft')
        create_email(scenario)
        party = create_party("Jane", 'jane@example.com')
        draft, entry, step = self._ask(scenario, party)
        self.assertIn("draft", draft.why)
        self.assertEqual(
            [draft.answer, entry.answer, step.answer], ['no', 'yes', 'no'])
        self.assertEqual(
            scenario.__class__(scenario.id).state, 'draft')

    @_test
    def test_way(self):
        "Test what has been done, waits, and is not reached"
        scenario = self._scenario()
        first = create_email(scenario, name="First")
        second = create_email(first, name="Second")
        create_email(second, name="Opened", event='email_opened')
        create_email(scenario, name="Other", delay=5 * DAY)
        party = create_party("Jane", 'jane@example.com')
        record = create_record(scenario, party)
        create_record_activity(record, first, state='done')
        later = dt.datetime.now().replace(microsecond=0) + DAY
        create_record_activity(record, second, at=later)
        lines = self._ask(scenario, party)
        self.assertEqual(
            [(x.activity, x.answer) for x in lines], [
                (None, 'done'), ("First", 'done'), ("Second", 'later'),
                ("Opened", 'later'), ("Other", 'later')])
        self.assertEqual(lines[2].at, later)
        self.assertIn('After "Second"', lines[3].why.replace("comes a", "A"))

    @_test
    def test_window(self):
        "Test what waits for the sending hours"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenario = self._scenario()
        create_email(scenario)
        tomorrow = (dt.datetime.now() + DAY).weekday()
        Scenario.write([scenario], {'window_days': [str(tomorrow)]})
        _, step = self._ask(
            scenario, create_party("Jane", 'jane@example.com'))
        self.assertEqual(step.answer, 'later')
        self.assertIn("sending hours", step.why)
        self.assertGreater(step.at, dt.datetime.now())

    @_test
    def test_duplicate(self):
        "Test who shares an address with a party that gets it"
        scenario = self._scenario()
        email = create_email(scenario)
        jane = create_party("Jane", 'family@example.com')
        create_record_activity(
            create_record(scenario, jane), email, state='done')
        _, step = self._ask(
            scenario, create_party("Joe", 'family@example.com'))
        self.assertEqual(step.answer, 'no')
        self.assertIn("same e-mail address", step.why)

    @_test
    def test_again(self):
        "Test who may enter again, and who not yet"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        scenario = self._scenario(reentry='pause', reentry_days=2)
        create_activity(scenario)
        party = create_party("Jane")
        record = create_record(scenario, party)
        entry, again, *_ = self._ask(scenario, party)
        self.assertEqual((entry.answer, again.answer), ('done', 'no'))
        self.assertIn("2 days", again.why)
        table = record.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.create_date], [dt.datetime.now() - 3 * DAY]))
        entry, step = self._ask(scenario, party)
        self.assertEqual((entry.answer, step.answer), ('yes', 'yes'))
        self.assertIn("again", entry.why)
        Scenario.write([scenario], {'state': 'draft'})
        Scenario.write([scenario], {'reentry': 'left', 'state': 'running'})
        _, again, *_ = self._ask(scenario, party)
        self.assertIn("ever since", again.why)

    @_test
    def test_access(self):
        "Test nothing is said of what the user may not see"
        pool = Pool()
        Rule = pool.get('ir.rule.group')
        scenario = self._scenario()
        create_email(scenario)
        party = create_party("Jane", 'jane@example.com')
        user = create_marketer('why')
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            self.assertEqual(self._answers(scenario, party), ['yes', 'yes'])
        rule = create('ir.rule.group',
            name="Test", model='party.party', global_p=True,
            rules=[('create', [{'domain': '[["name", "!=", "Jane"]]'}])])
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True), \
                self.assertRaises(PreviewError):
            ask(scenario, party)
        Rule.delete([rule])
        pool.get('res.user').write([user], {'active': False})
