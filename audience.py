# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who enters a scenario, as users write and look at it"""
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, PYSONDecoder, PYSONEncoder
from trytond.transaction import Transaction, without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from . import pyson_source
from .exceptions import ConditionError, DomainError, FilterError


def explain(exception):
    "Return the translated sentence of a SourceError"
    problem = str(exception)
    if exception.name:
        problem = gettext(
            'marketing_automation.msg_source_unknown', name=exception.name)
    return problem


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    domain_source = fields.Function(fields.Text(
            "Domain",
            states={
                'readonly': Eval('state', 'draft') == 'running',
                },
            help="The records that match enter the scenario, "
            "each of them once.\n"
            "Each clause has a field, an operator and a value:\n"
            "[('name', 'like', 'A%'), "
            "('create_date', '>=', Date(delta_days=-30))]\n"
            "or [[\"name\", \"like\", \"A%\"]].\n"
            "An empty list stands for all the records."),
        'on_change_with_domain_source', setter='set_domain_source')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            show_matching={
                'invisible': ~Bool(Eval('model')),
                'icon': 'tryton-search',
                'depends': ['model'],
                },
            use_filter={
                'invisible': (
                    (Eval('state') == 'running') | ~Bool(Eval('model'))),
                'icon': 'tryton-bookmark',
                'depends': ['state', 'model'],
                },
            )

    @fields.depends('domain')
    def on_change_with_domain_source(self, name=None):
        return pyson_source.decode(self.domain) if self.domain else ''

    @fields.depends(
        'domain_source', 'domain', methods=['on_change_with_matching_count'])
    def on_change_domain_source(self):
        try:
            self.domain = pyson_source.encode(self.domain_source or '[]')
        except pyson_source.SourceError:
            # What is wrong is said when the scenario is saved
            self.matching_count = None
        else:
            self.matching_count = self.on_change_with_matching_count()

    @classmethod
    def set_domain_source(cls, scenarios, name, value):
        for scenario in scenarios:
            try:
                domain = pyson_source.encode(value or '[]')
            except pyson_source.SourceError as exception:
                raise DomainError(gettext(
                        'marketing_automation.msg_scenario_invalid_domain',
                        scenario=scenario.rec_name,
                        problem=gettext(
                            'marketing_automation.msg_domain_source',
                            error=explain(exception)))) from exception
            if domain != scenario.domain:
                scenario.domain = domain
        cls.save(scenarios)

    @classmethod
    @ModelView.button_action('marketing_automation.act_matching')
    def show_matching(cls, scenarios):
        for scenario in scenarios:
            return {
                'res_model': scenario.model,
                'pyson_domain': PYSONEncoder().encode(
                    scenario.matching_domain),
                }

    @property
    def matching_domain(self):
        "The domain of the matching records, for clients"
        return [
            PYSONDecoder({}).decode(self.domain),
            ('marketing_party.marketing_unsubscribed', '!=', True),
            ('marketing_party', 'not where', [
                    ('marketing_scenario_unsubscribed', '=', self.id),
                    ]),
            ]

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_filter')
    def use_filter(cls, scenarios):
        pass


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    condition_source = fields.Function(fields.Char(
            "Condition",
            help="What the record must fulfil at the time of the activity, "
            "otherwise it is skipped.\n"
            "The record is called \"self\", for example:\n"
            "Eval('self', {}).get('active')"),
        'on_change_with_condition_source', setter='set_condition_source')

    @fields.depends('condition')
    def on_change_with_condition_source(self, name=None):
        return pyson_source.decode(self.condition) if self.condition else ''

    @fields.depends('condition_source', 'condition')
    def on_change_condition_source(self):
        try:
            self.condition = self._encode_condition(self.condition_source)
        except pyson_source.SourceError:
            # What is wrong is said when the activity is saved
            pass

    @staticmethod
    def _encode_condition(value):
        return pyson_source.encode(value) if value and value.strip() else None

    @classmethod
    def set_condition_source(cls, activities, name, value):
        for activity in activities:
            try:
                condition = cls._encode_condition(value)
            except pyson_source.SourceError as exception:
                raise ConditionError(gettext(
                        'marketing_automation.msg_activity_invalid_condition',
                        activity=activity.rec_name,
                        condition=value,
                        problem=gettext(
                            'marketing_automation.msg_condition_syntax',
                            error=explain(exception)))) from exception
            if condition != activity.condition:
                activity.condition = condition
        cls.save(activities)


class FilterStart(ModelView):
    __name__ = 'marketing.automation.filter'

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        required=True, readonly=True)
    filter = fields.Selection(
        'get_filters', "Saved Filter", required=True, sort=False,
        help="The filters that you have bookmarked in a list.")

    @fields.depends('scenario')
    def get_filters(self):
        if not self.scenario:
            return []
        return [
            (str(s.id), s.name) for s in self.search_filters(self.scenario)]

    @classmethod
    def search_filters(cls, scenario):
        "Return what the user sees as filters in the lists of the model"
        pool = Pool()
        ViewSearch = pool.get('ir.ui.view_search')
        with without_check_access():
            return ViewSearch.search([
                    ('model', '=', scenario.model),
                    ['OR',
                        ('user', '=', Transaction().user),
                        ('user', '=', None),
                        ],
                    ], order=[('name', 'ASC'), ('id', 'ASC')])


class FilterWizard(Wizard):
    __name__ = 'marketing.automation.filter'
    start = StateView(
        'marketing.automation.filter',
        'marketing_automation.filter_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Use", 'use', 'tryton-ok', default=True),
            ])
    use = StateTransition()

    def default_start(self, fields):
        pool = Pool()
        Model = pool.get('ir.model')
        Start = pool.get('marketing.automation.filter')
        filters = Start.search_filters(self.record)
        if not filters:
            raise FilterError(gettext(
                    'marketing_automation.msg_filter_none',
                    model=Model.get_name(self.record.model)))
        return {
            'scenario': self.record.id,
            'filter': str(filters[0].id),
            }

    def transition_use(self):
        for search in self.start.search_filters(self.record):
            if str(search.id) == self.start.filter:
                self.record.domain = search.domain
        self.record.save()
        return 'end'

    def end(self):
        return 'reload'
