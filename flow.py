# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What happens when, as a sentence for each activity"""
from collections import defaultdict

from trytond.i18n import gettext, ngettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.report import Report
from trytond.tools import slugify
from trytond.transaction import Transaction, inactive_records
from trytond.wizard import Button, StateTransition, StateView, Wizard

from .flow_picture import Node, draw
from .marketing_automation import DELAY_UNITS

NBSP = '\N{NO-BREAK SPACE}'
# What has phrases of its own
EVENTS = {'email_opened', 'email_clicked', 'fulfilled'}


def number_lines(*lines):
    "Return texts of lines of (name, number), without those that are None"
    lang = Pool().get('ir.lang').get()
    texts = [
        " · ".join(
            gettext(
                f'marketing_automation.msg_flow_number_{name}',
                number=lang.format_number(number, digits=0, grouping=True)
                ).replace(' ', NBSP)
            for name, number in line if number is not None)
        for line in lines]
    return list(filter(None, texts))


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    sentence = fields.Function(
        fields.Char("What Happens"), 'on_change_with_sentence')
    branch = fields.Function(fields.Many2Many(
            'marketing.automation.activity', None, None, "Branch"),
        'get_branch')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        scenario = Eval('scenario', -1)
        cls.parent.domain = {
            'marketing.automation.scenario': [
                If(Bool(scenario), ('id', '=', scenario), ()),
                ],
            'marketing.automation.activity': [
                If(Bool(scenario), ('scenario', '=', scenario), ()),
                ('id', 'not in', Eval('branch', [])),
                ],
            }
        cls.parent.depends.update(['scenario', 'branch'])
        cls._buttons.update(
            follow_up={
                'invisible': Eval('id', -1) < 0,
                'icon': 'tryton-create',
                'depends': ['id'],
                },
            )

    @fields.depends(methods=['flow_when', 'flow_what'])
    def on_change_with_sentence(self, name=None):
        return gettext(
            'marketing_automation.msg_flow_sentence',
            when=self.flow_when(),
            what=self.flow_what())

    @fields.depends('condition', methods=['flow_moment'])
    def flow_when(self):
        "Return when the activity is done, to start a sentence with"
        when = self.flow_moment()
        if self.condition:
            when = gettext(
                'marketing_automation.msg_flow_condition', when=when)
        return when

    @fields.depends('event', 'negative', 'on', methods=['flow_delay'])
    def flow_moment(self):
        "Return at which moment it is done, whatever the condition"
        delay = self.flow_delay()
        parts = ['later' if delay else 'now']
        if self.event in EVENTS:
            parts[:0] = [self.event, *(['not'] if self.negative else [])]
        return gettext(
            f'marketing_automation.msg_flow_when_{"_".join(parts)}',
            delay=delay)

    @fields.depends('delay', 'delay_number', 'delay_unit')
    def flow_delay(self):
        "Return the delay in its longest unit, or None to not wait"
        if not self.delay:
            return None
        unit = self._delay_unit(self.delay)
        number = self.delay / DELAY_UNITS[unit]
        if number % 1:
            return Report.format_timedelta(self.delay)
        return ngettext(
            f'marketing_automation.msg_flow_delay_{unit}',
            int(number), count=int(number))

    @fields.depends('action', 'name')
    def flow_what(self):
        "Return what the activity does, to end a sentence with"
        message = 'send_email' if self.action == 'send_email' else 'none'
        return gettext(
            f'marketing_automation.msg_flow_what_{message}',
            activity=self.name or '…')

    def flow_node(self):
        "Return the Node of the activity, without those that follow it"
        return Node(
            self.flow_what(), self.flow_when(), self.flow_numbers(),
            muted=not self.active)

    def flow_numbers(self):
        "Return the lines with what came of the activity so far"
        if self.scenario.state == 'draft':
            return []
        done = 'sent' if self.action == 'send_email' else 'done'
        return number_lines(
            [(done, self.record_count)],
            [('opened', self.email_opened or None),
                ('clicked', self.email_clicked or None)],
            [('unsubscribed', self.unsubscribed or None),
                ('skipped', self.skipped_count or None)],
            [('waiting', self.waiting_count or None),
                ('failed', self.failed_count or None)])

    @property
    def next_sequence(self):
        "The sequence of a new child to be the last one, None if in any order"
        sequences = [c.sequence for c in self.children if c.sequence]
        return max(sequences) + 1 if sequences else None

    @classmethod
    def expanded_paths(cls, scenario):
        "Return the path of ids to each activity of the scenario"
        children = defaultdict(list)
        for activity in cls.search([('scenario', '=', scenario)]):
            children[str(activity.parent)].append(activity)

        def walk(parent, path):
            for activity in children[parent]:
                yield (*path, activity.id)
                yield from walk(str(activity), (*path, activity.id))

        return list(walk(f'marketing.automation.scenario,{scenario}', ()))

    @classmethod
    def get_branch(cls, activities, name):
        "Return the ids of the activities themselves and of all below them"
        branches = {a.id: [] for a in activities}
        for scenario in {a.scenario for a in activities if a.scenario}:
            for path in cls.expanded_paths(scenario.id):
                for id_ in branches.keys() & set(path):
                    branches[id_].append(path[-1])
        return branches

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_follow_up')
    def follow_up(cls, activities):
        pass


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    flow_picture = fields.Function(fields.Binary(
            "Picture", filename='flow_picture_name',
            help="What happens when, with what came of it so far."),
        'get_flow_picture')
    flow_picture_name = fields.Function(
        fields.Char("Picture Name"), 'get_flow_picture_name')

    @classmethod
    def get_flow_picture(cls, scenarios, name):
        size = Transaction().context.get(f'{cls.__name__}.{name}')
        result = {}
        for scenario in scenarios:
            picture = fields.Binary.cast(
                draw(scenario.flow_node(), scenario.rec_name).encode())
            result[scenario.id] = len(picture) if size == 'size' else picture
        return result

    def get_flow_picture_name(self, name):
        return f'{slugify(self.rec_name)}.svg'

    def flow_node(self):
        "Return the Node of the scenario and of all its activities"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        with inactive_records():
            activities = Activity.search([('scenario', '=', self.id)])
        nodes = {str(a): a.flow_node() for a in activities}
        root = nodes[str(self)] = Node(
            self.rec_name, numbers=self.flow_numbers())
        for activity in activities:
            nodes[str(activity.parent)].children.append(nodes[str(activity)])
        return root

    def flow_numbers(self):
        "Return the lines with what came of the scenario so far"
        if self.state == 'draft':
            return number_lines([('matching', self.matching_count)])
        return number_lines(
            [('entered', self.record_count)],
            [('unsubscribed', self.record_count_blocked or None)])


class FollowUp(Wizard):
    __name__ = 'marketing.automation.follow_up'

    start = StateView(
        'marketing.automation.activity',
        'marketing_automation.activity_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Add", 'add', 'tryton-ok', default=True),
            ])
    add = StateTransition()

    def default_start(self, fields):
        return {
            'parent': str(self.record),
            'scenario': self.record.scenario.id,
            }

    def transition_add(self):
        self.start.sequence = self.record.next_sequence
        self.start.save()
        return 'end'

    def end(self):
        return 'reload'


class FlowPicture(Report):
    "The picture of the flow, to print"
    __name__ = 'marketing.automation.flow_picture'

    @classmethod
    def _execute(cls, records, header, data, action):
        record, = records
        return 'svg', record.flow_picture
