# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Which slice does the rows of an activity"""
from trytond.pool import Pool

from ..transaction import look
from .call import CallSlice
from .claim import SUSPECT
from .slice import ActionSlice, DeadlySlice, MailSlice


def make_slice(activity, rows, relay):
    "Return the slice to work on for what Backlog.claim returns"
    return look(_make, activity, rows, relay)


def _make(activity, rows, relay):
    pool = Pool()
    Activity = pool.get('marketing.automation.activity')
    if any(claims > SUSPECT + 1 for _, claims in rows.values()):
        return DeadlySlice(activity, rows)
    action = Activity(activity).action
    if action in Activity.mail_actions():
        return MailSlice(activity, rows, relay)
    if action in Activity.calling_actions():
        return CallSlice(activity, rows)
    return ActionSlice(activity, rows)
