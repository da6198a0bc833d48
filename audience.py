# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who enters a scenario, as users write and look at it"""
from sql import Union

from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.fields.field import domain_validate
from trytond.pool import Pool, PoolMeta
from trytond.pyson import PYSON, Bool, Eval, PYSONDecoder
from trytond.transaction import (
    Transaction, check_access, inactive_records, without_check_access)
from trytond.wizard import Button, StateTransition, StateView, Wizard

from . import pyson_source
from .condition import field_path, source_problem
from .exceptions import DomainError, EverybodyWarning, FilterError

OPERATORS = fields.field.OPERATORS


class Audience:
    """The records that match the domain of a scenario, or another one

    ids -- only these enter
    """

    def __init__(self, scenario, domain=None, ids=None):
        pool = Pool()
        self.Model = pool.get(scenario.model)
        self.scenario = scenario
        if domain is None:
            domain = PYSONDecoder({}).decode(scenario.domain)
        self.domain = domain
        self.ids = ids

    def _refusing(self):
        "Return the query of the parties that do not want its e-mails"
        pool = Pool()
        Party = pool.get('party.party')
        with without_check_access(), inactive_records():
            return Union(*(
                    Party.search([clause], order=[], query=True)
                    for clause in self.scenario.refusals),
                all_=True)

    def search(self, *clauses, **options):
        "Search the matching records in the company of the scenario"
        with Transaction().set_context(company=self.scenario.sending_company):
            return self.Model.search([self.domain, *clauses], **options)

    def entering(self, *clauses, **options):
        "Search the records that match and do not refuse"
        return self.search(
            ('marketing_party.id', 'not in', self._refusing()),
            *clauses, **options)

    def query(self):
        "Return the query of what may enter"
        only = [] if self.ids is None else [('id', 'in', self.ids)]
        return self.entering(*only, order=[], query=True)

    def matching(self):
        "Return the query of what matches and the user is allowed to see"
        with check_access():
            return self.search(order=[], query=True)

    def refusing_records(self):
        "Return the query of the records that refuse"
        with inactive_records():
            return self.Model.search([
                    ('marketing_party.id', 'in', self._refusing()),
                    ], order=[], query=True)

    def count(self):
        "Return the number of records which the user is allowed to see"
        with check_access():
            return self.search(count=True)


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    domain_source = fields.Function(fields.Text(
            "Expert Filter",
            states={
                'readonly': Eval('state', 'draft') == 'running',
                },
            help="The records that match enter the scenario, "
            "each of them once.\n"
            "Each clause has a field, an operator and a value:\n"
            "[('name', 'like', 'A%'), "
            "('create_date', '>=', DateTime(delta_days=-30))]\n"
            "or [[\"name\", \"like\", \"A%\"]].\n"
            "An empty list stands for all the records."),
        'on_change_with_domain_source', setter='set_domain_source')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
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

    @fields.depends('domain_source', 'domain', methods=['update_counts'])
    def on_change_domain_source(self):
        try:
            self.domain = pyson_source.encode(self.domain_source or '[]')
        except pyson_source.SourceError:
            # What is wrong is said when the scenario is saved
            self.set_counts({})
        else:
            self.update_counts()

    @classmethod
    def set_domain_source(cls, scenarios, name, value):
        for scenario in scenarios:
            try:
                domain = pyson_source.encode(value or '[]')
            except pyson_source.SourceError as exception:
                scenario._domain_error(source_problem(exception), exception)
            if domain != scenario.domain:
                scenario.domain = domain
        cls.save(scenarios)

    @property
    def refusals(self):
        "The domains of the parties that do not want e-mails of the scenario"
        return [
            ('marketing_unsubscribed', '=', True),
            ('marketing_scenario_unsubscribed', '=', self.id or -1),
            ]

    def refusing(self, parties):
        "Return the set of those ids of parties that do not want its e-mails"
        pool = Pool()
        Party = pool.get('party.party')
        with inactive_records():
            return set(map(int, Party.search([
                            ('id', 'in', list(parties)),
                            ['OR', *self.refusals],
                            ], order=[])))

    @classmethod
    def validate_fields(cls, scenarios, field_names):
        super().validate_fields(scenarios, field_names)
        if not field_names or field_names & {'model', 'domain'}:
            for scenario in scenarios:
                scenario.check_domain()

    def check_run(self):
        super().check_run()
        self.check_domain()

    def check_domain(self):
        "Raise DomainError unless the user can search with the domain"
        pool = Pool()
        try:
            check_domain(pool.get(self.model), self.domain)
        except DomainProblem as problem:
            self._domain_error(str(problem), problem)

    def _domain_error(self, problem, exception=None):
        raise DomainError(gettext(
                'marketing_automation.msg_scenario_invalid_domain',
                scenario=self.rec_name,
                problem=problem)) from exception

    @classmethod
    def check_modification(
            cls, mode, scenarios, values=None, external=False):
        super().check_modification(
            mode, scenarios, values=values, external=external)
        if mode == 'write' and 'domain' in values:
            for scenario in scenarios:
                scenario._check_everybody(values['domain'])

    def _check_everybody(self, domain):
        "Ask before all the records match"
        pool = Pool()
        Warning = pool.get('res.user.warning')
        if is_empty(self.domain) or not is_empty(domain):
            return
        key = Warning.format('everybody', [self])
        if Warning.check(key):
            Model = pool.get(self.model)
            with check_access():
                count = Model.search([], count=True)
            raise EverybodyWarning(key, gettext(
                    'marketing_automation.msg_domain_everybody',
                    scenario=self.rec_name,
                    count=count))

    def take_filter(self, domain):
        "Let the stored form of a saved filter say who enters"
        self.domain = domain
        self.save()

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_filter')
    def use_filter(cls, scenarios):
        pass


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
                self.record.take_filter(search.domain)
        return 'end'

    def end(self):
        return 'reload'


