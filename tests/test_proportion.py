# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Intervals of proportions, against published numbers and by chance"""
import random
import unittest

from hypothesis import given
from hypothesis import strategies as st

from trytond.modules.marketing_automation.proportion import (
    interval, is_best, is_better)


class ProportionTestCase(unittest.TestCase):

    def test_interval(self):
        "Test the examples of Newcombe 1998, interval estimation (I)"
        for part, whole, low, high in [
                (81, 263, .2553, .3662), (15, 148, .0624, .1605),
                (0, 20, 0, .1611), (1, 29, .0061, .1718)]:
            with self.subTest(part=part):
                found = interval(part, whole)
                self.assertAlmostEqual(found[0], low, 4)
                self.assertAlmostEqual(found[1], high, 4)

    def test_better(self):
        "Test the examples of Newcombe 1998 (II): 56/70 and 48/80"
        # From .0524 to .3339
        self.assertTrue(is_better((56, 70), (48, 80)))
        # From -.0 for 5/56 and 0/29: -.0381 to .1926
        self.assertFalse(is_better((5, 56), (0, 29)))
        self.assertFalse(is_better((48, 80), (56, 70)))
        self.assertFalse(is_better((0, 0), (0, 10)))

    @given(st.integers(1, 10 ** 6), st.data())
    def test_inside(self, whole, data):
        "Test the rate is in its interval"
        part = data.draw(st.integers(0, whole))
        low, high = interval(part, whole)
        self.assertTrue(0 <= low <= part / whole <= high <= 1)

    def test_chance(self):
        "Test equal variants are hardly ever told apart"
        dice = random.Random(1)
        wrong = 0
        for _ in range(1000):
            parts = sorted((
                    (sum(dice.random() < .2 for _ in range(100)), 100)
                    for _ in range(3)), reverse=True)
            wrong += is_best(parts[0], parts[1:])
        self.assertLess(wrong, 50)

    def test_alone(self):
        "Test nothing is better than nothing else"
        self.assertFalse(is_best((1, 1), []))
