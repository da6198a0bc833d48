# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a part of a sample tells of the whole: intervals of proportions

Scores instead of the usual approximation, which is wrong for the few clicks
of many e-mails (R. G. Newcombe, Interval estimation for the difference
between independent proportions: comparison of eleven methods, 1998).
"""
from math import sqrt
from statistics import NormalDist

CONFIDENCE = .95


def interval(part, whole, confidence=CONFIDENCE):
    "Return (low, high) of Wilson's score interval of the proportion"
    if not whole:
        return 0.0, 1.0
    z = _z(confidence)
    rate = part / whole
    middle = rate + z * z / (2 * whole)
    width = z * sqrt(
        rate * (1 - rate) / whole + z * z / (4 * whole * whole))
    scale = 1 + z * z / whole
    # At the ends the sums differ in the last digits
    return (
        max(0.0, min(rate, (middle - width) / scale)),
        min(1.0, max(rate, (middle + width) / scale)))


def is_better(first, second, confidence=CONFIDENCE):
    """Return if the first proportion is hardly by chance the higher one

    Both are (part, whole): Newcombe's interval of the difference is above 0.
    """
    if not first[1] or not second[1]:
        return False
    rates = [part / whole for part, whole in [first, second]]
    low, _ = interval(*first, confidence)
    _, high = interval(*second, confidence)
    return (rates[0] - rates[1]
        > sqrt((rates[0] - low) ** 2 + (high - rates[1]) ** 2))


def is_best(first, others, confidence=CONFIDENCE):
    """Return if the first is hardly by chance higher than all the others

    The more there are, the more likely one is behind by chance (Bonferroni).
    """
    confidence = 1 - (1 - confidence) / max(1, len(others))
    return bool(others) and all(
        is_better(first, other, confidence) for other in others)


def _z(confidence):
    return NormalDist().inv_cdf((1 + confidence) / 2)
