# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What stands for the URLs of links until the links have ids

The ids are made for a whole slice, after all its messages are rendered.
"""
import re
import secrets
from bisect import bisect_left
from html import escape, unescape
from urllib.parse import urlsplit

from genshi.core import START, QName
from werkzeug.urls import iri_to_uri

# Unknown to whoever writes a template, so that nobody can write a placeholder
_nonce = secrets.token_hex(8)
_placeholder = re.compile(
    rf'https://{_nonce}\.invalid/(own|common)/(link|unsubscribe)/(\d+)')
_anchor = re.compile(r'(<a\b[^<>]*?\bhref=")([^"]*)(?=")')
# Forbidden in a host by the URL standard
_no_host = re.compile(r'[\s\x00-\x20\x7f<>"\\^`{|}%]')
# What a URL can carry that servers take
MAX_URL = 2000
# Elements whose href is not a link to follow, or not the one to follow: what
# MJML makes of mj-social-element may be a link to share the other one
UNTRACKED = {'link', 'base', 'mj-font', 'mj-social-element'}


class Placeholders:
    """The placeholders of a message, or of what messages have in common

    owner -- 'own' or 'common'
    is_tracked -- whether links lead over this system
    source -- the template with plain characters, None if nothing in the URLs
        depends on the record
    marks -- Marks for links to one's own hosts, or None
    """

    def __init__(self, owner, is_tracked, source=None, marks=None):
        self.owner = owner
        self.is_tracked = is_tracked
        self.source = source
        self.marks = marks
        # {URL: (placeholder, what of it stands in the template)}
        self.links = {}
        self.nexts = {}

    @property
    def kind(self):
        "What decides what becomes of a link"
        return type(self), self.is_tracked, self.marks

    @classmethod
    def make(cls, owner, kind):
        "Return new Placeholders of the kind"
        class_, is_tracked, marks = kind
        return class_(owner, is_tracked, marks=marks)

    @property
    def urls(self):
        "What of the URLs needs an id"
        return {
            constant
            for known in [self.links, self.nexts]
            for _, constant in known.values() if constant}

    @property
    def targets(self):
        "Where the links lead, for whom nothing is to count or unsubscribe"
        return {
            (self.owner, 'link'): list(self.links),
            (self.owner, 'unsubscribe'): [u or '#' for u in self.nexts],
            }

    def _constant(self, url):
        """Return what of the URL stands in the template

        Only this is stored.  The rest may be personal, and would make a link
        for each recipient.
        """
        if self.source is None or url in self.source:
            return url
        end = bisect_left(
            range(1, len(url) + 1), True,
            key=lambda size: url[:size] not in self.source)
        return url[:end] + '…'

    def _is_too_long(self, url):
        return len(url) > MAX_URL and self._constant(url) != url

    def short(self, url):
        "Return the marked and tracked form of the URL"
        url = str(url)
        if (not (self.is_tracked or self.marks) or not is_http(url)
                or _placeholder.fullmatch(url)):
            return url
        marked = self.marks.add(url) if self.marks else url
        if not self.is_tracked or self._is_too_long(url):
            return marked
        constant = self._constant(url)
        if constant == url:
            constant = marked
        return self._placeholder('link', self.links, marked, constant)

    def unsubscribe(self, href):
        "Return the unsubscribe URL for unsubscribe or unsubscribe|URL"
        next_ = href.partition('|')[2]
        if not is_http(next_) or self._is_too_long(next_):
            next_ = ''
        return self._placeholder(
            'unsubscribe', self.nexts, next_, self._constant(next_))

    def _placeholder(self, kind, known, url, constant):
        if url not in known:
            known[url] = (
                f'https://{_nonce}.invalid/{self.owner}/{kind}/{len(known)}',
                constant)
        return known[url][0]

    def rewrite(self, stream):
        "Genshi filter that replaces the targets of links"
        for event in stream:
            yield self.start(event) if event[0] is START else event

    def start(self, event):
        "Return the event of a start tag with the target replaced"
        kind, (tag, attrs), pos = event
        href = attrs.get('href')
        if href and tag.localname not in UNTRACKED:
            attrs |= [(QName('href'), self._href(href.strip()))]
        return kind, (tag, attrs), pos

    def rewrite_anchors(self, html):
        "Return the HTML with the targets of its links replaced"
        return _anchor.sub(self._rewrite_anchor, html)

    def _rewrite_anchor(self, match):
        start, href = match.groups()
        return start + escape(self._href(unescape(href).strip()))

    def _href(self, href):
        if href == 'unsubscribe' or href.startswith('unsubscribe|'):
            return self.unsubscribe(href)
        return self.short(href)


def substitute(content, urls, quote):
    "Return the content with the URLs, {(owner, kind): list}"
    return _placeholder.sub(
        lambda m: quote(urls[m[1], m[2]][int(m[3])]), content)


def is_http(url):
    "Return if the URL leads somewhere over HTTP"
    return to_uri(url) is not None


def to_uri(url):
    """Return the URL in ASCII, as a header takes it (RFC 3987)

    None if it is not absolute, not for HTTP, or nobody can follow it.
    """
    if not url[:8].lower().startswith(('http://', 'https://')):
        return None
    try:
        uri = iri_to_uri(url)
        host = urlsplit(uri).hostname
    except ValueError:
        return None
    return uri if host and not _no_host.search(host) else None
