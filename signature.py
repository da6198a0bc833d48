# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Signed tokens for the URLs and addresses that leave the database

A token is the base64url form, without padding, of

    varint(id) … varint(id) + HMAC-SHA256(key, purpose + 0x00 + varints)[:12]

The purpose separates the uses (a click can not be replayed as anything
else).  96 bits of a keyed MAC can neither be forged nor enumerated over HTTP
(RFC 2104 §5 allows truncation to half the hash, NIST SP 800-107 to 32 bits),
and each value has exactly one accepted spelling.
"""
import base64
import binascii
import hashlib
import hmac

MAC_SIZE = 12
# What a database takes for an id
MAX_ID = 2 ** 63 - 1
# Enough for three ids of 64 bits
MAX_LENGTH = 64


def sign(key, purpose, *ids):
    "Return the token of the non negative ids, made with key (bytes)"
    payload = b''.join(map(_varint, ids))
    token = payload + _mac(key, purpose, payload)
    return base64.urlsafe_b64encode(token).rstrip(b'=').decode('ascii')


def verify(key, purpose, token, count):
    "Return the tuple of count ids if the token is genuine, otherwise None"
    if not token or len(token) > MAX_LENGTH:
        return None
    try:
        data = token.encode('ascii')
        raw = base64.b64decode(
            data + b'=' * (-len(data) % 4), altchars=b'-_', validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    payload, mac = raw[:-MAC_SIZE], raw[-MAC_SIZE:]
    if not hmac.compare_digest(mac, _mac(key, purpose, payload)):
        return None
    ids = tuple(_integers(payload))
    if len(ids) != count or any(id_ > MAX_ID for id_ in ids):
        return None
    # Only one spelling is accepted: no stray bits behind the last character
    if sign(key, purpose, *ids) != token:
        return None
    return ids


def _mac(key, purpose, payload):
    message = purpose.encode('utf-8', 'surrogatepass') + b'\0' + payload
    return hmac.digest(key, message, hashlib.sha256)[:MAC_SIZE]


def _varint(value):
    assert value >= 0
    result = bytearray()
    while value > 0x7f:
        result.append(value & 0x7f | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _integers(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7f) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0
