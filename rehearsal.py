# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a marketer sees of a record that walks through a scenario"""
import json

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.wizard import Button, StateTransition, StateView, Wizard

from . import clock
from .mail import sample
from .marketing_automation import DELAY_UNITS
from .preview import FILENAME, binary, is_saved
from .walk import MAX_WAIT, Walk

# What a marketer can say, each with a number
EVENTS = {'next', 'wait', 'opened', 'clicked', 'fulfilled', 'unsubscribed'}
MAX_EVENTS = 200


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            rehearse={
                'icon': 'tryton-launch',
                },
            )

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_rehearsal')
    def rehearse(cls, scenarios):
        pass


class RehearsalStep(ModelView):
    __name__ = 'marketing.automation.rehearsal.step'

    at = fields.DateTime("At")
    after = fields.TimeDelta("After", help="How long after the entry.")
    kind = fields.Char("Kind")
    activity = fields.Char("Activity")
    what = fields.Char("What Happens")

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual',
                If(Eval('kind').in_(['failed', 'not_entered']), 'danger',
                    If(Eval('kind').in_(['skipped', 'untracked']), 'warning',
                        If(Eval('kind') == 'done', 'success',
                            If(Eval('kind') == 'cancelled', 'muted', ''))))),
            ]


class Rehearsal(ModelView):
    __name__ = 'marketing.automation.rehearsal'

    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario", readonly=True)
    record = fields.Reference(
        "Record", selection='get_models',
        help="Who walks through the scenario.\n"
        "Nothing is sent to anybody and nothing is kept.")
    started_at = fields.DateTime("Started At", readonly=True)
    events = fields.Char("Events", readonly=True)
    shown = fields.Char("Shown", readonly=True)
    time = fields.DateTime(
        "Time", readonly=True,
        help="The time until which the rehearsal has come.")
    steps = fields.One2Many(
        'marketing.automation.rehearsal.step', None, "So Far", readonly=True)
    ahead = fields.One2Many(
        'marketing.automation.rehearsal.step', None, "What Can Be Next",
        readonly=True)
    wait_number = fields.Integer(
        "Wait",
        domain=['OR',
            ('wait_number', '=', None),
            ('wait_number', '>', 0),
            ],
        help="How much time passes when you click on \"Wait\".")
    wait_unit = fields.Selection(
        'get_units', "Unit", required=True, sort=False)
    emails = fields.Many2Many(
        'marketing.automation.activity', None, None, "E-mails",
        readonly=True)
    email = fields.Many2One(
        'marketing.automation.activity', "E-mail",
        domain=[
            ('id', 'in', Eval('emails', [])),
            ],
        states={
            'invisible': ~Eval('emails', []),
            },
        help="The e-mail that is shown and that the recipient opens.")
    title = fields.Char("Subject", readonly=True)
    html = fields.Binary("E-mail", readonly=True, filename='name')
    name = fields.Char("Name", readonly=True)
    text = fields.Text("Plain Text", readonly=True)
    can_go_on = fields.Boolean("Can Go On", readonly=True)
    can_open = fields.Boolean("Can Open", readonly=True)
    can_click = fields.Boolean("Can Click", readonly=True)
    awaiting = fields.Many2One(
        'marketing.automation.activity', "Awaiting", readonly=True)
    can_unsubscribe = fields.Boolean("Can Unsubscribe", readonly=True)

    @classmethod
    def default_wait_number(cls):
        return 1

    @classmethod
    def default_wait_unit(cls):
        return 'days'

    @classmethod
    def get_units(cls):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        return Activity.fields_get(['delay_unit'])['delay_unit']['selection']

    @fields.depends('scenario')
    def get_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        if not self.scenario:
            return []
        model = self.scenario.model
        return [(model, Model.get_name(model))]

    @fields.depends(methods=['_on_change'])
    def on_change_record(self):
        self._on_change()

    @fields.depends(methods=['_on_change'])
    def on_change_email(self):
        self._on_change()

    @fields.depends(
        'scenario', 'record', 'started_at', 'events', 'steps', 'ahead',
        'emails', 'email', 'shown')
    def _on_change(self):
        # Clients call it also for what they have just got
        if self.shown == self._key():
            return
        if (self.shown or '').startswith(f'{self.record} '):
            self.show(self.walk())
        else:
            self.begin()

    def _key(self):
        "Return what is shown, for clients"
        return f'{self.record} {self.email.id if self.email else None}'

    def begin(self):
        "Let the record start its walk now"
        self.started_at = clock.now().replace(microsecond=0)
        self.events = '[]'
        self.go_on()

    def add(self, name, number=0):
        "Let an event happen"
        self.events = json.dumps([*self.parsed_events(), (name, number)])
        self.go_on()

    def parsed_events(self):
        return [
            (name, int(number))
            for name, number in json.loads(self.events or '[]')[:MAX_EVENTS]
            if name in EVENTS]

    def go_on(self):
        "Show the walk with its last e-mail"
        if is_saved(self.record):
            walk = self.walk()
            self.email = next(reversed(walk.sent), None)
        else:
            walk, self.email = Walk(self.scenario, None, self.started_at), None
        self.show(walk)

    def walk(self):
        # Raises an error unless the user may read the record
        sample.scope(self.record)
        return Walk.after(
            self.parsed_events(), self.scenario, self.record,
            self.started_at)

    def show(self, walk):
        pool = Pool()
        Line = pool.get('marketing.automation.rehearsal.step')
        email = self.email.id if self.email else None
        self.shown = self._key()
        self.time = walk.time
        self.steps, self.ahead = (
            [Line(after=s.at and s.at - self.started_at, **s._asdict())
                for s in steps]
            for steps in [walk.steps, walk.ahead])
        self.emails = list(walk.sent)
        self.can_go_on = any(s.at for s in walk.ahead)
        self.can_open = walk.can_be_opened(email)
        self.can_click = walk.can_be_clicked(email)
        self.awaiting = next(iter(walk.awaiting), None)
        self.can_unsubscribe = bool(walk.sent) and not walk.is_blocked
        self._show_email(email, walk.sent.get(email))

    def _show_email(self, email, sent):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Variant = pool.get('marketing.automation.activity.variant')
        self.title = self.html = self.name = self.text = None
        if not email:
            return
        activity = Activity(email)
        if sent and sent.variant:
            activity = Variant(sent.variant).applied(activity)
        preview = sample.preview(activity, self.record)
        self.title = preview.title
        self.html = binary(preview.frame())
        self.name = FILENAME
        self.text = preview.text


