# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What is said before anything goes wrong: checks of what users write"""
import re

from lxml import etree

from trytond.i18n import gettext
from trytond.model import fields
from trytond.model.fields.dict import TranslatedDict
from trytond.model.fields.field import domain_validate
from trytond.model.fields.selection import TranslatedSelection
from trytond.pool import Pool
from trytond.pyson import PYSON, Eval, Get, PYSONDecoder
from trytond.transaction import check_access

from .access import METHODS
from .exceptions import ConditionError, DomainError, Failure, TemplateError
from .mail import content, message
from .mail.address import parse_address
from .template import TemplateSyntaxError

CONDITION_NAMES = {'self', 'context', 'current_date'}
OPERATORS = fields.field.OPERATORS
UNSUBSCRIBE = re.compile(r'href\s*=\s*["\']unsubscribe[|"\']')
DIRECTIVES = '{http://genshi.edgewall.org/}*'


def domain(scenario):
    "Raise DomainError unless the user can search with the domain"
    pool = Pool()
    try:
        value = PYSONDecoder({}).decode(scenario.domain)
    except Exception as exception:
        _domain_error(scenario, gettext(
                'marketing_automation.msg_domain_syntax',
                error=exception), exception)
    try:
        domain_validate(value)
    except (AssertionError, TypeError) as exception:
        _domain_error(scenario, _operator(value) or gettext(
                'marketing_automation.msg_domain_clauses'), exception)
    Model = pool.get(scenario.model)
    if problem := _clauses(Model, value):
        _domain_error(scenario, problem)
    try:
        with check_access():
            Model.search(value, limit=1)
    except Exception as exception:
        _domain_error(scenario, str(exception), exception)


def _domain_error(scenario, problem, exception=None):
    raise DomainError(gettext(
            'marketing_automation.msg_scenario_invalid_domain',
            scenario=scenario.rec_name,
            problem=problem)) from exception


def _operator(value):
    "Return what is wrong with the operator of a clause, or None"
    if not isinstance(value, list):
        return None
    if (len(value) > 2
            and all(isinstance(v, str) for v in value[:2])
            and value[0] not in {'AND', 'OR'}):
        name, operator, *_ = value
        if operator not in OPERATORS:
            return gettext(
                'marketing_automation.msg_domain_operator',
                operator=operator, field=name)
        return None
    return next(filter(None, map(_operator, value)), None)


def _clauses(Model, value):
    "Return what is wrong with a clause, or None"
    for clause in value:
        if isinstance(clause, str):
            continue
        if not isinstance(clause, (list, tuple)):
            return gettext('marketing_automation.msg_domain_clauses')
        if clause and not (
                isinstance(clause[0], str)
                and clause[0] not in {'AND', 'OR'}):
            problem = _clauses(Model, clause)
        elif clause and clause[0] in {'AND', 'OR'}:
            problem = _clauses(Model, clause[1:])
        elif clause:
            problem = field_path(Model, clause[0].split('.'))
        else:
            problem = None
        if problem:
            return problem


def field_path(Model, names):
    "Return what is wrong with the path of field names, or None"
    for name in names:
        if name in {'id', 'rec_name'} or not Model:
            return None
        if name not in Model._fields:
            return gettext(
                'marketing_automation.msg_unknown_field',
                field=name, model=Model.__names__()['model'])
        field = Model._fields[name]
        Model = (
            field.get_target() if hasattr(field, 'get_target') else None)
    return None


def activity(activity, field_names=None):
    "Raise an error unless condition and templates can be used"
    for name, check in [
            ('condition', _condition),
            ('email_from', _from),
            ('email_title', _title),
            ('email_template', _template),
            ]:
        if not field_names or field_names & {name, 'action', 'parent'}:
            if getattr(activity, name):
                check(activity, getattr(activity, name))


def _model(activity):
    pool = Pool()
    scenario = activity.scenario
    parent = activity.parent
    while not scenario and parent:
        if parent.__name__ == 'marketing.automation.scenario':
            scenario = parent
        else:
            parent = parent.parent
    return pool.get(scenario.model) if scenario and scenario.model else None


def _condition(activity, source):
    try:
        value = PYSONDecoder(noeval=True).decode(source)
    except Exception as exception:
        _condition_error(activity, source, gettext(
                'marketing_automation.msg_condition_syntax',
                error=exception), exception)
    for problem in _expressions(value, _model(activity)):
        _condition_error(activity, source, problem)


