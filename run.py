# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What is shown before a scenario is run: whom it reaches, when, and doubts"""
from trytond.i18n import gettext, ngettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.report import Report
from trytond.transaction import without_check_access
from trytond.wizard import Button, StateTransition, StateView, Wizard

from . import clock, deliverability
from .exceptions import RunError
from .reach import COUNTS

CRONS = [
    'marketing.automation.scenario|trigger',
    'marketing.automation.record.activity|process',
    ]
# What does not enter at all
OUTSIDE = ['entered_count', 'unsubscribed_count']


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons['ask_run'] = cls._buttons['run'].copy()

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/form//label[@id="running"]', 'states', {
                    'invisible': Eval('state') != 'running',
                    }),
            ]

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_run')
    def ask_run(cls, scenarios):
        pass

    def rules(self):
        "Yield sentences of what keeps records from steps while it runs"
        yield from []

    def first_steps(self, at):
        """Yield (activity, time) up to the first e-mail of each branch

        at -- when a record enters

        The time is None for what depends on a date of each record.
        """
        zone = self.company_time_zone(self.sending_company)

        def walk(activities, at):
            for activity in activities:
                due = activity.due(at)
                if due and (window := activity.sending_window):
                    due = window.opening(due, zone)
                yield activity, due
                if due and activity.action != 'send_email':
                    for child in activity.children:
                        if not child.event or child.event == 'fulfilled':
                            # A wait may end at once
                            yield from walk([child], (
                                    at if child.event and not child.negative
                                    else due))

        return walk(self.activities, at)


class Run(ModelView):
    __name__ = 'marketing.automation.run'

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario", readonly=True)
    entering_count = fields.Integer(
        "Enter Now", readonly=True,
        help="How many records enter as soon as the scenario runs.")
    reached_count = fields.Integer(
        "Get E-mails", readonly=True,
        help="How many of them get the e-mails.")
    first_at = fields.DateTime(
        "First E-mails", readonly=True, format='%H:%M',
        states={
            'invisible': ~Eval('first_at'),
            },
        help="When the first e-mails leave at the earliest, "
        "with the sending hours by the clock of the company.")
    left_out = fields.Text(
        "Left Out", readonly=True,
        states={
            'invisible': ~Eval('left_out'),
            },
        help="How many of the matching records get no e-mails, and why.")
    steps = fields.One2Many(
        'marketing.automation.run.step', None, "What Happens First",
        readonly=True)
    rules = fields.Text(
        "While It Runs", readonly=True,
        states={
            'invisible': ~Eval('rules'),
            },
        help="What keeps records from the steps.")
    notes = fields.Text("Please Check", readonly=True)

    def show(self):
        counts = self.scenario.count_reach()
        self.entering_count = counts['matching_count'] - sum(
            counts[name] for name in OUTSIDE)
        self.reached_count = counts['reached_count']
        self.left_out = '\n'.join(self._left_out(counts))
        self._show_steps()
        self.rules = '\n'.join(f"• {r}" for r in self.scenario.rules())
        notes = [
            *(question for _, question in self.scenario.run_questions()),
            *self._notes(),
            *deliverability.find(self.scenario)]
        self.notes = '\n'.join(f"• {n}" for n in dict.fromkeys(notes)) or (
            gettext('marketing_automation.msg_check_nothing'))

    def _left_out(self, counts):
        "Yield a line for each reason"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        names = [n for n in COUNTS if n != 'reached_count' and counts[n]]
        definitions = Scenario.fields_get(names)
        for name in names:
            yield gettext(
                'marketing_automation.msg_run_left_out',
                reason=definitions[name]['string'],
                number=_number(counts[name]))

    def _show_steps(self):
        pool = Pool()
        Step = pool.get('marketing.automation.run.step')
        steps = sorted(
            self.scenario.first_steps(_next_entry()),
            key=lambda step: (step[1] is None, step[1]))
        self.steps = [
            Step(sentence=activity.sentence, at=at) for activity, at in steps]
        self.first_at = min((
                at for activity, at in steps
                if at and activity.action == 'send_email'), default=None)

    def _notes(self):
        "Yield sentences of what is unusual at this time"
        if len(_crons()) < len(CRONS):
            yield gettext('marketing_automation.msg_run_inactive')
        if not self.entering_count:
            yield gettext('marketing_automation.msg_run_nobody')
        elif not self.reached_count and self.first_at:
            yield gettext('marketing_automation.msg_run_unreached')
        if due := self.scenario.sending_count:
            yield ngettext(
                'marketing_automation.msg_run_due', due, count=_number(due))


class RunStep(ModelView):
    __name__ = 'marketing.automation.run.step'

    sentence = fields.Char("What Happens", readonly=True)
    at = fields.DateTime("At", readonly=True, format='%H:%M')


class RunWizard(Wizard):
    __name__ = 'marketing.automation.run'
    start = StateView(
        'marketing.automation.run',
        'marketing_automation.run_view_form', [
            Button("Cancel", 'end', 'tryton-cancel'),
            Button("Run", 'run', 'tryton-launch', default=True),
            ])
    run = StateTransition()

    def default_start(self, fields):
        self.record.check_run()
        if not self.record.activities:
            raise RunError(gettext(
                    'marketing_automation.msg_run_no_activity',
                    scenario=self.record.rec_name))
        self.start.scenario = self.record
        self.start.show()
        return self.start._default_values

    def transition_run(self):
        pool = Pool()
        Warning = pool.get('res.user.warning')
        # What was not shown is asked
        with without_check_access():
            for key, question in self.start.scenario.run_questions():
                if question in self.start.notes:
                    Warning.skip(key)
        self.model.run([self.start.scenario])
        return 'end'

    def end(self):
        return 'reload'


def _crons():
    "Return the active crons that do the work"
    pool = Pool()
    Cron = pool.get('ir.cron')
    with without_check_access():
        return Cron.search([('method', 'in', CRONS)])


def _next_entry():
    "Return when records are looked for next"
    return max([
            clock.now(),
            *(c.next_call for c in _crons()
                if c.method == CRONS[0] and c.next_call)])


def _number(number):
    return Report.format_number(number, None, digits=0)
