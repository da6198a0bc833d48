# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Lots are stable, random over records, and the same in Python and SQL"""
import unittest
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from sql import Cast, Literal, Select, Union, With
from sql.aggregate import Count

from trytond.modules.marketing_automation.draw import PRIME, Draw, Lots
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import DatabaseTestCase

COUNT = 100_000
seeds = st.text(st.characters(categories=['L', 'N']), max_size=20)
weights = st.lists(
    st.tuples(seeds, st.integers(0, 100)),
    min_size=1, max_size=5, unique_by=lambda w: w[0]).filter(
        lambda weights: any(w for _, w in weights))


class DrawTestCase(unittest.TestCase):
    "Test lots of numbers"

    @given(seeds, st.integers(0, 2 ** 62))
    def test_range(self, seed, number):
        "Test a lot is always the same and in its range"
        lot = Draw(seed).lot(number)
        self.assertEqual(Draw(seed).lot(number), lot)
        self.assertTrue(0 <= lot < PRIME)

    @given(weights, st.tuples(seeds, st.integers(1, 100)))
    def test_new(self, weights, new):
        "Test a new key takes its share and moves nothing else"
        if new[0] in dict(weights):
            return
        before, after = Lots(weights), Lots([*weights, new])
        for number in range(300):
            key = after.choose(number)
            self.assertIn(key, {before.choose(number), new[0]})

    def test_moved(self):
        "Test a third of equal branches gets a third of the records"
        two, three = Lots([('A', 1), ('B', 1)]), Lots(
            [('A', 1), ('B', 1), ('C', 1)])
        moved = sum(two.choose(i) != three.choose(i) for i in range(COUNT))
        self.assertAlmostEqual(moved / COUNT, 1 / 3, delta=.01)

    def test_independent(self):
        "Test what one split decides tells nothing of another one"
        first, second = (
            Lots([(f'A{i}', 1), (f'B{i}', 1)]) for i in range(2))
        counts = Counter(
            (first.choose(i), second.choose(i)) for i in range(COUNT))
        self.assertEqual(len(counts), 4)
        for count in counts.values():
            self.assertAlmostEqual(count / COUNT, 1 / 4, delta=.01)

    def test_nothing(self):
        "Test there is no key without weights"
        for weights in [[], [('A', 0)], [('A', None)]]:
            lots = Lots(weights)
            self.assertIsNone(lots.choose(1))


class SQLTestCase(DatabaseTestCase):
    "Test lots drawn by the database"

    def _numbers(self):
        "Return the query of as many numbers, such as ids"
        numbers = With('id', recursive=True)
        first = Select([Cast(Literal(1), 'BIGINT')])
        numbers.query = Union(first, numbers.select(
                numbers.id + 1, where=numbers.id < COUNT), all_=True)
        return numbers

    @with_transaction()
    def test_shares(self):
        "Test over 100,000 records within 1 % of the weights"
        cursor = Transaction().connection.cursor()

        @settings(max_examples=10, deadline=None)
        @given(weights)
        def check(weights):
            lots = Lots(weights)
            numbers = self._numbers()
            cursor.execute(*numbers.select(
                    *(Count(filter_=lots.clause(k, numbers.id))
                        for k, _ in weights),
                    with_=[numbers]))
            counts = cursor.fetchone()
            self.assertEqual(sum(counts), COUNT)
            total = sum(w for _, w in weights)
            for count, (_, weight) in zip(counts, weights):
                self.assertAlmostEqual(
                    count / COUNT, weight / total, delta=.01)
        check()

    @with_transaction()
    def test_same(self):
        "Test the database draws what Python draws, up to the highest ids"
        cursor = Transaction().connection.cursor()

        @settings(max_examples=50, deadline=None)
        @given(weights, st.integers(0, 2 ** 62))
        def check(weights, number):
            lots = Lots(weights)
            id_ = Cast(Literal(number), 'BIGINT')
            cursor.execute(*Select([
                        Count(filter_=lots.clause(k, id_))
                        for k, _ in weights]))
            keys = [
                k for (k, _), won in zip(weights, cursor.fetchone()) if won]
            self.assertEqual(keys, [lots.choose(number)])
        check()


del DatabaseTestCase
