# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Links, opens and clicks"""
import datetime as dt
import hashlib
from collections import defaultdict, namedtuple
from itertools import groupby

from sql import Conflict, Literal, Null
from sql.aggregate import Count, Max
from sql.conditionals import Coalesce
from sql.functions import DateTrunc

from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from . import schedule, settings, signature
from .mail.link import to_uri
from .transaction import commit
from .verdict import HUMAN, MACHINE, UNKNOWN, Request, judge, rejudge

# Requests for one link within a minute that are stored, by one recipient and
# by all that are not told apart; the others are only counted
FLOOD = 100
FLOOD_ANONYMOUS = 1000
# What a request is aimed at.  tracking: of the scenario; is_anonymous: of the
# record, None if it has none
Target = namedtuple('Target', [
        'url', 'activity', 'tracking', 'record_activity', 'sent',
        'is_anonymous'])


class Link(ModelSQL, ModelView):
    "A distinct URL in the e-mails of an activity"
    __name__ = 'marketing.automation.link'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True, ondelete='CASCADE')
    url = fields.Text("Address", required=True, readonly=True, strip=False)
    digest = fields.Char(
        "Digest", required=True, readonly=True,
        help="SHA-256 of the URL, which may be too long for an index.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_constraints += [
            ('activity_digest_unique', Unique(t, t.activity, t.digest),
                'marketing_automation.msg_link_unique'),
            ]

    def get_rec_name(self, name):
        return self.url

    @classmethod
    def get_ids(cls, urls):
        """Return {(activity, URL): id} for the pairs, created where needed"""
        digests = {(a, _digest(u)): (a, u) for a, u in urls}
        ids = cls._find(digests)
        missing = [p for d, p in digests.items() if p not in ids]
        if missing:
            table = cls.__table__()
            transaction = Transaction()
            cursor = transaction.connection.cursor()
            now = dt.datetime.now()
            cursor.execute(*table.insert(
                    [table.create_uid, table.create_date,
                        table.activity, table.url, table.digest],
                    [[transaction.user, now, a, u, _digest(u)]
                        for a, u in missing],
                    on_conflict=Conflict(table)))
            ids = cls._find(digests)
        return ids

    @classmethod
    def _find(cls, digests):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        activities = {a for a, _ in digests}
        cursor.execute(*table.select(
                table.activity, table.digest, table.id,
                where=fields.SQL_OPERATORS['in'](
                    table.activity, list(activities))
                & fields.SQL_OPERATORS['in'](
                    table.digest, [d for _, d in digests])))
        return {
            digests[a, d]: id_ for a, d, id_ in cursor if (a, d) in digests}


def _digest(url):
    return hashlib.sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()


