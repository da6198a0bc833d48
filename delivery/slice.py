# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A claimed slice of one activity, from its rows until they are filed"""
import logging
import time
from collections import defaultdict, deque
from contextlib import nullcontext

from trytond import backend
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import settings
from ..condition import Scopes
from ..exceptions import Failure, Skip
from ..mail.message import Outbox
from ..mixin import own_company, party_of
from ..transaction import commit, each, look
from .result import DONE, RELEASED, Catch, Recorder, allowed_ids, store

logger = logging.getLogger(__name__)


class Slice:
    """What the slices have in common

    used -- how many e-mails count for the limit of the minute
    postponed -- how many rows have to wait for another minute
    sent -- ids of what the mail server has taken
    rest -- seconds for which other activities go first
    """
    rest = 0

    def __init__(self, activity, rows):
        self.activity = activity
        self.states = {id_: state for id_, (state, _) in rows.items()}
        self.results = {}  # id: values to store
        self.finished = []
        self.sent = set()
        self.used = 0
        self.postponed = 0

    def work(self):
        "Do all of the rows, each by itself if they can not be done together"
        try:
            self._work()
        except backend.DatabaseOperationalError:
            raise
        except Exception as exception:
            logger.error(
                "a slice of activity %s failed", self.activity, exc_info=True)
            self._part(exception)

    def _work(self):
        raise NotImplementedError

    def _part(self, exception):
        states = look(self._unfinished)
        if len(self.states) > 1:
            for id_, state in states.items():
                self._alone(id_, state).work()
        elif states:
            (id_, state), = states.items()
            with Catch(self.results, id_):
                raise exception
            if state == 'delivered':
                # Only filing it has failed
                self.results[id_] = {
                    'state': 'done', 'detail': self.results[id_]['detail']}
            commit(store, self.results)

    def _alone(self, id_, state):
        return self.__class__(self.activity, {id_: (state, 0)})

    def _unfinished(self):
        "Return {id: state} of what is still claimed"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        return {
            r.id: r.state for r in RecordActivity.browse(list(self.states))
            if r.state in RecordActivity.pending and r.lease}

    def _catch(self, id_):
        return Catch(self.results, id_)

    def _contexts(self):
        "Yield the contexts in which records are read with their ids"
        for company, ids in self._companies():
            with reading({'company': company}):
                languages = self._group(ids, _language)
            for language, ids in languages:
                yield {'company': company, 'language': language}, ids

    def _companies(self):
        "Return the ids grouped by company"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        scenario = Activity(self.activity).scenario
        default = scenario.sending_company
        if 'company' not in pool.get(scenario.model)._fields:
            return [(default, list(self.states))]
        return self._group(
            list(self.states),
            lambda record: own_company(record.record) or default)

    def _group(self, ids, key):
        "Return the ids grouped by the key of their records"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        groups = defaultdict(list)
        for record_activity in RecordActivity.browse(ids):
            value = None
            with self._catch(record_activity.id):
                value = key(record_activity.record)
            groups[value].append(record_activity.id)
        return list(groups.items())

    def _file(self):
        "Store all that has not been stored yet"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        done = list({*self.finished, *self.sent})
        RecordActivity.follow(Activity(self.activity), done)
        store(dict.fromkeys(done, DONE))
        store(self.results)


class DeadlySlice(Slice):
    "A row that ended the worker also when it was worked on alone"

    def _work(self):
        commit(store, {
                id_: Failure('worker').values for id_ in self.states})


