# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Whether criteria or an expert filter say who enters

With criteria, the domain of the scenario is what they say together.  Who
writes a domain, a script as well, is an expert.
"""
import datetime as dt
import json

from sql import Null
from sql.conditionals import Case
from sql.functions import Trim

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, PYSONEncoder
from trytond.transaction import Transaction

from . import pyson_source
from .audience import is_empty
from .exceptions import CriterionError, ExpertFilterWarning


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    audience_mode = fields.Selection([
            ('criteria', "Criteria"),
            ('expert', "Expert Filter"),
            ], "Choose by", required=True, readonly=True, sort=False)
    criteria = fields.One2Many(
        'marketing.automation.criterion', 'scenario', "Criteria",
        filter=[('purpose', '=', None)],
        states={
            'readonly': (
                (Eval('state', 'draft') == 'running')
                | ~Bool(Eval('model'))),
            'invisible': Eval('audience_mode') != 'criteria',
            },
        context={
            'marketing_model': Eval('model'),
            },
        depends=['model'],
        help="Who fulfils all of them enters the scenario.")
    # What is filtered is not copied
    all_criteria = fields.One2Many(
        'marketing.automation.criterion', 'scenario', "All Criteria")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.model.states = {
            **cls.model.states,
            'readonly': cls.model.states['readonly'] | (
                (Eval('id', -1) >= 0)
                & (Eval('audience_mode') == 'criteria')
                & Bool(Eval('criteria', []))),
            }
        locked = Eval('state') == 'running'
        cls._buttons.update({
                'choose_by_criteria': {
                    'invisible': locked | (
                        Eval('audience_mode') != 'expert'),
                    'depends': ['state', 'audience_mode'],
                    },
                'choose_by_expert_filter': {
                    'invisible': locked | (
                        Eval('audience_mode') != 'criteria'),
                    'depends': ['state', 'audience_mode'],
                    },
                })

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        # Migration from the published module: the column is new
        cursor.execute(*table.update(
                [table.audience_mode], [Case(
                        (Trim(table.domain) == '[]', 'criteria'),
                        else_='expert')],
                where=table.audience_mode == Null))
        cls.__table_handler__(module).not_null_action('audience_mode', 'add')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            (f'//group[@id="{name}"]', 'states', {
                    'invisible': Eval('audience_mode') != mode,
                    })
            for name, mode in [
                ('expert_filter', 'expert'),
                ('result', 'criteria'),
                ]]

    @classmethod
    def default_audience_mode(cls):
        return 'criteria'

    @fields.depends(
        'audience_mode', 'model', 'criteria',
        methods=['update_counts', 'on_change_with_domain_source'])
    def on_change_criteria(self):
        if self.audience_mode != 'criteria' or not self.model:
            return
        if not any(c.lacking for c in self.criteria or []):
            self.domain = self.criteria_domain()
            self.domain_source = self.on_change_with_domain_source()
            self.update_counts()
        else:
            # What is missing is said when the scenario is saved
            self.set_counts({})

    def check_criteria(self, criteria=None):
        "Raise CriterionError if anything is lacking in one of the criteria"
        if criteria is None:
            criteria = self.criteria
        for number, criterion in enumerate(criteria, 1):
            if lacking := criterion.lacking:
                raise CriterionError(gettext(
                        f'marketing_automation.msg_criterion_no_{lacking}',
                        scenario=self.rec_name,
                        number=number,
                        field=criterion.field_string))

    def criteria_domain(self, criteria=None):
        "Return the stored form of what the criteria say together"
        if criteria is None:
            criteria = self.criteria or []
        return PYSONEncoder().encode([
                clause for criterion in criteria
                for clause in criterion.clauses()])

    def start_of_day(self, date):
        "Return when the day starts for the company, in naive UTC"
        zone = self.company_time_zone(self.sending_company)
        return (dt.datetime.combine(date, dt.time(), zone)
            .astimezone(dt.timezone.utc).replace(tzinfo=None))

    @classmethod
    def apply_criteria(cls, scenarios):
        "Store as domain what the criteria of the scenarios say"
        changes = []
        for scenario in scenarios:
            if scenario.audience_mode == 'criteria':
                domain = scenario.criteria_domain()
                if not _equal(scenario.domain, domain):
                    changes.extend([[scenario], {'domain': domain}])
        if changes:
            cls.write(*changes)

    @classmethod
    def check_modification(
            cls, mode, scenarios, values=None, external=False):
        super().check_modification(
            mode, scenarios, values=values, external=external)
        if mode == 'write' and values.get('audience_mode') == 'criteria':
            for scenario in scenarios:
                scenario._check_replacing(scenario.criteria_domain())

    def take_filter(self, domain):
        self._check_replacing(domain)
        super().take_filter(domain)

    def _check_replacing(self, domain):
        "Ask before what somebody has written is replaced by the domain"
        pool = Pool()
        Warning = pool.get('res.user.warning')
        if self.audience_mode != 'expert' or is_empty(self.domain) or any(
                _equal(self.domain, d)
                for d in [domain, self.criteria_domain()]):
            return
        key = Warning.format('expert_filter', [self])
        if Warning.check(key):
            raise ExpertFilterWarning(key, gettext(
                    'marketing_automation.msg_expert_filter_replaced',
                    scenario=self.rec_name,
                    domain=pyson_source.decode(self.domain)))

    @classmethod
    def on_modification(cls, mode, scenarios, field_names=None):
        pool = Pool()
        Criterion = pool.get('marketing.automation.criterion')
        super().on_modification(mode, scenarios, field_names=field_names)
        names = field_names or set()
        if mode == 'create' or 'domain' in names:
            # Somebody has written a domain that the criteria do not say
            if written := [s for s in scenarios if s._is_written]:
                cls.write(written, {'audience_mode': 'expert'})
        elif 'audience_mode' in names:
            cls.apply_criteria(scenarios)
        if 'model' in names:
            for scenario in scenarios:
                if scenario.audience_mode == 'criteria':
                    scenario.check_criteria()
            # What is about other records could never be used again
            Criterion.delete([
                    c for s in scenarios for c in s.criteria
                    if c.lacking == 'field'])

    @property
    def _is_written(self):
        "Whether the domain is not what the criteria say"
        return self.audience_mode == 'criteria' and (
            any(c.lacking for c in self.criteria)
            or not _equal(self.domain, self.criteria_domain()))

    @classmethod
    @ModelView.button
    def choose_by_criteria(cls, scenarios):
        cls.write(scenarios, {'audience_mode': 'criteria'})

    @classmethod
    @ModelView.button
    def choose_by_expert_filter(cls, scenarios):
        cls.write(scenarios, {'audience_mode': 'expert'})


def _equal(domain, other):
    "Return if the stored forms are of the same domain"
    return json.loads(domain) == json.loads(other)
