# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The UTM parameters by which one's own sites know where a visit comes from"""
from trytond.model import fields
from trytond.pool import PoolMeta
from trytond.pyson import Eval

from . import settings
from .mail.mark import Marks, normalize

NAMES = ['source', 'medium', 'campaign', 'content', 'term']


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    utm_source = fields.Char(
        "Source",
        help="Where visits come from, such as newsletter.\n"
        "Added as utm_source to links to your own sites.")
    utm_medium = fields.Char(
        "Medium",
        help="By which way visits come, such as email.\n"
        "Added as utm_medium to links to your own sites.")
    utm_campaign = fields.Char(
        "Campaign",
        help="What visits belong to, such as spring-sale.\n"
        "Added as utm_campaign to links to your own sites.")


class Activity(metaclass=PoolMeta):
    __name__ = 'marketing.automation.activity'

    utm_source = fields.Char(
        "Source",
        help="Leave empty to use the one of the scenario.")
    utm_medium = fields.Char(
        "Medium",
        help="Leave empty to use the one of the scenario.")
    utm_campaign = fields.Char(
        "Campaign",
        help="Leave empty to use the one of the scenario.")
    utm_content = fields.Char(
        "Content",
        help="Which of several e-mails it was, such as reminder.\n"
        "Added as utm_content to links to your own sites.")
    utm_term = fields.Char(
        "Term",
        help="Added as utm_term to links to your own sites.")

    @classmethod
    def __setup__(cls):
        super().__setup__()
        for name in NAMES:
            # What marketing_campaign relates to is the same
            getattr(cls, f'utm_{name}').states['invisible'] = (
                True if hasattr(cls, f'marketing_{name}')
                else Eval('action') != 'send_email')

    @property
    def url_marks(self):
        "The Marks for links in the e-mail, None if there is nothing to add"
        values = ((f'utm_{name}', self.utm(name)) for name in NAMES)
        parameters = tuple((n, v) for n, v in values if v)
        if parameters:
            hosts = filter(None, map(normalize, settings.own_hosts()))
            return Marks(parameters, tuple(hosts))

    def utm(self, name):
        "Return the value of the parameter without prefix, None without any"
        # With the module marketing_campaign
        if parameter := getattr(self, f'marketing_{name}', None):
            return parameter.name
        return (getattr(self, f'utm_{name}', None)
            or getattr(self.root, f'utm_{name}', None))
