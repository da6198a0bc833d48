# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How e-mail addresses are spelled"""
import re
from email.utils import getaddresses
from functools import lru_cache

import idna

_control = re.compile(r'[\x00-\x1f\x7f\x85\u2028\u2029]+')
# Enough to keep nonsense from the server, which has the last word (RFC 5321)
_address = re.compile(
    r'[^\x00-\x20\x7f@<>(),:;"\[\]\\]{1,64}'
    r'@[^\x00-\x20\x7f@<>(),:;"]{0,254}[^\x00-\x20\x7f@<>(),:;".]')
# In a header, an encoded word would be read as another address (RFC 2047)
ENCODED = '=?'


def is_address(address):
    return bool(_address.fullmatch(address)) and ENCODED not in address


def parse_address(source):
    "Return the name and the address, which is empty if it is not valid"
    addresses = getaddresses([source])
    name, address = addresses[0] if len(addresses) == 1 else ('', '')
    if _control.search(source) or not is_address(address):
        address = ''
    return name, address


def mail_domain(address):
    "Return the domain of the address in lower case"
    return address.rpartition('@')[2].lower()


def one_line(value):
    "Return the value without anything that could end a header line"
    return ' '.join(_control.sub(' ', value).split())


def to_ascii(address):
    """Return the address with its domain in ASCII (RFC 5891)

    Raise idna.IDNAError if it is no domain.
    """
    local, _, domain = address.rpartition('@')
    return f'{local}@{_domain_to_ascii(domain)}'


@lru_cache(1024)
def _domain_to_ascii(domain):
    "Most recipients share a few domains"
    return idna.encode(domain, uts46=True).decode('ascii')


def spellings(address):
    "Return the set of what the address may be stored as"
    address = address.strip()
    try:
        address_ascii = to_ascii(address)
    except idna.IDNAError:
        address_ascii = address
    return {address, address_ascii, comparable(address)}


def comparable(address):
    "Return what is the same for all spellings of the address"
    address = address.strip().lower()
    try:
        return to_ascii(address)
    except idna.IDNAError:
        return address
