# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""One e-mail for an address that several parties share"""
from collections import defaultdict

from sql.conditionals import Case
from sql.functions import Lower

from trytond.model import Index, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from .exceptions import Outcome
from .mail.address import comparable, spellings
from .mail.message import recipient
from .schedule import instant


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    once_per_address = fields.Boolean(
        "Once per Address",
        states={
            'readonly': Eval('state', 'draft') == 'running',
            },
        help="Check to send each e-mail only once to an address, "
        "also when several parties have it.\n"
        "The party whose record has entered first gets it.")

    @classmethod
    def default_once_per_address(cls):
        return True

    def repeated(self, activity, drafts):
        "Return the set of ids of the drafts that the address gets already"
        if not self.once_per_address:
            return set()
        if not (parties := self._sharing(drafts)):
            return set()
        first = self._first_records(activity, parties)
        return {
            draft.id for draft in drafts
            if any(
                record < draft.record and party != draft.party
                and not _is_before(at, draft)
                for record, party, at in first[comparable(draft.address)])}

    @staticmethod
    def _sharing(drafts):
        "Return the ids of other parties that have an address of the drafts"
        pool = Pool()
        ContactMechanism = pool.get('party.contact_mechanism')
        table = ContactMechanism.__table__()
        cursor = Transaction().connection.cursor()
        addresses = {
            s.lower() for d in drafts for s in spellings(d.address)}
        cursor.execute(*table.select(
                table.party, table.value,
                where=fields.SQL_OPERATORS['in'](
                    Lower(table.value), list(addresses))
                & (table.type == 'email')))
        sharing = defaultdict(set)
        for party, value in cursor:
            sharing[comparable(value)].add(party)
        return {
            p for parties in sharing.values() if len(parties) > 1
            for p in parties}

    def _first_records(self, activity, parties):
        """Return {address: [(record, party, at)]} of what gets the activity

        As ids of the records in the scenario and of the parties, with the
        time if it is done.
        """
        pool = Pool()
        Party = pool.get('party.party')
        first = defaultdict(list)
        refusing = self.refusing(parties)
        getting = list(self._getting(activity, parties - refusing))
        # Read together what is known of them
        parties = Party.browse([p for _, p, _ in getting])
        for (record, _, at), party in zip(getting, parties):
            try:
                _, address = recipient(activity, party)
            except Outcome:
                continue
            if party.active:
                first[comparable(address)].append((record, party.id, at))
        return first

    def _getting(self, activity, parties):
        "Yield (record, party, at) of the parties that get the activity"
        pool = Pool()
        Model = pool.get(self.model)
        Record = pool.get('marketing.automation.record')
        RecordActivity = pool.get('marketing.automation.record.activity')
        record = Record.__table__()
        table = RecordActivity.__table__()
        cursor = Transaction().connection.cursor()
        resources = {
            str(r): r.marketing_party.id for r in Model.search([
                    ('marketing_party.id', 'in', list(parties)),
                    ])}
        cursor.execute(*record
            .join(table, condition=(table.record == record.id)
                & (table.activity == activity.id))
            .select(
                record.id, record.record,
                Case((table.state == 'done', table.at)),
                where=(record.scenario == self.id)
                & Record.going(record)
                & table.state.in_([*RecordActivity.pending, 'done'])
                & fields.SQL_OPERATORS['in'](
                    record.record, list(resources))))
        for id_, resource, at in cursor.fetchall():
            yield id_, resources[resource], at and instant(at)


def _is_before(at, draft):
    "Return if what was done at the time belongs to an earlier occasion"
    return bool(at and draft.since and at < draft.since)


class ContactMechanism(metaclass=PoolMeta):
    __name__ = 'party.contact_mechanism'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t,
                (Lower(t.value), Index.Equality()),
                where=t.type == 'email'))