def _condition_error(activity, source, problem, exception=None):
    raise ConditionError(gettext(
            'marketing_automation.msg_activity_invalid_condition',
            activity=activity.rec_name,
            condition=source,
            problem=problem)) from exception


def _expressions(value, Model):
    "Yield what is wrong in the PYSON value"
    if isinstance(value, Eval):
        name, _, field = value._value.partition('.')
        if name not in CONDITION_NAMES:
            yield gettext(
                'marketing_automation.msg_unknown_variable', name=name)
        elif field and name == 'self' and Model:
            names = [n.removeprefix('_parent_') for n in field.split('.')]
            yield from filter(None, [field_path(Model, names)])
    elif isinstance(value, Get):
        base = value._obj
        if (isinstance(base, Eval) and base._value == 'self'
                and isinstance(value._key, str) and Model):
            name = value._key.removeprefix('_parent_')
            yield from filter(None, [field_path(Model, [name])])
    if isinstance(value, PYSON):
        for child in vars(value).values():
            yield from _expressions(child, Model)
    elif isinstance(value, dict):
        if '__class__' in value:
            yield gettext(
                'marketing_automation.msg_unknown_variable',
                name=value['__class__'])
        for child in value.values():
            yield from _expressions(child, Model)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _expressions(child, Model)


def _from(activity, source):
    name, address = parse_address(source)
    if not address:
        raise TemplateError(gettext(
                'marketing_automation.msg_activity_invalid_email_from',
                activity=activity.rec_name,
                address=source))


def _title(activity, source):
    _compile(activity, 'title', message.text, source)


def _template(activity, source):
    template = _compile(activity, 'template', message.markup, source)
    if content.is_mjml(source):
        if problem := _mjml(source):
            _template_error(activity, 'template', problem)
    elif '</body' not in source.lower():
        _template_error(activity, 'template', gettext(
                'marketing_automation.msg_template_body'))
    return template


def refused(title, template):
    "Yield the errors of the title and of the template, each may be empty"
    for compile_, source in [
            (message.text, title), (message.markup, template)]:
        try:
            compile_(source or '<html/>')
        except TemplateSyntaxError as exception:
            yield exception


def _mjml(source):
    "Return why the well-formed MJML can not be converted, or None"
    root = etree.XML(source, etree.XMLParser(recover=True))
    if next(root.iter('mj-include'), None) is not None:
        return gettext('marketing_automation.msg_template_include')
    etree.strip_attributes(root, DIRECTIVES)
    etree.strip_tags(root, DIRECTIVES)
    try:
        html = content.mjml(etree.tostring(root, encoding='unicode'))
    except Failure as exception:
        return exception.detail
    if unknown := re.search(r'<(mj-[\w-]+)', html):
        return gettext(
            'marketing_automation.msg_template_unknown_element',
            tag=unknown[1])
    return None


def _compile(activity, field, compile_, source):
    try:
        template = compile_(source)
    except TemplateSyntaxError as exception:
        _template_error(
            activity, field, message.explain(exception), exception)
    for name in sorted(template.names - message.NAMES):
        _template_error(activity, field, gettext(
                'marketing_automation.msg_unknown_variable', name=name))
    Model = _model(activity)
    for name, *path in sorted(template.paths):
        if name == 'record' and Model:
            if problem := _template_path(Model, path):
                _template_error(activity, field, problem)
    return template


def _template_path(Model, names):
    "Return what is wrong with the path of attributes of a record"
    for name in names:
        if not Model or name in METHODS.get(Model.__name__, ()):
            break
        if isinstance(
                getattr(Model, name, None),
                (TranslatedDict, TranslatedSelection)):
            break
        if problem := field_path(Model, [name]):
            return problem
        field = Model._fields.get(name)
        Model = (
            field.get_target() if hasattr(field, 'get_target') else None)
    return None


def _template_error(activity, field, problem, exception=None):
    raise TemplateError(gettext(
            f'marketing_automation.msg_activity_invalid_email_{field}',
            activity=activity.rec_name,
            problem=problem)) from exception


def unsubscribe(scenario):
    "Yield what is said of the e-mails without a link to unsubscribe"
    for activity in emails(scenario):
        if not UNSUBSCRIBE.search(activity.email_template or ''):
            yield gettext(
                'marketing_automation.msg_check_unsubscribe',
                activity=activity.rec_name)


def emails(scenario):
    "Return the activities of the scenario that send e-mails"
    return [a for a in scenario.all_activities if a.action == 'send_email']
