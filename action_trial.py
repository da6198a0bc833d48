# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What an action would do for a record, before it is done for anybody

It is done by the engine, in a transaction that is rolled back.
"""
import json

from trytond.i18n import gettext
from trytond.model import ModelView, fields
from trytond.model.fields.selection import TranslatedSelection
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.report import Report
from trytond.transaction import Transaction
from trytond.wizard import Button, StateTransition, StateView, Wizard

from . import clock
from .condition import Scopes
from .delivery.slice import reading
from .exceptions import Outcome, PreviewError
from .mail import sample
from .mail.address import one_line
from .mixin import party_of
from .preview import is_saved
from .transaction import rehearse, retry


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls._buttons['try_action'] = {
            'invisible': (
                ~Eval('action').in_(cls.page_actions())
                | (Eval('id', -1) < 0)),
            'icon': 'tryton-launch',
            'depends': ['action', 'id'],
            }

    @classmethod
    @ModelView.button_action('marketing_automation.wizard_action_trial')
    def try_action(cls, activities):
        pass

    def preview_action(self, resource):
        "Return what the action would do for the record, or why it would not"
        return retry(self._preview_action, resource)

    def _preview_action(self, resource):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        language = Transaction().language
        with rehearse():
            activity = self.__class__(self.id)
            step = RecordActivity.sample(activity, resource)
            try:
                with reading(step.record.reading_context):
                    preview = getattr(activity, f'preview_{activity.action}')
                    return preview(step.__class__(step.id))
            except Outcome as outcome:
                for name, value in outcome.values.items():
                    setattr(step, name, value)
                with Transaction().set_context(language=language):
                    return step.get_explanation('explanation')

    def _sentence(self, *lines):
        what = self.flow_what()
        return '\n'.join([what[:1].upper() + what[1:], *lines])

    def preview_set_fields(self, step):
        target = step.record.record
        if self.values_of == 'party':
            target = self._party(target)
        names = [v.field for v in self.action_values]
        before = [_shown(target, n) for n in names]
        self.execute_set_fields(step)
        target = target.__class__(target.id)
        return '\n'.join(
            f'{target.__names__(name)["field"]}: {old} → '
            f'{_shown(target, name)}'
            for name, old in zip(names, before))

    def preview_add_category(self, step):
        self.execute_add_category(step)
        return self._sentence()

    def preview_remove_category(self, step):
        self.execute_remove_category(step)
        return self._sentence()

    def preview_notify(self, step):
        self.execute_notify(step)
        return self._sentence(
            one_line(self.render_text(self.notify_text, step.record)))

    def preview_create_record(self, step):
        new = self.create_for(step.record)
        return self._sentence(*(
                f'{new.__names__(v.field)["field"]}: {_shown(new, v.field)}'
                for v in self.action_values))

    def preview_call_method(self, step):
        self.execute_call_method(step)
        return self._sentence()

    def preview_webhook(self, step):
        return json.dumps(
            self.webhook_content(step, Scopes()), ensure_ascii=False, indent=4)


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    @classmethod
    def sample(cls, activity, resource):
        "Return the step of the record, a new one if it is not there yet"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        values = {'scenario': activity.scenario.id, 'record': str(resource)}
        records = Record.search(
            [(n, '=', v) for n, v in values.items()],
            order=[('id', 'DESC')], limit=1)
        record, = records or Record.create([values])
        values = {'activity': activity.id, 'record': record.id}
        steps = cls.search([(n, '=', v) for n, v in values.items()])
        step, = steps or cls.create([{**values, 'at': clock.now()}])
        return step


def _shown(record, name):
    "Return the value of the field as people read it"
    value = getattr(record, name)
    if isinstance(
            getattr(record.__class__, f'{name}_string', None),
            TranslatedSelection):
        value = getattr(record, f'{name}_string')
    elif record._fields[name]._type == 'date' and value:
        value = Report.format_date(value)
    elif record._fields[name]._type == 'boolean':
        value = gettext(
            f'marketing_automation.msg_trial_{"yes" if value else "no"}')
    elif hasattr(value, 'rec_name'):
        value = value.rec_name
    return '–' if value in {None, ''} else str(value)


class ActionTrial(ModelView):
    __name__ = 'marketing.automation.action.trial'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True)
    action = fields.Function(
        fields.Char("Action"), 'on_change_with_action')
    record = fields.Reference(
        "Record", selection='get_models',
        help="For which record it is tried.\nNothing is kept.")
    what = fields.Text("What Would Happen", readonly=True)
    notice = fields.Char(
        "Notice", readonly=True,
        states={
            'invisible': ~Eval('notice'),
            })

    @fields.depends('activity')
    def on_change_with_action(self, name=None):
        return self.activity.action if self.activity else None

    @fields.depends('activity')
    def get_models(self):
        pool = Pool()
        Model = pool.get('ir.model')
        if not self.activity:
            return []
        model = self.activity.scenario.model
        return [(model, Model.get_name(model))]

    @fields.depends('activity', 'record')
    def on_change_record(self):
        self.show()

    def show(self):
        self.what = None
        if self.activity and is_saved(self.record):
            for record in {self.record, party_of(self.record)} - {None}:
                # Raises an error unless the user may read it
                sample.scope(record)
            self.what = self.activity.preview_action(self.record)

    def send(self):
        "Call the webhook with what is shown, as a test, and say what it says"
        if not is_saved(self.record):
            raise PreviewError(
                gettext('marketing_automation.msg_preview_no_record'))
        self.show()
        answer = self.activity.test_webhook(json.loads(self.what))
        if answer.kind != 'done':
            raise PreviewError(gettext(
                    'marketing_automation.msg_trial_webhook',
                    webhook=self.activity.webhook.rec_name,
                    error=answer.text))
        return answer.text


class ActionTrialWizard(Wizard):
    __name__ = 'marketing.automation.action.trial'
    start = StateView(
        'marketing.automation.action.trial',
        'marketing_automation.action_trial_view_form', [
            Button("Close", 'end', 'tryton-close', default=True),
            Button(
                "Send Test", 'send', 'tryton-send',
                states={
                    'invisible': Eval('action') != 'webhook',
                    'readonly': ~Bool(Eval('record')),
                    }),
            ])
    send = StateTransition()

    def default_start(self, fields):
        trial = self.start
        if not getattr(trial, 'activity', None):
            trial.activity = self.record
            trial.record = self.record.root.sample
            trial.notice = None
        trial.show()
        return {
            'activity': trial.activity.id,
            'action': trial.activity.action,
            'record': str(trial.record) if is_saved(trial.record) else None,
            'what': trial.what,
            'notice': trial.notice,
            }

    def transition_send(self):
        answer = self.start.send()
        self.start.notice = gettext(
            'marketing_automation.msg_trial_sent', answer=answer)
        return 'start'
