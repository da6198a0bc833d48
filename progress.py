# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How far scenarios and activities have come, in numbers"""
import datetime as dt
from collections import defaultdict

from sql.aggregate import Count

from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval, If
from trytond.transaction import Transaction

_email = {
    'invisible': Eval('action') != 'send_email',
    }


def rate(part, whole):
    "Return the quotient as float in [0, 1] with 4 digits, 0 for no whole"
    return round(part / whole, 4) if whole else 0.0


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    record_count = fields.Function(
        fields.Integer("Records"), 'get_record_count')
    record_count_blocked = fields.Function(
        fields.Integer("Records Blocked"), 'get_record_count')
    block_rate = fields.Function(
        fields.Float("Block Rate", digits=(1, 4)), 'get_record_count')
    block_rate_trend = fields.Function(
        fields.Char("Block Rate Trend"), 'get_trend')
    waiting_count = fields.Function(fields.Integer(
            "Waiting", help="Activities that are planned for later."),
        'get_progress')
    sending_count = fields.Function(fields.Integer(
            "Due", help="Activities that are due and being worked on."),
        'get_progress')
    done_count = fields.Function(fields.Integer("Done"), 'get_progress')
    skipped_count = fields.Function(fields.Integer(
            "Skipped", help="Activities that were not for the record."),
        'get_progress')
    failed_count = fields.Function(fields.Integer("Failed"), 'get_progress')
    progress = fields.Function(fields.Float(
            "Progress", digits=(1, 4),
            help="The part of what has become due that is finished."),
        'get_progress')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="failed_count"]', 'visual',
                If(Eval('failed_count', 0) > 0, 'warning', '')),
            ]

    @classmethod
    def get_record_count(cls, scenarios, names):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}

        def store(id_, **values):
            for name in names:
                result[name][id_] = values[name]

        for scenario in scenarios:
            store(scenario.id,
                record_count=(
                    scenario.matching_count or 0
                    if scenario.state == 'draft' else 0),
                record_count_blocked=0,
                block_rate=0.0)
        entered = [s.id for s in scenarios if s.state != 'draft']
        cursor.execute(*table.select(
                table.scenario, Count(), Count(filter_=table.blocked),
                where=fields.SQL_OPERATORS['in'](table.scenario, entered),
                group_by=table.scenario))
        for id_, count, blocked in cursor:
            store(id_,
                record_count=count,
                record_count_blocked=blocked,
                block_rate=rate(blocked, count))
        return result

    @classmethod
    def get_trend(cls, scenarios, name):
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.scenario')
        return Reporting.get_trends('scenario', scenarios, [name])[name]

    @classmethod
    def get_progress(cls, scenarios, names):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        activity = Activity.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}
        pending = table.state.in_(RecordActivity.pending)
        due = (pending
            & (table.at <= dt.datetime.now()))
        cursor.execute(*table
            .join(activity, condition=table.activity == activity.id)
            .select(
                activity.scenario,
                Count(filter_=pending),
                Count(filter_=due),
                Count(filter_=table.state == 'done'),
                Count(filter_=table.state == 'skipped'),
                Count(filter_=table.state == 'failed'),
                where=fields.SQL_OPERATORS['in'](
                    activity.scenario, [s.id for s in scenarios]),
                group_by=activity.scenario))
        for id_, waiting, sending, done, skipped, failed in cursor:
            finished = done + skipped + failed
            values = {
                'waiting_count': waiting - sending,
                'sending_count': sending,
                'done_count': done,
                'skipped_count': skipped,
                'failed_count': failed,
                'progress': rate(finished, finished + sending),
                }
            for name in names:
                result[name][id_] = values[name]
        return result


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    record_count = fields.Function(
        fields.Integer("Records"), 'get_record_count')
    waiting_count = fields.Function(
        fields.Integer("Waiting"), 'get_record_count')
    skipped_count = fields.Function(
        fields.Integer("Skipped"), 'get_record_count')
    failed_count = fields.Function(
        fields.Integer("Failed"), 'get_record_count')
    email_opened = fields.Function(fields.Integer(
            "E-mails Opened", states=_email), 'get_record_count')
    email_clicked = fields.Function(fields.Integer(
            "E-mails Clicked", states=_email), 'get_record_count')
    email_open_rate = fields.Function(fields.Float(
            "E-mail Open Rate", digits=(1, 4), states=_email),
        'get_record_count')
    email_click_rate = fields.Function(fields.Float(
            "E-mail Click Rate", digits=(1, 4), states=_email),
        'get_record_count')
    email_click_through_rate = fields.Function(fields.Float(
            "E-mail Click-Through Rate", digits=(1, 4), states=_email),
        'get_record_count')
    email_open_rate_trend = fields.Function(fields.Char(
            "E-mail Open Rate Trend", states=_email), 'get_trend')
    email_click_rate_trend = fields.Function(fields.Char(
            "E-mail Click Rate Trend", states=_email), 'get_trend')
    email_click_through_rate_trend = fields.Function(fields.Char(
            "E-mail Click-Through Rate Trend", states=_email), 'get_trend')

    @classmethod
    def get_record_count(cls, activities, names):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        result = {name: defaultdict(int) for name in names}
        done = table.state == 'done'
        cursor.execute(*table.select(
                table.activity,
                Count(filter_=done),
                Count(filter_=table.state.in_(RecordActivity.pending)),
                Count(filter_=table.state == 'skipped'),
                Count(filter_=table.state == 'failed'),
                Count(filter_=done & table.email_opened),
                Count(filter_=done & table.email_clicked),
                where=fields.SQL_OPERATORS['in'](
                    table.activity, [a.id for a in activities]),
                group_by=table.activity))
        for id_, count, waiting, skipped, failed, opened, clicked in cursor:
            values = {
                'record_count': count,
                'waiting_count': waiting,
                'skipped_count': skipped,
                'failed_count': failed,
                'email_opened': opened,
                'email_clicked': clicked,
                'email_open_rate': rate(opened, count),
                'email_click_rate': rate(clicked, count),
                'email_click_through_rate': rate(clicked, opened),
                }
            for name in names:
                result[name][id_] = values[name]
        return result

    @classmethod
    def get_trend(cls, activities, names):
        pool = Pool()
        Reporting = pool.get('marketing.automation.reporting.activity')
        return Reporting.get_trends('activity', activities, names)
