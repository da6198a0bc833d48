# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Parameters of links that tell one's own sites where a visit comes from"""
from collections import namedtuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from .link import to_uri


class Marks(namedtuple('Marks', ['parameters', 'hosts'])):
    """What is added to which links

    parameters -- tuple of (name, value)
    hosts -- tuple of names as normalize returns them
    """
    __slots__ = ()

    def add(self, url):
        "Return the URL with the parameters that it does not have yet"
        uri = to_uri(url)
        if not uri or not self._is_own(urlsplit(uri).hostname):
            return url
        base, sharp, fragment = url.partition('#')
        written = {
            name for name, _ in parse_qsl(
                urlsplit(uri).query, keep_blank_values=True)}
        missing = [p for p in self.parameters if p[0] not in written]
        if not missing:
            return url
        separator = '&' if '?' in base else '?'
        if base.endswith(('?', '&')):
            separator = ''
        query = urlencode(missing, quote_via=quote)
        return f'{base}{separator}{query}{sharp}{fragment}'

    def _is_own(self, host):
        return any(
            host.endswith(own) if own.startswith('.') else host == own
            for own in self.hosts)


def normalize(host):
    "Return the name in ASCII and lower case, of the host or all below a dot"
    dot = '.' if host.startswith('.') else ''
    uri = to_uri(f'https://{host.removeprefix(dot)}')
    return dot + urlsplit(uri).hostname if uri else None
