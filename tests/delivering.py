# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What tests of whether something is sent share: due rows and their drains"""
import datetime as dt
from unittest.mock import patch

from trytond.modules.marketing_automation import clock, delivery
from trytond.pool import Pool
from trytond.tests.test_tryton import DB_NAME
from trytond.transaction import Transaction

from .fixtures import (
    DUE, DatabaseTestCase, create_party, create_record, create_record_activity,
    forget)
from .tools import configure, start_smtp

LATER = DUE + dt.timedelta(days=1)


class CommittedTestCase(DatabaseTestCase):
    "Has transactions as the crons have, and a real mail server"

    def setUp(self):
        super().setUp()
        self.addCleanup(patch.stopall)
        self.server = start_smtp()
        configure('marketing', automation_drain_time=20)
        # As the crons do
        transaction = Transaction().start(DB_NAME, 0)
        self.addCleanup(transaction.stop, commit=False)
        self.addCleanup(self._forget)

    def _forget(self):
        Scenario = Pool().get('marketing.automation.scenario')
        cursor = Transaction().connection.cursor()
        cursor.execute(*Scenario.__table__().delete())
        Transaction().commit()


class DeliveryTestCase(CommittedTestCase):
    "Drains what is due"

    def enter(self, scenario, activity, *names, **values):
        "Return the due rows of new parties"
        rows = []
        for name in names:
            party = create_party(name, f'{name.lower()}@example.com')
            rows.append(create_record_activity(
                    create_record(scenario, party), activity, **values))
        self.date(rows)
        return rows

    def date(self, rows):
        "Let the rows be as old as they are due"
        table = rows[0].__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update([table.create_date], [DUE]))
        Transaction().commit()

    def drain(self, now=LATER):
        Transaction().commit()
        with clock.stopped(now):
            delivery.drain(now)
        Transaction().commit()
        forget()

    def states(self, rows):
        forget()
        rows = rows[0].__class__.browse(rows)
        return [(r.state, r.reason) for r in rows]
