# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Lots that look random and are always the same, for numbers and SQL alike

A lot is a polynomial over a prime field, whose coefficients come from a seed.
The lots of any four numbers are independent, and so are those of two seeds
(M. N. Wegman and J. L. Carter, New hash functions and their use in
authentication and set equality, 1981).  So shares of many numbers are met as
if each of them had thrown dice, whichever numbers they are.
"""
import hashlib
from itertools import accumulate

from sql import Literal

# A product of two lots is less than what a BIGINT can hold
PRIME = 2 ** 31 - 1


class Draw:
    "Decides for a share of all numbers, the seed is any text"

    def __init__(self, seed):
        digest = hashlib.sha256(seed.encode()).digest()
        self.coefficients = [
            int.from_bytes(digest[i:i + 8], 'big') % PRIME
            for i in [0, 8, 16, 24]]

    def lot(self, number):
        "Return the lot of the number, less than PRIME"
        number = number % PRIME
        lot, *coefficients = self.coefficients
        for coefficient in coefficients:
            lot = (number * lot + coefficient) % PRIME
        return lot

    def wins(self, number, part, whole):
        "Return if the number is among this part of the whole"
        return self.lot(number) < PRIME * part // whole


class Lots:
    """Shares numbers out among keys by their weights

    weights -- list of (key, weight), the oldest first; str(key) is the seed

    The newest key draws first, and leaves what it does not win to the others.
    So a new one gets its share of what each of the others had, and nothing
    else moves.
    """

    def __init__(self, weights):
        weights = [(key, weight) for key, weight in weights if weight]
        wholes = accumulate(weight for _, weight in weights)
        self.draws = [
            (key, Draw(str(key)), weight, whole)
            for (key, weight), whole in zip(weights, wholes)]
        self.draws.reverse()

    def choose(self, number):
        "Return the key of the number, None if there is none"
        for key, draw, part, whole in self.draws:
            if draw.wins(number, part, whole):
                return key

    def clause(self, key, number):
        "Return the clause of the SQL numbers that belong to the key"
        where = Literal(True)
        for other, draw, part, whole in self.draws:
            wins = draw.wins(number, part, whole)
            if other == key:
                return where & wins
            where &= ~wins
        return Literal(False)
