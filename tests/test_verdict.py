# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import datetime as dt
import itertools
import random
import time
import unittest
from collections import Counter

from trytond.modules.marketing_automation.verdict import (
    HUMAN, MACHINE, RULES, UNKNOWN, Request, Rules, judge, rejudge)

SENT = dt.datetime(2026, 11, 16, 9, 0, 0)
PIXEL = None
CHROME = (
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 '
    '(KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36')
FIREFOX = (
    'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0')
SAFARI = (
    'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) '
    'AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 '
    'Safari/604.1')
OLD_CHROME = CHROME.replace('130.0.0.0', '72.0.3626.109')
THUNDERBIRD = FIREFOX.replace('Firefox/128.0', 'Thunderbird/128.3.0')
OUTLOOK = (
    'Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; '
    'Microsoft Outlook 16.0.5134; ms-office; MSOffice 16)')
GMAIL = (
    'Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 '
    '(via ggpht.com GoogleImageProxy)')
GMAIL_PREFETCH = (
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 '
    '(KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 '
    'Edge/12.246 Mozilla/5.0')
YAHOO = (
    'YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html')
NAVIGATE = {'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document'}


def at(seconds):
    return SENT + dt.timedelta(seconds=seconds)


def hit(seconds, link='a', agent=CHROME, headers=NAVIGATE, method='GET',
        secure=True):
    return Request(at(seconds), link, method, agent, headers, secure)


def run(hits, links, rules=RULES):
    """Return [verdict] of the hits, in the order of time, as they are once
    all is settled, and [(link, seconds)] of what fired an activity.

    As the caller does: each is judged alone, and with all the others once its
    hold is over.
    """
    rows, fired = [], []
    for request in sorted(hits, key=lambda h: h.at):
        verdict, _ = judge(request, SENT, rules)
        rows.append((request.at, request.link, verdict))
    verdicts = [verdict for _, _, verdict in rows]
    for i, (moment, link, _) in enumerate(rows):
        now = moment + dt.timedelta(seconds=rules.hold)
        known = [row for row in rows if row[0] <= now]
        found = rejudge(known, now, SENT, links, rules)
        verdicts[i], _ = found.get(i, (verdicts[i], None))
        if verdicts[i] == HUMAN:
            fired.append((link, (moment - SENT).total_seconds()))
    return verdicts, fired


def scanner(start, links, span, times=2, pixel=True, rng=None, agent=CHROME):
    "Fetch every URL `times` times within span seconds, one after the other"
    urls = ([PIXEL] if pixel else []) + list(links)
    fetches = urls * times
    if rng:
        rng.shuffle(fetches)
    step = span / max(1, len(fetches) - 1)
    return [hit(start + i * step, url, agent) for i, url in enumerate(fetches)]