class Record(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record'

    anonymous = fields.Boolean(
        "Anonymous", readonly=True,
        help="Opens and clicks are stored without who made them.")

    @classmethod
    def set_anonymous(cls, resources, anonymous):
        "Set it for the records of the references"
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute(*table.update(
                [table.anonymous], [anonymous],
                where=fields.SQL_OPERATORS['in'](table.record, resources)))
        transaction.counter += 1


class Hit(ModelSQL, ModelView):
    """A request for a tracked link or for the pixel of an e-mail

    Nothing of the request is kept but its time and the verdict.
    """
    __name__ = 'marketing.automation.hit'
    _log = False

    at = fields.Timestamp("Date", required=True, readonly=True)
    kind = fields.Function(fields.Selection([
                ('open', "Open"),
                ('click', "Click"),
                ], "Kind"),
        'get_kind')
    record = fields.Function(fields.Many2One(
            'marketing.automation.record', "Record",
            help="Who it was, empty where it is not known."),
        'get_record')
    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True, ondelete='CASCADE')
    record_activity = fields.Many2One(
        'marketing.automation.record.activity', "Step",
        readonly=True, ondelete='CASCADE',
        help="Empty when opens and clicks are only counted.")
    link = fields.Many2One(
        'marketing.automation.link', "Link",
        readonly=True, ondelete='CASCADE',
        help="The link that was followed, empty for an open.")
    verdict = fields.Selection([
            ('human', "Person"),
            ('machine', "Machine"),
            ('unknown', "Not Known Yet"),
            ], "Made By", required=True, readonly=True, sort=False,
        help="Scanners and proxies follow links before people do.")
    verdict_string = verdict.translated('verdict')
    settled = fields.Boolean(
        "Settled", readonly=True,
        help="It has started what depends on it.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.update({
                Index(
                    t,
                    (t.record_activity, Index.Equality()),
                    (t.at, Index.Range())),
                Index(
                    t,
                    (t.activity, Index.Equality()),
                    (t.at, Index.Range())),
                Index(
                    t,
                    (t.id, Index.Range()),
                    where=t.settled == Literal(False)),
                })
        cls._order = [('at', 'DESC'), ('id', 'DESC')]
        # The fractions only matter to the rules
        cls.at.format = '%H:%M:%S'

    def get_kind(self, name):
        return 'click' if self.link else 'open'

    def get_record(self, name):
        if self.record_activity:
            return self.record_activity.record.id

    @classmethod
    def clicked(cls, token, request, url=None):
        """Store the hit of a link and return its URL in ASCII

        None if the token is not genuine or nobody can follow the link.

        request -- dictionary of method, user_agent, headers and secure
        url -- where the link leads if it is not stored
        """
        ids = cls._verify(f'click {url}' if url else 'click', token)
        if not ids:
            return None
        link, record_activity = ids
        target = cls._target(record_activity, link=link)
        if not target:
            return None
        cls._store(target, link, request)
        return to_uri(url or target.url)

    @classmethod
    def opened(cls, token, request):
        "Store the hit of a pixel and return if it is genuine"
        ids = cls._verify('open', token)
        if not ids:
            return False
        activity, record_activity = ids
        target = cls._target(record_activity, activity=activity)
        if not target:
            return False
        cls._store(target, None, request)
        return True

    @staticmethod
    def _verify(purpose, token):
        pool = Pool()
        Configuration = pool.get('marketing.automation.configuration')
        return signature.verify(
            Configuration.get_secret(), purpose, token, 2)

    @classmethod
    def _target(cls, record_activity, activity=None, link=None):
        "Return the Target of the ids of a token, None if there is none"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Link = pool.get('marketing.automation.link')
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        Scenario = pool.get('marketing.automation.scenario')
        cursor = Transaction().connection.cursor()
        activity_ = Activity.__table__()
        link_ = Link.__table__()
        record = Record.__table__()
        scenario = Scenario.__table__()
        sent = RecordActivity.__table__()
        cursor.execute(*activity_
            .join(scenario, condition=activity_.scenario == scenario.id)
            .join(link_, 'LEFT', condition=(link_.activity == activity_.id)
                & (link_.id == link))
            .join(sent, 'LEFT', condition=(sent.activity == activity_.id)
                & (sent.id == record_activity))
            .join(record, 'LEFT', condition=sent.record == record.id)
            .select(
                link_.url, activity_.id, scenario.tracking,
                sent.id, sent.at, record.anonymous,
                where=(link_.id == link) if link
                else (activity_.id == activity)))
        row = cursor.fetchone()
        return Target(*row) if row else None

    @classmethod
    def _store(cls, target, link, request):
        "Store or count a request for the id of a link, None for the pixel"
        now = dt.datetime.now()
        verdict, _ = judge(
            Request(now, link, **request), schedule.instant(target.sent),
            settings.hit_rules())
        record_activity = target.record_activity
        if target.tracking != 'individual' or target.is_anonymous:
            record_activity = None
        if not record_activity and verdict == UNKNOWN:
            # No other request is known to come from the same recipient
            verdict = HUMAN
        values = [target.activity, record_activity, link]
        if cls._is_flood(now, *values):
            cls._count(now, target.activity, link, verdict)
        else:
            cls._insert(now, *values, verdict)

    @classmethod
    def _is_flood(cls, now, activity, record_activity, link):
        "Return if there have been too many such requests within a minute"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        limit = FLOOD if record_activity else FLOOD_ANONYMOUS
        recent = table.select(
            table.id,
            where=(table.activity == activity)
            & (table.record_activity == record_activity)
            & (table.link == link)
            & (table.at > now - dt.timedelta(minutes=1)),
            limit=limit)
        cursor.execute(*recent.select(Count()))
        count, = cursor.fetchone()
        return count >= limit

    @classmethod
    def _count(cls, now, activity, link, verdict):
        "Count a request of a flood"
        pool = Pool()
        HitCount = pool.get('marketing.automation.hit.count')
        # No person follows a link that often
        if verdict == UNKNOWN:
            verdict = MACHINE
        HitCount.increment(
            activity, now, verdict, 'clicks' if link else 'opens')

    @classmethod
    def _insert(cls, now, activity, record_activity, link, verdict):
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute(*table.insert(
                [table.create_uid, table.create_date, table.at,
                    table.activity, table.record_activity, table.link,
                    table.verdict, table.settled],
                [[
                        transaction.user, now, now,
                        activity, record_activity, link,
                        verdict, verdict != UNKNOWN]]))

    @classmethod
    def settle(cls):
        "Give hits their verdict and let them start what depends on it"
        while commit(cls._settle_slice):
            pass

    @classmethod
    def _settle_slice(cls, size=500):
        "Settle the hits on some messages, return if there may be more"
        rules = settings.hit_rules()
        now = dt.datetime.now()
        held = now - dt.timedelta(seconds=rules.hold)
        rows = cls._unsettled(held, size)
        verdicts, opened, clicked = defaultdict(list), set(), set()
        for (id_, sent, links), hits in cls._messages(rows, rules):
            found = rejudge(
                [hit[:3] for hit in hits], now, sent, max(1, links), rules)
            for i, (at, link, verdict, hit, is_settled) in enumerate(hits):
                if is_settled or at > held:
                    continue
                verdict, _ = found.get(i, (verdict, None))
                verdicts[verdict].append(hit)
                if verdict == HUMAN:
                    (clicked if link else opened).add(id_)
        cls._set_verdicts(verdicts)
        cls._fire(opened, clicked)
        return len(rows) == size

    @classmethod
    def _unsettled(cls, held, size):
        "Return (record activity, time) of hits that are ready to be settled"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.record_activity, table.at,
                where=(table.settled == Literal(False)) & (table.at <= held)
                & (table.record_activity != Null),
                order_by=[table.id.asc], limit=size))
        return cursor.fetchall()

    @classmethod
    def _messages(cls, rows, rules):
        """Yield ((record activity, time, number of links), [hit]) of each

        A hit is (time, link, verdict, id, settled).  Those that tell something
        of the rows are among them.
        """
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = cls.__table__()
        sent = RecordActivity.__table__()
        link = Link.__table__()
        cursor = Transaction().connection.cursor()
        if not rows:
            return
        since = (min(schedule.instant(at) for _, at in rows)
            - dt.timedelta(seconds=rules.sweep))
        links = Coalesce(sent.links, link.select(
                Count(), where=link.activity == sent.activity))
        cursor.execute(*table
            .join(sent, condition=table.record_activity == sent.id)
            .select(
                sent.id, sent.at, links,
                table.at, table.link, table.verdict, table.id, table.settled,
                where=fields.SQL_OPERATORS['in'](
                    sent.id, list({id_ for id_, _ in rows}))
                & (table.at >= since),
                order_by=[sent.id, table.id]))
        for (id_, at, count), hits in groupby(
                cursor.fetchall(), key=lambda row: row[:3]):
            yield (id_, schedule.instant(at), count), [
                (schedule.instant(at), *hit) for _, _, _, at, *hit in hits]

    @classmethod
    def _set_verdicts(cls, verdicts):
        "Settle the hits, {verdict: ids}"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        for verdict, ids in verdicts.items():
            cursor.execute(*table.update(
                    [table.verdict, table.settled], [verdict, True],
                    where=fields.SQL_OPERATORS['in'](table.id, ids)))

    @staticmethod
    def _fire(opened, clicked):
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        RecordActivity.happen(opened - clicked, ['email_opened'])
        RecordActivity.happen(clicked, ['email_opened', 'email_clicked'])

    @classmethod
    def clean(cls):
        "Forget old hits, what they count stays"
        age = dt.timedelta(days=settings.hit_age())
        before = dt.datetime.combine(
            dt.date.today() - age, dt.time())
        while commit(cls._clean_slice, before):
            pass

    @classmethod
    def _clean_slice(cls, before, size=5000):
        "Count and delete some hits, return if there may be more"
        pool = Pool()
        HitCount = pool.get('marketing.automation.hit.count')
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.id,
                where=(table.at < before) & (table.settled == Literal(True)),
                order_by=[table.id.asc], limit=size))
        ids = [id_ for id_, in cursor.fetchall()]
        if ids:
            where = fields.SQL_OPERATORS['in'](table.id, ids)
            HitCount.add(table, where)
            cursor.execute(*table.delete(where=where))
        return len(ids) == size


