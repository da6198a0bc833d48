# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Whether a person or a machine fetched a link or the pixel of a message.

A hit is judged twice: by `judge` when it comes, by the request alone, where
everything that is not plainly a machine stays unknown, and by `rejudge` once
it is `hold` seconds old.  All that could tell of it has come then, since no
window is wider, so that this verdict is final.  Activities fire on it.

The first row that fits decides, from burst on only by `rejudge`.  "Pixel" and
"link" say what was fetched, nothing means both; s is seconds after the message
was sent.

================ ============================================== =======
signal           hit                                            verdict
================ ============================================== =======
method           HEAD, or anything else than GET                machine
prefetch         Sec-Purpose, Purpose, X-Purpose or X-Moz       machine
                 announce a prefetch, prerender or preview;
                 Gmail's prefetcher (1)
privacy-proxy    user agent is exactly "Mozilla/5.0": Apple     machine
                 Mail Privacy Protection (2)
no-agent         no user agent: no browser or client does that  machine
scanner          names itself as a mail security product        machine
robot            on the list of crawlers, previews and HTTP     machine
                 libraries (3), the pixel's image proxies aside
not-navigation   link: Sec-Fetch-Mode is not navigate (4)       machine
early            pixel: s < 5, through an image proxy s < 10;   machine
                 link: s < 10 (5)
no-metadata      link: over HTTPS, s < 45, a browser that sends machine
                 Sec-Fetch-Mode by its user agent but does not
burst            of a window of 10 s with 3 links, or           machine
                 of a window of 1 s with 2 links (6)
repeat           of a window of 10 s in which each link of the  machine
                 message was fetched twice; if it has one link,
                 only if s < 45 or the pixel was too (7)
sweep            of a window of 60 s with all of 5 or more      machine
                 links of the message
company          pixel: within 1 s of a link that a machine     machine
                 fetched
(none)           younger than 60 s                              unknown
proxy            pixel: an image proxy that fetches when the    human
                 message is shown (8)
(none)           everything else                                human
================ ============================================== =======

