# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The scenarios of the demo

An e-mail is made of a layout, a template and the texts of a language: in
them, [[name]] stands for the text of this name, [[section.name]] for that of
another e-mail and [[file]] for a part of a template.
"""
import datetime as dt
import re
from collections import namedtuple
from configparser import ConfigParser
from pathlib import Path

from trytond.pool import Pool
from trytond.pyson import Eval, PYSONEncoder
from trytond.transaction import Transaction

from .environment import LANGUAGES

GREEN, ORANGE, RED, BROWN = '#2f6f62', '#a8551f', '#9c3d2e', '#6b4a35'
SHOP = 'https://shop.example.com/[[lang]]/'

folder = Path(__file__).resolve().parent
_slot = re.compile(r'\[\[([\w.]+)\]\]')

# owner: login of who creates it
# audience: function that returns the values that say who enters
Plan = namedtuple(
    'Plan', ['name', 'owner', 'model', 'audience', 'who', 'steps'])
# key: section of the texts; on: event of the parent; page: of the shop
Step = namedtuple('Step', [
        'key', 'name', 'template', 'colour', 'page', 'on', 'delay',
        'condition', 'sender', 'steps'],
    defaults=[None, None, None, None, []])

_is_open = PYSONEncoder().encode(
    Eval('self', {}).get('state', '') == 'quotation')
_many = PYSONEncoder().encode(
    Eval('self', {}).get('total_amount', 0) >= 400)


def _club():
    pool = Pool()
    Category = pool.get('party.category')
    club, = Category.search([('name', '=', "Meridian Club")])
    return _criterion('categories', 'is', category=club.id)


def _quotations():
    return _criterion('state', 'is', choice='quotation')


def _criterion(field, operator, **values):
    return {
        'criteria': [('create', [
                    {'field': field, 'operator': operator, **values}])],
        }


def _buyers():
    return {
        'domain': PYSONEncoder().encode(
            [('state', 'in', ['processing', 'done'])]),
        }


WELCOME = Plan(
    "Welcome to the club", 'marketing', 'party.party', _club, 'record', [
        Step('welcome', "Welcome", 'welcome.html', RED, 'coffees', steps=[
                Step('guide', "Brewing guide", 'guide.html', GREEN, 'film',
                    'email_opened', dt.timedelta(days=1), steps=[
                        Step('voucher', "Voucher", 'voucher.html', ORANGE,
                            'order', 'email_clicked'),
                        Step('favourites', "Favourites", 'favourites.html',
                            BROWN, 'coffees', 'email_clicked_not',
                            dt.timedelta(days=3)),
                        ]),
                Step('second_try', "Second try", 'letter.html', ORANGE,
                    'finder', 'email_opened_not', dt.timedelta(days=3)),
                ]),
        ])
QUOTATION = Plan(
    "Follow-up of quotations", 'sales', 'sale.sale', _quotations,
    'record.party', [
        Step('quotation', "Your quotation", 'quotation.mjml', GREEN,
            'quotation/${record.number}', condition=_is_open, steps=[
                Step('help', "May I help?", 'letter.mjml', BROWN, 'call',
                    'email_clicked', dt.timedelta(hours=4), _is_open,
                    "Giulia Moretti <giulia@meridian.example.com>"),
                Step('reminder', "Reminder", 'quotation.mjml', ORANGE,
                    'quotation/${record.number}', 'email_clicked_not',
                    dt.timedelta(days=2), _is_open, steps=[
                        Step('incentive', "Free delivery", 'letter.mjml',
                            RED, 'quotation/${record.number}',
                            'email_opened', None, _many),
                        Step('last_call', "Last call", 'letter.mjml', BROWN,
                            'quotation/${record.number}',
                            'email_opened_not', dt.timedelta(days=4),
                            _is_open),
                        ]),
                ]),
        ])
PURCHASE = Plan(
    "After the purchase", 'sales', 'sale.sale', _buyers, 'record.party', [
        Step('thanks', "How was it?", 'rating.mjml', ORANGE, '', steps=[
                Step('recommend', "Recommend us", 'letter.mjml', GREEN,
                    'friends', 'email_clicked'),
                Step('how_was_it', "One click, please", 'rating.mjml', BROWN,
                    '', 'email_clicked_not', dt.timedelta(days=2), steps=[
                        Step('refill', "Refill", 'quotation.mjml', RED,
                            'again/${record.number}', 'email_opened'),
                        Step(None, "Leave in peace", None, None, None,
                            'email_opened_not', dt.timedelta(days=3)),
                        ]),
                ]),
        ])
PLANS = [WELCOME, QUOTATION, PURCHASE]


class Writer:
    "Composes the title and the template of an e-mail in a language"

    def __init__(self, language, plan, step):
        self.texts = _texts(language)
        self.section = step.key
        self.values = {
            'lang': language,
            'name': f'{plan.who}.name',
            'colour': step.colour,
            'url': SHOP + step.page,
            }
        self.template = step.template

    def title(self):
        return self._fill('[[title]]')

    def content(self):
        suffix = Path(self.template).suffix
        layout = _part(f'layout{suffix}')
        return self._fill(
            layout.replace('[[content]]', _part(self.template).rstrip()))

    def _fill(self, source):
        "Replace the slots, and those in what replaces them"
        while _slot.search(source):
            source = _slot.sub(lambda m: self._value(m[1]), source)
        return source

    def _value(self, name):
        if name in self.values:
            return self.values[name]
        if name.endswith('.html'):
            return _part(name).rstrip()
        section, _, name = name.rpartition('.')
        return self.texts[section or self.section][name]


def _texts(language):
    texts = ConfigParser(interpolation=None)
    texts.read(folder / 'texts' / f'{language}.ini', encoding='utf-8')
    return texts


def _part(name):
    return (folder / 'templates' / name).read_text(encoding='utf-8')


def create(plan):
    """Create the scenario and run it

    Return {id of the activity: its step}, parents first.
    """
    pool = Pool()
    Scenario = pool.get('marketing.automation.scenario')
    scenario, = Scenario.create([{
                'name': plan.name,
                'model': plan.model,
                'unsubscribable': True,
                **plan.audience(),
                }])
    activities = _create_activities(plan, plan.steps, scenario)
    Scenario.run([scenario])
    return activities


def prepare():
    "Create a scenario to be tried and run, with e-mails of the starters"
    pool = Pool()
    Country = pool.get('country.country')
    Scenario = pool.get('marketing.automation.scenario')
    germany, = Country.search([('code', '=', 'DE')])
    scenario, = Scenario.create([{
                'name': "Tasting in Germany",
                'model': 'party.party',
                'unsubscribable': True,
                'window_days': [str(d) for d in range(5)],
                'window_from': dt.time(9),
                'window_to': dt.time(18),
                **_criterion('marketing_country', 'is', country=germany.id),
                }])
    invitation = _start(scenario, "Invitation", 'invitation.html')
    _start(
        invitation, "Reminder", 'letter.html', on='email_opened_not',
        delay=dt.timedelta(days=3))


def _start(parent, name, file, **values):
    "Create an activity whose e-mail starts from the file"
    pool = Pool()
    Activity = pool.get('marketing.automation.activity')
    Starter = pool.get('marketing.automation.email.starter')
    starter, = Starter.search([('file', '=', file)])

    def email():
        title, template = starter.texts('party.party')
        return {'email_title': title, 'email_template': template}

    activity, = Activity.create([{
                'name': name,
                'parent': str(parent),
                'action': 'send_email',
                **email(),
                **values,
                }])
    for language in LANGUAGES:
        with Transaction().set_context(language=language):
            Activity.write([Activity(activity.id)], email())
    return activity


def _create_activities(plan, steps, parent):
    pool = Pool()
    Activity = pool.get('marketing.automation.activity')
    result = {}
    for step in steps:
        activity, = Activity.create([_values(plan, step, parent)])
        if step.template:
            for language in LANGUAGES:
                with Transaction().set_context(language=language):
                    Activity.write(
                        [Activity(activity.id)],
                        _email(Writer(language, plan, step)))
        result[activity.id] = step
        result.update(_create_activities(plan, step.steps, activity))
    return result


def _values(plan, step, parent):
    values = {
        'name': step.name,
        'parent': str(parent),
        'on': step.on,
        'delay': step.delay,
        'condition': step.condition,
        'email_from': step.sender,
        }
    if step.template:
        values['action'] = 'send_email'
        values.update(_email(Writer('en', plan, step)))
    return values


def _email(writer):
    return {
        'email_title': writer.title(),
        'email_template': writer.content(),
        }
