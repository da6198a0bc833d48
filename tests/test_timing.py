# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Activities that are due by a date of the record"""
import datetime as dt
import unittest
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from trytond.modules.marketing_automation import clock, delivery, entry
from trytond.modules.marketing_automation.exceptions import RunError
from trytond.modules.marketing_automation.schedule import Appointment
from trytond.pool import Pool
from trytond.tests.test_tryton import with_transaction
from trytond.transaction import Transaction, check_access

from .delivering import CommittedTestCase
from .fixtures import (
    DatabaseTestCase, create, create_activity, create_email, create_marketer,
    create_party, create_scenario, forget)
from .tools import received

ZONES = [
    'America/New_York', 'Australia/Lord_Howe', 'Europe/Berlin',
    'Pacific/Apia', 'UTC']
DAY = dt.timedelta(days=1)
NINE = dt.time(9)
# A Wednesday, 11 hours in Berlin
NOW = dt.datetime(2031, 1, 8, 10)

times = st.times().map(lambda t: t.replace(second=0, microsecond=0))
days = st.dates(dt.date(2000, 1, 1), dt.date(2036, 12, 31))
# Pacific/Apia has left out a day
NO_DAY = dt.date(2011, 12, 30)


def local(instant, zone):
    return instant.replace(tzinfo=dt.timezone.utc).astimezone(zone)


def is_left_out(day, time, zone):
    "Return if the clock leaves out the time of the day"
    wall = dt.datetime.combine(day, time)
    there = wall.replace(tzinfo=zone).astimezone(dt.timezone.utc)
    return there.astimezone(zone).replace(tzinfo=None) != wall


class AppointmentTestCase(unittest.TestCase):
    "Test when something is due by a date"

    @given(
        days, times, st.sampled_from(ZONES), st.integers(-60, 60),
        st.sampled_from(['days', 'weeks']))
    # The clock goes forward and back
    @example(dt.date(2031, 3, 30), dt.time(2, 30), 'Europe/Berlin', 0, 'days')
    @example(dt.date(2031, 10, 27), dt.time(2, 30), 'Europe/Berlin', -1,
        'days')
    @example(NO_DAY, NINE, 'Pacific/Apia', 0, 'days')
    def test_date(self, day, time, zone, number, unit):
        "Test it is the day and the time on the clock there"
        zone = ZoneInfo(zone)

        at = Appointment(number, unit, time, False).at(day, zone, NOW)

        expected = day + number * dt.timedelta(**{unit: 1})
        if is_left_out(expected, time, zone):
            # It comes when that time would have been
            self.assertGreater(
                local(at, zone).replace(tzinfo=None),
                dt.datetime.combine(expected, time))
        else:
            self.assertEqual(
                local(at, zone).replace(tzinfo=None, fold=0),
                dt.datetime.combine(expected, time))

    @given(
        st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2036, 1, 1)),
        st.sampled_from(ZONES), st.integers(-1000, 1000))
    def test_hours(self, value, zone, number):
        "Test an hour before an instant is an hour"
        zone = ZoneInfo(zone)
        self.assertEqual(
            Appointment(number, 'hours', None, False).at(value, zone, NOW),
            value + dt.timedelta(hours=number))

    @given(
        st.dates(dt.date(1930, 1, 1), dt.date(2036, 12, 31)), times,
        st.sampled_from(ZONES), st.integers(-800, 800),
        st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2036, 1, 1)))
    @example(dt.date(2000, 2, 29), NINE, 'Europe/Berlin', 0,
        dt.datetime(2031, 1, 1))
    @example(dt.date(2000, 1, 8), dt.time(11), 'Europe/Berlin', 0, NOW)
    def test_anniversary(self, day, time, zone, number, since):
        "Test it is the first from then on, on the day"
        zone = ZoneInfo(zone)
        appointment = Appointment(number, 'days', time, True)

        at = appointment.at(day, zone, since)

        self.assertGreaterEqual(at, since)
        self.assertLess(at - since, dt.timedelta(days=368))
        # It may be before the date itself
        there = (local(at, zone) + dt.timedelta(hours=2)).date()
        base = there - number * DAY
        expected = (day.month, day.day)
        if expected == (2, 29) and base.month == 2:
            self.assertIn(base.day, {28, 29})
        elif not is_left_out(there, time, zone) and time.hour < 21:
            self.assertEqual((base.month, base.day), expected)
        # The one before has passed
        before = appointment.at(day, zone, at - dt.timedelta(days=370))
        self.assertLess(before, since)

    def test_leap_day(self):
        "Test the 29 February is the 28 where there is none"
        appointment = Appointment(0, 'days', NINE, True)
        utc = ZoneInfo('UTC')
        for since, expected in [
                (dt.datetime(2031, 1, 1), dt.datetime(2031, 2, 28, 9)),
                (dt.datetime(2031, 2, 28, 10), dt.datetime(2032, 2, 29, 9)),
                ]:
            self.assertEqual(
                appointment.at(dt.date(2000, 2, 29), utc, since), expected)

    def test_months(self):
        "Test a month after the last day is the last day"
        self.assertEqual(
            Appointment(1, 'months', NINE, False).at(
                dt.date(2031, 1, 31), ZoneInfo('UTC'), NOW),
            dt.datetime(2031, 2, 28, 9))


