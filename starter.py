# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""E-mails to start from: those of the module and those of the company

The module has each of its own once, as a file of the folder starters with
[[names]] in the place of texts.  The texts are messages, and so translated.
"""
import re
from pathlib import PurePath

from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, ModelSQL, ModelView, fields, sequence_ordered)
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.tools import file_open
from trytond.transaction import Transaction

from .preview import FILENAME, binary

FOLDER = 'marketing_automation/starters'
UNTIL = (
    '${format_date(datetime.date.today() + datetime.timedelta(days=14))}')
_text = re.compile(r'\[\[(\w+)\]\]')
_own = {
    'invisible': Bool(Eval('file')),
    'required': ~Eval('file'),
    }


class Starter(
        sequence_ordered(), DeactivableMixin, ModelSQL, ModelView):
    __name__ = 'marketing.automation.email.starter'

    name = fields.Char("Name", required=True, translate=True)
    model = fields.Selection(
        'get_models', "Model",
        help="For which scenarios it is offered.\n"
        "Leave empty for all of them.")
    file = fields.Char("File", readonly=True)
    email_title = fields.Char(
        "E-mail Title", translate=True, states=_own,
        help="The subject of the e-mail.")
    email_template = fields.Text(
        "E-mail Template", translate=True, states=_own,
        help="The HTML or MJML of the e-mail.")
    preview = fields.Function(
        fields.Binary("Preview", filename='preview_name'), 'get_preview')
    preview_name = fields.Function(
        fields.Char("Preview Name"), 'get_preview_name')

    @classmethod
    def get_models(cls):
        pool = Pool()
        Scenario = pool.get('marketing.automation.scenario')
        return [(None, ""), *Scenario.get_models()]

    def get_preview_name(self, name):
        return FILENAME

    def get_preview(self, name):
        "Return the e-mail as an activity would show it"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        Scenario = pool.get('marketing.automation.scenario')
        values = Scenario.default_get(
            list(Scenario._fields), with_rec_name=False)
        model = values['model'] = self.model or 'party.party'
        title, template = self.texts(model)
        activity = Activity(
            parent=Scenario(**values), action='send_email',
            email_from=None, email_title=title, email_template=template)
        html = binary(activity.preview_sample().frame())
        size = Transaction().context.get(f'{self.__name__}.{name}')
        return len(html or '') if size == 'size' else html

    @classmethod
    def offered(cls, model):
        "Return the starters for scenarios of the model"
        return cls.search([('model', 'in', [model, None])])

    def texts(self, model=None):
        "Return title and template for records of the model, translated"
        model = model or self.model
        if not self.file:
            return self.email_title, self.email_template
        names = _names(model)
        kind = PurePath(self.file).stem
        return (
            _filled('[[title]]', kind, names),
            _filled(_read(self.file), kind, names))

    @classmethod
    def copy(cls, starters, default=None):
        default = default.copy() if default is not None else {}
        default.setdefault('file')
        for index, name in enumerate(['email_title', 'email_template']):
            default.setdefault(name, lambda data, index=index: (
                    cls(data['id']).texts()[index]))
        return super().copy(starters, default=default)


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    email_starter = fields.Function(fields.Selection(
            'get_email_starters', "Start From", sort=False,
            states={
                'invisible': Eval('action') != 'send_email',
                },
            help="Start from a finished template instead of an empty page."),
        'get_email_starter', setter='set_unstored')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        no_email = Eval('action') != 'send_email'
        cls._buttons.update(
            use_starter={
                'invisible': no_email | ~Bool(Eval('email_starter')),
                'icon': 'tryton-ok',
                'depends': ['action', 'email_starter'],
                },
            save_starter={
                'invisible': no_email | Bool(Eval('email_starter')),
                'readonly': ~Bool(Eval('email_template')),
                'icon': 'tryton-save',
                'depends': ['action', 'email_starter', 'email_template'],
                },
            )

    @fields.depends('parent')
    def get_email_starters(self):
        pool = Pool()
        Starter = pool.get('marketing.automation.email.starter')
        model = getattr(self.root, 'model', None)
        return [
            (None, ""),
            *((str(s.id), s.name) for s in Starter.offered(model))]

    def get_email_starter(self, name):
        return None

    @fields.depends('email_template', methods=['_take_starter'])
    def on_change_email_starter(self):
        if not (self.email_template or '').strip():
            self._take_starter()

    @ModelView.button_change(methods=['_take_starter'])
    def use_starter(self):
        self._take_starter()

    @fields.depends(
        'email_starter', 'parent', methods=['_on_change_preview'])
    def _take_starter(self):
        "Take title and template of the starter"
        pool = Pool()
        Starter = pool.get('marketing.automation.email.starter')
        if not self.email_starter:
            return
        starter = Starter(int(self.email_starter))
        self.email_title, self.email_template = starter.texts(
            getattr(self.root, 'model', None))
        self.email_starter = None
        self._on_change_preview()

    @classmethod
    @ModelView.button_action('marketing_automation.act_starter_saved')
    def save_starter(cls, activities):
        pool = Pool()
        Starter = pool.get('marketing.automation.email.starter')
        starters = Starter.create([{
                    'name': a.name,
                    'model': a.scenario.model,
                    'email_title': a.email_title,
                    'email_template': a.email_template,
                    } for a in activities])
        for activity, starter in zip(activities, starters):
            activity._translate_starter(starter)
        return {'res_id': [s.id for s in starters]}

    def _translate_starter(self, starter):
        pool = Pool()
        Language = pool.get('ir.lang')
        for language in Language.search([('translatable', '=', True)]):
            texts = self._translations(language.code)
            texts.pop('email_from', None)
            if texts:
                with Transaction().set_context(language=language.code):
                    starter.write([starter.__class__(starter.id)], texts)


def _read(file):
    "Return the file, in what the HTML files have in common"
    source = _file(file)
    if file.endswith('.html'):
        source = _file('layout.html').replace('[[content]]', source)
    return source


def _file(name):
    with file_open(f'{FOLDER}/{name}', encoding='utf-8') as file:
        return file.read()


def _filled(source, kind, names):
    "Return the source with texts in the language of the transaction"
    def text(match):
        name = match[1]
        if name == 'language':
            # BCP 47
            return Transaction().language.replace('_', '-')
        if name in {'title', 'preheader'}:
            name = f'{kind}_{name}'
        return gettext(f'marketing_automation.msg_starter_{name}', **names)
    return _text.sub(text, source)


def _names(model):
    "Return what the texts can name, for records of the model"
    record = 'record'
    if model != 'party.party':
        record += '.marketing_party'
    return {
        'name': '${%s.name}' % record,
        'until': UNTIL,
        }
