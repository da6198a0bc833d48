# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What happens when, as a sentence for each activity"""
from collections import defaultdict

from trytond.i18n import gettext, ngettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.report import Report
from trytond.wizard import Button, StateTransition, StateView, Wizard

# What has phrases of its own
EVENTS = {'email_opened', 'email_clicked'}


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    sentence = fields.Function(
        fields.Char("What Happens"), 'on_change_with_sentence')

    @classmethod
    def __setup__(cls):
        super().__setup__()
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

    @fields.depends(
        'event', 'negative', 'on', 'condition', methods=['_flow_delay'])
    def flow_when(self):
        "Return when the activity is done, to start a sentence with"
        delay = self._flow_delay()
        parts = ['msg_flow']
        if self.event in EVENTS:
            parts.append(self.event)
            if self.negative:
                parts.append('not')
        parts.append('later' if delay else 'now')
        when = gettext(
            f'marketing_automation.{"_".join(parts)}', delay=delay)
        if self.condition:
            when = gettext(
                'marketing_automation.msg_flow_condition', when=when)
        return when

    @fields.depends('delay', 'delay_number', 'delay_unit')
    def _flow_delay(self):
        "Return the delay in its longest unit, or None to not wait"
        if not self.delay:
            return None
        number = self.get_delay('delay_number')
        if number % 1:
            return Report.format_timedelta(self.delay)
        return ngettext(
            f'marketing_automation.msg_flow_{self.get_delay("delay_unit")}',
            int(number), count=int(number))

    @fields.depends('action', 'name')
    def flow_what(self):
        "Return what the activity does, to end a sentence with"
        message = 'send_email' if self.action == 'send_email' else 'none'
        return gettext(
            f'marketing_automation.msg_flow_{message}',
            activity=self.name or '…')

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
    @ModelView.button_action('marketing_automation.wizard_follow_up')
    def follow_up(cls, activities):
        pass


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
        return {'parent': str(self.record)}

    def transition_add(self):
        self.start.sequence = self.record.next_sequence
        self.start.save()
        return 'end'

    def end(self):
        return 'reload'
