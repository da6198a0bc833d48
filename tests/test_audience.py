# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How the audience is written, and who may see it in a preview"""
import json
import unittest
from unittest.mock import patch

from trytond.modules.marketing_automation import pyson_source
from trytond.modules.marketing_automation.exceptions import (
    DomainError, FilterError)
from trytond.modules.marketing_automation.mail.sample import preview
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_email, create_marketer, create_party)


class SourceTestCase(unittest.TestCase):
    "Test PYSON in the syntax of Python and of JSON"

    def test_syntaxes(self):
        "Test that both syntaxes give the same value"
        for python, stored in [
                ("[]", '[]'),
                ("[('name', '=', None)]", '[["name", "=", null]]'),
                ("['OR', ('a', 'in', ['x', 1, True]), ('b', '=', -1)]",
                    '["OR", ["a", "in", ["x", 1, true]], ["b", "=", -1]]'),
                ]:
            with self.subTest(source=python):
                self.assertEqual(
                    json.loads(pyson_source.encode(python)),
                    json.loads(stored))
                self.assertEqual(pyson_source.decode(stored), python)

    def test_round_trip(self):
        "Test that what is shown is read as what was stored"
        for text in [
                "[('create_date', '>=', Date(delta_days=-30))]",
                "[('create_date', '<', DateTime(hour=0, delta_months=-1))]",
                "~Eval('self', {}).get('lang').in_(['en', 'fr'])",
                "(Eval('self', {}).get('a', 0) > 3)",
                "[('a', '=', 'x' ), ('b', 'like', 'It\\'s 100%\\n')] ",
                '["OR", [["a", "=", 1], ["b", "=", 2]], ["c", "!=", null]]',
                ]:
            with self.subTest(source=text):
                stored = pyson_source.encode(text)
                self.assertEqual(
                    pyson_source.encode(pyson_source.decode(stored)), stored)

    def test_long(self):
        "Test that a long domain is shown with a clause by line"
        stored = json.dumps([[f'field_{i}', '=', 'value'] for i in range(4)])
        lines = pyson_source.decode(stored).splitlines()
        self.assertEqual(len(lines), 6)
        self.assertEqual(pyson_source.encode('\n'.join(lines)), stored)

    def test_refused(self):
        "Test that nothing but PYSON is read"
        for text in [
                "", "[('a', '=', 'b'", "foo", "1 + 1", "lambda: 1",
                "__import__('os')", "Eval('a').__class__", "'a'.join(['b'])",
                "Eval('a').pyson()", "[x for x in 'ab']", "f'{1}'",
                "Date('x')", "b'a'", '[' * 10_000, ' ' * 30_000]:
            with self.subTest(source=text[:30]):
                with self.assertRaises(pyson_source.SourceError):
                    pyson_source.encode(text)


class AudienceTestCase(DatabaseTestCase):
    "Test the audience and the preview as different users"

    def _prepare(self):
        self.user, self.other = map(create_marketer, ['user', 'other'])
        self.party = create_party("Zoë")
        self.activity = create_email()
        self.scenario = self.activity.scenario

    @with_transaction()
    def test_domain_source(self):
        "Test that the source sets the domain and says what is wrong"
        self._prepare()
        Scenario = self.scenario.__class__
        Scenario.write([self.scenario], {
                'domain_source': "[('name', '=', 'Zoë')]"})
        self.assertEqual(
            json.loads(self.scenario.domain), [['name', '=', "Zoë"]])
        with self.assertRaises(DomainError):
            Scenario.write([self.scenario], {'domain_source': "[("})

    @with_transaction()
    def test_filters(self):
        "Test that a user sees the filters that are theirs or everybody's"
        self._prepare()
        pool = Pool()
        Filter = pool.get('marketing.automation.filter', type='wizard')
        ViewSearch = pool.get('ir.ui.view_search')
        with Transaction().set_context(
                active_model=self.scenario.__name__,
                active_id=self.scenario.id,
                active_ids=[self.scenario.id]):
            session_id, _, _ = Filter.create()
            with Transaction().set_user(self.user.id):
                with self.assertRaises(FilterError):
                    Filter.execute(session_id, {}, 'start')
            values = {
                'model': 'party.party',
                'domain': '[["name", "=", "Zoë"]]',
                }
            mine, _, everybody = ViewSearch.create([
                    {**values, 'name': "B", 'user': self.user.id},
                    {**values, 'name': "C", 'user': self.other.id},
                    {**values, 'name': "A", 'user': None},
                    ])
            Start = pool.get('marketing.automation.filter')
            with Transaction().set_user(self.user.id):
                self.assertEqual(
                    Start(scenario=self.scenario).get_filters(),
                    [(str(everybody.id), "A"), (str(mine.id), "B")])

    @with_transaction()
    def test_preview(self):
        "Test that a preview shows what both user and marketing may read"
        self._prepare()
        pool = Pool()
        ModelAccess = pool.get('ir.model.access')
        Party = pool.get('party.party')
        context = self.party.marketing_access_context
        sellers = create('res.group', name="Sellers")
        with Transaction().set_user(self.user.id):
            self.assertIn(
                "Hello Zoë", preview(self.activity, self.party).html)
        ModelAccess.create([{
                    'model': 'party.party',
                    'group': group,
                    'perm_read': bool(group),
                    } for group in [None, sellers.id]])
        context['_groups'].append(sellers.id)
        # As records of other modules are, such as sales
        with patch.object(Party, 'marketing_access_context', context):
            with Transaction().set_user(self.user.id):
                shown = preview(self.activity, self.party)
                self.assertNotIn("Zoë", shown.html)
                self.assertTrue(shown.text)
            with Transaction().set_user(0):
                self.assertIn(
                    "Hello Zoë", preview(self.activity, self.party).html)
