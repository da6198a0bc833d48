# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What records fulfil for a purpose other than to enter

For each purpose, criteria or an expert filter say it, with fields of a name
that starts with the one of the purpose.
"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from . import pyson_source
from .audience import DomainProblem, check_domain, is_empty
from .condition import Decoder, source_problem
from .exceptions import CriterionError, DomainError, ScenarioRunningError

_locked = Eval('state', 'draft') == 'running'
MODE = {
    'readonly': _locked,
    }
MODES = [
    ('criteria', "Criteria"),
    ('expert', "Expert Filter"),
    ]


def criteria(purpose, help):
    "Return the field of the criteria"
    return fields.One2Many(
        'marketing.automation.criterion', 'scenario', "Criteria",
        filter=[('purpose', '=', purpose)],
        states={
            'readonly': _locked | ~Bool(Eval('model')),
            'invisible': Eval(f'{purpose}_mode') != 'criteria',
            },
        context={
            'marketing_model': Eval('model'),
            'marketing_purpose': purpose,
            },
        depends=['model'], help=help)


def source(purpose, help):
    "Return the field of the expert filter as users write it"
    return fields.Function(fields.Text(
            "Expert Filter",
            states={
                'readonly': _locked,
                'invisible': Eval(f'{purpose}_mode') != 'expert',
                }, help=help),
        'get_filter_source', setter='set_filter_source')


class RecordFilterMixin:
    "A scenario with filters"
    __slots__ = ()

    @classmethod
    def purposes(cls):
        "Return the names of the purposes of criteria besides entry"
        return []

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        for purpose in cls.purposes():
            name = f'{purpose}_criteria'
            if name in values:
                values[name] = [
                    _with_purpose(command, purpose)
                    for command in values[name] or []]
        return values

    def get_filter_source(self, name):
        domain = getattr(self, name.replace('_source', '_domain'))
        return pyson_source.decode(domain) if domain else ''

    @classmethod
    def set_filter_source(cls, scenarios, name, value):
        domain = None
        if value and value.strip():
            try:
                domain = pyson_source.encode(value)
            except pyson_source.SourceError as exception:
                scenarios[0]._filter_error(
                    name.removesuffix('_source'), source_problem(exception),
                    exception)
        cls.write(scenarios, {name.replace('_source', '_domain'): domain})

    @classmethod
    def validate_fields(cls, scenarios, field_names):
        super().validate_fields(scenarios, field_names)
        for purpose in cls.purposes():
            if not field_names or field_names & {
                    'model', *cls._filter_names(purpose)}:
                for scenario in scenarios:
                    scenario.check_filter(purpose)

    @classmethod
    def _filter_names(cls, purpose):
        return [f'{purpose}_{n}' for n in ['mode', 'domain', 'criteria']]

    def check_run(self):
        super().check_run()
        for purpose in self.purposes():
            self.check_filter(purpose)
            if (getattr(self, f'{purpose}_mode') == 'criteria'
                    and not getattr(self, f'{purpose}_criteria')):
                raise CriterionError(gettext(
                        'marketing_automation.msg_filter_no_criteria',
                        **self._filter_name(purpose)))

    def check_filter(self, purpose):
        "Raise an error unless the filter says something that can be searched"
        pool = Pool()
        mode = getattr(self, f'{purpose}_mode')
        if mode == 'criteria':
            self.check_criteria(getattr(self, f'{purpose}_criteria'))
        elif mode == 'expert':
            domain = getattr(self, f'{purpose}_domain')
            if is_empty(domain):
                self._filter_error(purpose, gettext(
                        'marketing_automation.msg_filter_empty'))
            try:
                check_domain(pool.get(self.model), domain)
            except DomainProblem as problem:
                self._filter_error(purpose, str(problem), problem)

    def _filter_name(self, purpose):
        "Return how the filter is called in errors"
        name = f'{purpose}_mode'
        return {
            'scenario': self.rec_name,
            'filter': self.fields_get([name])[name]['string'],
            }

    def _filter_error(self, purpose, problem, exception=None):
        raise DomainError(gettext(
                'marketing_automation.msg_filter_invalid',
                problem=problem,
                **self._filter_name(purpose))) from exception

    def _check_running(self, values):
        super()._check_running(values)
        for purpose in self.purposes():
            for name in self._filter_names(purpose):
                if name in values and (
                        name.endswith('_criteria')
                        or getattr(self, name) != values[name]):
                    self._filter_running_error(purpose)

    def _filter_running_error(self, purpose):
        raise ScenarioRunningError(gettext(
                'marketing_automation.msg_filter_running',
                **self._filter_name(purpose)))

    def filter_domain(self, purpose):
        "Return the domain of the purpose, None without"
        if stored := self._stored_filter(
                purpose, getattr(self, f'{purpose}_mode')):
            return Decoder().decode(stored)

    def _stored_filter(self, purpose, mode):
        if mode == 'criteria':
            if criteria := getattr(self, f'{purpose}_criteria'):
                return self.criteria_domain(criteria)
        elif mode == 'expert':
            return getattr(self, f'{purpose}_domain')


class Criterion(metaclass=PoolMeta):
    __name__ = 'marketing.automation.criterion'

    @classmethod
    def check_modification(
            cls, mode, criteria, values=None, external=False):
        super().check_modification(
            mode, criteria, values=values, external=external)
        deleted = Transaction().delete_records[
            'marketing.automation.scenario']
        for criterion in criteria:
            scenario = criterion.scenario
            if (criterion.purpose and scenario.state == 'running'
                    and scenario.id not in deleted):
                scenario._filter_running_error(criterion.purpose)

    @classmethod
    def validate_fields(cls, criteria, field_names):
        super().validate_fields(criteria, field_names)
        for scenario, purpose in {
                (c.scenario, c.purpose) for c in criteria if c.purpose}:
            scenario.check_filter(purpose)


def _with_purpose(command, purpose):
    "Return the command of a One2Many, what it creates is for the purpose"
    name, *arguments = command
    if name == 'create':
        arguments = [[{**v, 'purpose': purpose} for v in arguments[0]]]
    return (name, *arguments)