class DomainProblem(Exception):
    "What is wrong with a domain, as translated sentence"


def check_domain(Model, domain):
    "Raise DomainProblem unless the user can search with the stored domain"
    try:
        value = PYSONDecoder({}).decode(domain)
    except Exception as exception:
        raise DomainProblem(gettext(
                'marketing_automation.msg_domain_syntax')) from exception
    try:
        domain_validate(value)
    except (AssertionError, TypeError) as exception:
        raise DomainProblem(_operator(value) or gettext(
                'marketing_automation.msg_domain_clauses')) from exception
    if problem := _clauses(Model, value):
        raise DomainProblem(problem)
    try:
        with check_access():
            Model.search(value, limit=1)
    except UserError as exception:
        raise DomainProblem(str(exception)) from exception
    except Exception as exception:
        raise DomainProblem(
            _wrong_clause(Model, domain, value)) from exception


def _wrong_clause(Model, domain, value):
    "Return which clause can not be searched with"
    typed = PYSONDecoder(noeval=True).decode(domain)
    for clause, source in zip(value, typed):
        try:
            with check_access():
                Model.search([clause], limit=1)
        except Exception:
            return gettext(
                'marketing_automation.msg_domain_value',
                clause=pyson_source.write(source))
    return gettext('marketing_automation.msg_domain_syntax')


def is_empty(domain):
    "Return if the stored domain has no clause"
    try:
        return not _has_clause(
            PYSONDecoder(noeval=True).decode(domain or '[]'))
    except ValueError:
        # What is wrong is said elsewhere
        return False


def _has_clause(value):
    if not isinstance(value, list):
        return isinstance(value, PYSON)
    if value and isinstance(value[0], str) and value[0] not in {'AND', 'OR'}:
        return True
    return any(map(_has_clause, value))


def _operator(value):
    "Return what is wrong with the operator of a clause, or None"
    if not isinstance(value, list):
        return None
    if (len(value) > 2
            and all(isinstance(v, str) for v in value[:2])
            and value[0] not in {'AND', 'OR'}):
        name, operator, *_ = value
        if operator not in OPERATORS:
            return gettext(
                'marketing_automation.msg_domain_operator',
                operator=operator, field=name)
        return None
    return next(filter(None, map(_operator, value)), None)


def _clauses(Model, value):
    "Return what is wrong with a clause, or None"
    for clause in value:
        if isinstance(clause, str):
            continue
        if not isinstance(clause, (list, tuple)):
            return gettext('marketing_automation.msg_domain_clauses')
        if clause and not (
                isinstance(clause[0], str)
                and clause[0] not in {'AND', 'OR'}):
            problem = _clauses(Model, clause)
        elif clause and clause[0] in {'AND', 'OR'}:
            problem = _clauses(Model, clause[1:])
        elif clause:
            problem = field_path(Model, clause[0].split('.'))
        else:
            problem = None
        if problem:
            return problem
