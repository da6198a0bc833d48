# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Delivery reports through the module inbound_email"""
import base64
import json

from trytond.pool import PoolMeta


class Rule(metaclass=PoolMeta):
    __name__ = 'inbound.email.rule'

    @classmethod
    def __setup__(cls):
        super().__setup__()
        cls.action.selection.append((
                'marketing.automation.bounce|receive_inbound_email',
                "Process Delivery Report"))


class Bounce(metaclass=PoolMeta):
    __name__ = 'marketing.automation.bounce'

    @classmethod
    def receive_inbound_email(cls, inbound_email, rule):
        "Action of a rule: receive the e-mail and return the first bounce"
        bounces = cls.receive(inbound_email.as_bytes())
        return bounces[0] if bounces else None


class Email(metaclass=PoolMeta):
    __name__ = 'inbound.email'

    def as_bytes(self):
        "Return the message as it came, whatever the service wraps it in"
        if self.data_type == 'raw':
            return self.data
        values = json.loads(self.data)
        if self.data_type == 'postmark':
            return _from_postmark(values)
        content = values[{
                'mailchimp': 'raw_msg',
                'mailpace': 'raw',
                'sendgrid': 'email',
                }[self.data_type]]
        return content.encode('utf-8', 'surrogateescape')


def _from_postmark(values):
    "Return the message of which Postmark gives headers and text"
    lines = [
        f"{h['Name']}: {' '.join(h['Value'].split())}"
        for h in values.get('Headers', [])
        if not h['Name'].lower().startswith('content-')]
    for name in ['From', 'To', 'Subject']:
        if values.get(name):
            lines.append(f"{name}: {' '.join(values[name].split())}")
    text = values.get('TextBody') or ''
    for attachment in values.get('Attachments', []):
        content = base64.b64decode(attachment['Content'])
        text += '\n\n' + content.decode('utf-8', 'replace')
    return '\n'.join([*lines, '', text]).encode('utf-8')
