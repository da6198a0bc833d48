# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Work in transactions of its own, tried again when the database says so"""
import logging
import time

from trytond import backend
from trytond.transaction import Transaction, TransactionError

__all__ = ['commit', 'look', 'retry']

logger = logging.getLogger(__name__)
# How often something is tried again: a restarted database is waited for
RETRY = 8


def retry(func, *args):
    "Call, again after a conflict or a lost connection"
    for attempt in range(RETRY + 1):
        try:
            return func(*args)
        except backend.DatabaseOperationalError:
            if attempt == RETRY:
                raise
            logger.info("retry after database error", exc_info=True)
            time.sleep(min(0.04 * 2 ** attempt, 5))


def commit(func, *args):
    """Call in a transaction of its own and commit

    What the function wants to lock is locked first, like in a task.
    """
    return retry(_commit, func, *args)


def look(func, *args):
    "Call in a transaction of its own that writes nothing"
    return retry(_look, func, *args)


def _commit(func, *args):
    extras = {}
    while True:
        with Transaction().new_transaction(**extras) as transaction:
            try:
                result = func(*args)
                transaction.commit()
                return result
            except TransactionError as error:
                transaction.rollback()
                error.fix(extras)


def _look(func, *args):
    with Transaction().new_transaction(readonly=True):
        return func(*args)
