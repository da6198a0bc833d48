# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""How e-mail addresses are spelled"""
import idna


def to_ascii(address):
    """Return the address with its domain in ASCII (RFC 5891)

    Raise idna.IDNAError if it is no domain.
    """
    local, _, domain = address.rpartition('@')
    domain = idna.encode(domain, uts46=True).decode('ascii')
    return f'{local}@{domain}'


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