class TimingTestCase(CommittedTestCase):
    "Test activities by dates of sales, with a real mail server"
    modules = ['marketing_automation', 'sale']

    def setUp(self):
        super().setUp()
        self.currency = create(
            'currency.currency', name="Euro", code='EUR', symbol="€")
        self.company = create('company.company',
            party=create_party("Shop").id, currency=self.currency.id,
            timezone='Europe/Berlin')

    def _forget(self):
        Transaction().rollback()
        cursor = Transaction().connection.cursor()
        for name in [
                'marketing.automation.scenario', 'sale.sale',
                'company.company', 'currency.currency']:
            cursor.execute(*Pool().get(name).__table__().delete())
        Transaction().commit()

    def _sale(self, shipping=None, zone=None):
        party = create_party(
            "Zoë", 'zoe@example.com', marketing_timezone=zone)
        with Transaction().set_context(company=self.company.id):
            return create('sale.sale', company=self.company.id,
                currency=self.currency.id, party=party.id,
                shipping_date=shipping)

    def _activity(self, scenario=None, **values):
        scenario = scenario or create_scenario(
            model='sale.sale', state='running', company=self.company.id)
        return create_email(scenario, **{
                'timing': 'date', 'date_field': 'shipping_date',
                'date_number': 3, 'date_unit': 'days', 'date_side': 'before',
                'date_time': NINE,
                **values})

    def _enter(self, activity, now=NOW):
        "Return the step of the only record, which enters at the time"
        Transaction().commit()
        with clock.stopped(now):
            entry.enter_running()
        return self._process(activity, now)

    def _process(self, activity, now=NOW):
        "Return the step as it is after what the cron does at the time"
        RecordActivity = Pool().get('marketing.automation.record.activity')
        Transaction().commit()
        with clock.stopped(now):
            RecordActivity.settle_waiting()
            delivery.drain(now)
        Transaction().commit()
        forget()
        step, = RecordActivity.search([('activity', '=', activity.id)])
        return step

    def _ship(self, sale, date):
        "Change the date past the models, as others may"
        table = sale.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.shipping_date], [date], where=table.id == sale.id))
        Transaction().commit()

    def test_date(self):
        "Test an e-mail leaves three days before, at nine where it is read"
        self._sale(dt.date(2031, 2, 3), 'America/New_York')
        activity = self._activity()
        step = self._enter(activity)
        due = dt.datetime(2031, 1, 31, 14)
        self.assertEqual((step.state, step.at, step.reason),
            ('waiting', due, None))
        self.assertEqual(
            step.explanation,
            "Planned by its date: 3 days before “Shipping Date”, at 09:00.")
        step = self._process(activity, due - dt.timedelta(minutes=1))
        self.assertEqual(step.state, 'waiting')
        self.assertEqual(self._process(activity, due).state, 'done')
        self.assertEqual(len(received(self.server)), 1)

    def test_moved(self):
        "Test the wait moves with its date, also past the models"
        sale = self._sale(dt.date(2031, 2, 3))
        activity = self._activity()
        self._enter(activity)
        for date, due in [
                (dt.date(2031, 3, 13), dt.datetime(2031, 3, 10, 8)),
                (dt.date(2031, 7, 13), dt.datetime(2031, 7, 10, 7)),
                (None, None),
                (dt.date(2031, 1, 13), dt.datetime(2031, 1, 10, 8)),
                ]:
            with self.subTest(date=date):
                self._ship(sale, date)
                step = self._process(activity)
                self.assertEqual((step.state, step.at, step.reason),
                    ('waiting', due, None if due else 'date'))

    def test_moved_at_last_moment(self):
        "Test nothing leaves by a date that has moved since it was planned"
        sale = self._sale(dt.date(2031, 2, 3))
        activity = self._activity()
        due = self._enter(activity).at
        self._ship(sale, dt.date(2031, 2, 10))
        with clock.stopped(due):
            delivery.drain(due)
        self.assertFalse(received(self.server))
        step = self._process(activity, due)
        self.assertEqual((step.state, step.at, step.due_since),
            ('waiting', due + 7 * DAY, None))
        self.assertEqual(
            self._process(activity, due + 7 * DAY).state, 'done')

    def test_empty(self):
        "Test a record without date waits until it has one"
        sale = self._sale()
        activity = self._activity()
        step = self._enter(activity)
        self.assertEqual((step.state, step.at, step.reason),
            ('waiting', None, 'date'))
        self.assertEqual(step.explanation, "Waits until the date is known.")
        self._ship(sale, dt.date(2031, 2, 3))
        self.assertEqual(
            self._process(activity).at, dt.datetime(2031, 1, 31, 8))

    def test_late(self):
        "Test a date that has passed is too late, unless the expiry allows it"
        # Three days before was yesterday, at nine means 26 hours ago
        self._sale(dt.date(2031, 1, 10))
        for values, expected in [
                ({}, ('skipped', 'late')),
                ({'expiry_hours': 24}, ('skipped', 'late')),
                ({'expiry_hours': 27}, ('done', None)),
                ({'date_number': 2, 'date_time': dt.time(12)},
                    ('waiting', None)),
                ({'date_number': 2, 'date_time': dt.time(10, 30)},
                    ('done', None)),
                ]:
            with self.subTest(values):
                step = self._enter(self._activity(**values))
                self.assertEqual((step.state, step.reason), expected)

    def test_switched_off(self):
        "Test what was switched off before it was planned waits again"
        self._sale(dt.date(2031, 2, 3))
        activity = self._activity()
        Transaction().commit()
        with clock.stopped(NOW):
            entry.enter_running()
        for active in [False, True]:
            activity.active = active
            activity.save()
        step = self._process(activity)
        self.assertEqual((step.state, step.at, step.reason),
            ('waiting', dt.datetime(2031, 1, 31, 8), None))

    def test_moved_into_past(self):
        "Test it is too late when the date moves into the past"
        sale = self._sale(dt.date(2031, 2, 3))
        activity = self._activity()
        self._enter(activity)
        self._ship(sale, dt.date(2031, 1, 9))
        step = self._process(activity)
        self.assertEqual((step.state, step.reason), ('skipped', 'late'))

    def test_outage(self):
        "Test what came in time is not too late because nobody looked"
        self._sale(dt.date(2031, 1, 12))
        activity = self._activity()
        Transaction().commit()
        with clock.stopped(NOW):
            entry.enter_running()
        step = self._process(activity, NOW + 2 * DAY)
        self.assertEqual(step.state, 'done')

    def test_anniversary(self):
        "Test the next anniversary after the record has come"
        self._sale(dt.date(2024, 1, 8))
        activity = self._activity(
            timing='anniversary', date_number=None)
        step = self._enter(activity)
        # This year's was two hours ago
        due = dt.datetime(2032, 1, 8, 8)
        self.assertEqual((step.state, step.at), ('waiting', due))
        self.assertEqual(self._process(activity, due).state, 'done')

    def test_anniversary_moved(self):
        "Test the anniversary follows its date"
        sale = self._sale(dt.date(2024, 2, 29))
        activity = self._activity(
            timing='anniversary', date_number=None)
        self.assertEqual(
            self._enter(activity).at, dt.datetime(2031, 2, 28, 8))
        self._ship(sale, dt.date(2024, 6, 1))
        self.assertEqual(
            self._process(activity).at, dt.datetime(2031, 6, 1, 7))

    def test_party(self):
        "Test a date of the party"
        sale = self._sale()
        table = sale.party.__table__()
        Transaction().connection.cursor().execute(*table.update(
                [table.create_date], [NOW - DAY],
                where=table.id == sale.party.id))
        activity = self._activity(
            date_field='marketing_party.create_date', date_side='after',
            date_time=None)
        self.assertEqual(
            self._enter(activity).at, NOW + 2 * DAY)

    def test_deleted(self):
        "Test what has been deleted does not wait for its date"
        sale = self._sale()
        activity = self._activity()
        self._enter(activity)
        table = sale.__table__()
        Transaction().connection.cursor().execute(*table.delete())
        step = self._process(activity)
        self.assertEqual((step.state, step.reason), ('skipped', 'deleted'))

    def test_child(self):
        "Test a date after another activity, and one after it"
        self._sale(dt.date(2031, 2, 3))
        first = create_activity(
            create_scenario(
                model='sale.sale', state='running', company=self.company.id),
            name="First")
        activity = self._activity(first)
        later = create_activity(activity, name="Later", delay=DAY)
        self._enter(activity)
        due = self._process(activity).at
        self.assertEqual(due, dt.datetime(2031, 1, 31, 8))
        self._process(activity, due)
        self.assertEqual(self._process(later, due).at, due + DAY)

    def test_edit_running(self):
        "Test what waits follows when the activity is changed"
        self._sale(dt.date(2031, 2, 3))
        activity = self._activity()
        self._enter(activity)
        for values, due in [
                ({'date_number': 5}, dt.datetime(2031, 1, 29, 8)),
                ({'date_side': 'after'}, dt.datetime(2031, 2, 8, 8)),
                ({'timing': 'delay', 'delay': 2 * DAY}, NOW + 2 * DAY),
                ({'timing': 'date', 'date_time': dt.time(12)},
                    dt.datetime(2031, 2, 8, 11)),
                ]:
            with self.subTest(values):
                with clock.stopped(NOW):
                    activity.__class__.write([activity], values)
                step = self._process(activity)
                self.assertEqual((step.state, step.at), ('waiting', due))
        with clock.stopped(NOW):
            activity.__class__.write(
                [activity], {'date_side': 'before', 'date_number': 60})
        step = self._process(activity)
        self.assertEqual((step.state, step.reason), ('skipped', 'late'))

    def _rehearse(self, activity, sale):
        Rehearsal = Pool().get('marketing.automation.rehearsal')
        Transaction().commit()
        with clock.stopped(NOW):
            rehearsal = Rehearsal(scenario=activity.scenario, record=sale)
            rehearsal.begin()
            rehearsal.add('next')
        return rehearsal

    def test_rehearsal(self):
        "Test the clock of a rehearsal goes on to the date"
        sale = self._sale(dt.date(2031, 2, 3))
        rehearsal = self._rehearse(self._activity(), sale)
        self.assertEqual(rehearsal.time, dt.datetime(2031, 1, 31, 8))
        self.assertEqual(
            [s.what for s in rehearsal.steps], [
                "The record enters the scenario.",
                "Planned by its date: "
                "3 days before “Shipping Date”, at 09:00.",
                "The e-mail is sent to zoe@example.com."])

    def test_rehearsal_empty(self):
        "Test a rehearsal tells that there is no date"
        rehearsal = self._rehearse(self._activity(), self._sale())
        self.assertFalse(rehearsal.can_go_on)
        self.assertEqual(
            [s.what for s in rehearsal.ahead],
            ["Waits until the date is known."])

    def test_run(self):
        "Test who runs a scenario is not told times that nobody knows"
        Run = Pool().get('marketing.automation.run')
        activity = self._activity()
        with Transaction().set_user(1):
            run = Run(scenario=activity.scenario)
            run.show()
        self.assertIsNone(run.first_at)
        self.assertEqual(
            [(s.sentence, s.at) for s in run.steps],
            [(activity.sentence, None)])

    def test_no_such_date(self):
        "Test a scenario does not run by a date of something else"
        scenario = create_scenario(model='sale.sale')
        self._activity(scenario)
        scenario.model = 'party.party'
        scenario.save()
        with self.assertRaisesRegex(RunError, "Choose another date"):
            scenario.check_run()


