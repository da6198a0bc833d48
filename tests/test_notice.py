# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt

from trytond.model.exceptions import AccessError
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction

from .fixtures import (
    DatabaseTestCase, create, create_email, create_marketer, create_party,
    create_record, create_record_activity, create_scenario)


class NoticeTestCase(DatabaseTestCase):
    "Test who is told what about running scenarios, once"

    def setUp(self):
        super().setUp()
        self.seen = 0

    def _running(self, **values):
        return create_scenario(
            name="Welcome", state='running', entry_at=dt.datetime.now(),
            **values)

    def _step(self, activity, **values):
        return create_record_activity(
            create_record(activity.scenario, create_party()), activity,
            **values)

    def _told(self):
        "Return (login, description) of what is told now"
        pool = Pool()
        Notice = pool.get('marketing.automation.notice')
        Notification = pool.get('res.notification')
        Notice.send()
        new = Notification.search(
            [('id', '>', self.seen)], order=[('id', 'ASC')])
        self.seen = max([self.seen, *(n.id for n in new)])
        return [(n.user.login, n.description) for n in new]

    def _texts(self, login='marketing'):
        return [text for user, text in self._told() if user == login]

    @with_transaction()
    def test_finished(self):
        "Test the end of a run is told once"
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        create_marketer()
        scenario = self._running()
        self.assertEqual(self._texts(), [])
        step = self._step(create_email(scenario))
        self.assertEqual(self._texts(), [])
        step.state = 'done'
        step.save()
        text, = self._texts()
        self.assertIn("Nothing is waiting any more", text)
        self.assertIn("Welcome", text)
        step.state = 'waiting'
        step.save()
        self.assertEqual(self._texts(), [])
        step.state = 'done'
        step.save()
        self.assertEqual(self._texts(), [])
        Scenario.stop([scenario])
        self.assertEqual(self._texts(), [])
        Scenario.write([scenario], {'state': 'running'})
        self.assertEqual(len(self._texts()), 1)

    @with_transaction()
    def test_failed(self):
        "Test failures are told when there are more"
        create_marketer()
        activity = create_email(self._running())
        self._step(activity)
        step = self._step(activity, state='failed')
        text, = self._texts()
        self.assertIn("1. Open Failures", text)
        self.assertEqual(self._texts(), [])
        self._step(activity, state='failed')
        text, = self._texts()
        self.assertIn("2. Open Failures", text)
        step.state = 'waiting'
        step.save()
        self.assertEqual(self._texts(), [])
        self._step(activity, state='failed')
        text, = self._texts()
        self.assertIn("2. Open Failures", text)

    @with_transaction()
    def test_entry(self):
        "Test an error of the entry is told until it is solved"
        create_marketer()
        scenario = self._running(entry_error="Unknown field")
        text, = self._texts()
        self.assertIn("Unknown field", text)
        self.assertEqual(self._texts(), [])
        for error in [None, "Unknown field"]:
            scenario.entry_error = error
            scenario.save()
            texts = self._texts()
        self.assertEqual(len(texts), 1)

    @with_transaction()
    def test_rates(self):
        "Test rates are told above their limits, if there are enough e-mails"
        create_marketer()
        activity = create_email(self._running())
        waiting = self._step(activity)
        for _ in range(99):
            self._step(activity, state='done', at=dt.datetime.now())
        for kind, count in [('complaint', 1), ('hard', 6), ('soft', 9)]:
            for _ in range(count):
                create(
                    'marketing.automation.bounce', at=dt.datetime.now(),
                    kind=kind, matched=True, activity=activity.id)
        self.assertEqual(self._texts(), [])
        self._step(activity, state='done', at=dt.datetime.now())
        texts = self._texts()
        self.assertEqual(len(texts), 2)
        self.assertIn("come back", texts[0])
        self.assertIn("spam", texts[1])
        self.assertEqual(self._texts(), [])
        self.assertEqual(waiting.state, 'waiting')

    @with_transaction()
    def test_limits(self):
        "Test other limits, and none"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        Notice = pool.get('marketing.automation.notice')
        create_marketer()
        activity = create_email(self._running())
        for _ in range(100):
            self._step(activity, state='done', at=dt.datetime.now())
        create(
            'marketing.automation.bounce', at=dt.datetime.now(),
            kind='complaint', matched=True, activity=activity.id)
        configuration = Configuration(1)
        for limit, kinds in [(0.003, {'complained'}), (0.01, set()),
                (None, set())]:
            configuration.complaint_limit = limit
            configuration.save()
            Notice.send()
            with self.subTest(limit=limit):
                self.assertEqual(
                    {n.kind for n in Notice.search([])} - {'finished'}, kinds)

    @with_transaction()
    def test_users(self):
        "Test only the users of the group are told"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        create_marketer()
        create_marketer('gone', active=False)
        other = create('res.group', name="Other", users=[])
        create('res.user', name="Other", login='other', groups=[
                ('add', [other.id])])
        self._running(entry_error="Unknown field")
        logins = {login for login, _ in self._told()}
        self.assertIn('marketing', logins)
        self.assertFalse(logins & {'gone', 'other'})
        configuration = Configuration(1)
        configuration.notice_group = None
        configuration.save()
        self._running(entry_error="Unknown field")
        self.assertEqual(self._told(), [])

    @with_transaction()
    def test_secret(self):
        "Test marketing sets the limits without reading the secret"
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        user = create_marketer()
        with Transaction().set_user(user.id), \
                Transaction().set_context(_check_access=True):
            configuration = Configuration(1)
            configuration.complaint_limit = 0.01
            configuration.save()
            values, = Configuration.read([1], ['complaint_limit'])
            self.assertEqual(values['complaint_limit'], 0.01)
            with self.assertRaises(AccessError):
                Configuration.read([1], ['secret'])
            with self.assertRaises(AccessError):
                Configuration.search([('secret', 'like', 'a%')])
            with self.assertRaises(AccessError):
                Configuration.write([configuration], {'secret': 'a'})
