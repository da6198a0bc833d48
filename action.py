# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What activities change: fields of the record, categories of its party"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval

from . import acting
from .action_value import OPERATORS
from .condition import Scopes
from .exceptions import ActionError, Skip
from .mail import message
from .mixin import marketing_groups, party_of

CATEGORY = ['add_category', 'remove_category']


def action_states(*actions, required=False):
    "Return the states of a field of the actions"
    is_chosen = Eval('action').in_(list(actions))
    states = {'invisible': ~is_chosen}
    if required:
        states['required'] = is_chosen
    return states


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    target = fields.Function(fields.Char("Target"), 'on_change_with_target')
    values_of = fields.Selection([
            ('record', "The Record"),
            ('party', "Its Party"),
            ], "Of", sort=False,
        states={
            'invisible': (
                (Eval('action') != 'set_fields')
                | (Eval('target') == 'party.party')),
            'required': Eval('action') == 'set_fields',
            },
        help="Whose fields are set.")
    values_model = fields.Function(
        fields.Char("Model"), 'on_change_with_values_model')
    action_values = fields.One2Many(
        'marketing.automation.activity.value', 'activity', "Values",
        states={
            'invisible': ~Bool(Eval('values_model')),
            },
        context={
            'marketing_model': Eval('values_model'),
            'marketing_action': Eval('action'),
            },
        depends=['values_model', 'action'],
        help="What is written into which field.\n"
        'Texts can name the record as e-mails do, '
        'as in "Since ${record.create_date}".')
    category = fields.Many2One(
        'party.category', "Category", ondelete='RESTRICT',
        states=action_states(*CATEGORY, required=True))

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.action.selection += [
            ('set_fields', "Set Fields"),
            ('add_category', "Add Category"),
            ('remove_category', "Remove Category"),
            ]

    @classmethod
    def view_attributes(cls):
        has_page = Eval('action').in_(cls.page_actions())
        return super().view_attributes() + [
            ('/form//page[@id="action"]', 'states', {
                    'invisible': ~has_page,
                    }),
            ('/form//page[@id="email"]', 'states', {
                    'invisible': has_page,
                    }),
            ]

    @classmethod
    def page_actions(cls):
        "Return the actions whose fields are on the page Action"
        return ['set_fields', *CATEGORY]

    @classmethod
    def default_values_of(cls):
        return 'record'

    @fields.depends('parent', 'scenario')
    def on_change_with_target(self, name=None):
        Model = self.target_model
        return Model.__name__ if Model else None

    @fields.depends('action', 'values_of', methods=['on_change_with_target'])
    def on_change_with_values_model(self, name=None):
        if self.action == 'set_fields':
            if self.values_of == 'party':
                return 'party.party'
            return self.on_change_with_target()

    @classmethod
    def value_fields(cls, action, Model):
        "Return the names of the fields that values can be for"
        names = Model.marketing_settable(set(OPERATORS))
        return sorted(
            acting.allowed(Model, 'write', names, marketing_groups()),
            key=lambda n: Model.__names__(n)['field'])

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        for activity in activities:
            if not field_names or field_names & activity.action_fields():
                activity.check_action()

    @classmethod
    def on_modification(cls, mode, activities, field_names=None):
        pool = Pool()
        Value = pool.get('marketing.automation.activity.value')
        super().on_modification(mode, activities, field_names=field_names)
        if mode == 'write' and field_names & {
                'action', 'values_of', 'create_model'}:
            # What is about other records could never be used again
            Value.delete([
                    v for a in activities for v in a.action_values
                    if v.lacking == 'field'])

    @classmethod
    def action_fields(cls):
        "Return the names of the fields on which check_action depends"
        return {'action', 'parent', 'values_of', 'action_values', 'category'}

    def check_action(self):
        "Raise an error if what the activity is to do can not be done"
        if self.action == 'set_fields':
            if not self.action_values:
                self._action_error('values')
            self._check_lines()
            self._check_access(
                self.values_model, [v.field for v in self.action_values])
        elif self.action in CATEGORY:
            self._check_access('party.party', ['categories'])

    def _check_lines(self):
        for number, value in enumerate(self.action_values, 1):
            value.check(number)
        names = {v.field for v in self.action_values}
        if len(names) < len(self.action_values):
            self._action_error('twice')

    def _check_access(self, model, names, mode='write'):
        pool = Pool()
        Model = pool.get(model)
        groups = marketing_groups()
        if label := acting.denied(Model, mode, names, groups):
            self._action_error('group', name=label)
        if label := acting.forbidden(Model, mode, names):
            self._action_error('user', name=label)

    def _action_error(self, problem, **variables):
        raise ActionError(gettext(
                f'marketing_automation.msg_action_{problem}',
                activity=self.rec_name, **variables))

    def render_text(self, source, record):
        """Return the text that can name the record as e-mails do

        record -- the marketing.automation.record
        """
        scope = Scopes().get(record.record)
        return message.render(source, self.email_context(record), scope)

    def _party(self, record):
        if party := party_of(record):
            return party
        raise Skip('no_party')

    def execute_set_fields(self, record_activity, **kwargs):
        record = record_activity.record
        target = record.record
        if self.values_of == 'party':
            target = self._party(target)
        values = {}
        for value in self.action_values:
            old = getattr(target, value.field)
            values[value.field] = value.new_value(old, record)
        acting.write(target, values, record.record.marketing_action_context)

    def execute_add_category(self, record_activity, **kwargs):
        self._change_categories(record_activity, 'add')

    def execute_remove_category(self, record_activity, **kwargs):
        self._change_categories(record_activity, 'remove')

    def _change_categories(self, record_activity, change):
        record = record_activity.record.record
        acting.write(
            self._party(record),
            {'categories': [(change, [self.category.id])]},
            record.marketing_action_context)

    @fields.depends('action', 'action_values', 'category')
    def flow_what(self):
        if self.action == 'set_fields':
            return gettext(
                'marketing_automation.msg_flow_what_set_fields',
                fields=', '.join(
                    v.field_string for v in self.action_values or []
                    if getattr(v, 'field', None)) or '…')
        elif self.action in CATEGORY:
            return gettext(
                f'marketing_automation.msg_flow_what_{self.action}',
                category=self.category.rec_name if self.category else '…')
        return super().flow_what()


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    def get_explanation(self, name):
        if (self.state == 'done'
                and self.activity.action in self.activity.page_actions()):
            return gettext(
                'marketing_automation.msg_explanation_done_action',
                what=self.activity.flow_what())
        return super().get_explanation(name)
