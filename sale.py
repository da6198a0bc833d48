# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Sales as what enters, and as what is known of parties"""
import datetime as dt

from sql import Literal
from sql.aggregate import Count, Max, Sum
from sql.conditionals import Coalesce

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.transaction import Transaction

from .mixin import MarketingAutomationMixin


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @classmethod
    def guards(cls, model):
        guards = super().guards(model)
        if model == 'sale.sale':
            for name in ['cancelled', 'returned']:
                guards[f'sale_{name}'] = (
                    gettext(f'marketing_automation.msg_guard_sale_{name}'),
                    getattr(cls, f'guard_sale_{name}'))
        return guards

    @classmethod
    def guard_sale_cancelled(cls, sales):
        return {s.id for s in sales if s.state == 'cancelled'}

    @classmethod
    def guard_sale_returned(cls, sales):
        pool = Pool()
        Sale = pool.get('sale.sale')
        returns = Sale.search([
                ('origin', 'in', list(map(str, sales))),
                ('state', 'in', ['confirmed', 'processing', 'done']),
                ], order=[])
        return {
            r.origin.id for r in returns
            if any((line.quantity or 0) < 0 for line in r.lines)}


class Sale(MarketingAutomationMixin, metaclass=PoolMeta):
    __name__ = 'sale.sale'

    marketing_amount = fields.Function(fields.Numeric(
            "Amount", digits='currency', help="The untaxed amount."),
        'get_marketing_amount', searcher='search_marketing_amount')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.marketing_party.context = {
            'company': Eval('company', -1),
            }
        cls.marketing_party.depends.add('company')

    def get_marketing_party(self, name):
        return self.party.id if self.party else None

    @classmethod
    def column_marketing_party(cls, tables):
        table, _ = tables[None]
        return table.party

    @classmethod
    def search_marketing_party(cls, name, clause):
        nested = clause[0][len(name):]
        return [('party' + nested, *clause[1:])]

    @property
    def marketing_access_context(self):
        pool = Pool()
        ModelData = pool.get('ir.model.data')
        context = super().marketing_access_context
        context['_groups'].append(ModelData.get_id('sale.group_sale'))
        if self.company:
            context.setdefault('_companies', []).append(self.company.id)
        return context

    @classmethod
    def get_marketing_amount(cls, sales, name):
        return {s.id: s.untaxed_amount for s in sales}

    @classmethod
    def search_marketing_amount(cls, name, clause):
        pool = Pool()
        Line = pool.get('sale.line')
        _, operator, value = clause
        Operator = fields.SQL_OPERATORS[operator]
        field = cls.untaxed_amount_cache
        table = cls.__table__()
        line = Line.__table__()
        # As long as a sale can change, its amount is not stored
        lines = line.select(
            Sum(line.quantity * line.unit_price),
            where=(line.sale == table.id) & (line.type == 'line'))
        amount = Coalesce(table.untaxed_amount_cache, lines, Literal(0))
        # Not all the databases compare decimals as numbers by themselves
        return [('id', 'in', table.select(
                    table.id,
                    where=Operator(
                        field._domain_column(operator, amount),
                        field._domain_value(operator, value))))]

    @classmethod
    def marketing_views(cls):
        return [
            'marketing_automation.sale_view_list_audience',
            'sale.sale_view_form',
            ]

    @classmethod
    def marketing_criteria(cls):
        return [
            'sale_date', 'state', 'marketing_amount', 'number', 'create_date',
            *super().marketing_criteria()]


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    marketing_last_sale = fields.Function(fields.Date(
            "Last Purchase",
            help="When the party has bought last."),
        'get_marketing_sales', searcher='search_marketing_sales')
    marketing_sale_count = fields.Function(fields.Integer(
            "Purchases",
            help="How often the party has bought."),
        'get_marketing_sales', searcher='search_marketing_sales')

    @classmethod
    def get_marketing_sales(cls, parties, names):
        cursor = Transaction().connection.cursor()
        result = {name: {} for name in names}
        query = cls._marketing_sales()
        cursor.execute(*query.select(
                query.party, *(getattr(query, n) for n in names),
                where=fields.SQL_OPERATORS['in'](
                    query.party, [p.id for p in parties])))
        for party, *values in cursor:
            for name, value in zip(names, values):
                if isinstance(value, str):
                    # SQLite does not know the type of an aggregate
                    value = dt.date.fromisoformat(value)
                result[name][party] = value
        return result

    @classmethod
    def _marketing_sales(cls):
        "Return the query of what each party has bought, of one company if any"
        pool = Pool()
        Sale = pool.get('sale.sale')
        table = cls.__table__()
        sale = Sale.__table__()
        condition = ((sale.party == table.id)
            & sale.state.in_(['confirmed', 'processing', 'done']))
        if company := Transaction().context.get('company'):
            condition &= sale.company == company
        return table.join(sale, 'LEFT', condition=condition).select(
            table.id.as_('party'),
            Max(sale.sale_date).as_('marketing_last_sale'),
            Count(sale.id).as_('marketing_sale_count'),
            group_by=table.id)

    @classmethod
    def search_marketing_sales(cls, name, clause):
        _, operator, value = clause
        Operator = fields.SQL_OPERATORS[operator]
        query = cls._marketing_sales()
        return [('id', 'in', query.select(
                    query.party,
                    where=Operator(getattr(query, name), value)))]

    @classmethod
    def marketing_criteria(cls):
        return [
            *super().marketing_criteria(),
            'marketing_last_sale', 'marketing_sale_count']
