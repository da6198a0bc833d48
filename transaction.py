# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Work in transactions of its own, tried again when the database says so

A rehearsal does the same work in one transaction that is rolled back.
"""
import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar

from trytond import backend
from trytond.transaction import Transaction, TransactionError

__all__ = [
    'commit', 'each', 'forget', 'is_rehearsal', 'look', 'rehearse', 'retry']

logger = logging.getLogger(__name__)
# How often something is tried again: a restarted database is waited for
RETRY = 8
_is_rehearsal = ContextVar('is_rehearsal', default=False)


def is_rehearsal():
    "Return if nothing of what is done is to last"
    return _is_rehearsal.get()


@contextmanager
def rehearse(context=None):
    """Do all in one transaction of the root user, which is rolled back

    context -- of the transaction, which is else as that of a cron
    """
    transaction = Transaction()
    tasks = len(transaction.tasks)
    sandbox = Transaction(new=True).start(
        transaction.database.name, 0,
        context={**(context or {}), '_skip_warnings': True})
    token = _is_rehearsal.set(True)
    try:
        yield sandbox
    finally:
        _is_rehearsal.reset(token)
        sandbox.stop(commit=False)
        # They would run without what they are about
        del transaction.tasks[tasks:]


def forget(Model, ids):
    "Forget what was read of the ids after they were changed by SQL"
    transaction = Transaction()
    for cache in transaction.cache.values():
        for id_ in ids:
            cache[Model.__name__].pop(id_, None)
    transaction.counter += 1


def retry(func, *args):
    "Call, again after a conflict or a lost connection"
    for attempt in range(RETRY + 1):
        try:
            return func(*args)
        except backend.DatabaseOperationalError:
            if attempt == RETRY or is_rehearsal():
                raise
            logger.info("retry after database error", exc_info=True)
            time.sleep(min(0.04 * 2 ** attempt, 5))


def commit(func, *args):
    """Call in a transaction of its own and commit

    What the function wants to lock is locked first, like in a task.
    """
    return retry(_commit, func, *args)


def each(func, *args):
    """Call with each statement as a transaction of its own, if possible

    PostgreSQL then lets a statement wait for others and see what they have
    committed, instead of failing because it does not.
    """
    return retry(_each, func, *args)


def look(func, *args):
    "Call in a transaction of its own that writes nothing"
    return retry(_look, func, *args)


def _inline(func, *args):
    "Call in the same transaction, in which nothing is known yet either"
    for cache in Transaction().cache.values():
        cache.clear()
    return func(*args)


def _commit(func, *args):
    if is_rehearsal():
        return _inline(func, *args)
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


def _each(func, *args):
    if is_rehearsal():
        return _inline(func, *args)
    with Transaction().new_transaction(
            autocommit=backend.name == 'postgresql') as transaction:
        result = func(*args)
        transaction.commit()
        return result


def _look(func, *args):
    if is_rehearsal():
        return _inline(func, *args)
    with Transaction().new_transaction(readonly=True) as transaction:
        result = func(*args)
        # A rollback would throw away the prepared statements of psycopg
        transaction.connection.commit()
        return result