class VerdictTestCase(unittest.TestCase):
    "Test verdicts"

    def assertJudged(self, request, verdict, signals=(), sent=SENT):
        self.assertEqual(judge(request, sent), (verdict, list(signals)))

    def assertRun(self, hits, links, verdicts, rules=RULES):
        found, fired = run(hits, links, rules)
        self.assertEqual(found, verdicts)
        self.assertEqual(len(fired), verdicts.count(HUMAN))

    def test_method(self):
        "Test only GET is a person"
        for method in ['HEAD', 'OPTIONS', 'POST', 'PROPFIND', '']:
            self.assertJudged(hit(300, method=method), MACHINE, ['method'])

    def test_prefetch(self):
        "Test prefetch headers"
        for name, value in [
                ('sec-purpose', 'prefetch'),
                ('sec-purpose', 'prefetch;prerender'),
                ('purpose', 'Prefetch'), ('x-moz', 'prefetch'),
                ('x-purpose', 'preview')]:
            for link in ['a', PIXEL]:
                headers = {**NAVIGATE, name: value}
                self.assertJudged(
                    hit(300, link, headers=headers), MACHINE, ['prefetch'])

    def test_gmail(self):
        "Test Gmail's prefetcher is a machine and its image proxy is not"
        self.assertJudged(
            hit(300, PIXEL, GMAIL_PREFETCH), MACHINE, ['prefetch'])
        self.assertJudged(hit(300, PIXEL, GMAIL), UNKNOWN, ['proxy'])
        self.assertRun([hit(300, PIXEL, GMAIL)], 1, [HUMAN])
        self.assertJudged(hit(9, PIXEL, GMAIL), MACHINE, ['early'])

    def test_proxy_of_link(self):
        "Test an image proxy has no business with a link"
        for agent in [GMAIL, YAHOO]:
            self.assertJudged(hit(300, 'a', agent), MACHINE, ['robot'])

    def test_privacy_proxy(self):
        "Test Apple Mail Privacy Protection"
        self.assertJudged(
            hit(300, PIXEL, 'Mozilla/5.0'), MACHINE, ['privacy-proxy'])

    def test_no_agent(self):
        "Test no user agent"
        for agent in ['', ' ', None]:
            self.assertJudged(hit(300, agent=agent), MACHINE, ['no-agent'])

    def test_scanner(self):
        "Test mail security products that name themselves"
        for agent in ["Barracuda Sentinel (EE)", "Mozilla/5.0 Proofpoint"]:
            self.assertJudged(hit(300, agent=agent), MACHINE, ['scanner'])

    def test_robot(self):
        "Test crawlers, previews and HTTP libraries"
        for agent in [
                'curl/8.1', 'python-requests/2.31', 'Go-http-client/1.1',
                'Mozilla/5.0 (compatible; bingbot/2.0)', 'BingPreview/1.0b',
                'Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)',
                CHROME.replace('Chrome', 'HeadlessChrome')]:
            self.assertJudged(hit(300, agent=agent), MACHINE, ['robot'])

    def test_people_agents(self):
        "Test browsers and mail clients are no robots"
        for agent in [CHROME, FIREFOX, SAFARI, THUNDERBIRD, OUTLOOK,
                'Outlook-iOS/2.0', 'eM Client/9', 'Airmail 5']:
            for link in ['a', PIXEL]:
                self.assertJudged(hit(300, link, agent), UNKNOWN)

    def test_not_navigation(self):
        "Test a link fetched otherwise than by following it"
        for mode in ['cors', 'no-cors']:
            headers = {'sec-fetch-mode': mode}
            self.assertJudged(
                hit(300, headers=headers), MACHINE, ['not-navigation'])
            self.assertJudged(hit(300, PIXEL, headers=headers), UNKNOWN)

    def test_early(self):
        "Test hits within seconds of sending"
        for link, seconds, verdict in [
                (PIXEL, 4.9, MACHINE), (PIXEL, 5, UNKNOWN),
                ('a', 9.9, MACHINE), ('a', 10, UNKNOWN),
                (PIXEL, -3, MACHINE), ('a', -3, MACHINE)]:
            self.assertJudged(
                hit(seconds, link), verdict,
                ['early'] if verdict == MACHINE else [])
        self.assertJudged(hit(1), UNKNOWN, sent=None)

    def test_early_configured(self):
        "Test the thresholds are arguments"
        rules = Rules(early_open=0, early_click=2)
        self.assertEqual(judge(hit(3), SENT, rules), (UNKNOWN, []))
        self.assertEqual(judge(hit(0, PIXEL), SENT, rules), (UNKNOWN, []))

    def test_no_metadata(self):
        "Test a browser that does not send what it should"
        bare = {'accept': '*/*'}
        for agent in [CHROME, FIREFOX, SAFARI]:
            self.assertJudged(
                hit(30, 'a', agent, bare), MACHINE, ['no-metadata'])
            # Nothing to go by
            self.assertJudged(hit(45, 'a', agent, bare), UNKNOWN)
            self.assertJudged(hit(30, PIXEL, agent, bare), UNKNOWN)
            self.assertJudged(hit(30, 'a', agent, None), UNKNOWN)
            self.assertJudged(
                hit(30, 'a', agent, bare, secure=False), UNKNOWN)
        for agent in [OLD_CHROME, OUTLOOK, 'Chrome/' * 5000]:
            self.assertJudged(hit(30, 'a', agent, bare), UNKNOWN)

    def test_agent_excuses_nothing(self):
        "Test no user agent turns a machine into a person"
        for agent in [CHROME, FIREFOX, SAFARI, GMAIL, OUTLOOK]:
            for link in ['a', PIXEL]:
                for machine in [
                        hit(300, link, agent, method='HEAD'),
                        hit(300, link, agent, {'purpose': 'prefetch'}),
                        hit(1, link, agent)]:
                    self.assertEqual(judge(machine, SENT)[0], MACHINE)

    def test_several_signals(self):
        "Test all signals are told"
        self.assertJudged(
            hit(1, 'a', 'curl/8', {}, 'HEAD'), MACHINE,
            ['method', 'robot', 'early'])

    def test_burst(self):
        "Test three links within ten seconds, the earlier ones too"
        self.assertRun(
            [hit(600, 'a'), hit(605, 'b'), hit(610, 'c')], 9, [MACHINE] * 3)
        self.assertRun(
            [hit(600, 'a'), hit(605, 'b'), hit(610.1, 'c')], 9, [HUMAN] * 3)

    def test_burst_pixel(self):
        "Test the pixel goes with the burst but does not make one"
        self.assertRun(
            [hit(600, PIXEL), hit(604, 'a'), hit(608, 'b')], 9, [HUMAN] * 3)
        self.assertRun([
                hit(600, PIXEL), hit(602, 'a'), hit(604, 'b'), hit(606, 'c'),
                hit(609, PIXEL)], 9, [MACHINE] * 5)

    def test_pace(self):
        "Test two links faster than a hand"
        self.assertRun([hit(600, 'a'), hit(601, 'b')], 9, [MACHINE] * 2)
        self.assertRun([hit(600, 'a'), hit(600.3, 'a')], 9, [HUMAN] * 2)

    def test_burst_after_verdict(self):
        "Test a burst that shows late turns human hits back"
        rows = [(at(600), 'a', HUMAN), (at(601), 'b', HUMAN),
            (at(602), 'c', UNKNOWN), (at(700), 'a', HUMAN)]
        self.assertEqual(rejudge(rows, at(603)), {
                i: (MACHINE, ['burst']) for i in range(3)})

    def test_repeat(self):
        "Test every link of the message fetched twice"
        twice = [hit(600, 'a'), hit(603, 'b'), hit(606, 'a'), hit(609, 'b')]
        self.assertRun(twice, 2, [MACHINE] * 4)
        self.assertRun(twice, 3, [HUMAN] * 4)
        self.assertRun(twice, None, [HUMAN] * 4)

    def test_repeat_one_link(self):
        "Test repeating the only link proves nothing by itself"
        self.assertRun([hit(600), hit(603)], 1, [HUMAN] * 2)
        self.assertRun([hit(44), hit(46)], 1, [MACHINE] * 2)
        self.assertRun([
                hit(600, PIXEL), hit(601), hit(602, PIXEL), hit(603)],
            1, [MACHINE] * 4)

    def test_sweep(self):
        "Test all links fetched slowly"
        slow = [hit(600 + i * 12, i) for i in range(5)]
        self.assertRun(slow, 5, [MACHINE] * 5)
        self.assertRun(slow, 6, [HUMAN] * 5)
        self.assertRun(slow[:4], 4, [HUMAN] * 4)

    def test_sweep_after_scanner(self):
        "Test the links of a scanner do not make a person's click a sweep"
        hits = scanner(1, range(8), 9) + [hit(55, 0), hit(58, 1)]
        verdicts, _ = run(hits, 8)
        self.assertEqual(verdicts[-2:], [HUMAN] * 2)
        # Even if they are looked at only when all is over
        rows = [(h.at, h.link, UNKNOWN) for h in hits]
        changes = rejudge(rows, at(200), SENT, 8)
        self.assertEqual(
            [changes[i][0] for i in range(len(rows))],
            [MACHINE] * (len(rows) - 2) + [HUMAN] * 2)

    def test_company(self):
        "Test the pixel fetched together with a machine's link"
        bare = {'accept': '*/*'}
        for seconds in [29, 29.5, 31]:
            self.assertRun(
                [hit(seconds, PIXEL), hit(30, headers=bare)], 1,
                [MACHINE] * 2)
        self.assertRun(
            [hit(28.9, PIXEL), hit(30, headers=bare)], 1, [HUMAN, MACHINE])
        self.assertRun([hit(600, PIXEL), hit(601)], 1, [HUMAN] * 2)

    def test_unknown(self):
        "Test nothing is human before its hold is over"
        rows = [(at(600), 'a', UNKNOWN)]
        self.assertEqual(rejudge(rows, at(659.9)), {})
        self.assertEqual(rejudge(rows, at(660)), {0: (HUMAN, [])})
        self.assertGreaterEqual(RULES.hold, max(RULES.burst, RULES.sweep))

    def test_machine_stays(self):
        "Test a machine stays one"
        rows = [(at(60 + i), i, MACHINE) for i in range(3)]
        self.assertEqual(rejudge(rows, at(999)), {})

    def test_two_links(self):
        "Test a person who follows two links five seconds apart"
        for links in [2, 3, 9]:
            self.assertRun([hit(600, 'a'), hit(605, 'b')], links, [HUMAN] * 2)

    def test_open_and_click(self):
        "Test a person who opens and clicks four seconds later"
        self.assertRun([hit(600, PIXEL), hit(604)], 1, [HUMAN] * 2)

    def test_opened_at_once(self):
        "Test an open after 3 seconds is lost, but not the click after it"
        self.assertRun([hit(3, PIXEL), hit(14)], 1, [MACHINE, HUMAN])

    def test_one_link_scanner(self):
        "Test a scanner that fetches the only link seconds after sending"
        self.assertRun([hit(4)], 1, [MACHINE])
        self.assertRun([hit(14, headers={'accept': '*/*'})], 1, [MACHINE])

    def test_protection_at_click(self):
        "Test a scanner that looks at what a person clicks harms nobody"
        self.assertRun(
            [hit(600, method='HEAD'), hit(602)], 1, [MACHINE, HUMAN])
        self.assertRun([hit(600), hit(602)], 5, [HUMAN] * 2)

    def test_acceptance(self):
        """Test a scanner that fetches every URL of a message twice within ten
        seconds, with a browser's user agent, fires no activity and changes no
        human rate; a person who clicks the same link a minute later does
        both"""
        rng = random.Random(8058)
        for links, start, span, shuffled in itertools.product(
                [1, 2, 3, 5, 20], [0.5, 12, 30, 300, 86400], [1, 5, 10],
                [True, False]):
            with self.subTest(links=links, start=start, span=span):
                hits = scanner(
                    start, range(links), span, rng=rng if shuffled else None)
                verdicts, fired = run(hits, links)
                self.assertEqual(set(verdicts), {MACHINE})
                self.assertEqual(fired, [])
                person = hit(start + 60, 0)
                verdicts, fired = run(hits + [person], links)
                self.assertEqual(
                    verdicts, [MACHINE] * len(hits) + [HUMAN])
                self.assertEqual(fired, [(0, start + 60)])

    def test_bounded_time(self):
        "Test long user agents, odd headers and floods"
        for agent in ['a' * 1_000_000, '0' * 10_000, '(' * 10_000,
                'Mozilla/5.0 ' * 900, 'Chrome/' * 1500, ' ' * 10_000]:
            start = time.perf_counter()
            judge(hit(300, agent=agent, headers={
                        'purpose': 'x' * 10_000, 'sec-fetch-mode': None}))
            self.assertLess(time.perf_counter() - start, 0.2)
        rng = random.Random(1)
        rows = [(at(rng.uniform(0, 60)), rng.choice([PIXEL, 'a', 'b']),
                UNKNOWN) for _ in range(20_000)]
        start = time.perf_counter()
        rejudge(rows, at(100), SENT, 5)
        self.assertLess(time.perf_counter() - start, 2)


