# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Colleagues who are told in the client that somebody has come to a step"""
from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta
from trytond.pyson import Bool, Eval

from .acting import readable
from .action import action_states
from .exceptions import Skip
from .mail import message
from .mail.address import one_line

_notify = action_states('notify')


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    notify_user = fields.Many2One(
        'res.user', "User", ondelete='RESTRICT',
        states={
            'invisible': _notify['invisible'],
            'required': (
                (Eval('action') == 'notify') & ~Bool(Eval('notify_group'))),
            },
        help="Who is told.")
    notify_group = fields.Many2One(
        'res.group', "Group", ondelete='RESTRICT', states=_notify,
        help="All its users are told.")
    notify_text = fields.Char(
        "Text", translate=True, states=action_states('notify', required=True),
        help="What they are told.\n"
        'The record is called "record", as in "Call ${record.rec_name}".')

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.action.selection.append(('notify', "Notify"))

    @classmethod
    def page_actions(cls):
        return [*super().page_actions(), 'notify']

    @classmethod
    def action_fields(cls):
        return super().action_fields() | {'notify_text'}

    def check_action(self):
        super().check_action()
        if self.action == 'notify' and self.notify_text:
            self.check_source('action_text', message.text, self.notify_text)

    @property
    def notified_users(self):
        users = {self.notify_user} if self.notify_user else set()
        if self.notify_group:
            users.update(self.notify_group.users)
        return sorted((u for u in users if u.active), key=lambda u: u.id)

    def execute_notify(self, record_activity, **kwargs):
        pool = Pool()
        Notification = pool.get('res.notification')
        record = record_activity.record
        resource = record.record
        text = one_line(self.render_text(self.notify_text, record))
        notifications = [
            Notification(
                user=user, label=resource.rec_name, description=text,
                icon='tryton-info', unread=True,
                model=resource.__name__, records=f'[{resource.id}]')
            for user in self.notified_users
            if readable(user, resource.__class__, [resource.id])]
        if not notifications:
            raise Skip('no_user')
        Notification.save(notifications)

    @fields.depends('action', 'notify_user', 'notify_group')
    def flow_what(self):
        if self.action == 'notify':
            names = [
                r.rec_name for r in [self.notify_user, self.notify_group]
                if r]
            return gettext(
                'marketing_automation.msg_flow_what_notify',
                names=', '.join(names) or '…')
        return super().flow_what()
