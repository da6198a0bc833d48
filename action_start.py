# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What activities start elsewhere: a new record, or a method of a module"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta

from .acting import refused
from .action import action_states
from .mixin import MarketingCreatableMixin


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    create_model = fields.Selection(
        'get_creatable_models', "Create",
        states=action_states('create_record', required=True),
        help="Of what a record is created.")
    method = fields.Selection(
        'get_methods', "Do",
        states=action_states('call_method', required=True),
        help="What is done with the record or its party.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.action.selection += [
            ('create_record', "Create Record"),
            ('call_method', "Do Something Else"),
            ]

    @classmethod
    def page_actions(cls):
        return [*super().page_actions(), 'create_record', 'call_method']

    @classmethod
    def action_fields(cls):
        return super().action_fields() | {'create_model', 'method'}

    @classmethod
    def creatable_models(cls):
        """Return the names of the models whose records can be created

        They have the MarketingCreatableMixin.
        """
        pool = Pool()
        return [
            name for name, Model in pool.iterobject()
            if issubclass(Model, MarketingCreatableMixin)]

    @classmethod
    def get_creatable_models(cls):
        pool = Pool()
        Model = pool.get('ir.model')
        return [(None, ""), *(
                (n, Model.get_name(n)) for n in cls.creatable_models())]

    @classmethod
    def callable_methods(cls):
        """Return {name: (label, model, method)} of what can be done

        The class method of the model gets a list of records of the scenario,
        or of their parties if the model is that of parties.
        """
        return {
            'party_unsubscribe': (
                gettext('marketing_automation.msg_method_party_unsubscribe'),
                'party.party', 'marketing_unsubscribe'),
            }

    @fields.depends('parent', 'scenario')
    def get_methods(self):
        Model = self.target_model
        models = {'party.party', Model.__name__ if Model else None}
        return [(None, ""), *(
                (name, label)
                for name, (label, model, _) in self.callable_methods().items()
                if model in models)]

    @fields.depends('action', 'create_model')
    def on_change_with_values_model(self, name=None):
        if self.action == 'create_record':
            return self.create_model
        return super().on_change_with_values_model(name=name)

    @classmethod
    def value_fields(cls, action, Model):
        if action == 'create_record':
            return Model.marketing_create_fields()
        return super().value_fields(action, Model)

    def check_action(self):
        super().check_action()
        if self.action == 'create_record':
            self._check_lines()

    def execute_create_record(self, record_activity, **kwargs):
        self.create_for(record_activity.record)

    def create_for(self, record):
        """Return the new record

        record -- the marketing.automation.record for which it is created
        """
        pool = Pool()
        Model = pool.get(self.create_model)
        new = Model.marketing_new(record.record)
        for value in self.action_values:
            old = getattr(new, value.field, None)
            setattr(new, value.field, value.new_value(old, record))
        refused(Model.save, [new])
        return new

    def execute_call_method(self, record_activity, **kwargs):
        pool = Pool()
        _, model, method = self.callable_methods()[self.method]
        record = record_activity.record.record
        if record.__name__ != model:
            record = self._party(record)
        refused(getattr(pool.get(model), method), [record])

    @fields.depends('action', 'create_model', 'method', 'parent', 'scenario')
    def flow_what(self):
        if self.action == 'create_record':
            model = dict(self.get_creatable_models()).get(self.create_model)
            return gettext(
                'marketing_automation.msg_flow_what_create_record',
                model=model or '…')
        elif self.action == 'call_method':
            label = dict(self.get_methods()).get(self.method)
            return gettext(
                'marketing_automation.msg_flow_what_call_method',
                method=label or '…')
        return super().flow_what()
