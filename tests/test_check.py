# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import json

from trytond.modules.marketing_automation import check
from trytond.modules.marketing_automation.exceptions import (
    ConditionError, DomainError)
from trytond.pool import Pool
from trytond.pyson import Date, DateTime, Eval, PYSONEncoder
from trytond.tests.test_tryton import (
    TestCase, activate_module, drop_db, with_transaction)
from trytond.transaction import Transaction


class CheckTestCase(TestCase):
    "Test what is said of what users write"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        activate_module('marketing_automation')

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        drop_db()

    def _scenario(self, domain=None):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        if not isinstance(domain, str):
            domain = PYSONEncoder().encode(domain or [])
        return Scenario(
            name="Name", rec_name="Name", model='party.party', domain=domain)

    @with_transaction()
    def test_domain(self):
        "Test domains which can be searched with"
        for domain in [
                [],
                [[]],
                [('name', '=', "Name")],
                ['OR', ('name', '=', "Name"), [('code', '!=', None)]],
                ['AND', ['OR', ('id', '=', 1)], ('rec_name', 'like', "%")],
                [('addresses.city', 'in', ["Liège", "Köln"])],
                [('addresses', 'where', [('city', '=', "City")])],
                [('addresses.country.code', '=', 'BE')],
                [('create_date', '>=', DateTime(delta_years=-1))],
                [('contact_mechanisms', '!=', None)],
                [('marketing_party.name', '=', "Name")],
                ]:
            with self.subTest(domain=domain):
                check.domain(self._scenario(domain))

    @with_transaction()
    def test_domain_error(self):
        "Test what is wrong with a domain is named"
        for domain, problem in [
                ('', 'PYSON'),
                ('[', 'PYSON'),
                ('null', 'list of clauses'),
                ('1', 'list of clauses'),
                ('{}', 'list of clauses'),
                ('"name"', 'list of clauses'),
                ('["name"]', 'list of clauses'),
                ('["name", "=", "x"]', 'list of clauses'),
                ('[["name"]]', 'list of clauses'),
                ('[["name", "="]]', 'list of clauses'),
                ('[["name", 1, 2]]', 'list of clauses'),
                ('[1]', ''),
                ('[[1, "=", 2]]', ''),
                ('[{"a": 1}]', ''),
                ('[["name", "~", "x"]]', '"~"'),
                ('["OR", [["name", "~", "x"]]]', '"~"'),
                ('[["nome", "=", "x"]]', '"nome"'),
                ('[["lang.nome", "=", "x"]]', '"nome"'),
                ('[["addresses", "where", [["nome", "=", 1]]]]', 'nome'),
                ('[["", "=", 1]]', ''),
                ]:
            with self.subTest(domain=domain):
                with self.assertRaises(DomainError) as context:
                    check.domain(self._scenario(domain))
                self.assertIn('"Name"', context.exception.message)
                self.assertIn(problem, context.exception.message)

    @with_transaction()
    def test_update(self):
        "Test an update names the templates that can not be used any more"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        scenario = self._scenario()
        scenario.save()
        activity = Activity(name="Activity", parent=scenario)
        activity.save()
        table = Activity.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.email_title, table.email_template],
                ["Hello", '<html>\n${value_of("record")}</html>'],
                where=table.id == activity.id))
        with self.assertLogs(
                'trytond.modules.marketing_automation') as logs:
            Activity.__register__('marketing_automation')
        line, = logs.output
        self.assertIn(f'activity {activity.id} ', line)
        self.assertIn('value_of', line)
        self.assertIn('line 2', line)

    @with_transaction()
    def test_domain_access(self):
        "Test the domain is searched with the access of the user"
        pool = Pool()
        User = pool.get('res.user')
        user, = User.create([{'name': "User", 'login': 'user'}])
        domain = [('addresses.country.code', '=', 'BE')]
        with Transaction().set_user(user.id):
            check.domain(self._scenario(domain))
        self.assertFalse(Transaction().check_access)

    def _activity(self, **values):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        return Activity(
            name="Name", rec_name="Name", parent=self._scenario(),
            scenario=self._scenario(), action='send_email', **values)

    @with_transaction()
    def test_condition(self):
        "Test conditions which can be evaluated"
        for condition in [
                Eval('self', {}).get('active'),
                Eval('self', {}).get('lang', -1) == 1,
                Eval('self.active', False),
                Eval('current_date', Date()) > Date(2026, 1, 1),
                Eval('context', {}).get('company', -1) == 1,
                ]:
            source = PYSONEncoder().encode(condition)
            with self.subTest(condition=source):
                check.activity(
                    self._activity(condition=source), {'condition'})

    @with_transaction()
    def test_condition_error(self):
        "Test what is wrong with a condition is named"
        for condition, problem in [
                ('{', 'PYSON'),
                ('{"__class__": "Nothing"}', '"Nothing"'),
                (PYSONEncoder().encode(Eval('record', '')), '"record"'),
                (PYSONEncoder().encode(
                    Eval('self', {}).get('nome')), '"nome"'),
                (PYSONEncoder().encode(Eval('self.nome', '')), '"nome"'),
                (PYSONEncoder().encode(
                    Eval('self', {}).get('active')
                    & (Eval('self', {}).get('nome') == 'x')), '"nome"'),
                ]:
            with self.subTest(condition=condition):
                with self.assertRaises(ConditionError) as context:
                    check.activity(
                        self._activity(condition=condition), {'condition'})
                self.assertIn('"Name"', context.exception.message)
                self.assertIn(problem, context.exception.message)

    @with_transaction()
    def test_only_changed(self):
        "Test what is not written is not checked"
        activity = self._activity(condition=json.dumps({'__class__': 'x'}))
        check.activity(activity, {'name', 'delay'})
        with self.assertRaises(ConditionError):
            check.activity(activity, {'condition'})