class MailSlice(Slice):
    "Rows that put messages into the outbox, or do nothing"

    def __init__(self, activity, rows, relay):
        super().__init__(activity, rows)
        self.relay = relay
        self.until = time.monotonic() + settings.slice_time()
        self.outbox = None
        self.is_capped = False
        self.links = {}
        self.queue = deque()  # drafts that are not messages yet
        self.under_way = {}  # id: message, until it has a result
        self.messages = {}

    def _alone(self, id_, state):
        return self.__class__(self.activity, {id_: (state, 0)}, self.relay)

    def _work(self):
        self._prepare()
        try:
            self._deliver()
        finally:
            commit(self._file)

    # What only composes: read a slice, render, send, write

    def _prepare(self):
        self.outbox = outbox = look(self._compose)
        if outbox.variants:
            commit(self._set_variants)
        if urls := outbox.urls:
            self.links = commit(self._get_links, urls)
        # Whatever has changed since, these have been sent
        self.sent = {
            id_ for id_, s in self.states.items() if s == 'delivered'}
        for id_ in self.sent:
            self.results.pop(id_, None)
        drafts = {d.id for d in outbox.drafts}
        self.finished = [
            id_ for id_ in self.states
            if id_ not in self.results and id_ not in drafts]
        self.queue.extend(d for d in outbox.drafts if d.id not in self.sent)

    def _compose(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        outbox = Outbox()
        facts = RecordActivity.facts(
            Activity(self.activity), list(self.states))
        for context, ids in self._contexts():
            with reading(context):
                activity = Activity(self.activity)
                for record_activity in RecordActivity.browse(ids):
                    if time.monotonic() > self.until:
                        # The rest is left for another claim
                        self.results[record_activity.id] = RELEASED
                        continue
                    with self._catch(record_activity.id):
                        record_activity.decide(
                            activity, facts, outbox.scopes)
                        activity.execute(record_activity, outbox)
        self._leave_out_repeated(outbox)
        self.is_capped = bool(Activity(self.activity).scenario.cap_rule)
        return outbox

    def _leave_out_repeated(self, outbox):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        activity = Activity(self.activity)
        unsent = [
            d for d in outbox.drafts if self.states[d.id] == 'waiting']
        repeated = activity.scenario.repeated(activity, unsent)
        for id_ in repeated:
            self.results[id_] = Skip('duplicate').values
        outbox.drafts = [d for d in outbox.drafts if d.id not in repeated]

    def _set_variants(self):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        RecordActivity.set_variants(self.outbox.variants)

    @staticmethod
    def _get_links(urls):
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        return Link.get_ids(urls)

    # Delivery

    def _deliver(self):
        "Send the messages, store each result before the next message"
        if not self.queue:
            return
        self._keep_domain_limit()
        self._keep_cap()
        error = None
        with Recorder() as recorder:
            self._hold_back(recorder)
            for message, result in self.relay.deliver(self._messages()):
                del self.under_way[message.id]
                try:
                    self._record(message, result, recorder)
                except Exception as exception:
                    # What is under way still has to come to its result
                    error = error or exception
                    self._release(self.queue)
                    self.queue.clear()
        self._release([*self.queue, *self.under_way.values()])
        if error:
            raise error

    def _messages(self):
        "Yield the messages, each made when it is wanted"
        while self.queue and time.monotonic() < self.until:
            draft = self.queue.popleft()
            if message := self._seal(draft):
                self.under_way[message.id] = message
                yield message

    def _seal(self, draft):
        "Return the message of the draft, or None after a failure"
        if draft.id not in self.messages:
            with self._catch(draft.id):
                self.messages[draft.id] = self.outbox.seal(draft, self.links)
        return self.messages.get(draft.id)

    def _record(self, message, result, recorder):
        "Store the result"
        self.used += 1
        if result.kind == 'sent':
            self.sent.add(message.id)
            if not recorder.delivered(message, self._next()):
                self._hold_back(recorder)
        else:
            recorder.failed(message, result)
            if result.kind == 'permanent' and result.code:
                self._refused(message, result)

    def _next(self):
        "Return the id of what is sent next, or is already under way"
        for id_ in reversed(self.under_way):
            return id_
        for draft in self.queue:
            return draft.id

    def _refused(self, message, result):
        "Stop the address if that is what the reply says"
        pool = Pool()
        Bounce = pool.get('marketing.automation.bounce')
        try:
            commit(
                Bounce.refused, message.id, message.recipient, str(result))
        except Exception:
            # The result is stored, the others must be sent
            logger.exception("no bounce for record activity %s", message.id)

    def _hold_back(self, recorder):
        "Take out what has been stopped or blocked since the claim"
        if not (ids := [*self.under_way, *(d.id for d in self.queue)]):
            return
        may = recorder.allowed(ids)
        for id_, message in self.under_way.items():
            message.cancelled = id_ not in may
        held = [d for d in self.queue if d.id not in may]
        for draft in held:
            self.queue.remove(draft)
        self._release(held)

    def _keep_domain_limit(self):
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        if not settings.domain_limit():
            return
        beyond = commit(Throttle.beyond_domain_limit, list(self.queue))
        for draft in beyond:
            self.queue.remove(draft)
            self.results[draft.id] = Throttle.postponed()
        self.postponed = len(beyond)

    def _keep_cap(self):
        "Take a place for each of what is sent now, where they are limited"
        pool = Pool()
        Cap = pool.get('marketing.automation.cap')
        if self.is_capped and self.queue:
            beyond = each(Cap.beyond, self.activity, list(self.queue))
            self.results.update(beyond)
            self.queue = deque(d for d in self.queue if d.id not in beyond)

    def _release(self, drafts):
        for draft in drafts:
            self.results[draft.id] = RELEASED

    def _file(self):
        self._archive()
        super()._file()

    def _archive(self):
        pool = Pool()
        Email = pool.get('ir.email')
        if settings.archive():
            messages = [
                self._seal(d) for d in self.outbox.drafts
                if d.id in self.sent]
            Email.file_marketing([m.archive for m in messages if m])


class ActionSlice(Slice):
    "Rows whose action changes records: one by one"

    def _work(self):
        for id_ in self.states:
            with self._catch(id_):
                commit(self._execute, id_)
            if self.results:
                commit(store, self.results)
                self.results.clear()

    def _execute(self, id_):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        if not allowed_ids([id_]):
            store({id_: RELEASED})
            return
        facts = RecordActivity.facts(Activity(self.activity), [id_])
        with reading(RecordActivity(id_).record.reading_context):
            activity = Activity(self.activity)
            record_activity = RecordActivity(id_)
            record_activity.decide(activity, facts, Scopes())
            activity.execute(record_activity)
        self.finished = [id_]
        self._file()


def _language(record):
    party = record.record and party_of(record.record)
    return party.lang.code if party and party.lang else None


def reading(context):
    "Return a context in which records are read with what is not None"
    transaction = Transaction()
    changed = {
        name: value for name, value in context.items()
        if value and value != transaction.context.get(name)
        and (name, value) != ('language', transaction.language)}
    if not changed:
        # The same context shares what has been read already
        return nullcontext()
    return transaction.set_context(changed)
