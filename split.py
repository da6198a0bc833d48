# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""An activity of which each record goes down only one branch

Which one is drawn by lot from the record itself, so that it is the same again
in a rehearsal or in another pass.
"""
from math import inf

from sql import Cast, Literal
from sql.operators import Exists

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.report import Report

from .draw import Lots
from .exceptions import RunError, SplitError
from .preview import is_saved

_is_branch = Eval('parent_action') == 'split'


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    def check_run(self):
        super().check_run()
        for activity in self.all_activities:
            if activity.action == 'split' and not activity.children:
                raise RunError(gettext(
                        'marketing_automation.msg_split_no_branch',
                        activity=activity.rec_name))


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    share = fields.Integer(
        "Share",
        domain=['OR',
            ('share', '=', None),
            [('share', '>=', 0), ('share', '<=', 1_000_000)],
            ],
        states={
            'invisible': ~_is_branch,
            'required': _is_branch,
            },
        help="How many percent of the records go down this branch.\n"
        "If the shares of all branches make more or less than 100, "
        "they count in proportion.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        is_split = Eval('action') == 'split'
        cls.action.selection.append(('split', "Split"))
        for field in [cls.window_source, cls.expiry_hours]:
            field.states['invisible'] |= is_split

    @classmethod
    def default_share(cls):
        return 50

    @classmethod
    def mail_actions(cls):
        return super().mail_actions() | {'split'}

    @property
    def sending_window(self):
        # Nobody notices it
        return None if self.action == 'split' else super().sending_window

    @property
    def is_branch(self):
        "Whether only some of the records of the parent get there"
        parent = self.parent
        return isinstance(parent, self.__class__) and parent.action == 'split'

    @property
    def branches(self):
        "The active branches of a split, the oldest first"
        return sorted(self.children, key=lambda b: b.id)

    def _branches_with(self, branch):
        "Return the branches, the given one as it is or is to be"
        others = [b for b in self.branches if b != branch]
        return sorted(
            [*others, branch], key=lambda b: b.id if is_saved(b) else inf)

    @property
    def branch_rate(self):
        "The part of the records of the parent that get there"
        if not self.is_branch:
            return 1
        branches = self.parent._branches_with(self)
        total = sum(b.share or 0 for b in branches)
        return (self.share or 0) / total if total else 0

    def execute_split(self, record_activity, **kwargs):
        "Nothing is to be done before the record goes on"

    def way_to(self, child, record):
        clause = super().way_to(child, record)
        if self.action != 'split':
            return clause
        return (clause
            & self._drawn(child, record)
            & ~Exists(self._elsewhere(child, record)))

    def _drawn(self, branch, record):
        "Return the clause of the records for which the branch is drawn"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        lots = Lots([(b, b.share) for b in self._branches_with(branch)])
        table = Record.__table__()
        number = Cast(
            Record.record.sql_id(table.record, Record), 'BIGINT')
        return Exists(table.select(
                Literal(1),
                where=(table.id == record) & lots.clause(branch, number)))

    def _elsewhere(self, branch, record):
        "Return the query of the steps by which the record has gone elsewhere"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = self.__table__()
        step = RecordActivity.__table__()
        others = table.select(
            table.id,
            where=(table.parent == str(self)) & (table.id != branch.id))
        return step.select(
            Literal(1),
            where=(step.record == record) & step.activity.in_(others))

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        if not field_names or field_names & {
                'action', 'active', 'parent', 'share'}:
            for split in cls._splits(activities):
                split.check_split()

    @classmethod
    def _splits(cls, activities):
        "Return the splits among the activities and their parents"
        parents = [a.parent for a in activities if a.is_branch]
        return {a for a in [*activities, *parents] if a.action == 'split'}

    def check_split(self):
        "Raise an error if there is no way to go"
        branches = self.branches
        if not branches and self.scenario.state == 'running':
            raise SplitError(gettext(
                    'marketing_automation.msg_split_no_branch',
                    activity=self.rec_name))
        if branches and not any(b.share for b in branches):
            raise SplitError(gettext(
                    'marketing_automation.msg_split_no_share',
                    activity=self.rec_name))

    @fields.depends(methods=['_shown_share'])
    def flow_when(self):
        when = super().flow_when()
        if share := self._shown_share():
            return gettext(
                'marketing_automation.msg_flow_when_share',
                share=share, when=when)
        return when

    @fields.depends('id', 'parent', 'parent_action', 'share')
    def _shown_share(self):
        "Return how many percent get there as text, None outside of a split"
        if self.parent_action != 'split' or self.share is None:
            return None
        rate = self.share / 100
        if is_saved(self) and is_saved(self.parent):
            rate = self.branch_rate
        return Report.format_number(100 * rate, None, digits=0)

    @fields.depends('action', 'name')
    def flow_what(self):
        if self.action == 'split':
            return gettext(
                'marketing_automation.msg_flow_what_split',
                activity=self.name or '…')
        return super().flow_what()


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    def get_explanation(self, name):
        if self.state == 'done' and self.activity.action == 'split':
            for step in self.record.activities:
                if step.activity.parent == self.activity:
                    return gettext(
                        'marketing_automation.msg_explanation_split',
                        branch=step.activity.rec_name)
        return super().get_explanation(name)
