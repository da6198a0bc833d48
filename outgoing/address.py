# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Which hosts may be asked: those of the Internet, and those that are allowed

The names are looked up once and the connection goes to an address that was
looked at, so that no name can lead to another address a moment later.
"""
import socket
from http.client import HTTPS_PORT
from ipaddress import IPv6Network, ip_address
from urllib.parse import urlsplit

import idna

# Stands for IPv4 where there is only IPv6 (RFC 6052)
_NAT64 = IPv6Network('64:ff9b::/96')


class AddressError(Exception):
    "The host may not be asked"

    def __init__(self, host):
        super().__init__(host)
        self.host = host


def split(url):
    "Return (host, port, target of the request) of an https URL, or None"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if not host or parts.scheme != 'https' or '@' in parts.netloc:
            return None
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode('ascii')
    except (ValueError, idna.IDNAError):
        return None
    target = parts.path or '/'
    if parts.query:
        target += f'?{parts.query}'
    if not target.isascii() or not target.isprintable() or ' ' in target:
        return None
    return host, port or HTTPS_PORT, target


def is_public(address):
    "Return if the address belongs to the Internet, and to no network inside"
    ip = ip_address(address.partition('%')[0])
    if ip.version == 6:
        if ip in _NAT64:
            ip = ip_address(int(ip) & 0xffff_ffff)
        elif ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip.sixtofour or ip.teredo:
            # Leads to an IPv4 address, and is not used any more
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def resolve(host, port, allowed=()):
    """Return the addresses of the host

    allowed -- hosts that may be inside

    Raise AddressError if any of them is inside, OSError if there is none.
    """
    addresses = list(dict.fromkeys(
            info[4][0] for info in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM)))
    if host not in allowed and not all(map(is_public, addresses)):
        raise AddressError(host)
    return addresses
