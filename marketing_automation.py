# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The journey: scenarios take records in and walk them through activities"""
import datetime as dt

from sql import Literal, Null

from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, Index, ModelSQL, ModelView, Workflow, fields,
    sequence_ordered)
from trytond.pool import Pool
from trytond.pyson import Bool, Eval, If, TimeDelta
from trytond.transaction import Transaction, inactive_records

from . import entry, schedule, settings
from .access import report_helpers
from .exceptions import ActivityError, RunWarning, ScenarioRunningError
from .mixin import MarketingAutomationMixin, own_company, party_of
from .template import DATETIME

_scenario_locked = {
    'readonly': Eval('state', 'draft') == 'running',
    }
_email = {
    'invisible': Eval('action') != 'send_email',
    }
DELAY_UNITS = {
    'weeks': dt.timedelta(weeks=1),
    'days': dt.timedelta(days=1),
    'hours': dt.timedelta(hours=1),
    'minutes': dt.timedelta(minutes=1),
    }


class Scenario(Workflow, ModelSQL, ModelView):
    __name__ = 'marketing.automation.scenario'

    name = fields.Char("Name", translate=True, states={'required': True})
    model = fields.Selection(
        'get_models', "Model", required=True, states=_scenario_locked,
        help="What enters the scenario.")
    domain = fields.Char(
        "Domain", required=True, states=_scenario_locked,
        help="The records that match enter the scenario, each of them once.\n"
        "An empty list stands for all the records.")
    activities = fields.One2Many(
        'marketing.automation.activity', 'parent', "Activities")
    unsubscribable = fields.Boolean(
        "Unsubscribe the Party",
        help="Check so that who unsubscribes leaves as a party: "
        "none of its other records, such as its next sale, "
        "enters the scenario.")
    tracking = fields.Selection([
            ('individual', "By Recipient"),
            ('aggregate', "Only Counts"),
            ('none', "Nothing"),
            ], "Tracking", required=True, sort=False, states=_scenario_locked,
        help="By Recipient: who has opened and clicked is known, "
        "and activities can start on it.\n"
        "Only Counts: opens and clicks are only counted.\n"
        "Nothing: e-mails contain neither tracked links nor an image.")
    state = fields.Selection([
            ('draft', "Draft"),
            ('running', "Running"),
            ('stopped', "Stopped"),
            ], "State", required=True, readonly=True, sort=False)

    entry_at = fields.DateTime(
        "Last Entry", readonly=True,
        help="When records were last looked for.")
    entry_error = fields.Text(
        "Entry Error", readonly=True,
        states={
            'invisible': ~Eval('entry_error'),
            },
        help="Why no records could be looked for.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t,
                (t.state, Index.Equality(cardinality='low')),
                where=t.state.in_(['draft', 'running'])))
        cls._transitions |= {
            ('draft', 'running'),
            ('running', 'stopped'),
            ('stopped', 'running'),
            ('stopped', 'draft'),
            }
        cls._buttons.update(
            draft={
                'invisible': Eval('state') != 'stopped',
                'depends': ['state'],
                },
            run={
                'invisible': ~Eval('state').in_(['draft', 'stopped']),
                'icon': 'tryton-launch',
                'depends': ['state'],
                },
            stop={
                'invisible': Eval('state') != 'running',
                'depends': ['state'],
                },
            )

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        # Migration from the published module: the column is new
        cursor.execute(*table.update(
                [table.tracking], ['individual'],
                where=table.tracking == Null))
        cls.__table_handler__(module).not_null_action('tracking', 'add')

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree/field[@name="state"]', 'visual',
                If(Eval('entry_error'), 'danger',
                    If(Eval('state') == 'running', 'success',
                        If(Eval('state') == 'stopped', 'muted', '')))),
            ]

    @classmethod
    def default_state(cls):
        return 'draft'

    @classmethod
    def default_domain(cls):
        return '[]'

    @classmethod
    def default_unsubscribable(cls):
        return False

    @classmethod
    def default_tracking(cls):
        return 'individual'

    @classmethod
    def get_models(cls):
        pool = Pool()
        Model = pool.get('ir.model')
        return [
            (name, Model.get_name(name)) for name, klass in pool.iterobject()
            if issubclass(klass, MarketingAutomationMixin)]

    def get_rec_name(self, name):
        return self.name or f'({self.id})'

    @classmethod
    def check_modification(
            cls, mode, scenarios, values=None, external=False):
        super().check_modification(
            mode, scenarios, values=values, external=external)
        if mode == 'write':
            for scenario in scenarios:
                if scenario.state == 'running':
                    scenario._check_running(values)

    def _check_running(self, values):
        "Raise an error if something else would enter"
        for name in ['model', 'domain']:
            if name in values and getattr(self, name) != values[name]:
                raise ScenarioRunningError(gettext(
                        f'marketing_automation.msg_scenario_running_{name}',
                        scenario=self.rec_name))

    @classmethod
    def copy(cls, scenarios, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('entry_at')
        default.setdefault('entry_error')
        return super().copy(scenarios, default=default)

    @classmethod
    @ModelView.button
    @Workflow.transition('draft')
    def draft(cls, scenarios):
        pass

    @classmethod
    @ModelView.button
    @Workflow.transition('running')
    def run(cls, scenarios):
        pool = Pool()
        Warning = pool.get('res.user.warning')
        for scenario in scenarios:
            scenario.check_run()
            for key, question in scenario.run_questions():
                if Warning.check(key):
                    raise RunWarning(key, question)

    def check_run(self):
        "Raise an error unless the scenario can be run"

    def run_questions(self):
        """Yield (key, sentence) of what is asked before the scenario is run

        key -- of a warning
        """
        yield from []

    @classmethod
    @ModelView.button
    @Workflow.transition('stopped')
    def stop(cls, scenarios):
        pass

    @property
    def sending_company(self):
        "The id of the company that sends if records have none, or None"

    def sender_address(self, record):
        "Return the postal address of who sends to the record, on some lines"
        return settings.address() or ''

    def reading_context(self, record):
        """Return the context in which the record is read

        What depends on the company, such as the language of a party, is not
        known to crons and public routes otherwise.
        """
        context = {}
        if company := own_company(record) or self.sending_company:
            context['company'] = company
        with Transaction().set_context(context):
            party = party_of(record.__class__(record.id))
            if party and party.lang:
                context['language'] = party.lang.code
        return context

    @property
    def all_activities(self):
        "All the active activities of the tree, parents first"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        return Activity.search([('scenario', '=', self.id)])

    def prepare_entry(self, audience):
        "Called before records of the Audience enter"

    def keeping_out(self, record):
        """Return the clause of what keeps its record from entering

        record -- table of marketing.automation.record
        """
        return record.scenario == (self.id or -1)

    def next_pass(self, resource):
        """Return the expression of the number of the pass that begins

        resource -- expression of the reference of what enters
        """
        return Literal(1)

    @classmethod
    def trigger(cls, scenarios=None):
        "Enter the records that match running scenarios and are not in yet"
        if scenarios is None:
            entry.enter_running()
        else:
            entry.enter(scenarios)


class Activity(
        sequence_ordered(), DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'marketing.automation.activity'

    name = fields.Char("Name", translate=True, required=True)
    parent = fields.Reference(
        "Parent", [
            ('marketing.automation.scenario', "Scenario"),
            ('marketing.automation.activity', "Activity"),
            ],
        required=True)
    scenario = fields.Many2One(
        'marketing.automation.scenario', "Scenario", readonly=True,
        ondelete='CASCADE', help="The scenario at the root of the tree.")
    children = fields.One2Many(
        'marketing.automation.activity', 'parent', "Children",
        context={
            # The children of what is not saved yet can not read it
            'marketing_parent_action': Eval('action'),
            },
        depends=['action'])
    parent_action = fields.Function(
        fields.Selection('get_parent_actions', "Parent Action"),
        'on_change_with_parent_action')

    event = fields.Selection([
            (None, ""),
            ('email_opened', "Email Opened"),
            ('email_clicked', "Email Clicked"),
            ], "Event")  # domain set by _parent_action_events
    negative = fields.Boolean(
        "Negative",
        states={
            'invisible': ~Eval('event'),
            },
        help="Check to execute the activity "
        "when the event has not happened by the end of the delay.")
    on = fields.Function(fields.Selection([
                (None, ""),
                ('email_opened', "Email Opened"),
                ('email_opened_not', "Email Not Opened"),
                ('email_clicked', "Email Clicked"),
                ('email_clicked_not', "Email Not Clicked"),
                ], "On"),  # domain set by _parent_action_events
        'get_on', setter='set_on')
    condition = fields.Char(
        "Condition",
        help="The PYSON expression that the record must fulfil "
        "at the time of the activity.\n"
        'The record is called "self".')
    delay = fields.TimeDelta(
        "Delay",
        domain=['OR',
            ('delay', '=', None),
            ('delay', '>=', TimeDelta()),
            ],
        states={
            'required': Bool(Eval('negative', False)),
            },
        help="How long to wait after the parent or its event.")
    delay_number = fields.Function(fields.Float(
            "Delay",
            domain=['OR',
                ('delay_number', '=', None),
                ('delay_number', '>=', 0),
                ],
            states={
                'required': Bool(Eval('negative', False)),
                },
            help="How long to wait after the parent or its event."),
        'get_delay', setter='set_delay')
    delay_unit = fields.Function(fields.Selection([
                ('minutes', "Minutes"),
                ('hours', "Hours"),
                ('days', "Days"),
                ('weeks', "Weeks"),
                ], "Unit", required=True, sort=False),
        'get_delay', setter='set_delay')
    action = fields.Selection([
            (None, ""),
            ('send_email', "Send E-mail"),
            ], "Action")

    email_from = fields.Char(
        "From", translate=True, states=_email,
        help="Leave empty to use the value of the configuration.")
    email_title = fields.Char(
        "E-mail Title", translate=True,
        states={
            'invisible': _email['invisible'],
            'required': Eval('action') == 'send_email',
            },
        help="The subject of the e-mail.\n"
        'The record is called "record", as in "Hello ${record.name}".')
    email_template = fields.Text(
        "E-mail Template", translate=True,
        states={
            'invisible': _email['invisible'],
            'required': Eval('action') == 'send_email',
            },
        help="The HTML or MJML of the e-mail.\n"
        'The record is called "record".\n'
        'A link to "unsubscribe" leads to the unsubscribe page.')

    catch_up = fields.Boolean(
        "Catch Up", readonly=True,
        help="Records that have passed the parent are still to be entered.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(t, (t.scenario, Index.Equality())))
        for name, suffixes in [('event', ['']), ('on', ['', '_not'])]:
            field = getattr(cls, name)
            domain = [(name, '=', None)]
            for action, events in cls._parent_action_events().items():
                values = [e + s for e in events for s in suffixes]
                domain = If(Eval('parent_action') == action,
                    [(name, 'in', [*values, None])],
                    domain)
            field.domain = [domain]
            field.depends.add('parent_action')

    @classmethod
    def __register__(cls, module):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        super().__register__(module)
        # Migration from the published module: the columns are new
        cursor.execute(*table.update(
                [table.active], [True], where=table.active == Null))
        cursor.execute(*table.select(
                table.id, where=table.scenario == Null, limit=1))
        if cursor.fetchone():
            first = 'marketing.automation.scenario,%'
            cursor.execute(*table.update(
                    [table.scenario], [cls.parent.sql_id(table.parent, cls)],
                    where=table.parent.like(first)))
            cls._hand_down(cls.search([('parent', 'like', first)]))

    @classmethod
    def view_attributes(cls):
        return super().view_attributes() + [
            ('/tree', 'visual', If(~Eval('active', True), 'muted', '')),
            ]

    @classmethod
    def default_negative(cls):
        return False

    @classmethod
    def get_parent_actions(cls):
        return cls.fields_get(['action'])['action']['selection']

    @classmethod
    def default_parent_action(cls):
        return Transaction().context.get('marketing_parent_action')

    @fields.depends('parent')
    def on_change_with_parent_action(self, name=None):
        parent = self.parent
        if not parent or parent.id is None or parent.id < 0:
            return self.default_parent_action()
        if isinstance(parent, self.__class__):
            return parent.action

    @classmethod
    def default_delay_unit(cls):
        return 'days'

    def get_delay(self, name):
        unit = self._delay_unit(self.delay)
        if name == 'delay_unit':
            return unit
        if self.delay is not None:
            return self.delay / DELAY_UNITS[unit]

    @classmethod
    def _delay_unit(cls, delay):
        "Return the longest unit of which the delay is a whole number"
        if not delay:
            return cls.default_delay_unit()
        for name, unit in DELAY_UNITS.items():
            if not delay % unit:
                return name
        return 'minutes'

    @classmethod
    def set_delay(cls, activities, name, value):
        "Set a number that came without delay, in the unit of the activity"
        if name == 'delay_number':
            for activity in activities:
                activity.delay = cls._delay(value, activity.delay_unit)
            cls.save(activities)

    @classmethod
    def _delay(cls, number, unit):
        if number is not None and unit:
            return number * DELAY_UNITS[unit]

    # A script that reads the stored delay later on would lose the new one
    @fields.depends('delay', 'delay_number', 'delay_unit')
    def on_change_delay_number(self):
        self.delay = self._delay(self.delay_number, self.delay_unit)

    @fields.depends(methods=['on_change_delay_number'])
    def on_change_delay_unit(self):
        self.on_change_delay_number()

    @fields.depends('delay')
    def on_change_delay(self):
        self.delay_number = self.get_delay('delay_number')
        self.delay_unit = self.get_delay('delay_unit')

    @classmethod
    def _parent_action_events(cls):
        "Return a dictionary of the events that each action can have"
        return {
            'send_email': ['email_opened', 'email_clicked'],
            }

    @classmethod
    def mail_actions(cls):
        "Return the actions that at most put messages into the outbox"
        return {None, 'send_email'}

    @classmethod
    def calling_actions(cls):
        "Return the actions that only put requests into the outbox"
        return set()

    @classmethod
    def sending_actions(cls):
        "Return the actions that send e-mails"
        return {'send_email'}

    def way_to(self, child, record):
        """Return the clause of the records that go on to the child

        record -- SQL column of the id of the record
        """
        return Literal(True)

    def get_on(self, name):
        if self.event:
            return self.event + ('_not' if self.negative else '')

    @staticmethod
    def _split_on(value):
        "Return the event and if it is negative"
        if not value:
            return None, False
        event = value.removesuffix('_not')
        return event, event != value

    @fields.depends('on', 'event', 'negative')
    def on_change_on(self):
        self.event, self.negative = self._split_on(self.on)

    @classmethod
    def set_on(cls, activities, name, value):
        event, negative = cls._split_on(value)
        cls.write(activities, {'event': event, 'negative': negative})

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        for activity in activities:
            if not field_names or 'parent' in field_names:
                activity.check_parent()

    def check_parent(self):
        parents = {self}
        parent = self.parent
        while isinstance(parent, self.__class__):
            if parent in parents:
                raise ActivityError(gettext(
                        'marketing_automation.msg_activity_recursion',
                        activity=self.rec_name))
            parents.add(parent)
            parent = parent.parent

    @classmethod
    def preprocess_values(cls, mode, values):
        values = super().preprocess_values(mode, values)
        if values.keys() >= {'delay_number', 'delay_unit'}:
            values.setdefault('delay', cls._delay(
                    values['delay_number'], values['delay_unit']))
        if 'delay' in values:
            # Number and unit follow from the delay
            values.pop('delay_number', None)
            values.pop('delay_unit', None)
        if values.get('parent'):
            parent = cls(parent=values['parent']).parent
            scenario = parent.scenario if isinstance(parent, cls) else parent
            values['scenario'] = scenario.id if scenario else None
        reopening = values.keys() & {'parent', 'event', 'negative'}
        if mode == 'create' or reopening or values.get('active'):
            values['catch_up'] = True
        return values

    @classmethod
    def on_modification(cls, mode, activities, field_names=None):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        super().on_modification(mode, activities, field_names=field_names)
        if mode == 'write' and 'parent' in field_names:
            cls._hand_down(activities)
        if mode == 'write' and 'active' in field_names:
            RecordActivity.deactivate(
                [a for a in activities if not a.active])
            RecordActivity.activate([a for a in activities if a.active])

    @classmethod
    def _hand_down(cls, activities):
        "Store the scenario of the activities in all below them"
        with inactive_records():
            for activity in cls.browse(activities):
                others = [
                    c for c in activity.children
                    if c.scenario != activity.scenario]
                if others:
                    cls.write(others, {'scenario': activity.scenario.id})
                    cls._hand_down(others)

    @classmethod
    def copy(cls, activities, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('scenario')
        return super().copy(activities, default=default)

    @property
    def target_model(self):
        "The model of what enters the scenario, also before it is saved"
        pool = Pool()
        scenario, parent = self.scenario, self.parent
        while not scenario and parent:
            if isinstance(parent, self.__class__):
                parent = parent.parent
            else:
                scenario = parent
        if model := getattr(scenario, 'model', None):
            return pool.get(model)

    def due(self, base):
        "Return when what is planned at the instant becomes due"
        return schedule.due(base, self.delay)

    def execute(self, record_activity, outbox=None):
        "Execute the action on the record, or raise an Outcome"
        if self.action:
            action = getattr(self, f'execute_{self.action}')
            action(record_activity, outbox=outbox)

    def execute_send_email(self, record_activity, outbox=None, **kwargs):
        """Compose the e-mail and put it into the outbox

        Without an outbox, the e-mail is composed and delivered once the
        transaction is committed.
        Raise Skip or Failure when there is nothing to send.
        """
        if outbox is not None:
            outbox.compose(self, record_activity)
        else:
            RecordActivity = record_activity.__class__
            RecordActivity.do([record_activity])

    def email_context(self, record=None):
        """Return {name: value} of what title and template can name

        record -- the marketing.automation.record, which need not be stored;
            without it, only the names count
        """
        context = {
            'record': record and record.record,
            'datetime': DATETIME,
            'sender_address': '',
            **report_helpers(),
            }
        if record and any(
                'sender_address' in (source or '')
                for source in [self.email_title, self.email_template]):
            context['sender_address'] = record.scenario.sender_address(
                record.record)
        return context

    def email_recipient(self, party):
        "Return the contact mechanism to which the party gets e-mails"
        return party.contact_mechanism_get('email')
