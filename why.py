# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a marketer asks: would it get this e-mail now, and why not"""
from textwrap import fill

from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, If
from trytond.transaction import check_access
from trytond.wizard import Button, StateView, Wizard

from .inquiry import ask
from .preview import is_saved

# Clients do not break the lines of what is in a list
WIDTH = 60
ADVICE_WIDTH = 36
# Reasons about which something can be done
ADVISED = [
    'address', 'blocked', 'condition', 'deactivated', 'duplicate', 'inactive',
    'late', 'left', 'no_address', 'no_party', 'suppressed', 'template',
    'unsubscribed']


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            ask_why={
                'icon': 'tryton-question',
                },
            )

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_why')
    def ask_why(cls, scenarios):
        pass


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @property
    def advice(self):
        "What the user can do about the reason, or an empty text"
        if self.reason in ADVISED:
            return gettext(
                f'marketing_automation.msg_why_advice_{self.reason}')
        return ''

    @property
    def advice_retry(self):
        "What the user can do about what has been decided"
        can_retry = self.state == 'failed' or (
            self.state == 'skipped' and self.reason in self.passing_reasons)
        if self.advice and can_retry:
            return ' '.join([
                    self.advice,
                    gettext('marketing_automation.msg_why_retry')])
        return self.advice


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons.update(
            marketing_ask_why={
                'icon': 'tryton-question',
                },
            )

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_why_party')
    def marketing_ask_why(cls, parties):
        pass


class WhyLine(ModelView):
    __name__ = 'marketing.automation.why.line'

    activity = fields.Char("Step")
    answer = fields.Selection([
            ('yes', "Yes"),
            ('later', "Not Yet"),
            ('no', "No"),
            ('done', "Already Done"),
            ], "Now", sort=False)
    at = fields.DateTime(
        "Date", format='%H:%M', help="When it was done or is planned for.")
    why = fields.Text("Why")
    advice = fields.Text("What to Do")

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="answer"]', 'visual',
                If(Eval('answer') == 'yes', 'success',
                    If(Eval('answer') == 'no', 'danger',
                        If(Eval('answer') == 'later', 'warning', 'muted')))),
            ]


class Why(ModelView):
    __name__ = 'marketing.automation.why'

    party = fields.Many2One(
        'party.party', "Party", readonly=True,
        states={
            'invisible': ~Eval('party'),
            })
    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario",
        states={
            'readonly': ~Eval('party'),
            })
    record = fields.Reference(
        "Record", selection='get_models',
        states={
            'invisible': ~Bool(Eval('scenario')),
            },
        help="About what it is asked.\n"
        "Nothing is sent to anybody and nothing is kept.")
    shown = fields.Char("Shown", readonly=True)
    lines = fields.One2Many(
        'marketing.automation.why.line', None, "Answers", readonly=True)
    notice = fields.Char(
        "Notice", readonly=True,
        states={
            'invisible': ~Eval('notice'),
            })

    @fields.depends('scenario')
    def get_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        if not self.scenario:
            return []
        model = self.scenario.model
        return [(model, Model.get_name(model))]

    @fields.depends('scenario', 'party', methods=['on_change_record'])
    def on_change_scenario(self):
        # Clients call it also for what they have just got
        if self.party and self.shown != self._key():
            self.record = (
                self.resource_of(self.party) if self.scenario else None)
        self.on_change_record()

    def resource_of(self, party):
        "Return the last record of the party that the user may see, or None"
        pool = Pool()
        Model = pool.get(self.scenario.model)
        try:
            with check_access():
                records = Model.search(
                    [('marketing_party', '=', party.id)],
                    order=[('id', 'DESC')], limit=1)
        except UserError:
            return None
        return records[0] if records else None

    @fields.depends('scenario', 'record', 'party', 'shown', 'lines', 'notice')
    def on_change_record(self):
        if self.shown == self._key():
            return
        self.lines, self.notice = [], None
        self.shown = self._key()
        if self.scenario and is_saved(self.record):
            self._show()
        elif self.scenario and self.party:
            self.notice = gettext(
                'marketing_automation.msg_why_no_record',
                model=self.get_models()[0][1])

    def _key(self):
        return f'{self.scenario and self.scenario.id} {self.record}'

    def _show(self):
        pool = Pool()
        Line = pool.get('marketing.automation.why.line')
        self.lines = [
            Line(
                activity=line.activity or gettext(
                    'marketing_automation.msg_why_entry'),
                answer=line.answer,
                at=line.at,
                why=fill(line.why, WIDTH),
                advice=fill(line.advice, ADVICE_WIDTH))
            for line in ask(self.scenario, self.record)]


class WhyWizard(Wizard):
    __name__ = 'marketing.automation.why'
    # What is written could only be meant to last
    _readonly = True
    start = StateView(
        'marketing.automation.why',
        'marketing_automation.why_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            ])

    def default_start(self, fields):
        start = self.start
        start.shown = None
        if self.model.__name__ == 'party.party':
            start.party = self.record
            start.scenario = self._scenario_of(self.record)
            start.record = None
            start.on_change_scenario()
        else:
            start.party = None
            start.scenario = self.record
            start.record = self.record.sample
            start.on_change_record()
        return start._default_values

    @staticmethod
    def _scenario_of(party):
        "Return the scenario that is the most likely to be asked about"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        if records := party.marketing_records:
            return records[0].scenario
        with check_access():
            scenarios = Scenario.search(
                [('state', '=', 'running')],
                order=[('id', 'DESC')], limit=1)
        return scenarios[0] if scenarios else None