# Simulation: each returns [(is a person's, hit)]


def _people(hits):
    return [(True, h) for h in hits]


def _machines(hits):
    return [(False, h) for h in hits]


def gateway(rng, links):
    "All links twice as the message comes in"
    return _machines(scanner(
            rng.uniform(0.5, 20), range(links), rng.uniform(1, 10), rng=rng,
            pixel=rng.random() < 0.5 or links == 1))


def quarantine(rng, links):
    "All links once, minutes later, from a real browser"
    return _machines(scanner(
            rng.uniform(60, 1800), range(links), links * rng.uniform(0.2, 2),
            times=1, pixel=False))


def script(rng, links):
    "All links once within the first minute, with a borrowed user agent"
    return _machines([
            h._replace(headers={'accept': '*/*'}) for h in scanner(
                rng.uniform(1, 30), range(links), links, times=1)])


def checker(rng, links):
    "HEAD on each link at any time"
    return _machines([
            hit(rng.uniform(0, 9e4), i, method='HEAD') for i in range(links)])


def privacy(rng, links):
    "Apple's and Gmail's prefetches"
    return _machines([
            hit(rng.uniform(5, 9e4), PIXEL, 'Mozilla/5.0'),
            hit(rng.uniform(0, 60), PIXEL, GMAIL_PREFETCH)])


