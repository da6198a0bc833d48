# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Why a record gets the e-mails of a scenario now, or why not

The engine itself decides: the record enters and each step is done as if it
was its turn, each time anew in a transaction that is rolled back.
"""
import datetime as dt
from collections import namedtuple
from contextlib import contextmanager

from sql import Literal

from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model import Model
from trytond.pool import Pool
from trytond.pyson import PYSONDecoder
from trytond.report import Report
from trytond.transaction import Transaction, check_access, inactive_records

from . import clock, entry, pyson_source
from .audience import Audience
from .mail import sample
from .mixin import party_of
from .transaction import commit, rehearse, retry
from .walk import do_step

# answer -- yes, later, no or done
# activity -- its name, None for the entry
Line = namedtuple('Line', ['answer', 'activity', 'at', 'why', 'advice'])


def ask(scenario, resource):
    """Return the Lines about the record of a model, the first about its entry

    Raise an error unless the user may read it.
    """
    with inactive_records():
        sample.scope(resource)
    return retry(lambda: _Inquiry(scenario, resource).lines())


class _Inquiry:

    def __init__(self, scenario, resource):
        self.scenario = scenario
        self.resource = resource
        self.language = Transaction().language
        self.now = clock.now().replace(microsecond=0)
        # What the user may know of who matches
        self.mismatches = list(_mismatches(scenario, resource))
        # Whether it is or gets into a scenario that runs
        self.is_in = False

    def lines(self):
        with self._sandbox() as (before, record):
            lines = list(self._entry_lines(before, record))
            self.is_in = self.scenario.state == 'running' and (
                before or record)
            activities = list(_tree(self._scenario.activities))
        for activity in activities:
            with self._sandbox() as (before, record):
                lines.append(self._step_line(
                        activity.__class__(activity.id),
                        record or before or self._create_record()))
        return lines

    @property
    def _scenario(self):
        return self.scenario.__class__(self.scenario.id)

    @contextmanager
    def _sandbox(self):
        """Yield the last pass of the record, and that which begins now

        They are None if there is none.
        """
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        with clock.stopped(self.now), rehearse(), \
                Transaction().set_context(language=self.language):
            before = self._last_pass()
            if self._scenario.state != 'running':
                Scenario.write([self._scenario], {'state': 'running'})
            commit(entry.enter, [self._scenario], [self.resource.id])
            record = self._last_pass()
            self._settle(record)
            yield before, record if record != before else None

    def _last_pass(self):
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        records = Record.search([
                ('scenario', '=', self.scenario.id),
                ('record', '=', str(self.resource)),
                ], order=[('pass_number', 'DESC')], limit=1)
        return records[0] if records else None

    def _create_record(self):
        "Return what the record would be in the scenario"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        record, = Record.create([{
                    'scenario': self.scenario.id,
                    'record': str(self.resource),
                    }])
        entry.start(record)
        self._settle(record)
        return record

    @staticmethod
    def _settle(record):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        if record:
            RecordActivity.settle_waiting(record.id)

    # Whether it enters

    def _entry_lines(self, before, record):
        state = self.scenario.state
        if state != 'running':
            yield self._line('no', f'state_{state}', advice='run')
        if record:
            yield self._line(
                'yes', 'enters_again' if before else 'enters')
            return
        if before:
            yield self._line('done', 'in', at=before.create_date)
        if not before or self.scenario.reentry != 'never':
            yield from self._obstacle_lines(before)

    def _obstacle_lines(self, before):
        "Yield why it does not enter"
        if not self._matches():
            yield self._mismatch_line()
        party = party_of(self.resource)
        if party and self._scenario.refusing([party.id]):
            yield self._line('no', 'refuses', advice='unsubscribed')
        if before:
            for name in self._keeping_out():
                yield self._line(
                    'no', f'again_{name}', days=self.scenario.reentry_days)

    def _matches(self):
        return bool(Audience(self._scenario).search(
                ('id', '=', self.resource.id)))

    def _mismatch_line(self):
        with inactive_records():
            if self._matches():
                return self._line('no', 'inactive', advice='activate')
        if self.mismatches:
            return self._line(
                'no', 'mismatch_of', advice='match',
                criteria='; '.join(self.mismatches))
        return self._line('no', 'mismatch', advice='match')

    def _keeping_out(self):
        "Yield the names of the obstacles to another pass"
        pool = Pool()
        table = pool.get('marketing.automation.record').__table__()
        cursor = Transaction().connection.cursor()
        for name, clause in self._scenario.obstacles(table).items():
            cursor.execute(*table.select(
                    Literal(1),
                    where=(table.scenario == self.scenario.id)
                    & (table.record == str(self.resource)) & clause,
                    limit=1))
            if cursor.fetchone():
                yield name

    # What becomes of a step

    def _step_line(self, activity, record):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        step = self._step(activity, record)
        if step and step.state not in RecordActivity.pending:
            return Line(
                'done' if step.state == 'done' else 'no', activity.rec_name,
                step.at, step.explanation, step.advice_retry)
        before, at = [], None
        if not self.is_in:
            before.append(self._text('only_in'))
        if step:
            at = step.at if self.is_in else None
            if not self._is_due(step):
                before.append(step.explanation)
        else:
            if not (step := self._reach(activity, record)):
                return self._line('no', 'elsewhere', activity.rec_name)
            before.append(self._text('after', parent=activity.parent.rec_name))
        return self._tried_line(activity, step, at, before)

    def _is_due(self, step):
        return step.at and step.at <= self.now

    @staticmethod
    def _step(activity, record):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        steps = RecordActivity.search([
                ('activity', '=', activity.id),
                ('record', '=', record.id),
                ])
        return steps[0] if steps else None

    def _reach(self, activity, record):
        "Return the step when all before it has happened, None for no way"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        parent = activity.parent
        if not isinstance(parent, activity.__class__):
            RecordActivity.insert([(activity.id, record.id, self.now)])
        else:
            if not self._step(parent, record):
                RecordActivity.insert([(parent.id, record.id, self.now)])
            step = self._step(parent, record)
            RecordActivity.write(
                [step], {'state': 'done', 'at': self.now})
            if activity.event and not activity.negative:
                RecordActivity.happen(
                    [step.id], sorted({'email_opened', activity.event}))
            else:
                RecordActivity.follow(parent, [step.id])
        self._settle(record)
        return self._step(activity, record)

    def _tried_line(self, activity, step, at, before):
        is_due = self._is_due(step) and not before
        if not self._is_due(step):
            step.__class__.write([step], {'at': self.now, 'reason': None})
        slice_ = do_step(step.id, activity.id)
        with Transaction().set_context(language=self.language):
            step = step.__class__(step.id)
            answer, why = self._tried(step, slice_)
            if answer == 'yes' and not is_due:
                answer = 'later'
            elif answer == 'later':
                at = step.at
            if not self.is_in:
                answer = 'no'
            return Line(
                answer, activity.rec_name, at, ' '.join([*before, why]),
                step.advice)

    def _tried(self, step, slice_):
        "Return the answer and the sentence of the step that was tried"
        outbox = getattr(slice_, 'outbox', None)
        if step.state == 'done':
            if outbox and outbox.drafts:
                draft, = outbox.drafts
                return 'yes', self._text('sent', address=draft.address)
            return 'yes', self._text('done')
        if step.state == 'waiting':
            return 'later', (
                step.explanation if step.reason else self._text('working'))
        return 'no', step.explanation

    @staticmethod
    def _text(name, **variables):
        return gettext(f'marketing_automation.msg_why_{name}', **variables)

    def _line(
            self, answer, name, activity=None, at=None, advice=None,
            **variables):
        if advice:
            advice = self._text(f'advice_{advice}')
        return Line(
            answer, activity, at, self._text(name, **variables), advice or '')


def _tree(activities):
    "Yield the activities in the order in which they are read"
    for activity in activities:
        yield activity
        yield from _tree(activity.children)


def _mismatches(scenario, resource):
    "Yield what the user may know of what the record does not fulfil"
    for text, clauses in _clauses(scenario):
        try:
            with check_access():
                found = Audience(scenario, clauses).search(
                    ('id', '=', resource.id))
        except UserError:
            continue
        if not found:
            yield text


def _clauses(scenario):
    "Yield (text, domain) of each of what has to be fulfilled together"
    if scenario.audience_mode == 'criteria':
        for criterion in scenario.criteria:
            yield _criterion_text(criterion), criterion.clauses()
        return
    domain = PYSONDecoder({}).decode(scenario.domain)
    source = PYSONDecoder(noeval=True).decode(scenario.domain)
    if domain and not isinstance(domain[0], str):
        for clause, text in zip(domain, source):
            yield pyson_source.write(text), [clause]


def _criterion_text(criterion):
    "Return what the criterion says, as its line shows it"
    operators = criterion.fields_get(['operator'])['operator']['selection']
    operator = dict(operators)[criterion.operator]
    if not (name := criterion.on_change_with_value_name()):
        return f'{criterion.rec_name} {operator}'
    value = getattr(criterion, name)
    if isinstance(value, Model):
        value = value.rec_name
    elif isinstance(value, dt.date):
        value = Report.format_date(value)
    elif name == 'choice':
        value = dict(criterion.get_choices()).get(value, value)
    if '…' in operator:
        return f'{criterion.rec_name} {operator}'.replace('…', str(value))
    return f'{criterion.rec_name} {operator} {value}'
