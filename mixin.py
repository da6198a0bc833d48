# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from trytond.model import fields
from trytond.pool import Pool
from trytond.transaction import Transaction, check_access

from .acting import settable


class MarketingAutomationMixin:
    "What a model takes to be selectable in a scenario"
    __slots__ = ()

    marketing_party = fields.Function(
        fields.Many2One('party.party', "Marketing Party"),
        'get_marketing_party', searcher='search_marketing_party')
    marketing_reach = fields.Function(fields.Selection([
                (None, ""),
                ('reached', "Get E-mails"),
                ('entered', "Already In"),
                ('unsubscribed', "Unsubscribed"),
                ('inactive', "Party Deactivated"),
                ('no_address', "No E-mail Address"),
                ('suppressed', "Address Suppressed"),
                ('duplicate', "Same Address"),
                ], "Reach", sort=False,
            help="What becomes of a record that matches the scenario."),
        'get_marketing_reach', searcher='search_marketing_reach')

    def get_marketing_party(self, name):
        "Return the id of the party to address, or None"
        raise NotImplementedError

    @classmethod
    def search_marketing_party(cls, name, clause):
        raise NotImplementedError

    @classmethod
    def on_modification(cls, mode, records, field_names=None):
        pool = Pool()
        super().on_modification(mode, records, field_names=field_names)
        # While modules are updated, the scenarios may have no tables yet
        if mode != 'delete' and pool.ready:
            Scenario = pool.get('marketing.automation.scenario')
            Scenario.modified(cls.__name__, records)

    @classmethod
    def get_marketing_reach(cls, records, name):
        result = dict.fromkeys(map(int, records))
        if scenario := cls._marketing_scenario():
            query = scenario.reach()
            cursor = Transaction().connection.cursor()
            cursor.execute(*query.select(
                    query.id, query.reach,
                    where=fields.SQL_OPERATORS['in'](query.id, list(result))))
            result.update(cursor)
        return result

    @classmethod
    def search_marketing_reach(cls, name, clause):
        _, operator, value = clause
        Operator = fields.SQL_OPERATORS[operator]
        if not (scenario := cls._marketing_scenario()):
            return [('id', '=', None)]
        query = scenario.reach()
        return [('id', 'in', query.select(
                    query.id, where=Operator(query.reach, value)))]

    @classmethod
    def marketing_views(cls):
        "Return the XML ids of the list and form that show matching records"
        return []

    @classmethod
    def marketing_criteria(cls):
        "Return the paths of the fields by which marketers choose records"
        pool = Pool()
        Party = pool.get('party.party')
        return [f'marketing_party.{p}' for p in Party.marketing_criteria()]

    @classmethod
    def marketing_settable(cls, types):
        """Return the names of the fields that scenarios may set

        types -- of the fields
        """
        return settable(cls, types)

    @classmethod
    def _marketing_scenario(cls):
        "Return the scenario whose matching records are looked at, or None"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        if id_ := Transaction().context.get('marketing_scenario'):
            with check_access():
                scenarios = Scenario.search([('id', '=', id_)])
            return scenarios[0] if scenarios else None

    @property
    def marketing_access_context(self):
        "Context in which templates and conditions read the record"
        return marketing_groups()

    @property
    def marketing_action_context(self):
        "Context in which activities change the record"
        return {**self.marketing_access_context, **marketing_groups()}


class MarketingCreatableMixin:
    "What a model takes so that activities can create its records"
    __slots__ = ()

    @classmethod
    def marketing_new(cls, record):
        """Return a record, not saved yet, for that of a scenario

        record -- with the MarketingAutomationMixin
        """
        raise NotImplementedError

    @classmethod
    def marketing_create_fields(cls):
        "Return the names of the fields that marketers may fill in"
        raise NotImplementedError


class ActivityActionMixin:
    "The action of the activity, for what depends on it"
    __slots__ = ()

    activity_action = fields.Function(
        fields.Selection('get_activity_actions', "Action"),
        'on_change_with_activity_action')

    @classmethod
    def get_activity_actions(cls):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        return Activity.fields_get(['action'])['action']['selection']

    @fields.depends('activity', '_parent_activity.action')
    def on_change_with_activity_action(self, name=None):
        if self.activity:
            return self.activity.action


def marketing_groups():
    "Return the access context of who is only in the group Marketing"
    pool = Pool()
    ModelData = pool.get('ir.model.data')
    return {'_groups': [ModelData.get_id('marketing.group_marketing')]}


def party_of(record):
    "Return the party to address, or None: a party is its own"
    if record.__name__ == 'party.party':
        return record
    return record.marketing_party


def own_company(record):
    "Return the id of the company to which the record belongs, or None"
    company = getattr(record, 'company', None)
    return company.id if company else None
