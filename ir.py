# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

import datetime as dt
import json

from sql import Null

from trytond.model import Index, fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Eval
from trytond.tools.domain_inversion import is_leaf
from trytond.transaction import Transaction

from .mixin import MarketingCreatableMixin
from .sql_expression import Unqualified


class Cron(metaclass=PoolMeta):
    __name__ = 'ir.cron'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.method.selection.extend([
                ('marketing.automation.scenario|trigger',
                    "Enter Records into Marketing Scenarios"),
                ('marketing.automation.record.activity|process',
                    "Do Marketing Activities"),
                ('marketing.automation.notice|send',
                    "Notify the Users of Marketing"),
                ('marketing.automation.cap|clean',
                    "Forget the E-mails of Parties"),
                ('marketing.automation.throttle|clean',
                    "Forget Used Marketing Limits"),
                ('marketing.automation.hit|clean',
                    "Forget Old Marketing Hits"),
                ('ir.email|forget_marketing',
                    "Forget What Old Marketing E-mails Said"),
                ])


class ViewTreeState(metaclass=PoolMeta):
    __name__ = 'ir.ui.view_tree_state'

    @classmethod
    def get(cls, model, domain, child_name):
        "Show whole trees of activities until the user has closed a branch"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        nodes, selected = super().get(model, domain, child_name)
        if model == Activity.__name__ and nodes == cls.default_nodes():
            for clause in json.loads(domain):
                if clause[:1] == ['parent']:
                    # Its id in a form, a reference in a list
                    parent = clause[-1]
                    if isinstance(parent, list):
                        parent = parent[-1]
                    nodes = json.dumps(Activity.expanded_paths(parent))
        return nodes, selected


class Note(MarketingCreatableMixin, metaclass=PoolMeta):
    __name__ = 'ir.note'

    @classmethod
    def marketing_new(cls, record):
        return cls(resource=record, unread=True)

    @classmethod
    def marketing_create_fields(cls):
        return ['message']


class Email(metaclass=PoolMeta):
    __name__ = 'ir.email'

    marketing_automation_activity = fields.Many2One(
        'marketing.automation.activity', "Activity", readonly=True,
        states={
            'invisible': ~Eval('marketing_automation_activity'),
            })
    marketing_automation_record = fields.Many2One(
        'marketing.automation.record', "Record", readonly=True,
        states={
            'invisible': ~Eval('marketing_automation_record'),
            })

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t, (t.marketing_automation_record, Index.Range()),
                where=t.marketing_automation_record != Null))

    @classmethod
    def search(
            cls, domain, offset=0, limit=None, order=None, count=False,
            **kwargs):
        # To search those of a model that can not be read is an error
        domain = [domain, *(
                ('resource', 'not like', f'{m},%')
                for m in cls._unreadable_models())]
        return super().search(
            domain, offset=offset, limit=limit, order=order, count=count,
            **kwargs)

    @classmethod
    def check_search_access(cls, domain):
        # Tryton 8.2 wants to be asked for one resource, while e-mails of
        # scenarios are found by what has sent them
        if not _is_of_marketing(domain):
            super().check_search_access(domain)

    @classmethod
    def _unreadable_models(cls):
        "Return the names of the models of scenarios the user may not read"
        pool = Pool()
        Access = pool.get('ir.model.access')
        Scenario = pool.get('marketing.automation.scenario')
        if not Transaction().check_access:
            return []
        models = [m for m, _ in Scenario.get_models()]
        access = Access.get_access(models)
        return [m for m in models if not access[m]['read']]

    def get_user(self, name):
        if (self.marketing_automation_activity
                or self.marketing_automation_record):
            return None
        return super().get_user(name)

    @classmethod
    def file_marketing(cls, emails):
        """File sent e-mails, in two statements

        emails -- list of dictionaries of column values, with the address of
                  the only recipient as address and what is kept of the
                  content: its sender and its draft
        """
        pool = Pool()
        Address = pool.get('ir.email.address')
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        table = cls.__table__()
        address = Address.__table__()
        if not emails:
            return
        common = [transaction.user, dt.datetime.now()]
        names = [n for n in emails[0] if n != 'address']
        cursor.execute(*table.insert(
                [table.create_uid, table.create_date,
                    *(getattr(table, n) for n in names)],
                [[*common, *(e[n] for n in names)] for e in emails],
                returning=[
                    Unqualified(table.id), Unqualified(table.message_id)]))
        ids = {message_id: id_ for id_, message_id in cursor.fetchall()}
        cursor.execute(*address.insert(
                [address.create_uid, address.create_date,
                    address.email, address.address],
                [[*common, ids[e['message_id']], e['address']]
                    for e in emails]))


def _is_of_marketing(domain):
    "Return if only e-mails of scenarios match the domain"
    if not domain or domain[0] == 'OR':
        return False
    if is_leaf(domain):
        name, operator, value, *_ = domain
        return name.startswith('marketing_automation_') and (
            operator == '!=' and value is None
            or operator == '=' and value is not None
            or operator == 'in' and None not in list(value))
    return any(_is_of_marketing(c) for c in domain if c != 'AND')