def reader(rng, links):
    "Opens, clicks some links, at a person's pace"
    moment = rng.uniform(20, 9e4)
    agent = rng.choice([CHROME, FIREFOX, SAFARI])
    hits = [hit(moment, PIXEL, rng.choice([GMAIL, YAHOO, OUTLOOK, agent]))]
    for link in rng.sample(range(links), min(links, rng.randint(0, 2))):
        moment += rng.uniform(3, 40)
        hits.append(hit(moment, link, agent))
        if rng.random() < 0.1:
            hits.append(hit(moment + 0.3, link, agent))  # clicks twice
    return _people(hits)


def eager(rng, links):
    "Waits for the message"
    moment = rng.uniform(2, 8)
    return _people([
            hit(moment, PIXEL), hit(moment + rng.uniform(4, 20), 0)])


def guarded(rng, links):
    "Each click is looked at first"
    moment, link = rng.uniform(60, 9e4), rng.randrange(links)
    return [(False, hit(moment, link, method='HEAD'))] + _people([
            hit(moment + rng.uniform(0.5, 3), link)])


def hasty(rng, links):
    "Opens three links in tabs"
    moment = rng.uniform(60, 9e4)
    return _people([
            hit(moment + i * rng.uniform(2, 6), i)
            for i in range(min(links, 3))])