1. Its user agent ends in "Edge/12.246 Mozilla/5.0"; it comes besides, not
   instead of, the fetch by GoogleImageProxy when the message is opened
   (SparkPost, "Gmail is prefetching images", January 2022; Mautic #10245).
2. As the mail providers that report such opens apart do (SocketLabs,
   SparkPost).  Apple also hides real opens behind it: they are lost.
3. The package crawler-user-agents, released about monthly.  A robot that says
   so is believed; a browser's user agent never excuses any other signal.
4. Sent by Chrome 76, Firefox 90, Safari 16.4 and later to HTTPS only (W3C
   Fetch Metadata; MDN).
5. Mail to a person who waits for it may be opened at once: that open is lost,
   unless a click or a second open follows.  Scanners take from some seconds
   to minutes (Mautic's first filter took 2 s); a link needs the message to be
   delivered, noticed and read.  Before it was sent is early, too: gateways
   scan before they accept.
6. Scanners take about a second a link (Mautic #9798).  Two links 5 s apart
   are a person; three tabs opened within 10 s are lost.
7. Protection at the time of the click (Safe Links, URL Defense) fetches a
   link just before the person it belongs to, and people click twice: the
   repetition of one link alone proves nothing.
8. Gmail, Yahoo, Fastmail, Seznam.  Known to come at delivery now and then
   (Mautic #7884), hence the longer time.

What gets through: a scanner with a browser's headers that fetches one link,
once, after 10 s, or one that takes more than 10 s for each.
"""
import re
from bisect import bisect_left
from collections import Counter, namedtuple

from crawleruseragents import is_crawler

__all__ = [
    'HUMAN', 'MACHINE', 'UNKNOWN', 'Request', 'Rules', 'RULES', 'judge',
    'rejudge']

HUMAN, MACHINE, UNKNOWN = 'human', 'machine', 'unknown'

# link: any identifier, None for the pixel.  headers: a mapping, by lower-case
# names if it minds; None if not known, which says nothing.  secure: over HTTPS
Request = namedtuple(
    'Request', ['at', 'link', 'method', 'user_agent', 'headers', 'secure'],
    defaults=[None, 'GET', '', None, False])
# Numbers of links, else seconds.  hold must not be less than sweep, so that
# all windows have closed
Rules = namedtuple('Rules', [
        'early_open', 'early_click', 'soon', 'pace', 'burst', 'burst_links',
        'sweep', 'sweep_links', 'hold'],
    defaults=[5, 10, 45, 1, 10, 3, 60, 5, 60])
RULES = Rules()

MAX_AGENT = 1000  # characters read of a user agent
SCANNER = re.compile(
    r'barracuda|proofpoint|mimecast|safe ?links|messagelabs|symantec'
    r'|trend ?micro|fireeye|fortimail|mailscanner|ironport|cloudmark'
    r'|vade ?secure|hornetsecurity', re.I)
IMAGE_PROXY = re.compile(
    r'GoogleImageProxy|YahooMailProxy|FastmailUA|SeznamEmailProxy')
GMAIL_PREFETCH = 'Edge/12.246 Mozilla/5.0'
PREFETCH = re.compile(r'prefetch|prerender|preview', re.I)
PURPOSES = ['sec-purpose', 'purpose', 'x-purpose', 'x-moz']
# The first version known to send Sec-Fetch-Mode everywhere
BROWSERS = [
    (re.compile(r'\bChrome/(\d{1,4})'), 80),
    (re.compile(r'\bFirefox/(\d{1,4})'), 90),
    (re.compile(r'\bVersion/(\d{1,4})\S* (?:Mobile/\S+ )?Safari/'), 17)]


def judge(request, sent=None, rules=RULES):
    """Return (verdict, [signal]) of a request by what is known when it comes

    sent -- when the mail server took the message, or None
    """
    signals = [*_own_signals(request), *_time_signals(request, sent, rules)]
    if signals:
        return MACHINE, signals
    return UNKNOWN, ['proxy'] * _is_proxied(request)


def rejudge(hits, now, sent=None, links=None, rules=RULES):
    """Return {index in hits: (verdict, [signal])} of what changes.

    hits: [(at, link, verdict)] in any order; all hits on one message, or
    those since `rules.sweep` seconds before the oldest unknown one.  What is
    a machine stays one.  Linear in the number of hits, once sorted.
    """
    found = _bursts(hits, sent, links, rules)
    found.update(_sweeps(hits, found, links, rules))
    found.update(_companies(hits, found, rules))
    changes = {}
    for i, (at, _, verdict) in enumerate(hits):
        if verdict == MACHINE:
            continue
        elif i in found:
            changes[i] = MACHINE, [found[i]]
        elif verdict == UNKNOWN and _seconds(at, now) >= rules.hold:
            changes[i] = HUMAN, []
    return changes


def _own_signals(request):
    "Signals of the request alone"
    agent = (request.user_agent or '')[:MAX_AGENT].strip()
    if request.method != 'GET':
        yield 'method'
    if agent.endswith(GMAIL_PREFETCH) or any(
            PREFETCH.search(_header(request, name)) for name in PURPOSES):
        yield 'prefetch'
    if not agent:
        yield 'no-agent'
    elif agent == 'Mozilla/5.0':
        yield 'privacy-proxy'
    elif SCANNER.search(agent):
        yield 'scanner'
    elif not _is_proxied(request) and is_crawler(agent):
        yield 'robot'
    if request.link is not None and (
            _header(request, 'sec-fetch-mode') not in {'', 'navigate'}):
        yield 'not-navigation'


def _time_signals(request, sent, rules):
    "Signals that need to know when the message was sent"
    if sent is None:
        return
    seconds = _seconds(sent, request.at)
    is_open = request.link is None and not _is_proxied(request)
    if seconds < (rules.early_open if is_open else rules.early_click):
        yield 'early'
    if seconds < rules.soon and request.link is not None and _is_bare(request):
        yield 'no-metadata'


def _header(request, name):
    return ((request.headers or {}).get(name) or '')[:100].strip().lower()


def _is_proxied(request):
    return request.link is None and bool(
        IMAGE_PROXY.search((request.user_agent or '')[:MAX_AGENT]))


def _is_bare(request):
    "Whether it lacks what the browser it claims to be sends"
    if (not request.secure or request.headers is None
            or _header(request, 'sec-fetch-mode')):
        return False
    for pattern, version in BROWSERS:
        if found := pattern.search((request.user_agent or '')[:MAX_AGENT]):
            return int(found[1]) >= version
    return False


def _seconds(start, end):
    return (end - start).total_seconds()


def _bursts(hits, sent, links, rules):
    "Return {index in hits: signal} of the hits in a burst"

    def repeats(counts, start):
        if not links or _distinct(counts) != links or any(
                n < 2 for link, n in counts.items() if link is not None):
            return False
        return links > 1 or counts[None] >= 2 or (
            sent is not None and _seconds(sent, start) < rules.soon)

    def bursts(counts, start):
        return _distinct(counts) >= rules.burst_links

    def hurries(counts, start):
        return _distinct(counts) >= 2

    order = sorted(range(len(hits)), key=lambda i: hits[i][0])
    found = {}
    for signal, width, test in [
            ('repeat', rules.burst, repeats),
            ('burst', rules.burst, bursts),
            ('burst', rules.pace, hurries)]:
        found.update(dict.fromkeys(_windows(hits, order, width, test), signal))
    return found


def _sweeps(hits, found, links, rules):
    "Likewise for links fetched slowly, but all; known machines do not count"

    def sweeps(counts, start):
        return _distinct(counts) >= links

    if not links or links < rules.sweep_links:
        return {}
    order = sorted(
        (i for i, (_, _, verdict) in enumerate(hits)
            if verdict != MACHINE and i not in found),
        key=lambda i: hits[i][0])
    return dict.fromkeys(_windows(hits, order, rules.sweep, sweeps), 'sweep')


def _companies(hits, found, rules):
    "Likewise for the pixel that came with a machine's link"
    machines = sorted(
        at for i, (at, link, verdict) in enumerate(hits)
        if link is not None and (verdict == MACHINE or i in found))
    for i, (at, link, _) in enumerate(hits):
        near = bisect_left(machines, at)
        if link is None and i not in found and any(
                abs(_seconds(at, other)) <= rules.pace
                for other in machines[max(0, near - 1):near + 1]):
            yield i, 'company'


def _distinct(counts):
    return len(counts) - (None in counts)


def _windows(hits, order, width, test):
    """Yield the indexes of hits in any window of width seconds that passes
    test(Counter of links, its start)."""
    counts, left, done = Counter(), 0, 0
    for right, index in enumerate(order):
        at, link = hits[index][:2]
        counts[link] += 1
        while _seconds(hits[order[left]][0], at) > width:
            gone = hits[order[left]][1]
            left += 1
            counts[gone] -= 1
            if not counts[gone]:
                del counts[gone]
        if test(counts, hits[order[left]][0]):
            yield from order[max(left, done):right + 1]
            done = right + 1