class DateFieldTestCase(DatabaseTestCase):
    "Test the dates that are offered, and the sentences"
    modules = ['marketing_automation', 'sale']

    def _fields(self, model):
        activity = create_activity(create_scenario(model=model))
        marketer = create_marketer()
        with Transaction().set_user(marketer.id), check_access():
            activity = activity.__class__(activity.id)
            return [name for _, name in activity.get_date_fields()]

    @with_transaction()
    def test_sale(self):
        "Test the dates of sales and those of their parties"
        self.assertEqual(self._fields('sale.sale'), [
                "", "Created at", "Quotation Date", "Sale Date",
                "Shipping Date", "Party: Created at"])

    @with_transaction()
    def test_party(self):
        "Test the dates of parties"
        self.assertEqual(self._fields('party.party'), ["", "Created at"])

    @with_transaction()
    def test_field_access(self):
        "Test what the user may not read is not offered"
        create('ir.model.field.access',
            model='sale.sale', field='sale_date', perm_read=False,
            perm_write=False, perm_create=False, perm_delete=False)
        self.assertNotIn("Sale Date", self._fields('sale.sale'))

    @with_transaction()
    def test_sentence(self):
        "Test the sentences"
        scenario = create_scenario(model='sale.sale')
        email = create_email(scenario)
        for values, sentence in [
                ({}, "3 days before “Shipping Date”, at 09:00"),
                ({'date_number': None}, "On “Shipping Date”, at 09:00"),
                ({
                    'date_number': 1, 'date_unit': 'months',
                    'date_side': 'after', 'date_time': None,
                    },
                    "1 month after “Shipping Date”"),
                ({'timing': 'anniversary'},
                    "Each year, 3 days before “Shipping Date”, at 09:00"),
                ({
                    'timing': 'anniversary', 'date_number': None,
                    'date_field': 'marketing_party.create_date',
                    },
                    "Each year on “Party: Created at”, at 09:00"),
                ({'event': 'email_opened', 'negative': True},
                    "If not opened – "
                    "3 days before “Shipping Date”, at 09:00"),
                ]:
            with self.subTest(sentence=sentence):
                activity = create_email(email, name="News", **{
                        'timing': 'date', 'date_field': 'shipping_date',
                        'date_number': 3, **values})
                self.assertEqual(
                    activity.sentence, sentence + ": send “News”")


del CommittedTestCase, DatabaseTestCase