class SimulationTestCase(unittest.TestCase):
    "Test many recipients, each with a scanner and then a person"

    def simulate(self, actors, links, count=100, seed=3464):
        "Return Counter of (person's, verdict, is a link)"
        rng = random.Random(seed)
        confusion = Counter()
        for _ in range(count):
            hits = [h for actor in actors for h in actor(rng, links)]
            hits.sort(key=lambda h: h[1].at)
            verdicts, _ = run([h for _, h in hits], links)
            for (person, hit_), verdict in zip(hits, verdicts):
                confusion[person, verdict, hit_.link is not PIXEL] += 1
        return confusion

    def share(self, confusion, person, verdict, link=True):
        total = sum(n for (p, _, is_link), n in confusion.items()
            if (p, is_link) == (person, link))
        return confusion[person, verdict, link] / total

    def test_confusion(self):
        "Test how many of each kind are judged wrong"
        for actor, links, right in [
                # (actor, links, least share of its link hits judged right)
                (gateway, 1, 1), (gateway, 2, 1), (gateway, 8, 1),
                (script, 1, 1), (script, 8, 1), (checker, 8, 1),
                (quarantine, 8, 1), (quarantine, 3, 1),
                (quarantine, 2, 0.05),  # 2 links, more than 1 s apart
                (quarantine, 1, 0),  # like a person's click
                (reader, 1, 1), (reader, 2, 1), (reader, 8, 1),
                (eager, 1, 0.6), (guarded, 1, 1), (guarded, 8, 1),
                (hasty, 8, 0.1),  # the price of the burst
                ]:
            with self.subTest(actor.__name__, links=links):
                confusion = self.simulate([actor], links)
                person = actor in {reader, eager, guarded, hasty}
                self.assertGreaterEqual(
                    self.share(
                        confusion, person, HUMAN if person else MACHINE),
                    right, confusion)

    def test_opens(self):
        "Test the opens"
        confusion = self.simulate([reader], 8)
        self.assertEqual(self.share(confusion, True, HUMAN, False), 1)
        confusion = self.simulate([privacy], 8)
        self.assertEqual(self.share(confusion, False, MACHINE, False), 1)
        confusion = self.simulate([script], 1)
        self.assertEqual(self.share(confusion, False, MACHINE, False), 1)

    def test_together(self):
        "Test the scanner takes little from the person behind it"
        for actor in [gateway, script, checker]:
            for links in [2, 8]:
                with self.subTest(actor.__name__, links=links):
                    confusion = self.simulate([actor, reader], links)
                    self.assertGreaterEqual(
                        self.share(confusion, False, MACHINE), 1)
                    self.assertGreaterEqual(
                        self.share(confusion, True, HUMAN), 0.99)
