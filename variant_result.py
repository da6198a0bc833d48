# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How the variants of an e-mail do, and how sure that is"""
from sql import Literal
from sql.aggregate import Count

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.report import Report
from trytond.transaction import Transaction

from .progress import rate
from .proportion import interval, is_best

# What Variant.count returns of what was not sent
NOTHING = 0, 0, 0, 0


class Variant(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity.variant'

    email_sent = fields.Function(fields.Integer("Sent"), 'get_results')
    email_opened = fields.Function(fields.Integer("Opened"), 'get_results')
    email_clicked = fields.Function(fields.Integer("Clicked"), 'get_results')
    email_open_rate = fields.Function(fields.Float(
            "Open Rate", digits=(1, 3)), 'get_results')
    email_click_rate = fields.Function(fields.Float(
            "Click Rate", digits=(1, 3)), 'get_results')
    email_open_interval = fields.Function(fields.Char(
            "Opens of All",
            help="Where the open rate would be if all got the variant, "
            "with 95 % confidence."), 'get_results')
    email_click_interval = fields.Function(fields.Char(
            "Clicks of All",
            help="Where the click rate would be if all got the variant, "
            "with 95 % confidence."), 'get_results')
    goals = fields.Function(fields.Integer("Goals Reached"), 'get_results')
    goal_rate = fields.Function(fields.Float(
            "Goal Rate", digits=(1, 3)), 'get_results')
    goal_interval = fields.Function(fields.Char(
            "Goals of All",
            help="Where the goal rate would be if all got the variant, "
            "with 95 % confidence."), 'get_results')

    @classmethod
    def get_results(cls, variants, names):
        counts = cls.count([v.id for v in variants])
        results = {
            v.id: cls._results(*counts.get(v.id, NOTHING))
            for v in variants}
        return {
            n: {id_: values[n] for id_, values in results.items()}
            for n in names}

    @classmethod
    def count(cls, ids):
        "Return {id: (sent, opened, clicked, goals)} of those that were sent"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = RecordActivity.__table__()
        record = Record.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table
            .join(record, condition=table.record == record.id)
            .select(
                table.variant, Count(Literal(1)),
                Count(Literal(1), filter_=table.email_opened),
                Count(Literal(1), filter_=table.email_clicked),
                Count(Literal(1),
                    filter_=record.goal_activity == table.activity),
                where=fields.SQL_OPERATORS['in'](table.variant, ids)
                & table.state.in_(['delivered', 'done']),
                group_by=[table.variant]))
        return {id_: counts for id_, *counts in cursor}

    @classmethod
    def _results(cls, sent, opened, clicked, goals):
        return {
            'email_sent': sent,
            'email_opened': opened,
            'email_clicked': clicked,
            'email_open_rate': rate(opened, sent),
            'email_click_rate': rate(clicked, sent),
            'email_open_interval': _range(opened, sent),
            'email_click_interval': _range(clicked, sent),
            'goals': goals,
            'goal_rate': rate(goals, sent),
            'goal_interval': _range(goals, sent),
            }


def _range(part, whole):
    "Return the interval as text"
    if not whole:
        return None
    low, high = (
        Report.format_number(100 * value, None, digits=1)
        for value in interval(part, whole))
    return f'{low}–{high} %'


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    test_result = fields.Function(fields.Text(
            "Result",
            states={
                'invisible': ~Eval('test_result'),
                }),
        'get_test_result')

    def get_test_result(self, name):
        if not self.test_by:
            return None
        counts = self.variant_counts()
        lines = [self._chance(counts)]
        if self.winner:
            lines.insert(0, self._decision())
        elif at := self.decided_at(self.test_started_at):
            lines.append(gettext(
                    'marketing_automation.msg_test_due',
                    date=Report.format_datetime(at, format='%x %H:%M')))
        return '\n'.join(lines)

    def _decision(self):
        message = 'chosen' if self.winner_chosen else 'won'
        return gettext(
            f'marketing_automation.msg_test_{message}',
            variant=self.winner.rec_name,
            date=Report.format_datetime(self.winner_at, format='%x %H:%M'))

    def _chance(self, counts):
        "Return the sentence about how sure the difference is"
        if not any(whole for whole, _ in counts.values()):
            return gettext('marketing_automation.msg_test_nothing')
        best = self.winner or self.leading_variant
        parts = {v: (part, whole) for v, (whole, part) in counts.items()}
        first = parts.pop(best, (0, 0))
        if is_best(first, list(parts.values())):
            message = 'sure'
        elif all(rate(*first) > rate(*other) for other in parts.values()):
            message = 'early'
        else:
            message = 'even'
        return gettext(
            f'marketing_automation.msg_test_{message}', variant=best.rec_name)
