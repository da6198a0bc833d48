# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who is woken, and how long they go on"""
import datetime as dt
import logging
import time

import trytond.config as config
from trytond.pool import Pool
from trytond.transaction import Transaction

from .. import schedule, settings
from ..mail.smtp import Relay
from ..transaction import commit, look
from .claim import Backlog
from .kind import make_slice
from .result import store

logger = logging.getLogger(__name__)
QUEUE = 'marketing_automation'
# How long tasks wait for a worker before the cron does the work: longer than
# other drains may keep all of the workers busy
PATIENCE = dt.timedelta(minutes=15)


def queue_name():
    "Return the name of the queue from which the tasks are taken"
    has_worker = config.getboolean('queue', 'worker', default=False)
    return QUEUE if has_worker else 'default'


def wake():
    "Wake as many drains as what is due can keep busy"
    pool = Pool()
    RecordActivity = pool.get('marketing.automation.record.activity')
    until = dt.datetime.now()
    size = settings.slice_size()
    due = look(Backlog(until).ids, settings.drains() * size)
    if not due:
        return
    has_worker = config.getboolean('queue', 'worker', default=False)
    count, is_stuck = 1, False
    if has_worker:
        pending = _pending_tasks()
        count = min(settings.drains(), -(-len(due) // size)) - len(pending)
        is_stuck = any(t.enqueued_at < until - PATIENCE for t in pending)
    with Transaction().set_context(queue_name=queue_name()):
        for id_ in due[:max(0, count)]:
            RecordActivity.__queue__.drain([RecordActivity(id_)], until)
    if is_stuck:
        logger.warning(
            "no worker has taken the tasks of the queue %s for %s", QUEUE,
            PATIENCE)
        drain(until)


def _pending_tasks():
    "Return the drains that wait for a worker"
    pool = Pool()
    Queue = pool.get('ir.queue')
    return Queue.search([
            ('name', '=', QUEUE),
            ('data.method', '=', 'drain'),
            ('dequeued_at', '=', None),
            ])


def drain(until, ids=None):
    """Do what is due at until, slice by slice, as long as time allows

    With ids, do these and only these, whenever they are due.
    """
    with Relay() as relay:
        _Drain(Backlog(until, ids), relay).run()


class _Drain:

    def __init__(self, backlog, relay):
        self.backlog = backlog
        self.relay = relay
        self.deadline = time.monotonic() + settings.drain_time()
        # A limit of this minute keeps e-mails back, all or of an activity
        self.is_limited = False
        self.limited = set()

    def run(self):
        "Do slices as long as there are any, the scenarios take turns"
        while time.monotonic() < self.deadline:
            turns = [
                self._turn(*due) for due in look(self.backlog.activities)]
            if not any(turns) and not self._wait():
                break

    def _turn(self, activity, sends):
        "Do a slice of the activity and return if there was one"
        if time.monotonic() >= self.deadline:
            return False
        size = settings.slice_size()
        if sends:
            size = self._allowance(activity, size)
        rows = commit(self.backlog.claim, activity, size) if size else {}
        if rows:
            slice_ = make_slice(activity, rows, self.relay)
            slice_.work()
            self._note(slice_)
        if sends and size:
            self._give_back(size - (slice_.used if rows else 0))
        return bool(rows)

    def _allowance(self, activity, size):
        "Return how many of size e-mails may be sent now"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        if (activity in self.limited
                or self.relay.is_down or self.relay.is_busy
                or look(Throttle.is_open)):
            return 0
        if limit := settings.limit():
            size = commit(Throttle.take, '', size, limit)
            self.is_limited |= not size
        return size

    def _give_back(self, count):
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        if count and settings.limit():
            commit(Throttle.give_back, '', count)

    def _note(self, slice_):
        "Remember what the slice has learned of the limits and the server"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        if slice_.rest:
            self.backlog.rest(slice_.activity, slice_.rest)
        if slice_.postponed:
            self.is_limited = True
            if slice_.postponed > slice_.used:
                # What follows is likely for the same domains
                self.limited.add(slice_.activity)
        if self.relay.is_down:
            commit(Throttle.open, self.relay.reason)
        elif slice_.sent:
            commit(Throttle.close)

    def _wait(self):
        "Wait for the minute for which the limits leave room, if there is any"
        if self.backlog.wake():
            return True
        if not self.is_limited:
            return False
        if not self.backlog.is_open:
            commit(self._postpone)
            return False
        self.is_limited = False
        self.limited.clear()
        now = dt.datetime.now()
        wait = (schedule.next_minute(now) - now).total_seconds()
        time.sleep(max(0, min(wait, self.deadline - time.monotonic())))
        return True

    def _postpone(self):
        "Leave what is wanted now to who drains in the next minute"
        pool = Pool()
        Throttle = pool.get('marketing.automation.throttle')
        rest = self.backlog.ids(len(self.backlog.ids_))
        store(dict.fromkeys(rest, Throttle.postponed()))
