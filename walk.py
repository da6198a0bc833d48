# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""One record walks through a scenario, nothing is sent and nothing is kept

What happens is decided by the engine itself and not by a model of it: at each
step all of the walk is done again from its start, by a clock of its own, in a
transaction that is rolled back.
"""
import datetime as dt
from collections import namedtuple

from trytond.i18n import gettext
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import clock, entry
from .audience import Audience
from .delivery.claim import Backlog
from .delivery.kind import make_slice
from .mail.smtp import Result
from .transaction import commit, look, rehearse, retry

EMAIL_EVENTS = {'email_opened', 'email_clicked'}
MAX_WAIT = dt.timedelta(days=3650)

# kind -- by which it is coloured
Step = namedtuple('Step', ['at', 'kind', 'activity', 'what'])
# row -- id of the record activity
# is_tracked -- whether opens and clicks come to be known
# variant -- id of the variant that is sent, or None
Sent = namedtuple(
    'Sent', ['row', 'address', 'is_tracked', 'has_links', 'variant'])


class Stage:
    "Takes the messages in place of the mail server"
    is_down = is_busy = False

    def deliver(self, messages):
        for message in messages:
            yield message, Result('sent')


def do_step(row, activity):
    "Do the id of a step as a worker does and return its slice"
    slice_ = make_slice(
        activity, Backlog(ids=[row]).claim(activity, 1), Stage())
    slice_.work()
    return slice_


class Walk:
    """The way of a record of a model through a scenario

    time -- when it has come so far
    steps -- what has happened, as list of Step
    ahead -- what can be next, as list of Step, at None for what waits for an
             event
    sent -- {id of activity: Sent} in the order of time
    opened, clicked -- ids of the activities whose e-mails were
    is_blocked -- nothing more happens
    awaiting -- ids of the activities that wait for a condition
    """

    def __init__(self, scenario, resource, started_at):
        self.scenario = scenario
        self.resource = resource
        self.time = started_at
        self.language = Transaction().language
        self.steps = []
        self.ahead = []
        self.sent = {}
        self.opened = set()
        self.clicked = set()
        self.is_blocked = False
        self.awaiting = []

    @classmethod
    def after(cls, events, *args):
        "Return the walk after the (name, number) events"
        return retry(cls._after, events, *args)

    @classmethod
    def _after(cls, events, *args):
        walk = cls(*args)
        with rehearse():
            walk._do(walk._enter)
            for name, number in events:
                getattr(walk, f'_{name}')(number)
            look(walk._look_ahead)
        return walk

    def _do(self, func, *args):
        "Call at the time of the walk and note what it changes"
        before = look(self._states)
        with clock.stopped(self.time):
            commit(func, *args)
            self._settle()
        look(self._note, before)

    def _settle(self):
        "Plan what waits for more than time"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        for record in {r.record.id for r in look(self._rows)}:
            RecordActivity.settle_waiting(record)

    def _rows(self, *clauses):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        return RecordActivity.search([
                ('record.scenario', '=', self.scenario.id),
                ('record.record', '=', str(self.resource)),
                *clauses,
                ], order=[('at', 'ASC'), ('id', 'ASC')])

    def _states(self):
        return {
            r.id: (r.state, r.reason, r.detail, r.at) for r in self._rows()}

    def _note(self, before):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        changed = [i for i, s in self._states().items() if s != before.get(i)]
        # The engine reads in the language of the party
        with Transaction().set_context(language=self.language):
            for row in RecordActivity.browse(changed):
                if (row.state == 'waiting'
                        and row.at and row.at <= self.time):
                    # That it is next says enough
                    continue
                self._add(row.state, row.activity, self._explain(row))

    def _add(self, kind, activity, what):
        self.steps.append(Step(
                self.time, kind, activity.rec_name if activity else '', what))

    def _explain(self, row):
        if row.state == 'waiting' and not row.reason:
            return _waits(row.activity)
        sent = self.sent.get(row.activity.id)
        if row.state == 'done' and sent:
            return gettext(
                'marketing_automation.msg_rehearsal_sent',
                address=sent.address)
        return row.explanation

    # What happens

    def _enter(self):
        "Enter the record, anew if it is in already"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Scenario = pool.get('marketing.automation.scenario')
        scenario = Scenario(self.scenario.id)
        if scenario.state != 'running':
            Scenario.write([scenario], {'state': 'running'})
        matches = self.resource.__class__.search([
                ('id', '=', self.resource.id),
                ('id', 'in', Audience(scenario).query()),
                ])
        self._say('entered' if matches else 'not_entered', None)
        records = Record.search([
                ('scenario', '=', scenario.id),
                ('record', '=', str(self.resource)),
                ], order=[('pass_number', 'DESC')], limit=1)
        if records:
            RecordActivity.delete(self._rows())
        else:
            records = Record.create([{
                        'scenario': scenario.id,
                        'record': str(self.resource),
                        }])
        entry.start(*records)

    def _say(self, what, activity):
        with Transaction().set_context(language=self.language):
            self._add(
                what, activity and activity.__class__(activity.id),
                gettext(f'marketing_automation.msg_rehearsal_{what}'))

    def _pending(self):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        return self._rows(
            ('state', 'in', RecordActivity.pending), ('at', '!=', None))

    def _undated(self):
        return self._rows(('state', '=', 'waiting'), ('reason', '=', 'date'))

    def _next(self, _):
        "Do what is due next"
        for row in look(self._pending)[:1]:
            self._come(row)

    def _wait(self, seconds):
        "Do what becomes due meanwhile"
        until = self.time + min(dt.timedelta(seconds=seconds), MAX_WAIT)
        last = None
        while rows := look(self._pending):
            if rows[0].at > until or last == (rows[0].id, rows[0].at):
                break
            last = rows[0].id, rows[0].at
            self._come(rows[0])
        self.time = until

    def _come(self, row):
        self.time = max(self.time, row.at)
        self._do(self._execute, row.id, row.activity.id)

    def _execute(self, row, activity):
        slice_ = do_step(row, activity)
        if outbox := getattr(slice_, 'outbox', None):
            for draft in outbox.drafts:
                self.sent[activity] = Sent(
                    row, draft.address, self._is_tracked(draft),
                    bool(draft.tracked_urls), outbox.variants.get(row))

    @staticmethod
    def _is_tracked(draft):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        return (
            draft.tracking == 'individual'
            and not Record(draft.record).anonymous)

    def _opened(self, activity):
        if self.can_be_opened(activity):
            self.opened.add(activity)
            self._react('opened', activity, 'on_email_opened')

    def _clicked(self, activity):
        if self.can_be_clicked(activity):
            self.opened.add(activity)
            self.clicked.add(activity)
            self._react('clicked', activity, 'on_email_clicked')

    def _react(self, what, activity, method):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        self._say(what, Activity(activity))
        self._do(
            getattr(RecordActivity, method),
            [RecordActivity(self.sent[activity].row)])

    def _fulfilled(self, activity):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        rows = self._awaiting(('activity', '=', activity))
        if rows:
            self._say('fulfilled', Activity(activity))
            self._do(RecordActivity.fulfil, [r.id for r in rows])

    def _awaiting(self, *clauses):
        "Return the rows that wait for a condition"
        return self._rows(
            ('state', '=', 'waiting'), ('activity.timing', '=', 'until'),
            ('fulfilled', '!=', True), *clauses)

    def _unsubscribed(self, activity):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Unsubscription = pool.get('marketing.automation.unsubscription')
        if activity in self.sent:
            row = RecordActivity(self.sent[activity].row)
            self._say('unsubscribed', Activity(activity))
            self._do(Unsubscription.stop, row.record, row.activity)
            self.is_blocked = True

    def can_be_opened(self, activity):
        sent = self.sent.get(activity)
        return bool(
            sent and sent.is_tracked and activity not in self.opened)

    def can_be_clicked(self, activity):
        sent = self.sent.get(activity)
        return bool(
            sent and sent.is_tracked and sent.has_links
            and activity not in self.clicked)

    # What can be next

    def _look_ahead(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        with Transaction().set_context(language=self.language):
            for row in self._pending():
                activity = Activity(row.activity.id)
                self.ahead.append(Step(
                        row.at, 'waiting', activity.rec_name, _due(activity)))
            self.awaiting = [r.activity.id for r in self._awaiting()]
            for row in self._undated():
                self.ahead.append(Step(
                        None, 'waiting', row.activity.rec_name,
                        row.explanation))
            if not self.is_blocked:
                for activity in Activity.browse(list(self.sent)):
                    self._look_at(activity)

    def _look_at(self, activity):
        "Say what follows from opening the e-mail and from its links"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        if not self.sent[activity.id].is_tracked:
            self.ahead.append(Step(
                    None, 'untracked', activity.rec_name, gettext(
                        'marketing_automation.msg_rehearsal_untracked')))
            return
        record = RecordActivity(self.sent[activity.id].row).record
        can_happen = {
            'email_opened': self.can_be_opened(activity.id),
            'email_clicked': self.can_be_clicked(activity.id),
            }
        for child in activity.children:
            if (not child.negative and can_happen.get(child.event)
                    and not RecordActivity.settled(child, [record.id])):
                self.ahead.append(Step(
                        None, 'event', child.rec_name, _on_event(child)))


def _waits(activity):
    "Return the sentence for what has just been planned"
    name = 'wait'
    if activity.timing == 'until':
        name = 'wait_until'
    elif activity.is_by_date:
        return gettext(
            'marketing_automation.msg_explanation_waiting_planned',
            when=activity.flow_moment())
    elif activity.negative and activity.event in EMAIL_EVENTS:
        name += f'_{activity.event}'
    return gettext(
        f'marketing_automation.msg_rehearsal_{name}',
        delay=activity.flow_delay())


def _due(activity):
    "Return the sentence for what becomes due"
    name = 'due'
    if activity.timing == 'until':
        name = 'due_until'
    elif activity.negative and activity.event in EMAIL_EVENTS:
        name += f'_{activity.event}'
    return gettext(f'marketing_automation.msg_rehearsal_{name}')


def _on_event(activity):
    "Return the sentence for what an event would plan"
    name = 'later' if activity.delay else 'at_once'
    return gettext(
        f'marketing_automation.msg_rehearsal_{name}_{activity.event}',
        email=activity.parent.rec_name,
        delay=activity.flow_delay())
