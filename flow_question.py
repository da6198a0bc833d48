# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Questions before activities are stored that may not be what is meant"""
import datetime as dt

from trytond.i18n import gettext, ngettext
from trytond.pool import Pool, PoolMeta
from trytond.report import Report

from . import entry
from .exceptions import ActivityPassedError, DelayWarning, FlowWarning

# What decides who gets an activity
WAY = ['parent', 'event', 'negative', 'active']
# Shorter delays are rarely what is meant
SHORT_DELAY = dt.timedelta(hours=1)


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        if not field_names or 'delay' in field_names:
            for activity in activities:
                activity.check_delay()

    def check_delay(self):
        pool = Pool()
        Warning = pool.get('res.user.warning')
        if not self.delay or self.delay >= SHORT_DELAY:
            return
        key = Warning.format(f'short delay {self.delay}', [self])
        if Warning.check(key):
            raise DelayWarning(key, gettext(
                    'marketing_automation.msg_activity_short_delay',
                    activity=self.rec_name,
                    delay=Report.format_timedelta(self.delay)))

    @classmethod
    def check_modification(
            cls, mode, activities, values=None, external=False):
        super().check_modification(
            mode, activities, values=values, external=external)
        if mode == 'delete':
            cls._check_passed(activities)
        elif mode == 'write' and not values.keys().isdisjoint(WAY):
            for activity in activities:
                activity._check_flow(values)

    def _check_flow(self, values):
        "Ask before records take another way"
        changed = self._with(values)
        lost = self.event and not changed.event and 'parent' in values
        if lost:
            self._ask_flow(
                'marketing_automation.msg_activity_loses_event', values)
        if self.scenario and self.scenario.state == 'running' and (
                changed.active and not self._same_way(changed)):
            self._ask_flow(
                'marketing_automation.msg_activity_catches_up', values,
                entry.Passed(changed).count())

    def _with(self, values):
        "Return a copy with the values, which is not stored"
        pool = Pool()
        copy = self.__class__(
            id=self.id,
            **{n: getattr(self, n) for n in WAY})
        for name in values.keys() & set(WAY):
            value = values[name]
            if name == 'parent':
                model, _, id_ = str(value).partition(',')
                value = pool.get(model)(int(id_))
            setattr(copy, name, value)
        return copy

    def _same_way(self, other):
        return all(getattr(self, n) == getattr(other, n) for n in WAY)

    def _ask_flow(self, message, values, count=None):
        pool = Pool()
        Warning = pool.get('res.user.warning')
        if count == 0:
            return
        key = Warning.format(f'{message} {sorted(values.items())}', [self])
        if Warning.check(key):
            if count is None:
                text = gettext(message, activity=self.rec_name)
            else:
                text = ngettext(
                    message, count, activity=self.rec_name, count=count)
            raise FlowWarning(key, text)

    @classmethod
    def _check_passed(cls, activities):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        passed = RecordActivity.search([
                ('activity', 'in', [a.id for a in activities]),
                ('state', '!=', 'waiting'),
                ], limit=1)
        if passed:
            activity = passed[0].activity
            raise ActivityPassedError(gettext(
                    'marketing_automation.msg_activity_passed',
                    activity=activity.rec_name))

    @classmethod
    def on_modification(cls, mode, activities, field_names=None):
        super().on_modification(mode, activities, field_names=field_names)
        if mode == 'create':
            for activity in activities:
                activity._check_new()

    def _check_new(self):
        "Ask before records that are in already get the new activity"
        if (self.active and self.scenario
                and self.scenario.state == 'running'):
            self._ask_flow(
                'marketing_automation.msg_activity_catches_up', {},
                entry.Passed(self).count())
