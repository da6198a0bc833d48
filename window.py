# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""At which hours e-mails are sent, and until when they are worth it

Both are decided when an activity is done, the hours by the clock of the
recipient.
"""
import datetime as dt

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.tools import timezone

from . import clock, schedule
from .exceptions import Postponement, Skip, WindowError
from .mixin import own_company, party_of


class SendingHoursMixin:
    "The days and hours at which e-mails are sent"
    __slots__ = ()

    window_days = fields.MultiSelection(
        'get_window_days', "Days", sort=False,
        help="Leave empty for all days.")
    window_from = fields.Time(
        "From", format='%H:%M', help="Leave empty for the start of the day.")
    window_to = fields.Time(
        "To", format='%H:%M', help="Leave empty for the end of the day.")

    @classmethod
    def get_window_days(cls):
        pool = Pool()
        Day = pool.get('ir.calendar.day')
        return [
            (str(d.index), d.name)
            for d in Day.search([], order=[('index', 'ASC')])]

    @classmethod
    def validate_fields(cls, records, field_names):
        super().validate_fields(records, field_names)
        if not field_names or field_names & {'window_from', 'window_to'}:
            for record in records:
                record.check_window()

    def check_window(self):
        "Raise an error if there is no time between the hours"
        end = self.window_to or dt.time.min
        if end != dt.time.min and (self.window_from or dt.time.min) >= end:
            raise WindowError(gettext(
                    'marketing_automation.msg_window_hours',
                    record=self.rec_name))

    @property
    def window(self):
        "The schedule.Window, or None if any time will do"
        if self.window_days or self.window_from or self.window_to:
            return schedule.Window(
                {int(d) for d in self.window_days or []},
                self.window_from, self.window_to)


class Scenario(SendingHoursMixin, metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    def time_zone(self, record):
        "Return the time zone in which the party of the record lives"
        party = party_of(record)
        if party and party.marketing_timezone:
            return timezone.get_tzinfo(party.marketing_timezone)
        return self.company_time_zone(
            own_company(record) or self.sending_company)

    @classmethod
    def company_time_zone(cls, company):
        "Return the time zone of the company, of which the id may be None"
        return timezone.SERVER


_own_hours = {
    'invisible': Eval('window_source') != 'own',
    }


class Activity(SendingHoursMixin, metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    window_source = fields.Selection([
            (None, "As in the Scenario"),
            ('own', "Own Hours"),
            ('always', "At Any Time"),
            ], "Sending Hours", sort=False,
        states={
            'invisible': ~Bool(Eval('action')),
            },
        help="By the clock of the recipient.\n"
        "What is due outside of them waits until they begin.")
    expiry_hours = fields.Integer(
        "Not Later Than",
        domain=['OR',
            ('expiry_hours', '=', None),
            ('expiry_hours', '>', 0),
            ],
        states={
            'invisible': ~Bool(Eval('action')),
            },
        help="How many hours after it was due the activity is still worth "
        "it.\n"
        "Leave empty to do it however late it is.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in ['window_days', 'window_from', 'window_to']:
            getattr(cls, name).states.update(_own_hours)

    @property
    def sending_window(self):
        "The window that holds for the activity, None for any time"
        if not self.action or self.window_source == 'always':
            return None
        if self.window_source == 'own':
            return self.window
        return self.scenario.window

    @property
    def expiry(self):
        "How long after it was due it is worth it, None for ever"
        if self.action and self.expiry_hours:
            return dt.timedelta(hours=self.expiry_hours)


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    due_since = fields.DateTime(
        "Due Since", readonly=True,
        help="When the activity was first due, if it had to wait since.")

    def decide(self, activity, facts, scopes):
        super().decide(activity, facts, scopes)
        if self.state == 'delivered':
            return
        opening = self._opening(activity)
        self._check_expiry(activity, opening)
        if opening > clock.now():
            raise Postponement('window', opening)

    def _opening(self, activity):
        "Return from when on the activity may be done"
        now = clock.now()
        if window := activity.sending_window:
            zone = activity.scenario.time_zone(self.record.record)
            return window.opening(now, zone)
        return now

    def worth_until(self, activity):
        "Return until when the activity is worth it, None for ever"
        if activity.expiry:
            due = self.due_since or self.at or clock.now()
            return due + activity.expiry

    def _check_expiry(self, activity, at):
        until = self.worth_until(activity)
        if until and at > until:
            raise Skip('late')


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    marketing_timezone = fields.Selection(
        'get_time_zones', "Time Zone", translate=False,
        help="By which clock e-mails are sent to the party.\n"
        "Leave empty for the one of the company.")

    @classmethod
    def get_time_zones(cls):
        return [(None, '')] + [
            (z, z) for z in sorted(timezone.available_timezones())]
