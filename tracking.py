# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Links, opens and clicks"""
import datetime as dt
import hashlib

from sql import Conflict

from trytond.model import ModelSQL, ModelView, Unique, fields
from trytond.transaction import Transaction



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
    "A request for a tracked link or for the pixel of an e-mail"
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
    settled = fields.Boolean(
        "Settled", readonly=True,
        help="The hit has had its effect.")

    @classmethod
    def settle(cls):
        pass
