# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What marketing knows of a party at a glance, to search and to choose by"""
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction


class Party(metaclass=PoolMeta):
    __name__ = 'party.party'

    marketing_language = fields.Function(fields.Many2One(
            'ir.lang', "Language",
            help="The language in which the party gets e-mails."),
        'get_marketing_profile', searcher='search_marketing_language')
    marketing_country = fields.Function(fields.Many2One(
            'country.country', "Country",
            help="It is searched for in all the addresses of the party."),
        'get_marketing_profile', searcher='search_marketing_address')
    marketing_postal_code = fields.Function(fields.Char(
            "Postal Code",
            help="It is searched for in all the addresses of the party."),
        'get_marketing_profile', searcher='search_marketing_address')
    marketing_city = fields.Function(fields.Char(
            "City",
            help="It is searched for in all the addresses of the party."),
        'get_marketing_profile', searcher='search_marketing_address')
    marketing_category = fields.Function(fields.Char(
            "Categories"),
        'get_marketing_profile', searcher='search_marketing_category')
    marketing_has_email = fields.Function(fields.Boolean(
            "Has E-mail",
            help="The party has an e-mail address."),
        'get_marketing_profile', searcher='search_marketing_has_email')

    @classmethod
    def get_marketing_profile(cls, parties, names):
        result = {name: {} for name in names}
        for party in parties:
            for name in names:
                method = getattr(party, '_' + name)
                result[name][party.id] = method()
        return result

    def _marketing_language(self):
        return self.lang.id if self.lang else None

    def _marketing_country(self):
        country = self._marketing_address('country')
        return country.id if country else None

    def _marketing_postal_code(self):
        return self._marketing_address('postal_code')

    def _marketing_city(self):
        return self._marketing_address('city')

    def _marketing_address(self, name):
        "Return the first value of its addresses"
        return next(filter(None, (
                    getattr(a, name) for a in self.addresses)), None)

    def _marketing_category(self):
        return ", ".join(c.rec_name for c in self.categories)

    def _marketing_has_email(self):
        return any(m.type == 'email' for m in self.contact_mechanisms)

    @classmethod
    def search_marketing_language(cls, name, clause):
        pool = Pool()
        Lang = pool.get('party.party.lang')
        domain = []
        if 'company' in Lang._fields:
            company = Transaction().context.get('company')
            domain.append(('company', 'in', [company, None]))
        return _search_any('langs', 'lang', name, clause, domain)

    @classmethod
    def search_marketing_address(cls, name, clause):
        return _search_any(
            'addresses', name.removeprefix('marketing_'), name, clause)

    @classmethod
    def search_marketing_category(cls, name, clause):
        nested = clause[0][len(name):] or '.rec_name'
        return _search_any(
            'categories', nested[1:], clause[0], clause)

    @classmethod
    def search_marketing_has_email(cls, name, clause):
        _, operator, value = clause
        values = value if isinstance(value, (list, tuple)) else [value]
        if operator in {'!=', 'not in'}:
            values = [v for v in [True, False] if v not in map(bool, values)]
        return ['OR', ('id', '<', 0), *(
                ('contact_mechanisms', 'where' if v else 'not where', [
                        ('type', '=', 'email'),
                        ])
                for v in values)]

    @classmethod
    def marketing_views(cls):
        return [
            'marketing_automation.party_view_list_audience',
            'party.party_view_form',
            ]

    @classmethod
    def marketing_criteria(cls):
        return [
            'marketing_language', 'marketing_country',
            'marketing_postal_code', 'marketing_city', 'categories',
            'marketing_has_email', 'create_date', 'name', 'code']


def _search_any(relation, field, name, clause, domain=()):
    """Return the domain of the clause on a field of related records

    A positive clause holds if it holds for any of them, a negative one if
    what it denies holds for none.
    """
    path, operator, value, *extra = clause
    related = field + path[len(name):]
    where = 'where'
    if value is None:
        where = 'where' if operator == '!=' else 'not where'
        operator = '!='
    elif operator == '!=' or operator.startswith('not '):
        where = 'not where'
        operator = '=' if operator == '!=' else operator[len('not '):]
    return [(relation, where, [(related, operator, value, *extra), *domain])]
