# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The e-mail beside its template: for whom, in which language, how wide"""
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_email, create_marketer, create_party,
    create_scenario)

TEMPLATE = (
    '<html><body><div style="display: none">News for you</div>'
    '<p>%s ${record.name}</p><a href="unsubscribe">Unsubscribe</a>'
    '</body></html>')


def _language(code):
    Language = Pool().get('ir.lang')
    language, = Language.search([('code', '=', code)])
    language.translatable = True
    language.save()
    return language


class PreviewTestCase(DatabaseTestCase):
    "Test the preview in the form of the activity"

    def setUp(self):
        super().setUp()
        self.domain = '[["name", "in", ["Anna", "Bert", "Carl"]]]'

    def _activity(self, **values):
        return create_email(
            create_scenario(domain=self.domain),
            email_title="For ${record.name}",
            email_template=TEMPLATE % "Hello", **values)

    @with_transaction()
    def test_sample(self):
        "Test that it is shown for who can get it, else for the first"
        anna, bert = create_party("Anna"), create_party("Bert")
        activity = self._activity()
        self.assertEqual(activity.preview_record, anna)
        create(
            'party.contact_mechanism', party=bert.id, type='email',
            value='bert@example.com')
        activity = activity.__class__(activity.id)
        self.assertEqual(activity.preview_record, bert)
        self.assertEqual(activity.email_preview_title, "For Bert")
        mechanism, = bert.contact_mechanisms
        mechanism.marketing_suppressed = 'complaint'
        mechanism.save()
        self.assertEqual(activity.scenario.sample, anna)

    @with_transaction()
    def test_chosen(self):
        "Test that it follows the record of the marketer's choice"
        create_party("Anna")
        other = create_party("Dora")
        activity = self._activity()
        activity.preview_record = other
        activity.on_change_preview_record()
        self.assertEqual(activity.email_preview_title, "For Dora")
        self.assertIn("Hello Dora", activity.email_preview_text)
        self.assertIn(b"Hello Dora", activity.email_preview)
        activity.preview_record = None
        activity.on_change_preview_record()
        self.assertEqual(activity.email_preview_title, "For Anna")

    @with_transaction()
    def test_choice_is_not_kept(self):
        "Test that what is shown is not kept"
        create_party("Anna")
        activity = self._activity()
        activity.preview_record = create_party("Dora")
        activity.preview_view = 'phone'
        activity.preview_language = _language('fr').code
        activity.save()
        activity = activity.__class__(activity.id)
        self.assertEqual(activity.preview_record.name, "Anna")
        self.assertEqual(activity.preview_view, 'wide')
        self.assertIsNone(activity.preview_language)

    @with_transaction()
    def test_languages(self):
        "Test the translation that is saved, and what is typed without one"
        french = _language('fr')
        german = _language('de')
        create_party("Anna", lang=french.id)
        activity = self._activity()
        Activity = activity.__class__
        with Transaction().set_context(language='fr'):
            Activity.write(
                [Activity(activity.id)],
                {'email_template': TEMPLATE % "Bonjour"})
        activity.email_template = TEMPLATE % "Good morning"
        activity.on_change_email_template()
        self.assertIn("Bonjour Anna", activity.email_preview_text)
        self.assertIn(b"Shown in French", activity.email_preview)
        activity.preview_language = german.code
        activity.on_change_preview_language()
        self.assertIn("Good morning Anna", activity.email_preview_text)
        self.assertNotIn(b"Shown in", activity.email_preview)

    @with_transaction()
    def test_width(self):
        "Test that only the frame has the width of a phone"
        create_party("Anna")
        activity = self._activity()
        wide = activity.email_preview
        activity.preview_view = 'phone'
        activity.on_change_preview_view()
        self.assertIn(b'<iframe class="wide"', wide)
        self.assertIn(b'<iframe class="phone"', activity.email_preview)

    @with_transaction()
    def test_inbox(self):
        "Test that sender, subject and first words are shown, escaped"
        create_party("Anna")
        activity = self._activity(email_from="Shop & Co <shop@example.com>")
        activity.email_title = '<b>"Hi"</b>'
        activity.on_change_email_title()
        shown = activity.email_preview.decode('utf-8-sig')
        self.assertIn("<p>Shop &amp; Co</p>", shown)
        self.assertIn('<b>&lt;b&gt;&quot;Hi&quot;&lt;/b&gt;</b>', shown)
        self.assertIn(
            '<span>News for you Hello Anna Unsubscribe</span>', shown)
        self.assertIn(
            'srcdoc="&lt;html', shown)

    @with_transaction()
    def test_problems(self):
        "Test that what is wrong takes the place of the e-mail"
        activity = self._activity()
        self.assertIn(b"no record", activity.email_preview)
        create_party("Anna")
        activity.email_template = TEMPLATE % "${record.nome}"
        activity.on_change_email_template()
        self.assertIn(b'&quot;nome&quot;', activity.email_preview)
        self.assertEqual(activity.email_preview_title, '')

    @with_transaction()
    def test_access(self):
        "Test that only records that the user may read are shown"
        create_party("Anna")
        hidden = create_party("Dora")
        activity = self._activity()
        model, = Pool().get('ir.model').search([('name', '=', 'party.party')])
        create('ir.rule.group',
            name="Test", model=model.name, global_p=True, rules=[
                ('create', [{'domain': '[["name", "!=", "Dora"]]'}])])
        user = create_marketer()
        with Transaction().set_user(user.id):
            activity = activity.__class__(activity.id)
            activity.preview_record = hidden
            activity.on_change_preview_record()
            self.assertNotIn(b"Dora", activity.email_preview)
            self.assertIn(b"not allowed", activity.email_preview)