class HitCount(ModelSQL):
    "How many hits an activity had on a day, after they were forgotten"
    __name__ = 'marketing.automation.hit.count'
    _log = False

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, ondelete='CASCADE')
    at = fields.DateTime("At", required=True, help="The start of the day.")
    verdict = fields.Char("Verdict", required=True)
    opens = fields.Integer("Opens", required=True)
    clicks = fields.Integer("Clicks", required=True)

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t,
                (t.activity, Index.Equality()),
                (t.at, Index.Range())))

    @classmethod
    def add(cls, hit, where):
        "Count the hits of the table that fulfil the clause"
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        now = dt.datetime.now()
        day = cls.at.sql_cast(DateTrunc('day', hit.at)).as_('day')
        counts = hit.select(
            hit.activity, day, hit.verdict,
            Count(filter_=hit.link == Null).as_('opens'),
            Count(filter_=hit.link != Null).as_('clicks'),
            where=where, group_by=[hit.activity, day, hit.verdict])
        cursor.execute(*table.insert(
                [table.create_uid, table.create_date, table.activity,
                    table.at, table.verdict, table.opens, table.clicks],
                counts.select(
                    Literal(transaction.user), Literal(now),
                    counts.activity, counts.day, counts.verdict,
                    counts.opens, counts.clicks)))

    @classmethod
    def increment(cls, activity, now, verdict, name):
        "Count one more of opens or clicks, the name, on the day"
        table = cls.__table__()
        same = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        at = dt.datetime.combine(now, dt.time())
        cursor.execute(*table.update(
                [getattr(table, name)], [getattr(table, name) + 1],
                where=table.id == same.select(
                    Max(same.id),
                    where=(same.activity == activity) & (same.at == at)
                    & (same.verdict == verdict))))
        if not cursor.rowcount:
            cursor.execute(*table.insert(
                    [table.create_uid, table.create_date, table.activity,
                        table.at, table.verdict, table.opens, table.clicks],
                    [[
                            transaction.user, now, activity, at, verdict,
                            int(name == 'opens'), int(name == 'clicks')]]))
