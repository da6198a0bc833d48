# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What is said of an e-mail before it is sent: checks when it is saved"""
import logging
import re
from html import unescape

from lxml import etree
from sql import Column

from trytond.i18n import gettext
from trytond.model.fields.dict import TranslatedDict
from trytond.model.fields.selection import TranslatedSelection
from trytond.pool import Pool, PoolMeta
from trytond.transaction import Transaction

from .access import METHODS
from .condition import field_path
from .exceptions import Failure, TemplateError, TemplateWarning, explain
from .mail import content, message
from .mail.address import parse_address
from .mail.link import is_http
from .template import TemplateSyntaxError, is_mjml

logger = logging.getLogger(__name__)
UNSUBSCRIBE = re.compile(
    r'href\s*=\s*["\']?unsubscribe[|"\'\s>]', re.IGNORECASE)
DIRECTIVES = '{http://genshi.edgewall.org/}*'
_href = re.compile(r'href\s*=\s*(["\'])\s*(https?:[^$]*?)\1', re.IGNORECASE)
# How other systems write what is filled in
_merge_tag = re.compile(
    r'\{\{.{1,60}?\}\}|\*\|\w{1,60}\|\*|%%\w{1,60}%%|\[\[\w{1,60}\]\]'
    r'|%recipient\.\w{1,60}%|\{\$\w{1,60}\}')


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @property
    def email_activities(self):
        "The activities that send e-mails"
        return [a for a in self.all_activities if a.action == 'send_email']

    def run_questions(self):
        pool = Pool()
        Warning = pool.get('res.user.warning')
        yield from super().run_questions()
        for activity in self.email_activities:
            if not activity.can_unsubscribe:
                key = Warning.format('run unsubscribe', [activity])
                yield key, activity.unsubscribe_problem


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    @classmethod
    def __register__(cls, module):
        super().__register__(module)
        # Migration from the published module: the language is smaller
        for id_, compile_, source in cls._stored_sources():
            try:
                compile_(source)
            except TemplateSyntaxError as problem:
                logger.warning(
                    "the e-mail of activity %s can not be used: %s",
                    id_, problem)

    @classmethod
    def _stored_sources(cls):
        "Yield id, function to compile and source, in each language"
        pool = Pool()
        Translation = pool.get('ir.translation')
        table = cls.__table__()
        translation = Translation.__table__()
        cursor = Transaction().connection.cursor()
        for name, compile_ in [
                ('email_title', message.text),
                ('email_template', message.markup)]:
            cursor.execute(*(
                    table.select(table.id, Column(table, name))
                    | translation.select(
                        translation.res_id, translation.value,
                        where=translation.name == f'{cls.__name__},{name}')))
            for id_, source in cursor:
                if source:
                    yield id_, compile_, source

    @classmethod
    def validate_fields(cls, activities, field_names):
        super().validate_fields(activities, field_names)
        for name in ['email_from', 'email_title', 'email_template']:
            if not field_names or field_names & {name, 'action', 'parent'}:
                for activity in activities:
                    if getattr(activity, name):
                        getattr(activity, f'check_{name}')()

    @property
    def can_unsubscribe(self):
        "Whether the e-mail has a visible link to unsubscribe"
        return bool(UNSUBSCRIBE.search(self.email_template or ''))

    @property
    def unsubscribe_problem(self):
        return gettext(
            'marketing_automation.msg_check_unsubscribe',
            activity=self.rec_name)

    def check_email_from(self):
        _, address = parse_address(self.email_from)
        if not address:
            raise TemplateError(gettext(
                    'marketing_automation.msg_activity_invalid_email_from',
                    activity=self.rec_name,
                    address=self.email_from))

    def check_email_title(self):
        self.check_source('email_title', message.text, self.email_title)

    def check_email_template(self):
        source = self.email_template
        self.check_source('email_template', message.markup, source)
        if is_mjml(source):
            if problem := _mjml(source):
                self._template_error('email_template', problem)
        for match in _href.finditer(source):
            if not is_http(unescape(match[2]).strip()):
                self._template_error('email_template', gettext(
                        'marketing_automation.msg_template_line',
                        line=source.count('\n', 0, match.start()) + 1,
                        error=gettext(
                            'marketing_automation.msg_template_url',
                            url=match[2][:200])))

    def check_source(self, field, compile_, source):
        "Raise TemplateError unless what the source names exists"
        try:
            template = compile_(source)
        except TemplateSyntaxError as exception:
            self._template_error(
                field, explain(exception), exception)
        names = {'short', *self.email_context()}
        for name in sorted(template.names - names):
            self._template_error(field, gettext(
                    'marketing_automation.msg_unknown_variable', name=name))
        Model = self.target_model
        for name, *path in sorted(template.paths):
            if name == 'record' and Model:
                if problem := _template_path(Model, path):
                    self._template_error(field, problem)
        self._check_merge_tags(source)

    def _check_merge_tags(self, source):
        "Ask about what other systems fill in, and here is sent as it is"
        pool = Pool()
        Warning = pool.get('res.user.warning')
        tags = sorted({m[0] for m in _merge_tag.finditer(source)})
        if not tags:
            return
        key = Warning.format(f'merge tags {tags}', [self])
        if Warning.check(key):
            raise TemplateWarning(key, gettext(
                    'marketing_automation.msg_template_merge_tag',
                    activity=self.rec_name,
                    tags=', '.join(tags[:5])))

    def _template_error(self, field, problem, exception=None):
        raise TemplateError(gettext(
                f'marketing_automation.msg_activity_invalid_{field}',
                activity=self.rec_name,
                problem=problem)) from exception


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
