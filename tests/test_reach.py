# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who of the audience gets e-mails, and who does not and why"""
import json
import random
from types import SimpleNamespace

from trytond.modules.marketing_automation.exceptions import Outcome
from trytond.modules.marketing_automation.mail.message import recipient
from trytond.modules.marketing_automation.reach import COUNTS
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_email, create_marketer, create_party,
    create_record, create_record_activity)

ADDRESSES = [None, *(f'{n}@example.com' for n in 'aAbBcCdDeE')]
REACH = [
    'reached', 'entered', 'unsubscribed', 'no_address', 'suppressed',
    'duplicate']


class ReachTestCase(DatabaseTestCase):
    "Test what is counted before anybody enters"

    def _prepare(self, count=60):
        "Create parties of all kinds, some are in already"
        pool = Pool()
        Mechanism = pool.get('party.contact_mechanism')
        self.activity = create_email()
        self.scenario = self.activity.scenario
        choose = random.Random(0).choice
        for i in range(count):
            party = create_party(
                f"Party {i}",
                marketing_unsubscribed=choose([True, *[False] * 6]))
            for sequence in choose([[], [1], [2, 1], [None, 1]]):
                if address := choose(ADDRESSES):
                    create('party.contact_mechanism',
                        party=party.id, type='email', value=address,
                        sequence=sequence, active=choose([True, True, False]))
            if not choose(range(4)):
                record = create_record(self.scenario, party)
                create_record_activity(record, self.activity)
        for mechanism in Mechanism.search([]):
            if not choose(range(5)):
                mechanism.marketing_suppress('hard', None)

    def _expected(self):
        "Return {id of the party: reach} by the rules of entry and delivery"
        pool = Pool()
        Party = pool.get('party.party')
        Record = pool.get('marketing.automation.record')
        result, drafts = {}, []
        entered = {r.record.id for r in Record.search([])}
        parties = Party.search([], order=[('id', 'ASC')])
        refusing = self.scenario.refusing([p.id for p in parties])
        for party in parties:
            if party.id in refusing:
                result[party.id] = 'unsubscribed'
                continue
            try:
                _, address = recipient(self.activity, party)
            except Outcome as outcome:
                result[party.id] = outcome.reason
            else:
                result[party.id] = 'reached'
                if party.id not in entered:
                    drafts.append((party, address))
        for id_ in entered:
            result[id_] = 'entered'
        # As they would enter
        for party, address in drafts:
            record = create_record(self.scenario, party)
            create_record_activity(record, self.activity)
            draft = SimpleNamespace(
                id=party.id, record=record.id, party=party.id,
                address=address)
            if self.scenario.repeated(self.activity, [draft]):
                result[party.id] = 'duplicate'
        return result

    def _found(self):
        query = self.scenario.reach()
        cursor = Transaction().connection.cursor()
        cursor.execute(*query)
        return dict(cursor.fetchall())

    @with_transaction()
    def test_rules(self):
        "Test that it is what entry and delivery decide"
        self._prepare()
        found = self._found()
        self.assertEqual(set(found.values()), set(REACH))
        self.assertEqual(found, self._expected())

    @with_transaction()
    def test_counts(self):
        "Test that the numbers add up and each opens its records"
        self._prepare()
        pool = Pool()
        Party = pool.get('party.party')
        found = self._found()
        self.assertEqual(self.scenario.matching_count, len(found))
        user = create_marketer()
        with Transaction().set_user(user.id), \
                Transaction().set_context(
                    marketing_scenario=self.scenario.id, _check_access=True):
            for name, reach in COUNTS.items():
                with self.subTest(reach=reach):
                    ids = {i for i, r in found.items() if r == reach}
                    self.assertEqual(getattr(self.scenario, name), len(ids))
                    parties = Party.search([
                            ('marketing_reach', '=', reach)])
                    self.assertEqual({p.id for p in parties}, ids)
                    self.assertEqual(
                        {p.marketing_reach for p in parties},
                        {reach} if ids else set())

    @with_transaction()
    def test_unsaved(self):
        "Test that the numbers follow before the scenario is saved"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        create_party("Alice", 'alice@example.com')
        create_party("Bob", 'alice@example.com')
        create_party("Carol")
        scenario = Scenario(
            model='party.party', domain=json.dumps([]), once_per_address=True,
            reentry='never')
        scenario.on_change_model()
        self.assertEqual(
            (scenario.matching_count, scenario.reached_count,
                scenario.no_address_count, scenario.duplicate_count),
            (3, 1, 1, 1))
        scenario.once_per_address = False
        scenario.on_change_once_per_address()
        self.assertEqual(
            (scenario.reached_count, scenario.duplicate_count), (2, 0))
        scenario.domain_source = "[('name', 'like', 'A%'"
        scenario.on_change_domain_source()
        self.assertIsNone(scenario.reached_count)
        self.assertEqual(scenario.domain, '[]')
