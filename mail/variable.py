# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a record offers to title and template, with its values as examples"""
from collections import namedtuple
from html import escape

from trytond import backend
from trytond.exceptions import UserError
from trytond.i18n import gettext
from trytond.model.fields.selection import TranslatedSelection
from trytond.pool import Pool
from trytond.transaction import Transaction

from ..access import report_helpers
from .message import text
from .sample import failed, page, reading_context, scope

# Of every model, they tell how the system works
TECHNICAL = {
    'active', 'create_date', 'create_uid', 'id', 'last_modified_at',
    'last_modified_by', 'marketing_party', 'rec_name', 'write_date',
    'write_uid'}
# Longer values are cut
WIDTH = 60
# By type of field: how its value is shown, and if nothing is to be checked
SHOWN = {
    'char': ('%(path)s', True),
    'text': ('%(path)s', True),
    'fulltext': ('%(path)s', True),
    'integer': ('%(path)s', True),
    'date': ('format_date(%(path)s)', False),
    'datetime': ('format_datetime(%(path)s)', False),
    'timestamp': ('format_datetime(%(path)s)', False),
    'timedelta': ('format_timedelta(%(path)s)', True),
    'float': ('format_number(%(path)s, None)', False),
    'numeric': ('format_number(%(path)s, None)', False),
    'many2one': ('%(path)s.rec_name', False),
    }
EXAMPLES = [
    ('unsubscribe', '<a href="unsubscribe">…</a>'),
    ('address', '${sender_address}'),
    ('today', '${format_date(datetime.date.today())}'),
    ('later',
        '${format_date(datetime.date.today()'
        ' + datetime.timedelta(days=14))}'),
    ('if', '<p py:if="record.NAME">…</p>'),
    ('if_title', '{% if record.NAME %}…{% end %}'),
    ('link', '<a href="https://www.example.com/">…</a>'),
    ]
TABLE = '<h1>%s</h1><table>%s</table>'
ROW = (
    '<tr><th scope="row">%s</th><td><code>%s</code></td><td>%s</td></tr>')

Variable = namedtuple('Variable', ['label', 'expression', 'value'])


def show(activity, record, language=None):
    "Return (HTML, text) of what can be written for the record"
    pool = Pool()
    if not record:
        preview = failed(gettext('marketing_automation.msg_preview_no_record'))
        return preview.html, preview.text
    record = pool.get(record.__name__)(record.id)
    try:
        groups = list(_groups(activity, record, language))
    except UserError as exception:
        preview = failed(str(exception))
        return preview.html, preview.text
    html = ''.join(
        TABLE % (escape(title), ''.join(
                ROW % tuple(map(escape, v)) for v in variables))
        for title, variables in groups)
    lines = '\n'.join(
        '\t'.join(v) for _, variables in groups for v in variables)
    hint = gettext('marketing_automation.msg_variable_copy')
    return page(html, notice=hint), lines


def _groups(activity, record, language):
    "Yield the title and the list of variables of each group"
    access = scope(record)
    context = reading_context(activity, record, language)
    path, party = _party_path(record)
    models = [(record.__class__, 'record')]
    if party:
        models.append((party.__class__, path))
    for Model, path in models:
        names = access.fields(Model)
        values = _Values(access, record, context)
        yield Model.__names__()['model'], [
            *_variables(Model, path, names, access, values),
            *_lists(Model, path, names, access),
            ]
    yield gettext('marketing_automation.msg_variable_examples'), [
        _example(access, record, *example) for example in EXAMPLES]


def _example(access, record, name, expression):
    # A field that may be without a value
    fields = access.fields(record.__class__)
    field = next(filter(fields.__contains__, ['number', 'code']), 'rec_name')
    return Variable(
        gettext(f'marketing_automation.msg_variable_{name}'),
        expression.replace('NAME', field), '')


def _party_path(record):
    "Return the path to the party to address, and it, unless it is the record"
    if record.__name__ == 'party.party':
        return 'record', None
    party = record.marketing_party
    field = record._fields.get('party')
    if field and getattr(record, 'party', None) == party:
        return 'record.party', party
    return 'record.marketing_party', party


class _Values:
    "The values of expressions as they are in the e-mail"

    def __init__(self, access, record, context):
        self.context = context
        with Transaction().set_context(context):
            record = record.__class__(record.id)
            self.names = {
                'record': access.proxy(record), **report_helpers()}

    def get(self, expression):
        "Return the value of the expression, None if it can not be read"
        try:
            with Transaction().set_context(self.context):
                value = text(expression).render(self.names)
        except backend.DatabaseOperationalError:
            raise
        except Exception:
            # What fails for the sample is not offered
            return None
        value = ' '.join(value.split())
        return value if len(value) <= WIDTH else value[:WIDTH] + '…'


def _variables(Model, path, names, access, values):
    "Return what shows the fields, those with a value first"
    result = []
    for name, label in _labels(Model, names):
        field = Model._fields[name]
        expression = _expression(Model, field, f'{path}.{name}', access)
        value = values.get(expression) if expression else None
        if value is not None:
            result.append(Variable(label, expression, value))
    return sorted(result, key=lambda v: not v.value)


def _labels(Model, names):
    "Return the names and labels of the fields, sorted by label"
    names = [n for n in names if n not in TECHNICAL]
    labels = Model.fields_get(names)
    return sorted(
        ((n, labels[n]['string']) for n in names if n in labels),
        key=lambda item: item[1].casefold())


def _expression(Model, field, path, access):
    if field._type == 'selection':
        if isinstance(
                getattr(Model, f'{field.name}_string', None),
                TranslatedSelection):
            return '${%s_string}' % path
        return None
    if field._type not in SHOWN:
        return None
    if field._type == 'many2one' and (
            'rec_name' not in access.fields(field.get_target())):
        return None
    shown, is_safe = SHOWN[field._type]
    if currency := getattr(field, 'currency', None):
        parent = path.rpartition('.')[0]
        shown = f'format_currency(%(path)s, None, {parent}.{currency})'
    shown %= {'path': path}
    if is_safe or field.required:
        return '${%s}' % shown
    # Zero is a value
    missing = ' is not None' if field._type in {'float', 'numeric'} else ''
    return "${%s if %s%s else ''}" % (shown, path, missing)


def _lists(Model, path, names, access):
    "Yield what repeats an element for the records of a field"
    for name, label in _labels(Model, names):
        field = Model._fields[name]
        if (field._type in {'one2many', 'many2many'}
                and 'rec_name' in access.fields(field.get_target())):
            yield Variable(
                label,
                f'<p py:for="item in {path}.{name}">'
                '${item.rec_name}</p>', '')
