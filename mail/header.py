# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Headers of messages, of which most are alike in all of them

To make the class of a header, to parse its value and to fold it takes longer
than all the rest of a message.
"""
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import parseaddr
from functools import lru_cache

from trytond.tools.email_ import format_address, set_from_header

# So that the line is no longer than RFC 5322 recommends
MAX_PLAIN = 78 - len('To: ')


class Plain(str):
    "The value of a header that needs neither parsing, encoding nor folding"

    def __new__(cls, name, value):
        self = super().__new__(cls, value)
        self.name = name
        return self

    def fold(self, *, policy):
        return f'{self.name}: {self}{policy.linesep}'


class _Headers(HeaderRegistry):
    "Headers of which each is made once"
    __getitem__ = lru_cache(64)(HeaderRegistry.__getitem__)
    _make = lru_cache(256)(HeaderRegistry.__call__)

    def __call__(self, name, value):
        if type(value) is str:
            return self._make(name, value)
        return super().__call__(name, value)


class _Policy(EmailPolicy):
    fold_binary = lru_cache(256)(EmailPolicy.fold_binary)


POLICY = _Policy(linesep='\r\n', header_factory=_Headers())
POLICY_UTF8 = POLICY.clone(utf8=True)


@lru_cache(256)
def sender_headers(from_, sender):
    "Return the headers that name who sends, and the address"
    msg = EmailMessage(policy=POLICY)
    set_from_header(msg, from_, sender)
    return msg.values(), parseaddr(msg['Sender'] or msg['From'])[1]


def recipient_header(name, address):
    "Return the value of the header To"
    value = format_address(address, name)
    if ((name or '') + address).isascii() and len(value) <= MAX_PLAIN:
        value = Plain('To', value)
    return value
