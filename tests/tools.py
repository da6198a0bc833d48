# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the scenarios share: a mail server, readers and the passing of time"""
import datetime as dt
import email.policy
from collections.abc import MutableMapping
from email import message_from_bytes
from unittest.mock import patch
from urllib.parse import urlsplit

from lxml import html
from proteus import Model
from proteus import config as proteus_config
from werkzeug.test import Client

import trytond.config as config
from trytond import backend
from trytond.exceptions import UserError, UserWarning
from trytond.pool import Pool
from trytond.protocols.wrappers import Response
from trytond.tools import file_open
from trytond.transaction import Transaction
from trytond.wsgi import app

from .system.smtp import Server

__all__ = [
    'BASE', 'BROWSER', 'configure', 'content', 'count_statements',
    'create_party', 'enter', 'follow', 'force', 'links', 'load_language',
    'pass_time', 'pixel', 'process', 'read', 'received', 'refused',
    'start_smtp']

BASE = 'https://shop.example.com/'
BROWSER = {
    'User-Agent': "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) "
    "Gecko/20100101 Firefox/140.0",
    'Sec-Fetch-Mode': 'navigate',
    'Sec-Fetch-Dest': 'document',
    'Sec-Fetch-User': '?1',
    }
MODULE = 'marketing.automation.'
# What tells when something has happened or is due
TIMES = {
    'ir.queue': ['enqueued_at'],
    'marketing.automation.cap': ['at'],
    'marketing.automation.activity': ['test_started_at'],
    'marketing.automation.hit': ['at'],
    'marketing.automation.record': ['create_date'],
    'marketing.automation.record.activity': ['at', 'lease', 'tried_since'],
    'marketing.automation.throttle': ['minute', 'open_until'],
    'marketing.automation.unsubscription': ['at', 'undone_at'],
    }
_server = None


class _Section(MutableMapping):
    "A section of the configuration as mapping, for patch.dict"

    def __init__(self, name):
        self.name = name
        if not config.has_section(name):
            config.add_section(name)

    def __getitem__(self, option):
        if option not in config.options(self.name):
            raise KeyError(option)
        return config.get(self.name, option)

    def __setitem__(self, option, value):
        config.set(self.name, option, value)

    def __delitem__(self, option):
        options = dict(self)
        del options[option]
        config.remove_section(self.name)
        config.add_section(self.name)
        for name, value in options.items():
            config.set(self.name, name, value)
        # Forget what was read before
        config.update_etc([])

    def __iter__(self):
        return iter(list(config.options(self.name)))

    def __len__(self):
        return len(config.options(self.name))


def configure(section, **options):
    "Set options until unittest.mock.patch.stopall, as scenarios do at the end"
    values = {n: str(v) for n, v in options.items()}
    patch.dict(_Section(section), values).start()


def start_smtp():
    "Return the mail server of the tests, empty and faultless, configured"
    global _server
    if _server is None:
        _server = Server()
    _server.clear()
    _server.reset()
    _server.listen()
    configure('email', uri=_server.uri, **{'from': "system@example.com"})
    configure('marketing',
        email_from="The Shop <shop@example.com>", automation_base=BASE)
    return _server


def received(server):
    "Return what the mail server has accepted so far as parsed messages"
    return [
        message_from_bytes(m.data, policy=email.policy.default)
        for m in server.messages]


def content(message, subtype='html'):
    "Return the HTML or the plain text of the message"
    return message.get_body((subtype,)).get_content()


def links(message):
    "Return the targets of the links in the HTML of the message"
    return [
        str(href)
        for href in html.fromstring(content(message)).xpath('//a/@href')]


def pixel(message):
    "Return the URL of the image that tells that the message was opened"
    url, = html.fromstring(content(message)).xpath('//img[@width="1"]/@src')
    return str(url)


