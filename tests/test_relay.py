# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import unittest
from types import SimpleNamespace

from trytond.modules.marketing_automation.mail.smtp import BREAKER, Relay

from .system.smtp import FEATURES, Server


def message(number=0, recipient='recipient@example.com'):
    return SimpleNamespace(
        id=number, sender='sender@example.com', recipient=recipient,
        data=f'Message-ID: <{number}@example.com>\r\n\r\nx\r\n'.encode(),
        cancelled=False)


class RelayTestCase(unittest.TestCase):
    "Test the sessions of a worker with a real mail server"

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.pulled = 0

    def relay(self, sessions=1, timeout=5):
        relay = Relay(f'{self.server.uri}?timeout={timeout}', sessions)
        self.addCleanup(relay.__exit__)
        # As if the server had been slow so far
        relay.latency = 1 if sessions > 1 else 0
        return relay

    def feed(self, count):
        for number in range(count):
            self.pulled += 1
            yield message(number)

    def deliver(self, relay, count):
        "Return the results by the number of the message, each comes once"
        results = {}
        for message, result in relay.deliver(self.feed(count)):
            self.assertNotIn(message.id, results)
            results[message.id] = result
        return results

    def kinds(self, results):
        return [results[i].kind for i in sorted(results)]

    def test_each_once(self):
        "Test each message has a result and is sent once, in many sessions"
        for sessions in [1, 2, 8]:
            with self.subTest(sessions=sessions):
                self.server.clear()
                results = self.deliver(self.relay(sessions), 30)

                self.assertEqual(self.kinds(results), ['sent'] * 30)
                self.assertEqual(self.server.count, 30)
                self.assertEqual(self.server.duplicates, {})

    def test_without_pipelining(self):
        "Test a server that takes one command after the other"
        self.server.offer(set(FEATURES) - {'PIPELINING'})
        self.server.fail(550, at='rcpt', times=1)

        results = self.deliver(self.relay(), 3)

        self.assertEqual(
            self.kinds(results), ['permanent', 'sent', 'sent'])

    def test_one_ahead(self):
        "Test a message is taken when one is under way, and not before"
        for _ in self.relay().deliver(self.feed(10)):
            break

        self.assertLessEqual(self.pulled, 2)

    def test_cancelled(self):
        "Test a message that is cancelled while it waits is left out"
        messages = [message(i) for i in range(3)]
        ids = []

        for sent, _ in self.relay().deliver(messages):
            messages[1].cancelled = True
            ids.append(sent.id)

        self.assertEqual(ids, [0, 2])
        self.assertEqual(self.server.count, 2)

    def test_breaker(self):
        "Test nothing more is sent when the server is down"
        self.server.refuse()
        relay = self.relay()

        results = self.deliver(relay, 20)

        self.assertEqual(self.kinds(results), ['relay'] * BREAKER)
        self.assertTrue(relay.is_down)
        self.assertTrue(relay.reason)

    def test_breaker_under_way(self):
        "Test what the server takes when the breaker opens has its result"
        self.server.slow(0.5, at='message')
        self.server.fail(421, at='rcpt', match='bad*')
        relay = self.relay(8)
        messages = [
            message(1), message(2), *(
                message(3 + i, 'bad@example.com') for i in range(20))]

        results = {m.id: r.kind for m, r in relay.deliver(messages)}

        self.assertEqual([results.pop(1), results.pop(2)], ['sent'] * 2)
        self.assertEqual(self.server.count, 2)
        self.assertTrue(relay.is_down)
        # Each of the other sessions had one at most when it opened
        self.assertLess(len(results), BREAKER + 6)

    def test_fed_no_more(self):
        "Test what is under way has its result when no more messages come"
        self.server.slow(0.2, at='message')

        results = self.deliver(self.relay(8), 5)

        self.assertEqual(self.kinds(results), ['sent'] * 5)

    def test_fewer_sessions(self):
        "Test the number of sessions that the server allows is learned"
        self.server.slow(0.02, at='message')
        for allowed in [1, 2, 3]:
            with self.subTest(allowed=allowed):
                self.server.clear()
                self.server.limit(sessions=allowed)
                relay = self.relay(8)

                results = self.deliver(relay, 40)
                relay.__exit__()

                self.assertEqual(self.kinds(results), ['sent'] * 40)
                self.assertEqual(relay.failures, 0)
                self.assertLessEqual(relay.limit, allowed)
                self.assertEqual(self.server.duplicates, {})

    def test_refused_sender(self):
        "Test a server that refuses further sessions only at MAIL"
        self.server.slow(0.1, at='message')
        self.server.fail(432, "4.3.2 Concurrent connections", 'mail', times=3)
        relay = self.relay(8)

        results = self.deliver(relay, 20)

        self.assertEqual(self.kinds(results), ['sent'] * 20)
        self.assertEqual(relay.failures, 0)

    def test_no_session(self):
        "Test a server whose sessions are all used by others is not down"
        self.server.limit(sessions=0)
        relay = self.relay(8)

        results = self.deliver(relay, 20)

        self.assertEqual(self.kinds(results), ['temporary'])
        self.assertTrue(relay.is_busy)
        self.assertFalse(relay.is_down)
        self.server.reset()
        self.assertEqual(
            self.kinds(self.deliver(relay, 3)), ['sent'] * 3)

    def test_used_up(self):
        "Test a session that has ended is opened again"
        self.server.limit(messages=2)

        results = self.deliver(self.relay(), 7)

        self.assertEqual(self.kinds(results), ['sent'] * 7)
        self.assertEqual(self.server.duplicates, {})

    def test_last_reply_lost(self):
        "Test a message that may have been taken is not sent again at once"
        relay = self.relay()
        self.deliver(relay, 1)
        self.server.clear()
        self.server.cut(at='accepted', times=1)

        results = self.deliver(relay, 2)

        self.assertEqual(self.kinds(results), ['relay', 'sent'])
        self.assertTrue(results[0].text)
        self.assertEqual(self.server.count, 2)
        self.assertEqual(self.server.duplicates, {})

    def test_last_reply_late(self):
        "Test the last reply may take longer than the others"
        self.server.slow(1.5, at='accepted')

        results = self.deliver(self.relay(timeout=1), 1)

        self.assertEqual(self.kinds(results), ['sent'])
        self.assertEqual(self.server.count, 1)

    def test_patience_ends(self):
        "Test what follows a refused message is waited for as usual"
        relay = self.relay(timeout=1)
        self.server.fail(550, at='message', times=1)
        self.assertEqual(self.kinds(self.deliver(relay, 1)), ['permanent'])

        session, = relay.sessions
        self.assertEqual(session.server.sock.gettimeout(), 1)

    def test_storable(self):
        "Test replies hold nothing that a database can not store"
        self.server.fail(550, "5.1.1 No \x00such\x1b user \ud800".encode(
                'utf-8', 'replace').decode(), at='rcpt')

        result, = self.deliver(self.relay(), 1).values()

        self.assertEqual(str(result), "550 5.1.1 No such user ?")

    def test_address(self):
        "Test addresses that can not be sent say nothing of the server"
        for bad in ['a\r\nDATA@example.com', 'a\ud800@example.com', 'a\x00@b']:
            with self.subTest(address=bad):
                relay = self.relay()
                (_, result), = relay.deliver([message(1, bad)])

                self.assertEqual(result.kind, 'permanent')
                self.assertEqual(relay.failures, 0)
        self.assertEqual(self.server.count, 0)
