# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The variants of an e-mail, and who gets which of them

Who takes part and who gets which variant is drawn by lot from the record.
What was drawn is stored before the e-mail is sent, and stays.
"""
import datetime as dt

from sql import Null

from trytond.i18n import gettext
from trytond.model import (
    DeactivableMixin, Index, ModelSQL, ModelView, fields, sequence_ordered)
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval
from trytond.transaction import Transaction

from . import clock
from .draw import Draw, Lots
from .exceptions import Postponement
from .mail import sample
from .preview import FILENAME, TEXTS, binary, is_saved
from .transaction import is_rehearsal


class Variant(
        sequence_ordered(), DeactivableMixin, ModelSQL, ModelView):
    "Other texts of the e-mail of an activity"
    __name__ = 'marketing.automation.activity.variant'

    activity = fields.Many2One(
        'marketing.automation.activity', "Activity",
        required=True, ondelete='CASCADE')
    name = fields.Char("Name", required=True)
    share = fields.Integer(
        "Share", required=True,
        domain=[('share', '>=', 0), ('share', '<=', 1_000_000)],
        help="How many percent of those who take part get the variant.\n"
        "If the shares of all variants make more or less than 100, "
        "they count in proportion.")
    email_from = fields.Char(
        "From", translate=True,
        help="Leave empty to send from whom the activity sends.")
    email_title = fields.Char(
        "E-mail Title", translate=True,
        help="Leave empty for the title of the activity.")
    email_template = fields.Text(
        "E-mail Template", translate=True,
        help="Leave empty for the template of the activity.")
    preview = fields.Function(
        fields.Binary("Preview", filename='preview_name'),
        'on_change_with_preview')
    preview_name = fields.Function(
        fields.Char("Preview Name"), 'on_change_with_preview_name')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.__access__.add('activity')

    @classmethod
    def default_share(cls):
        return 50

    @fields.depends(
        'activity', '_parent_activity.id', 'email_from', 'email_title',
        'email_template')
    def on_change_with_preview(self, name=None):
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        if not is_saved(self.activity):
            return None
        activity = self.applied(Activity(self.activity.id))
        return binary(sample.preview(activity, activity._sample()).frame())

    # Clients tell by the name what is in the file, also before it is saved
    @classmethod
    def default_preview_name(cls):
        return FILENAME

    @fields.depends()
    def on_change_with_preview_name(self, name=None):
        return FILENAME

    def applied(self, activity):
        "Return a copy of the activity with the texts of the variant"
        return activity.__class__(
            id=activity.id, parent=activity.parent, preview_variant=self,
            **{n: getattr(self, n, None) or getattr(activity, n)
                for n in TEXTS})

    def in_language(self, code):
        "Return the variant with its texts in the language"
        if code == Transaction().language or not is_saved(self):
            return self
        with Transaction().set_context(language=code):
            return self.__class__(self.id)

    @classmethod
    def validate_fields(cls, variants, field_names):
        super().validate_fields(variants, field_names)
        if not field_names or field_names & set(TEXTS):
            for variant in variants:
                variant.check_texts()

    def check_texts(self):
        "Raise the error of what can not be sent"
        activity = self.applied(self.activity)
        for name in TEXTS:
            if getattr(self, name):
                getattr(activity, f'check_{name}')()


class Choice:
    "Which variant of an activity a record gets"

    def __init__(self, activity):
        self.winner = activity.winner
        self.share = activity.test_share or 0
        self.draw = Draw(f'{activity} test')
        self.lots = Lots([
                (v, v.share)
                for v in sorted(activity.variants, key=lambda v: v.id)])

    @property
    def is_open(self):
        "Whether there is something to choose from"
        return bool(self.winner or self.lots.draws)

    def variant(self, number):
        "Return the variant for the id of a record, None while it must wait"
        if self.winner:
            return self.winner
        if self.draw.wins(number, self.share, 100):
            return self.lots.choose(number)


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    variants = fields.One2Many(
        'marketing.automation.activity.variant', 'activity', "Variants",
        states={
            'invisible': ~Bool(Eval('test_by')),
            })
    preview_variant = fields.Function(fields.Many2One(
            'marketing.automation.activity.variant', "Variant",
            domain=[
                ('activity', '=', Eval('id', -1)),
                ],
            states={
                'invisible': ~Bool(Eval('test_by')),
                },
            help="Which variant of the e-mail is shown."),
        'get_preview_variant', setter='set_unstored')

    def get_preview_variant(self, name):
        return None

    def in_language(self, code):
        activity = super().in_language(code)
        if variant := self.preview_variant:
            return variant.in_language(code).applied(activity)
        return activity

    @fields.depends('preview_variant')
    def preview_sample(self):
        return super().preview_sample()

    @fields.depends(methods=['_on_change_preview'])
    def on_change_preview_variant(self):
        self._on_change_preview()

    def execute_send_email(self, record_activity, outbox=None, **kwargs):
        activity, variant = self, record_activity.variant
        if variant and outbox is not None:
            outbox.variants[record_activity.id] = variant.id
            # Read once for all that is in the language
            key = variant.id, Transaction().language
            if key not in outbox.applied:
                outbox.applied[key] = variant.applied(self)
            activity = outbox.applied[key]
        super(Activity, activity).execute_send_email(
            record_activity, outbox=outbox, **kwargs)

    @fields.depends('test_by', 'action', 'name', 'variants')
    def flow_what(self):
        if self.action == 'send_email' and self.test_by:
            return gettext(
                'marketing_automation.msg_flow_what_variants',
                activity=self.name or '…', count=len(self.variants or []))
        return super().flow_what()


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    @property
    def email_activities(self):
        activities = super().email_activities
        return activities + [
            v.applied(a) for a in activities if a.test_by for v in a.variants]


class RecordActivity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.record.activity'

    variant = fields.Many2One(
        'marketing.automation.activity.variant', "Variant",
        readonly=True, ondelete='SET NULL',
        states={
            'invisible': ~Eval('variant'),
            },
        help="Which variant of the e-mail the record gets.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        t = cls.__table__()
        cls._sql_indexes.add(
            Index(
                t, (t.variant, Index.Equality()),
                where=t.variant != Null))

    @classmethod
    def facts(cls, activity, ids):
        facts = super().facts(activity, ids)
        if activity.test_by:
            choice = Choice(activity)
            if choice.is_open:
                facts['choice'] = choice
        return facts

    def decide(self, activity, facts, scopes):
        super().decide(activity, facts, scopes)
        choice = facts.get('choice')
        if choice and self.state != 'delivered' and not self.variant:
            variant = (
                choice.variant(self.record.record.id)
                or self._await_winner(activity))
            # Read in the language of the record
            self.variant = variant.id

    def _await_winner(self, activity):
        "Let the record wait until there is a winner"
        if not is_rehearsal():
            raise Postponement('test', None)
        if self.reason != 'test':
            now = clock.now()
            at = activity.decided_at(activity.test_started_at or now)
            raise Postponement(
                'test', at and max(at, now + dt.timedelta(minutes=1)))
        # Nobody else has got the e-mail meanwhile
        return activity.leading_variant

    @classmethod
    def set_variants(cls, variants):
        "Store {id: id of the variant} before the e-mails are sent"
        pool = Pool()
        Activity = pool.get('marketing.automation.activity')
        table = cls.__table__()
        transaction = Transaction()
        cursor = transaction.connection.cursor()
        for variant in set(variants.values()):
            ids = [i for i, v in variants.items() if v == variant]
            cursor.execute(*table.update(
                    [table.variant], [variant],
                    where=fields.SQL_OPERATORS['in'](table.id, ids)
                    & (table.variant == Null)))
        transaction.counter += 1
        Activity.start_tests(set(variants.values()))

    @property
    def sent_activity(self):
        "The activity with the texts that the record gets"
        if self.variant:
            return self.variant.applied(self.activity)
        return self.activity
