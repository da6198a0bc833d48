# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import ast
import re
from pathlib import Path

import polib
from lxml import etree

from trytond.model import ModelSQL, ModelView
from trytond.modules.company.tests import (
    CompanyTestMixin, PartyCompanyCheckEraseMixin)
from trytond.modules.party.tests import PartyCheckReplaceMixin
from trytond.pool import Pool, isregisteredby
from trytond.tests.test_tryton import ModuleTestCase, with_transaction
from trytond.transaction import Transaction

from .fixtures import EVERYTHING, create, create_marketer

MODULE = 'marketing_automation'
ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ['delivery', 'mail', 'outgoing', 'template']
LANGUAGES = ['de', 'es', 'fr']
# Models that nobody reads
SECRET = {'marketing.automation.sent_email.dictionary'}
_placeholder = re.compile(r'%\((\w+)\)[sd]|%%|\$\{[^}]*\}')


def sources():
    "Yield the path and the text of the Python files of the module"
    for path in sorted([
                *ROOT.glob('*.py'),
                *(p for f in FOLDERS for p in ROOT.glob(f'{f}/*.py'))]):
        if path.name != 'setup.py':
            yield path, path.read_text(encoding='utf-8')


def message_patterns():
    """Yield (path, regular expression) of the message ids in the code

    What an f-string fills in may be anything.
    """
    for path, source in sources():
        tree = ast.parse(source)
        parts = {
            id(v) for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr) for v in node.values}
        for node in ast.walk(tree):
            if id(node) in parts:
                continue
            elif isinstance(node, ast.JoinedStr):
                pattern = ''.join(
                    re.escape(v.value) if isinstance(v, ast.Constant)
                    else r'\w+' for v in node.values)
            elif isinstance(node, ast.Constant):
                pattern = re.escape(str(node.value))
            else:
                continue
            prefix = re.escape(MODULE + '.msg_')
            if pattern.startswith(prefix) and ' ' not in pattern:
                yield path.name, pattern.removeprefix(re.escape(MODULE + '.'))


def message_calls():
    "Yield (path, id, names of the variables) of gettext with a constant id"
    for path, source in sources():
        for node in ast.walk(ast.parse(source)):
            if (isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in {'gettext', 'ngettext'}
                    and isinstance(node.args[0], ast.Constant)
                    and all(k.arg for k in node.keywords)):
                yield (
                    path.name, node.args[0].value.removeprefix(MODULE + '.'),
                    {k.arg for k in node.keywords})


def messages():
    "Return {id: text} of the messages of the module"
    result = {}
    for file in ROOT.glob('*.xml'):
        for record in etree.parse(str(file)).iter('record'):
            if record.get('model') == 'ir.message':
                text, = [f.text for f in record if f.get('name') == 'text']
                assert record.get('id') not in result, record.get('id')
                result[record.get('id')] = text
    return result


