# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import json

from trytond.i18n import gettext
from trytond.modules.marketing_automation import pyson_source
from trytond.modules.marketing_automation.condition import Scopes, evaluate
from trytond.modules.marketing_automation.exceptions import (
    ConditionError, DomainError, Failure, TemplateError)
from trytond.pool import Pool
from trytond.pyson import Date, DateTime, Eval, PYSONEncoder
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import DatabaseTestCase, create, create_party


class CheckTestCase(DatabaseTestCase):
    "Test what is said of what users write"

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
                self._scenario(domain).check_domain()

    @with_transaction()
    def test_domain_error(self):
        "Test what is wrong with a domain is named"
        for domain, problem in [
                ('', 'valid expression'),
                ('[', 'valid expression'),
                ('[["create_date", ">", "x"]]', "('create_date', '>', 'x')"),
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
                    self._scenario(domain).check_domain()
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
        create(
            'ir.translation', type='model', res_id=activity.id, lang='fr',
            name='marketing.automation.activity,email_title',
            value="${round(1)}")
        with self.assertLogs(
                'trytond.modules.marketing_automation') as logs:
            Activity.__register__('marketing_automation')
        title, line = logs.output
        self.assertIn('round', title)
        self.assertIn(f'activity {activity.id} ', line)
        self.assertIn('value_of', line)
        self.assertIn('line 2', line)

    @with_transaction()
    def test_domain_access(self):
        "Test the domain is searched with the access of the user"
        user = create('res.user', name="User", login='user')
        domain = [('addresses.country.code', '=', 'BE')]
        with Transaction().set_user(user.id):
            self._scenario(domain).check_domain()
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
                self._activity(condition=source).check_condition()

    @with_transaction()
    def test_condition_error(self):
        "Test what is wrong with a condition is named"
        for condition, problem in [
                ('{', 'valid expression'),
                ('{"__class__": "Eval", "v": 5}', ''),
                ('{"__class__": "Eval", "v": 5, "d": 1}', '"5"'),
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
                    self._activity(condition=condition).check_condition()
                self.assertIn('"Name"', context.exception.message)
                self.assertIn(problem, context.exception.message)

    @with_transaction()
    def test_only_changed(self):
        "Test what is not written is not checked"
        activity = self._activity(condition=json.dumps({'__class__': 'x'}))
        activity.validate_fields([activity], {'name', 'active'})
        with self.assertRaises(ConditionError):
            activity.validate_fields([activity], {'condition'})

    @with_transaction()
    def test_condition_unknown(self):
        "Test what nobody knows is a failure and never fulfilled"
        party = create_party()
        unknown = '{"__class__": "Nothing", "v": 1}'
        for condition in [
                unknown, f'[{unknown}]',
                '{"__class__": "And", "s": [%s, true]}' % unknown,
                '{"__class__": "Bool", "v": %s}' % unknown,
                '{"__class__": "Not", "v": %s}' % unknown,
                ]:
            with self.subTest(condition=condition):
                with self.assertRaises(Failure):
                    evaluate(condition, party, Scopes())

    @with_transaction()
    def test_url(self):
        "Test a link that leads nowhere is named with its line"
        for url in ['http://[broken/', 'https://my site/', 'http://a:b/']:
            activity = self._activity(
                email_template='<html><body>\n'
                f'<a href="{url}">1</a></body></html>')
            with self.subTest(url=url):
                with self.assertRaises(TemplateError) as context:
                    activity.check_email_template()
                self.assertIn(url, context.exception.message)
                self.assertIn("2", context.exception.message)

    @with_transaction()
    def test_examples(self):
        "Test the examples of the help can be used"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Scenario = pool.get('marketing.automation.scenario')
        domains = [
            line for line in Scenario.domain_source.help.splitlines()
            if line.removeprefix('or ').startswith('[')]
        self.assertEqual(len(domains), 2)
        for domain in domains:
            domain = domain.removeprefix('or ').removesuffix('.')
            with self.subTest(domain=domain):
                self._scenario(pyson_source.encode(domain)).check_domain()
        condition = Activity.condition_source.help.splitlines()[-1]
        self._activity(
            condition=pyson_source.encode(condition)).check_condition()
        for id_, encode in [
                ('msg_domain_syntax', self._scenario),
                ('msg_domain_clauses', self._scenario)]:
            text = gettext(f'marketing_automation.{id_}')
            example = text.partition('example ')[2].removesuffix('.')
            with self.subTest(id=id_):
                encode(pyson_source.encode(example)).check_domain()
