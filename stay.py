# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who stays in a scenario

It is looked at before each step, for all the records of a slice together.
"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import PoolMeta

from .record_filter import MODE, MODES, RecordFilterMixin, criteria, source


class Scenario(RecordFilterMixin, metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    stay_mode = fields.Selection([
            (None, ""),
            ('audience', "The Audience"),
            *MODES,
            ], "Stays as Long as It Matches", sort=False, states=MODE,
        help="Before each step, who no longer matches leaves the scenario "
        "and nothing more happens.\n"
        "Leave empty to let everybody stay to the last step.")
    stay_domain = fields.Char("Domain of Who Stays", states=MODE)
    stay_source = source('stay', "Who does not match leaves the scenario.")
    stay_criteria = criteria(
        'stay', "Who does not fulfil all of them leaves the scenario.")

    @classmethod
    def purposes(cls):
        return [*super().purposes(), 'stay']

    def _stored_filter(self, purpose, mode):
        if mode == 'audience':
            return self.domain
        return super()._stored_filter(purpose, mode)

    def rules(self):
        yield from super().rules()
        if self.stay_mode:
            yield gettext('marketing_automation.msg_rule_stay')

    @property
    def can_end(self):
        return bool(super().can_end or self.stay_mode)


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def facts(cls, activity, ids):
        facts = super().facts(activity, ids)
        scenario = activity.scenario
        domain = scenario.filter_domain('stay')
        if domain is not None:
            staying = cls.matching(ids, scenario, domain)
            facts['ending'].update(
                dict.fromkeys(set(ids) - staying, 'left'))
        return facts
