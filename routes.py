# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""HTTP: parse, call one method, answer

What arrives here is hostile: whatever is not genuine gets the same page.
"""
from functools import wraps

from trytond.protocols.wrappers import (
    HTTPStatus, Response, allow_null_origin, exceptions, set_max_request_size,
    with_pool, with_transaction)
from trytond.tools import file_open
from trytond.transaction import Transaction
from trytond.wsgi import Base64Converter, app

MAX_SIZE = 16 * 1024
HEADERS = {
    'Cache-Control': 'no-store',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Robots-Tag': 'noindex',
    }
PAGE_HEADERS = {
    **HEADERS,
    'Content-Security-Policy': (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"),
    }


def _file(name):
    with file_open(f'marketing_automation/{name}', mode='rb') as fp:
        return fp.read()


def not_found():
    return Response(
        _file('not_found.html'), HTTPStatus.NOT_FOUND,
        content_type='text/html; charset=utf-8', headers=PAGE_HEADERS)


def pixel():
    return Response(
        _file('empty.gif'), HTTPStatus.OK,
        content_type='image/gif', headers=HEADERS)


def public(*methods):
    """Decorate a route that anybody can request

    The database name arrives in base64url.  Whatever is wrong with it, with
    the method or with the identifiers is answered calmly here.
    """
    def decorator(func):
        @wraps(func)
        def wrapper(request, database, **kwargs):
            if request.method not in methods:
                return Response(
                    status=HTTPStatus.METHOD_NOT_ALLOWED,
                    headers={**HEADERS, 'Allow': ', '.join(methods)})
            name = _database(database)
            if name is None:
                return not_found()
            try:
                return func(request, database_name=name, **kwargs)
            except exceptions.NotFound:
                return not_found()
        return set_max_request_size(MAX_SIZE)(allow_null_origin(wrapper))
    return decorator


def _database(value):
    "Return the decoded name of the database or None"
    try:
        return Base64Converter(None).to_python(value)
    except ValueError:
        return None


def signals(request):
    "Return what tells if a person has made the request"
    return {
        'method': request.method,
        'user_agent': request.user_agent.string,
        'headers': request.headers,
        'secure': request.is_secure,
        }


@app.route('/m/empty.gif')
def empty(request):
    return pixel()


@app.route('/m/<database>/o/<token>.gif')
@public('GET', 'HEAD')
@with_pool
@with_transaction(readonly=False)
def opened(request, pool, token):
    Hit = pool.get('marketing.automation.hit')
    if not Hit.opened(token, signals(request)):
        raise exceptions.NotFound()
    return pixel()


@app.route('/m/<database>/c/<token>')
@public('GET', 'HEAD')
@with_pool
@with_transaction(readonly=False)
def clicked(request, pool, token):
    Hit = pool.get('marketing.automation.hit')
    url = Hit.clicked(token, signals(request), request.args.get('u'))
    if not url:
        raise exceptions.NotFound()
    return Response(
        status=HTTPStatus.FOUND, headers={**HEADERS, 'Location': url})


@app.route('/m/<database>/unsubscribe')
@public('GET', 'HEAD', 'POST')
@with_pool
@with_transaction()
def unsubscribe(request, pool):
    Unsubscription = pool.get('marketing.automation.unsubscription')
    record, activity, next_ = Unsubscription.find(
        request.args.get('r'), request.args.get('t'),
        request.args.get('u') or request.args.get('next'))
    if not record:
        raise exceptions.NotFound()
    undone = False
    if request.method == 'POST':
        undone = Unsubscription.act(
            record, activity, request.form.get('action'))
    return _page(pool, record, {'next': next_, 'undone': undone})


def _page(pool, record, data):
    Report = pool.get('marketing.automation.unsubscribe', type='report')
    with Transaction().set_context(record.reading_context):
        _, content, _, _ = Report.execute(
            [record.id], {'model': 'marketing.automation.record', **data})
    return Response(
        content, HTTPStatus.OK,
        content_type='text/html; charset=utf-8', headers=PAGE_HEADERS)