def follow(url, method='GET', headers=None, **options):
    """Request the URL as a person's browser does, from the real application

    headers -- change what the browser sends
    """
    parts = urlsplit(url)
    return Client(app, Response).open(
        method=method,
        base_url=f'{parts.scheme}://{parts.netloc}/',
        path=parts.path,
        query_string=parts.query,
        headers={**BROWSER, **(headers or {})},
        **options)


def read(name):
    "Return the content of a file of the tests"
    with file_open(f'marketing_automation/tests/{name}', mode='r') as file:
        return file.read()


def create_party(name, *addresses, lang=None):
    "Return a new party with the e-mail addresses, lang is a code"
    Lang = Model.get('ir.lang')
    Party = Model.get('party.party')
    party = Party(name=name)
    if lang:
        party.lang, = Lang.find([('code', '=', lang)])
    for address in addresses:
        party.contact_mechanisms.new(type='email', value=address)
    party.save()
    return party


def load_language(code):
    "Load the translations of all modules into the language"
    Lang = Model.get('ir.lang')
    language, = Lang.find([('code', '=', code)])
    language.click('load_translations')
    return language


def enter():
    "Run the cron that enters records into the scenarios"
    _run('scenario|trigger')


def process():
    "Run the cron that does what is due"
    _run('record.activity|process')


def _run(method):
    Cron = Model.get('ir.cron')
    cron, = Cron.find([('method', '=', MODULE + method)])
    cron.click('run_once')


def pass_time(**duration):
    """Let the time pass by moving all that has happened and is planned

    duration -- arguments of timedelta
    """
    duration = dt.timedelta(**duration)
    name = proteus_config.get_config().database_name
    with Transaction().start(name, 0) as transaction:
        for name, columns in TIMES.items():
            _move(Pool().get(name), columns, -duration)
        transaction.commit()


def _move(Model, columns, duration):
    table = Model.__table__()
    cursor = Transaction().connection.cursor()
    for record in Model.search([]):
        values = {c: getattr(record, c) for c in columns}
        values = {c: v + duration for c, v in values.items() if v}
        if values:
            cursor.execute(*table.update(
                    [getattr(table, c) for c in values],
                    list(values.values()),
                    where=table.id == record.id))


def refused(func, *args):
    "Print the error or the warning that the user gets"
    try:
        func(*args)
    except (UserError, UserWarning) as exception:
        print(f'{type(exception).__name__}: {exception.message}')
    else:
        print("Nothing was refused")


def force(record, **values):
    "Store the values by SQL, so that nothing checks them"
    name = proteus_config.get_config().database_name
    with Transaction().start(name, 0) as transaction:
        name = record.__class__.__name__
        table = Pool().get(name).__table__()
        translation = Pool().get('ir.translation').__table__()
        cursor = transaction.connection.cursor()
        cursor.execute(*table.update(
                [getattr(table, n) for n in values], list(values.values()),
                where=table.id == record.id))
        for field, value in values.items():
            cursor.execute(*translation.update(
                    [translation.value], [value],
                    where=(translation.name == f'{name},{field}')
                    & (translation.res_id == record.id)))
        transaction.commit()
    record.reload()


def count_statements(func, *args):
    "Return the number of statements that the call executes"
    count = 0

    class Connection:
        def __init__(self, connection):
            self.connection = connection

        def __getattr__(self, name):
            return getattr(self.connection, name)

        def cursor(self, *args, **kwargs):
            nonlocal count
            count += 1
            return self.connection.cursor(*args, **kwargs)

    transaction = Transaction()
    get = backend.Database.get_connection
    put = backend.Database.put_connection
    with patch.object(
            transaction, 'connection',
            Connection(transaction.connection)), \
            patch.object(
                backend.Database, 'get_connection',
                lambda *args, **kwargs: Connection(get(*args, **kwargs))), \
            patch.object(
                backend.Database, 'put_connection',
                lambda self, connection, *args: put(
                    self, connection.connection, *args)):
        func(*args)
    assert count
    return count