class RehearsalWizard(Wizard):
    __name__ = 'marketing.automation.rehearsal'
    # What is written could only be meant to last
    _readonly = True
    start = StateView(
        'marketing.automation.rehearsal',
        'marketing_automation.rehearsal_view_form', [
            Button("Close", 'end', 'tryton-close'),
            Button("Start Over", 'restart', 'tryton-undo'),
            Button(
                "Unsubscribed", 'unsubscribed',
                states={
                    'readonly': ~Eval('can_unsubscribe', False),
                    }),
            Button(
                "Clicked", 'clicked',
                states={
                    'readonly': ~Eval('can_click', False),
                    }),
            Button(
                "Opened", 'opened',
                states={
                    'readonly': ~Eval('can_open', False),
                    }),
            Button(
                "Condition Fulfilled", 'fulfilled',
                states={
                    'invisible': ~Eval('awaiting'),
                    }),
            Button(
                "Wait", 'wait', 'tryton-history',
                states={
                    'readonly': (
                        ~Bool(Eval('record')) | ~Eval('wait_number')),
                    }),
            Button(
                "Next Step", 'go_on', 'tryton-forward', default=True,
                states={
                    'readonly': ~Eval('can_go_on', False),
                    }),
            ])
    restart = StateTransition()
    unsubscribed = StateTransition()
    clicked = StateTransition()
    opened = StateTransition()
    fulfilled = StateTransition()
    wait = StateTransition()
    go_on = StateTransition()

    def default_start(self, fields):
        if not self.start.started_at:
            self.start.scenario = self.record
            self.start.record = self.record.sample
            self.start.begin()
        return self.start._default_values

    def transition_restart(self):
        self.start.begin()
        return 'start'

    def transition_unsubscribed(self):
        return self._happen('unsubscribed')

    def transition_clicked(self):
        return self._happen('clicked')

    def transition_opened(self):
        return self._happen('opened')

    def transition_fulfilled(self):
        if self.start.awaiting:
            self.start.add('fulfilled', self.start.awaiting.id)
        return 'start'

    def _happen(self, name):
        if self.start.email:
            self.start.add(name, self.start.email.id)
        return 'start'

    def transition_wait(self):
        delay = (self.start.wait_number or 0) * DELAY_UNITS[
            self.start.wait_unit]
        self.start.add('wait', int(min(delay, MAX_WAIT).total_seconds()))
        return 'start'

    def transition_go_on(self):
        self.start.add('next')
        return 'start'
