# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Who of the audience gets e-mails, and who does not and why

It is known before anybody enters, with the database counting: what decides in
the end is looked at again when an e-mail is composed.
"""
from sql import Literal, Null, NullsFirst, Window
from sql.aggregate import Count
from sql.conditionals import Case, NullIf
from sql.functions import FirstValue, Lower, RowNumber, Trim

from trytond.model import ModelView, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval, PYSONEncoder
from trytond.transaction import Transaction

from .audience import Audience

COUNTS = {
    'reached_count': 'reached',
    'entered_count': 'entered',
    'unsubscribed_count': 'unsubscribed',
    'inactive_count': 'inactive',
    'no_address_count': 'no_address',
    'suppressed_count': 'suppressed',
    'duplicate_count': 'duplicate',
    }


def _count(string, help=''):
    "Return the field of a number that is shown only if there is any"
    return fields.Function(fields.Integer(string, help=help), 'get_counts')


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    matching_count = _count(
        "Matching Records",
        help="How many records match now.")
    reached_count = _count(
        "Get E-mails",
        help="How many of the matching records would enter now "
        "and get the e-mails.")
    entered_count = _count(
        "Already In",
        help="They have entered the scenario before.")
    unsubscribed_count = _count(
        "Unsubscribed",
        help="Their parties do not want e-mails of the scenario.")
    inactive_count = _count(
        "Party Deactivated")
    no_address_count = _count(
        "No E-mail Address")
    suppressed_count = _count(
        "Address Suppressed",
        help="Nothing is sent to addresses that bounced or complained.")
    duplicate_count = _count(
        "Same Address",
        help="Another party with the address gets the e-mails.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in COUNTS.keys() - {'reached_count'}:
            getattr(cls, name).states = {
                'invisible': ~Eval(name, 0),
                }
        cls._buttons.update(
            show_matching={
                'invisible': ~Bool(Eval('model')),
                'icon': 'tryton-search',
                'depends': ['model'],
                },
            )

    @classmethod
    def get_counts(cls, scenarios, names):
        result = {name: {} for name in names}
        for scenario in scenarios:
            if names == ['matching_count']:
                # Lists of scenarios show no other
                counts = {'matching_count': scenario.count_matching()}
            else:
                counts = scenario.count_reach()
            for name in names:
                result[name][scenario.id] = counts.get(name)
        return result

    def count_matching(self):
        "Return the number of matching records, None if it is not known"
        try:
            return Audience(self).count()
        except Exception:
            # What is wrong is said when the scenario is saved
            return None

    @fields.depends('model', 'domain', 'once_per_address')
    def count_reach(self):
        """Return {name of the count: number} of the matching records

        It is empty if they can not be searched for.
        """
        if not self.model or not self.domain:
            return {}
        cursor = Transaction().connection.cursor()
        try:
            query = self.reach()
        except Exception:
            # What is wrong is said when the scenario is saved
            return {}
        cursor.execute(*query.select(
                query.reach, Count(Literal(1)), group_by=query.reach))
        counts = dict(cursor.fetchall())
        return {
            'matching_count': sum(counts.values()),
            **{name: counts.get(r, 0) for name, r in COUNTS.items()},
            }

    @fields.depends(methods=['count_reach'])
    def update_counts(self):
        "Let the counts follow what has been changed"
        self.set_counts(self.count_reach())

    def set_counts(self, counts):
        for name in ['matching_count', *COUNTS]:
            setattr(self, name, counts.get(name))

    @fields.depends(methods=['update_counts'])
    def on_change_model(self):
        self.update_counts()

    @fields.depends(methods=['update_counts'])
    def on_change_domain(self):
        self.update_counts()

    @fields.depends(methods=['update_counts'])
    def on_change_once_per_address(self):
        self.update_counts()

    def reach(self):
        """Return the query of (id, reach) of the matching records

        Their reach is as in the field marketing_reach of their model.
        """
        return _Reach(self).query()

    @classmethod
    def first_addresses(cls):
        """Return the query of (party, address, suppressed)

        It is the rule of Activity.email_recipient() for all parties at once.
        """
        pool = Pool()
        ContactMechanism = pool.get('party.contact_mechanism')
        table = ContactMechanism.__table__()
        query = table.select(
            table.party.as_('party'),
            NullIf(Trim(table.value), '').as_('address'),
            table.marketing_suppressed.as_('suppressed'),
            RowNumber(window=Window(
                    [table.party],
                    order_by=[NullsFirst(table.sequence.asc), table.id.asc])
                ).as_('rank'),
            where=(table.type == 'email') & (table.active == Literal(True)))
        return query.select(
            query.party, query.address, query.suppressed,
            where=query.rank == 1)

    @classmethod
    @ModelView.button_action('marketing_automation.act_matching')
    def show_matching(cls, scenarios):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        View = pool.get('ir.ui.view')
        for scenario in scenarios:
            context = {'marketing_scenario': scenario.id}
            if company := scenario.sending_company:
                context['company'] = company
            views = View.browse([
                    ModelData.get_id(*name.split('.'))
                    for name in pool.get(scenario.model).marketing_views()])
            return {
                'res_model': scenario.model,
                'pyson_domain': scenario.domain,
                'pyson_context': PYSONEncoder().encode(context),
                'views': [(v.id, v.real_type) for v in views],
                }


class _Reach:
    "The matching records of a scenario, which need not be saved"

    def __init__(self, scenario):
        self.scenario = scenario
        self.audience = Audience(scenario)
        self.Model = self.audience.Model

    def query(self):
        """Return the query of (id, reach)

        Of the parties with the same address, the first to enter gets the
        e-mails: the one that is in already, else the one that comes first.
        """
        first = self._first()
        return first.select(
            first.id,
            Case(
                ((first.reach == 'reached') & (first.party != first.first),
                    'duplicate'),
                else_=first.reach).as_('reach'))

    def _first(self):
        "Return the query of (id, reach, party, first party of the address)"
        query = self._reasons()
        if not self.scenario.once_per_address:
            return query.select(
                query.id, query.reach, query.party, query.party.as_('first'))
        getting = query.reach.in_(['entered', 'reached'])
        return query.select(
            query.id, query.reach, query.party,
            FirstValue(query.party, window=Window(
                    [Lower(query.address), getting],
                    order_by=[query.reach.asc, query.id.asc])).as_('first'))

    def _reasons(self):
        "Return the query of (id, reach, party, address), each for itself"
        matching = self.audience.matching()
        entered = self._entered()
        refusing = self.audience.refusing_records()
        query = (matching
            .join(entered, 'LEFT', condition=entered.id == matching.id)
            .join(refusing, 'LEFT', condition=refusing.id == matching.id))
        reasons = [
            (entered.id != Null, 'entered'),
            (refusing.id != Null, 'unsubscribed'),
            ]
        party = address = Literal(None)
        if hasattr(self.Model, 'column_marketing_party'):
            query, parties, addresses = self._addresses(query, matching)
            party, address = parties.id, addresses.address
            reasons += [
                (parties.active == Literal(False), 'inactive'),
                (address == Null, 'no_address'),
                (addresses.suppressed != Null, 'suppressed'),
                ]
        return query.select(
            matching.id.as_('id'),
            Case(*reasons, else_='reached').as_('reach'),
            party.as_('party'), address.as_('address'))

    def _entered(self):
        "Return the query of the ids of the records that are in already"
        pool = Pool()
        Record = pool.get('marketing.automation.record')
        table = Record.__table__()
        return table.select(
            Record.record.sql_id(table.record, Record).as_('id'),
            where=self.scenario.keeping_out(table)
            & table.record.like(self.Model.__name__ + ',%'),
            # Several passes of one record
            distinct=True)

    def _addresses(self, query, matching):
        "Return the query with the parties and their addresses, and these"
        pool = Pool()
        Party = pool.get('party.party')
        table = self.Model.__table__()
        party = Party.__table__()
        address = self.scenario.first_addresses()
        column = self.Model.column_marketing_party({None: (table, None)})
        query = (query
            .join(table, condition=table.id == matching.id)
            .join(party, 'LEFT', condition=party.id == column)
            .join(address, 'LEFT', condition=address.party == party.id))
        return query, party, address
