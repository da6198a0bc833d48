# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import base64
import unittest

from hypothesis import assume, example, given
from hypothesis import strategies as st

from trytond.modules.marketing_automation import signature

keys = st.binary(min_size=16, max_size=64)
purposes = st.sampled_from(
    ['click', 'open', 'unsubscribe', 'bounce', 'message'])
ids = st.lists(st.integers(0, 2 ** 63 - 1), min_size=1, max_size=3)


class SignatureTestCase(unittest.TestCase):
    "Test tokens: what was signed is read, anything else is not"

    @given(keys, purposes, ids)
    @example(b'k' * 16, 'click', [0, 0, 0])
    @example(b'k' * 16, 'click', [2 ** 63 - 1] * 3)
    def test_round_trip(self, key, purpose, values):
        "Test what was signed is returned, from a token fit for URLs"
        token = signature.sign(key, purpose, *values)
        self.assertEqual(
            signature.verify(key, purpose, token, len(values)),
            tuple(values))
        self.assertRegex(token, r'\A[A-Za-z0-9_-]+\Z')
        self.assertLessEqual(len(token), signature.MAX_LENGTH)

    @given(keys, purposes, ids)
    def test_short(self, key, purpose, values):
        "Test usual identifiers make a token that is no longer than 32"
        values = [v % 2_000_000 for v in values[:2]]
        self.assertLessEqual(
            len(signature.sign(key, purpose, *values)), 32)

    @given(keys, purposes, ids, st.data())
    def test_changed(self, key, purpose, values, data):
        "Test no character can be changed"
        token = signature.sign(key, purpose, *values)
        index = data.draw(st.integers(0, len(token) - 1))
        character = data.draw(st.characters(max_codepoint=0x17f))
        assume(character != token[index])
        forged = token[:index] + character + token[index + 1:]
        self.assertIsNone(
            signature.verify(key, purpose, forged, len(values)))

    @given(keys, purposes, ids, st.data())
    def test_cut(self, key, purpose, values, data):
        "Test nothing can be cut off or added"
        token = signature.sign(key, purpose, *values)
        size = data.draw(st.integers(0, len(token) - 1))
        extra = data.draw(st.text(
                'ABCDEFGabcdefg0123456789-_=+/ \n\0', min_size=1, max_size=8))
        for forged in [
                token[:size], token[-size:] if size else '', token + extra,
                extra + token, token + token]:
            self.assertIsNone(
                signature.verify(key, purpose, forged, len(values)))

    @given(keys, purposes, ids, st.integers(0, 11), st.integers(1, 255))
    def test_spelling(self, key, purpose, values, position, bits):
        "Test the bytes of a token have no other spelling"
        token = signature.sign(key, purpose, *values)
        raw = base64.urlsafe_b64decode(token + '=' * (-len(token) % 4))
        for spelling in [
                base64.b64encode(raw).decode(),
                base64.urlsafe_b64encode(raw).decode(),
                token + '=', ' ' + token, token + '\n']:
            if spelling != token:
                self.assertIsNone(
                    signature.verify(key, purpose, spelling, len(values)))
        # Each bit of the code counts
        forged = bytearray(raw)
        forged[-1 - position] ^= bits
        self.assertIsNone(signature.verify(
                key, purpose,
                base64.urlsafe_b64encode(forged).decode().rstrip('='),
                len(values)))

    @given(keys, keys, purposes, purposes, ids, st.integers(0, 4))
    def test_elsewhere(self, key, other_key, purpose, other, values, count):
        "Test a token counts only for its key, purpose and number of ids"
        token = signature.sign(key, purpose, *values)
        if other_key != key:
            self.assertIsNone(
                signature.verify(other_key, purpose, token, len(values)))
        if other != purpose:
            self.assertIsNone(
                signature.verify(key, other, token, len(values)))
        if count != len(values):
            self.assertIsNone(signature.verify(key, purpose, token, count))

    @given(keys, purposes, st.text(max_size=200), st.integers(0, 3))
    @example(b'k' * 16, 'click', '', 2)
    @example(b'k' * 16, 'click', 'A' * 16, 0)
    @example(b'k' * 16, 'click', 'A' * 1_000_000, 2)
    def test_invented(self, key, purpose, token, count):
        "Test an invented token is refused without an error"
        self.assertIsNone(signature.verify(key, purpose, token, count))

    def test_missing(self):
        "Test no token is no genuine token"
        self.assertIsNone(signature.verify(b'k' * 16, 'click', None, 2))

    @given(keys, st.integers(0, 2 ** 31), st.integers(0, 2 ** 31))
    def test_mixed(self, key, first, second):
        "Test the parts of two tokens make no third one"
        a = signature.sign(key, 'click', first, second)
        b = signature.sign(key, 'click', second, first)
        assume(a != b)
        for cut in range(1, min(len(a), len(b))):
            forged = a[:cut] + b[cut:]
            if forged not in {a, b}:
                self.assertIsNone(
                    signature.verify(key, 'click', forged, 2))
