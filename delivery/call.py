# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A slice of an activity that calls servers elsewhere

The calls are composed like e-mails, several are made at once without the
database, and each answer is stored and followed in a transaction of its own.
What a dead worker has called without storing the answer is called again, with
the same key.
"""
import math
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from trytond.pool import Pool

from .. import settings
from ..condition import Scopes
from ..outgoing.post import Answer, post
from ..transaction import commit, is_rehearsal, look
from .result import DONE, RELEASED, again, allowed_ids, store
from .slice import Slice, reading

# Failures in a row after which the server is left in peace
BREAKER = 3


class Calls(list):
    "The requests of a slice, and the scopes in which records are read"

    def __init__(self):
        super().__init__()
        self.scopes = Scopes()


class CallSlice(Slice):
    "Rows that call servers elsewhere"

    def __init__(self, activity, rows):
        super().__init__(activity, rows)
        self.queue = deque()
        self.failures = 0  # in a row
        self.is_reached = False
        self.until = time.monotonic() + settings.webhook_timeout()

    def _work(self):
        started = time.monotonic()
        self.queue.extend(look(self._compose))
        commit(store, self.results)
        self.results = {}
        error = None
        for id_, answer in self._answers():
            try:
                commit(self._finish, id_, answer)
            except Exception as exception:
                # What is under way still has to come to its result
                error = error or exception
                self.until = 0
        commit(store, dict.fromkeys([r.id for r in self.queue], RELEASED))
        if error:
            raise error
        is_down = self.failures >= BREAKER or (
            self.failures and not self.is_reached)
        self.rest = math.inf if is_down else time.monotonic() - started

    def _compose(self):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        calls = Calls()
        facts = RecordActivity.facts(
            Activity(self.activity), list(self.states))
        for context, ids in self._contexts():
            with reading(context):
                activity = Activity(self.activity)
                for record_activity in RecordActivity.browse(ids):
                    with self._catch(record_activity.id):
                        record_activity.decide(activity, facts, calls.scopes)
                        activity.execute(record_activity, calls)
        return calls

    def _answers(self):
        "Yield (id, Answer) as they come, a bounded number is under way"
        if is_rehearsal():
            while self.queue:
                yield self.queue.popleft().id, Answer('done')
            return
        count = settings.webhook_sessions()
        with ThreadPoolExecutor(count) as executor:
            under_way = {}
            while True:
                while len(under_way) < count and (request := self._next()):
                    under_way[self._submit(executor, request)] = request.id
                if not under_way:
                    break
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield under_way.pop(future), self._note(future.result())

    def _next(self):
        "Return the next request that may be made, or None"
        while (self.queue and self.failures < BREAKER
                and time.monotonic() < self.until):
            request = self.queue.popleft()
            if look(allowed_ids, [request.id]):
                return request
            commit(store, {request.id: RELEASED})

    @staticmethod
    def _submit(executor, request):
        return executor.submit(
            post, request, settings.webhook_timeout(),
            settings.webhook_hosts())

    def _note(self, answer):
        if answer.kind in {'done', 'permanent'}:
            self.is_reached = True
            self.failures = 0
        else:
            self.failures += 1
        return answer

    def _finish(self, id_, answer):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        RecordActivity = pool.get('marketing.automation.record.activity')
        if answer.kind == 'done':
            RecordActivity.follow(Activity(self.activity), [id_])
            values = DONE
        elif answer.kind == 'permanent':
            values = {'state': 'failed', 'reason': 'webhook'}
        else:
            values = again(RecordActivity(id_), answer.after)
        store({id_: {**values, 'detail': answer.text or None}})
