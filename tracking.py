# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Links, opens and clicks"""
import datetime as dt
import hashlib
from collections import defaultdict, namedtuple

from sql import Conflict, Literal, Null
from sql.aggregate import Count
from sql.conditionals import Coalesce
from sql.functions import DateTrunc
from sql.operators import Exists

from trytond.model import Index, ModelSQL, ModelView, Unique, fields
from trytond.pool import Pool
from trytond.transaction import Transaction

from . import schedule, settings, signature
from .mail.link import to_uri
from .transaction import commit
from .verdict import HUMAN, MACHINE, UNKNOWN, Context
from .verdict import Hit as RequestHit
from .verdict import judge, rejudge


class Link(ModelSQL, ModelView):
    "A distinct URL in the e-mails of an activity"
    __name__ = 'marketing.automation.link'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True, ondelete='CASCADE')
    url = fields.Text("URL", required=True, readonly=True, strip=False)
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


class Hit(ModelSQL, ModelView):
    """A request for a tracked link or for the pixel of an e-mail

    Nothing of the request is kept but its time and the verdict.
    """
    __name__ = 'marketing.automation.hit'
    _log = False

    at = fields.Timestamp("At", required=True, readonly=True)
    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, readonly=True, ondelete='CASCADE')
    record_activity = fields.Many2One(
        'marketing.automation.record.activity', "Record Activity",
        readonly=True, ondelete='CASCADE',
        help="Empty when hits are only counted by activity.")
    link = fields.Many2One(
        'marketing.automation.link', "Link",
        readonly=True, ondelete='CASCADE',
        help="The link that was followed, empty for an open.")
    verdict = fields.Selection([
            ('human', "Human"),
            ('machine', "Machine"),
            ('unknown', "Unknown"),
            ], "Verdict", required=True, readonly=True, sort=False)
    verdict_string = verdict.translated('verdict')
    settled = fields.Boolean(
        "Settled", readonly=True,
        help="The hit has started what depends on it.")

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

    @classmethod
    def clicked(cls, token, request, url=None):
        """Store the hit of a link and return its URL in ASCII

        None if the token is not genuine or nobody can follow the link.

        request -- dictionary of method, user_agent, headers and secure
        url -- where the link leads if it is not stored
        """
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        ids = cls._verify(f'click {url}' if url else 'click', token)
        if not ids:
            return None
        link_id, record_activity = ids
        link = Link.__table__()
        target = cls._target(
            link, link.activity, link.url, link.id == link_id,
            record_activity)
        if not target:
            return None
        cls._store(target, link_id, request)
        return to_uri(url or target.url)

    @classmethod
    def opened(cls, token, request):
        "Store the hit of a pixel and return if it is genuine"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        ids = cls._verify('open', token)
        if not ids:
            return False
        activity_id, record_activity = ids
        activity = Activity.__table__()
        target = cls._target(
            activity, activity.id, Literal(''), activity.id == activity_id,
            record_activity)
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
    def _target(cls, table, activity, url, where, record_activity):
        "Return the Target of a hit, in one query"
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        RecordActivity = pool.get('marketing.automation.record.activity')
        cursor = Transaction().connection.cursor()
        sent = RecordActivity.__table__()
        hit = cls.__table__()
        link = Link.__table__()
        rules = settings.hit_rules()
        recent = dt.datetime.now() - dt.timedelta(seconds=rules.sweep)
        links = Coalesce(
            sent.links, link.select(Count(), where=link.activity == activity))
        cursor.execute(*table
            .join(sent, 'LEFT', condition=(sent.id == record_activity)
                & (sent.activity == activity))
            .join(hit, 'LEFT', condition=(hit.record_activity == sent.id)
                & (hit.at >= recent))
            .select(
                url, activity, links, sent.id, sent.at,
                sent.email_opened, sent.email_clicked,
                hit.id, hit.at, hit.link, hit.verdict,
                where=where,
                # Enough to recognise a burst, whatever has been requested
                order_by=[hit.id.desc], limit=100))
        rows = cursor.fetchall()
        return Target(rows, rules) if rows else None

    @classmethod
    def _store(cls, target, link, request):
        now = dt.datetime.now()
        verdict = target.judge(now, link, request)
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        cursor.execute(*table.insert(
                [table.create_uid, table.create_date, table.at,
                    table.activity, table.record_activity, table.link,
                    table.verdict, table.settled],
                [[
                        transaction.user, now, now,
                        target.activity, target.record_activity, link,
                        verdict, verdict == MACHINE]]))
        if verdict == HUMAN:
            target.note(link is not None)
        elif target.doubtful:
            cls._doubt(target)

    @classmethod
    def _doubt(cls, target):
        "Wait for what follows: other hits came within the time of a burst"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.update(
                [table.verdict], [UNKNOWN],
                where=fields.SQL_OPERATORS['in'](table.id, target.doubtful)
                & (table.settled == Literal(False))))
        cls._recount([target.record_activity])

    @classmethod
    def _recount(cls, ids):
        "Let the flags of the record activities tell what their hits tell"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        sent = RecordActivity.__table__()
        hit = cls.__table__()
        cursor = Transaction().connection.cursor()
        human = ((hit.record_activity == sent.id) & (hit.verdict == HUMAN))
        cursor.execute(*sent.update(
                [sent.email_opened, sent.email_clicked], [
                    Exists(hit.select(Literal(1), where=human)),
                    Exists(hit.select(
                            Literal(1), where=human & (hit.link != Null))),
                    ],
                where=fields.SQL_OPERATORS['in'](sent.id, ids)))

    @classmethod
    def settle(cls):
        "Give hits their final verdict and let them start what depends on it"
        while commit(cls._settle_slice):
            pass

    @classmethod
    def _settle_slice(cls, size=500):
        "Settle some hits, return if there may be more"
        rules = settings.hit_rules()
        now = dt.datetime.now()
        rows = cls._unsettled(now - dt.timedelta(seconds=rules.hold), size)
        messages = cls._messages({s for _, s in rows if s}, now)
        verdicts = {id_: HUMAN for id_, sent in rows if not sent}
        opened, clicked, dropped = set(), set(), set()
        for sent, hits in messages.items():
            for hit, verdict in hits.rejudge(now, rules):
                verdicts[hit.id] = verdict
                if verdict == HUMAN:
                    opened.add(sent)
                    if hit.link:
                        clicked.add(sent)
                elif verdict != hit.verdict == HUMAN:
                    dropped.add(sent)
        cls._set_verdicts(verdicts, {id_ for id_, _ in rows})
        if dropped:
            cls._recount(list(dropped))
        cls._fire(opened, clicked)
        return len(rows) == size

    @classmethod
    def _unsettled(cls, held, size):
        "Return (id, record activity) of hits that are ready to be settled"
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        cursor.execute(*table.select(
                table.id, table.record_activity,
                where=(table.settled == Literal(False))
                & ((table.verdict == HUMAN) | (table.at <= held)),
                order_by=[table.id.asc], limit=size))
        return cursor.fetchall()

    @classmethod
    def _messages(cls, ids, now):
        "Return {record activity: Hits unsettled or of the last day}"
        pool = Pool()
        Link = pool.get('marketing.automation.link')
        RecordActivity = pool.get('marketing.automation.record.activity')
        table = cls.__table__()
        sent = RecordActivity.__table__()
        link = Link.__table__()
        cursor = Transaction().connection.cursor()
        links = Coalesce(sent.links, link.select(
                Count(), where=link.activity == sent.activity))
        cursor.execute(*table
            .join(sent, condition=table.record_activity == sent.id)
            .select(
                sent.id, sent.at, links,
                table.id, table.at, table.link, table.verdict,
                where=fields.SQL_OPERATORS['in'](sent.id, list(ids))
                & ((table.at >= now - dt.timedelta(days=1))
                    # However long the cron has not run
                    | (table.settled == Literal(False)))))
        messages = {}
        for id_, at, count, *hit in cursor.fetchall():
            hits = messages.setdefault(id_, Hits(schedule.instant(at), count))
            hits.add(*hit)
        return messages

    @classmethod
    def _set_verdicts(cls, verdicts, settled):
        table = cls.__table__()
        cursor = Transaction().connection.cursor()
        same = defaultdict(list)
        for id_, verdict in verdicts.items():
            same[verdict, id_ in settled].append(id_)
        for (verdict, is_settled), ids in same.items():
            columns, values = [table.verdict], [verdict]
            if is_settled:
                columns.append(table.settled)
                values.append(True)
            cursor.execute(*table.update(
                    columns, values,
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


class Target:
    "What a hit is aimed at: the rows of Hit._target"

    def __init__(self, rows, rules):
        (self.url, self.activity, self.links, self.record_activity, at,
            self.is_opened, self.is_clicked, *_) = rows[0]
        self.sent = schedule.instant(at)
        self.rules = rules
        self.recent = [
            (id_, schedule.instant(at), link, verdict)
            for *_, id_, at, link, verdict in rows if id_]

    def judge(self, now, link, request):
        """Return the verdict of a hit that comes now

        It is human at once if it stands alone, long after the message.
        """
        self.now = now
        context = Context(
            self.sent, max(1, self.links),
            [(at, link) for _, at, link, _ in self.recent])
        verdict, _ = judge(
            RequestHit(now, link, **request), context, self.rules)
        if (verdict == UNKNOWN and self.sent and not self._close
                and (now - self.sent).total_seconds() >= self.rules.soon):
            verdict = HUMAN
        return verdict

    @property
    def _close(self):
        "The recent hits within the time of a burst"
        since = self.now - dt.timedelta(seconds=self.rules.burst)
        return [hit for hit in self.recent if hit[1] >= since]

    @property
    def doubtful(self):
        "The ids of hits that were taken for human too early"
        return [id_ for id_, _, _, verdict in self._close if verdict == HUMAN]

    def note(self, is_click):
        "Store the event on the record activity"
        pool = Pool()
        RecordActivity = pool.get('marketing.automation.record.activity')
        if self.is_opened and (self.is_clicked or not is_click):
            return
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        columns = [table.email_opened]
        if is_click:
            columns.append(table.email_clicked)
        cursor.execute(*table.update(
                columns, [True] * len(columns),
                where=table.id == self.record_activity))


class Hits:
    "The hits on one message"
    Hit = namedtuple('Hit', ['id', 'at', 'link', 'verdict'])

    def __init__(self, sent, links):
        self.sent = sent
        self.links = max(1, links)
        self.hits = []

    def add(self, id_, at, link, verdict):
        self.hits.append(self.Hit(id_, schedule.instant(at), link, verdict))

    def rejudge(self, now, rules):
        "Yield (hit, verdict) of each hit"
        changes = rejudge(
            [(h.at, h.link, h.verdict) for h in self.hits],
            now, self.sent, self.links, rules)
        for i, hit in enumerate(self.hits):
            yield hit, changes[i][0] if i in changes else hit.verdict
