# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the unit tests are about: scenarios, those who enter, what they get

The functions create in the current transaction, values are those of fields.
"""
import datetime as dt

from trytond.modules.marketing_automation import signature
from trytond.modules.marketing_automation.condition import Scopes
from trytond.modules.marketing_automation.mail.message import Draft
from trytond.pool import Pool
from trytond.tests.test_tryton import TestCase, activate_module, drop_db
from trytond.transaction import Transaction

# When what is to be done became due
DUE = dt.datetime(2026, 1, 1)
TEMPLATE = (
    '<html><body><p>Hello ${record.rec_name}</p>'
    '<a href="unsubscribe">Unsubscribe</a></body></html>')
URL = 'https://example.org/'


# One set of modules costs the tests less time than many small ones
EVERYTHING = [
    'marketing_automation',
    'account_invoice', 'company', 'inbound_email', 'sale', 'sale_complaint',
    'sale_opportunity', 'web_shortener']


class DatabaseTestCase(TestCase):
    "Has a database of its own, in which the modules are active"
    modules = ['marketing_automation']

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        drop_db()
        cls.addClassCleanup(drop_db)
        activate_module(cls.modules)


def create(model, /, **values):
    "Return a new record of the model"
    record, = Pool().get(model).create([values])
    return record


def create_party(name="Party", address=None, **values):
    if address:
        values.setdefault('contact_mechanisms', [('create', [{
                            'type': 'email',
                            'value': address,
                            }])])
    return create('party.party', name=name, **values)


def create_marketer(login='marketing', **values):
    "Return a new user of the group Marketing"
    ModelData = Pool().get('ir.model.data')
    return create('res.user', login=login, groups=[
            ('add', [ModelData.get_id('marketing.group_marketing')])],
        **{'name': login, **values})


def create_scenario(**values):
    return create('marketing.automation.scenario', **{
            'name': "Scenario", 'model': 'party.party', **values})


def create_activity(parent, **values):
    return create(
        'marketing.automation.activity',
        parent=str(parent), **{'name': "Activity", **values})


def create_email(parent=None, **values):
    "Return a new activity that sends, by default of a new scenario"
    return create_activity(parent or create_scenario(), **{
            'action': 'send_email',
            'email_title': "Title",
            'email_template': TEMPLATE,
            **values})


def create_record(scenario, resource):
    return create(
        'marketing.automation.record',
        scenario=scenario.id, record=str(resource))


def create_record_activity(record, activity, **values):
    return create(
        'marketing.automation.record.activity',
        record=record.id, activity=activity.id, **{'at': DUE, **values})


def create_link(activity, url=URL):
    "Return the id of the link of the activity to the URL"
    Link = Pool().get('marketing.automation.link')
    pair = activity.id, url
    return Link.get_ids({pair})[pair]


def create_hit(record_activity, link=None, **values):
    return create(
        'marketing.automation.hit',
        activity=record_activity.activity.id,
        record_activity=record_activity.id,
        link=link,
        **{'at': DUE, 'verdict': 'human', 'settled': True, **values})


def file_email(record, activity, name, address):
    "File the e-mail that the record got"
    Email = Pool().get('ir.email')
    step, = record.activities
    draft = Draft(activity, step, record.record, record.party)
    draft.render(activity, record, Scopes().get(record.record))
    Email.file_marketing([{
                'resource': str(record.record),
                'recipients': f'{name} <{address}>',
                'address': address,
                'subject': f'Hello {name}',
                'message_id': f'<{record.id}@example.com>',
                'marketing_automation_activity': activity.id,
                'marketing_automation_record': record.id,
                'sender': "Shop",
                'draft': draft,
                }])


def sign(purpose, *ids):
    "Return the token of a link in an e-mail"
    Configuration = Pool().get('marketing.automation.configuration')
    return signature.sign(Configuration.get_secret(), purpose, *ids)


def erase(party):
    "Erase the party as the wizard does"
    Erase = Pool().get('party.erase', type='wizard')
    session, _, _ = Erase.create()
    wizard = Erase(session)
    wizard.ask.party = party
    wizard.transition_erase()
    forget()


def forget():
    "Let records be read again, as the database has them now"
    for cache in Transaction().cache.values():
        cache.clear()
