# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What of the business holds a record back, looked at before each step

A module adds a guard by extending Scenario.guards.
"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from .exceptions import Skip
from .mixin import party_of


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    held_back_by = fields.MultiSelection(
        'get_guards', "Hold Back Because of", sort=False,
        states={
            'invisible': ~Bool(Eval('model')),
            },
        help="Nothing is done for a record as long as one of them is true: "
        "its step is skipped.")

    @classmethod
    def guards(cls, model):
        """Return {name: (label, method)} of what holds back records

        model -- the name of the model of the records
        label -- what a marketer reads
        method -- takes a list of records and returns the set of those ids
            that are held back, in the company that sends if there is one
        """
        return {}

    @fields.depends('model')
    def get_guards(self):
        if not self.model:
            return []
        return [
            (name, label)
            for name, (label, _) in self.guards(self.model).items()]

    def rules(self):
        yield from super().rules()
        if self.held_back_by:
            labels = dict(self.get_guards())
            yield gettext(
                'marketing_automation.msg_rule_guard',
                guards=', '.join(
                    labels.get(n, n) for n in self.held_back_by))

    @staticmethod
    def held_parties(records, find):
        """Return the set of those ids of records whose parties are held back

        find -- takes a list of ids of parties and returns those held back
        """
        parties = {}
        for record in records:
            if party := party_of(record):
                parties[record.id] = party.id
        held = set(find(list(set(parties.values()))))
        return {id_ for id_, party in parties.items() if party in held}

    def held_back(self, records):
        "Return {id: name of the guard} of the records that are held back"
        guards = self.guards(self.model)
        result = {}
        with Transaction().set_context(company=self.sending_company):
            for name in self.held_back_by or []:
                if name in guards and records:
                    _, method = guards[name]
                    for id_ in method(records):
                        result.setdefault(id_, name)
        return result


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.detail.states = {
            'invisible': Eval('reason') == 'guard',
            }

    @classmethod
    def facts(cls, activity, ids):
        facts = super().facts(activity, ids)
        scenario = activity.scenario
        facts['held_back'] = {}
        if scenario.held_back_by and activity.action:
            resources = {
                r.id: r.record.record for r in cls.browse(ids)
                if r.record.record}
            held = scenario.held_back(list(resources.values()))
            facts['held_back'] = {
                id_: held[r.id] for id_, r in resources.items()
                if r.id in held}
        return facts

    def decide(self, activity, facts, scopes):
        super().decide(activity, facts, scopes)
        if self.state == 'waiting' and (
                name := facts['held_back'].get(self.id)):
            raise Skip('guard', name)

    @property
    def explained_detail(self):
        if self.reason == 'guard':
            guards = self.record.scenario.guards(self.record.scenario.model)
            label, _ = guards.get(self.detail, (self.detail, None))
            return label
        return super().explained_detail
