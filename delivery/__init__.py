# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How due record activities become done

The rows of marketing.automation.record.activity are the queue, tasks of
ir.queue only wake the workers.  The way of a row:

    drain.py    goes on as long as something is due and time is left
    claim.py    claims a slice of one activity for the time of a lease
    slice.py    composes drafts, which are read and rendered but not written,
                and makes them messages, one after the other
    mail/       the relay sends the messages and gives back results
    result.py   stores each result before the next message
    slice.py    files the slice: archive, children, state

What it promises:

* What a dead worker leaves is claimed again when its lease has ended.  Rows
  in the state delivered are only filed, the others are sent: a message for
  each session in use at the moment of the death may come twice.
* A record that can not be done gets its reason, the others of the slice go
  on.  One that ends the worker is worked on alone at the third time, and
  fails if it does it again.
* Stopping a scenario or blocking a record holds the next message back.
* Nothing commits or rolls back the transaction of who calls.
"""
from .drain import drain, queue_name, wake

__all__ = ['drain', 'queue_name', 'wake']