class MarketingAutomationTestCase(
        PartyCompanyCheckEraseMixin, PartyCheckReplaceMixin, CompanyTestMixin,
        ModuleTestCase):
    "Test Marketing Automation module"
    module = MODULE
    extras = EVERYTHING[1:]

    def _models(self, *classes):
        for name, Model in Pool().iterobject():
            if (isregisteredby(Model, self.module)
                    and issubclass(Model, classes)):
                yield name, Model

    def _own_models(self, *classes):
        "Yield only those that this module defines"
        for name, Model in self._models(*classes):
            if name.startswith('marketing.automation.') or (
                    name == 'party.party-unsubscribed-'
                    'marketing.automation.scenario'):
                yield name, Model

    @with_transaction()
    def test_access(self):
        "Test each model gives access to marketing and to nobody else"
        pool = Pool()
        Access = pool.get('ir.model.access')
        ModelData = pool.get('ir.model.data')
        marketing = ModelData.get_id('marketing', 'group_marketing')
        for name, Model in self._own_models(ModelSQL):
            with self.subTest(model=name):
                if Model.__access__:
                    continue
                accesses = {
                    a.group.id if a.group else None: a
                    for a in Access.search([('model', '=', name)])}
                self.assertIn(None, accesses)
                nobody = accesses.pop(None)
                self.assertFalse(any([
                            nobody.perm_read, nobody.perm_write,
                            nobody.perm_create, nobody.perm_delete]))
                if name in SECRET:
                    self.assertFalse(accesses)
                else:
                    self.assertEqual(set(accesses) & {marketing}, {marketing})
                    self.assertTrue(accesses[marketing].perm_read)

    @with_transaction()
    def test_access_checked(self):
        "Test who is not in the group of marketing reads nothing"
        pool = Pool()
        User = pool.get('res.user')
        Access = pool.get('ir.model.access')
        nobody = create('res.user', name="Nobody", login='nobody')
        marketer = create_marketer()
        names = [
            n for n, Model in self._own_models(ModelSQL)
            if not Model.__access__]
        for user, is_allowed in [(nobody, False), (marketer, True)]:
            with Transaction().set_user(user.id), \
                    Transaction().set_context(
                        User.get_preferences(context_only=True),
                        _check_access=True):
                for name in names:
                    with self.subTest(user=user.login, model=name):
                        self.assertEqual(
                            Access.check(name, raise_exception=False),
                            is_allowed and name not in SECRET)

    @with_transaction()
    def test_buttons(self):
        "Test each button is registered and only for groups"
        pool = Pool()
        Button = pool.get('ir.model.button')
        for name, Model in self._own_models(ModelView):
            for button in Model._buttons:
                with self.subTest(model=name, button=button):
                    record, = Button.search([
                            ('model', '=', name),
                            ('name', '=', button),
                            ])
                    self.assertTrue(record.groups)
                    self.assertTrue(record.string)

    @with_transaction()
    def test_crons(self):
        "Test the crons are active and their methods can be selected"
        pool = Pool()
        Cron = pool.get('ir.cron')
        ModelData = pool.get('ir.model.data')
        for name, method in [
                ('cron_scenario_trigger',
                    'marketing.automation.scenario|trigger'),
                ('cron_record_activity_process',
                    'marketing.automation.record.activity|process'),
                ]:
            with self.subTest(name=name):
                cron = Cron(ModelData.get_id(self.module, name))
                self.assertEqual(cron.method, method)
                self.assertTrue(cron.active)
                self.assertIn(method, dict(Cron.method.selection))

    @with_transaction()
    def test_fixed_names(self):
        "Test the XML identifiers that others build upon"
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        names = [
            'scenario_view_form', 'scenario_view_list', 'activity_view_form',
            'activity_view_list', 'activity_view_tree', 'record_view_form',
            'record_view_list', 'record_activity_view_form',
            'record_activity_view_list', 'act_scenario_form',
            'act_activity_tree', 'act_record_form', 'act_record_activity_form',
            'menu_scenario_form', 'act_reporting_activity_keyword',
            'act_reporting_scenario_keyword', 'access_scenario',
            'access_activity', 'access_record', 'access_record_activity']
        for name in names:
            with self.subTest(name=name):
                self.assertTrue(ModelData.get_id(self.module, name))

    @with_transaction()
    def test_views_show(self):
        "Test what a user must see is in a view"
        pool = Pool()
        View = pool.get('ir.ui.view')
        for model, name in [
                ('marketing.automation.scenario', 'matching_count'),
                ('marketing.automation.scenario', 'block_rate_trend'),
                ('marketing.automation.scenario', 'entry_error'),
                ('marketing.automation.activity', 'email_open_rate_trend'),
                ('marketing.automation.record', 'activities'),
                ('marketing.automation.record.activity', 'explanation'),
                ('party.party', 'marketing_unsubscriptions'),
                ('ir.email', 'marketing_automation_activity'),
                ]:
            with self.subTest(model=model, name=name):
                views = View.search([
                        ('model', '=', model),
                        ('module', '=', self.module),
                        ])
                fields = {
                    e.get('name')
                    for view in views
                    for e in etree.fromstring(view.arch.encode()).iter()
                    if isinstance(e.tag, str)}
                self.assertIn(name, fields)

    def test_message_exist(self):
        "Test each message the code names exists"
        ids = messages()
        found = list(message_patterns())
        self.assertGreater(len(found), 20)
        for path, pattern in found:
            with self.subTest(path=path, pattern=pattern):
                self.assertTrue(
                    any(re.fullmatch(pattern, id_) for id_ in ids))

    def test_message_used(self):
        "Test each message is named by the code"
        patterns = {p for _, p in message_patterns()}
        for id_ in messages():
            with self.subTest(id=id_):
                self.assertTrue(
                    any(re.fullmatch(p, id_) for p in patterns))

    def test_message_variables(self):
        "Test the variables of each message are those the code gives"
        texts = messages()
        for path, id_, given in message_calls():
            with self.subTest(path=path, id=id_):
                wanted = set(re.findall(r'%\((\w+)\)', texts[id_]))
                self.assertLessEqual(wanted, given)
                if not given:
                    # Nothing is formatted then
                    self.assertNotIn('%%', texts[id_])

    @with_transaction()
    def test_explanation_message(self):
        "Test each state and reason can be explained"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        ids = messages()
        for state, _ in RecordActivity.state.selection:
            with self.subTest(state=state):
                self.assertIn(f'msg_explanation_{state}', ids)
        explained = {
            reason for reason, _ in RecordActivity.reason.selection
            if reason and any(
                f'msg_explanation_{state}_{reason}' in ids
                for state, _ in RecordActivity.state.selection)}
        self.assertEqual(
            explained,
            {r for r, _ in RecordActivity.reason.selection if r})

    @with_transaction()
    def test_locale(self):
        "Test everything a user sees is in each language, and nothing else"
        pool = Pool()
        Translation = pool.get('ir.translation')
        TranslationSet = pool.get('ir.translation.set', type='wizard')
        # Reports and views are read only then
        session, _, _ = TranslationSet.create()
        TranslationSet.execute(session, {}, 'set_')
        wanted = {
            (t.type, t.name, t.src)
            for t in Translation.search([
                    ('module', '=', self.module),
                    ('lang', '=', 'en'),
                    ])}
        self.assertTrue(wanted)
        for language in LANGUAGES:
            with self.subTest(language=language):
                path = ROOT / 'locale' / f'{language}.po'
                self.assertTrue(path.exists())
                entries = polib.pofile(str(path))
                known = {
                    (*e.msgctxt.split(':')[:2], e.msgid) for e in entries}
                self.assertEqual(wanted - known, set())
                self.assertEqual(known - wanted, set())

    def test_locale_complete(self):
        "Test the languages have neither gaps nor doubts nor wrong variables"
        paths = sorted((ROOT / 'locale').glob('*.po'))
        self.assertLessEqual(set(LANGUAGES), {p.stem for p in paths})
        for path in paths:
            for entry in polib.pofile(str(path)):
                with self.subTest(path=path.name, entry=entry.msgctxt):
                    self.assertFalse(entry.obsolete)
                    self.assertFalse(entry.fuzzy)
                    texts = [(entry.msgid, entry.msgstr)]
                    if entry.msgid_plural:
                        texts = zip(
                            [entry.msgid, entry.msgid_plural],
                            [entry.msgstr_plural.get(i, '') for i in range(2)])
                    for source, text in texts:
                        self.assertTrue(text.strip())
                        self.assertEqual(
                            sorted(_placeholder.findall(source)),
                            sorted(_placeholder.findall(text)))


del ModuleTestCase
