# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Signatures of webhooks as Standard Webhooks 1.0 asks for

https://www.standardwebhooks.com: the headers webhook-id, webhook-timestamp and
webhook-signature.  The identifier is the same for each try, by which the
receiver knows what it has got already.
"""
import base64
import hashlib
import hmac
import secrets

PREFIX = 'whsec_'
# Between 24 and 64
SIZE = 32


def new_secret():
    "Return a secret to share with the receiver"
    secret = base64.b64encode(secrets.token_bytes(SIZE)).decode('ascii')
    return f'{PREFIX}{secret}'


def headers(secret, id_, timestamp, body):
    """Return the headers that sign the body

    timestamp -- of this try, in seconds
    body -- bytes
    """
    return {
        'webhook-id': id_,
        'webhook-timestamp': str(timestamp),
        'webhook-signature': signature(secret, id_, timestamp, body),
        }


def signature(secret, id_, timestamp, body):
    key = base64.b64decode(secret.removeprefix(PREFIX))
    content = b'.'.join([id_.encode(), str(timestamp).encode(), body])
    digest = hmac.digest(key, content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode('ascii')}"
