# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the administrator sets in the section marketing of the configuration

The values are read when they are used, so that a changed configuration needs
no other care than trytond's own.
"""
from urllib.parse import urljoin, urlsplit

import trytond.config as config
from trytond.transaction import Transaction
from trytond.url import http_base

from .verdict import RULES

SECTION = 'marketing'
FINAL_TIMEOUT = 600


def email_from():
    "Return the address that sends when the activity names none"
    return config.get(SECTION, 'email_from') or config.get('email', 'from')


def automation_base():
    "Return the base of the URLs in e-mails, never taken from a request"
    base = config.get(SECTION, 'automation_base')
    if not base:
        with Transaction().set_context(_request=None):
            base = http_base()
    return urljoin(base, '/')


def host():
    "Return the host name that identifies this system in message headers"
    return urlsplit(automation_base()).hostname


def own_hosts():
    "Return the names of the hosts whose links tell where a visit comes from"
    hosts = config.get(SECTION, 'automation_hosts')
    if hosts is None:
        hosts = config.get('web', 'hostname') or host()
    return hosts.replace(',', ' ').split()


def bounce_address():
    "Return the mailbox which collects delivery reports, or None"
    return config.get(SECTION, 'automation_bounce')


def archive():
    "Return if each e-mail is filed as ir.email"
    return config.getboolean(SECTION, 'automation_archive', default=True)


def slice_size():
    "Return how many record activities a worker claims at once"
    return max(1, config.getint(SECTION, 'automation_slice', default=100))


def lease():
    "Return after how many seconds a claim of a dead worker ends"
    return max(2, config.getint(SECTION, 'automation_lease', default=900))


def drains():
    "Return how many tasks at most share the work of one run"
    return max(1, config.getint(SECTION, 'automation_drains', default=4))


def drain_time():
    "Return after how many seconds a drain hands over to the next run"
    return config.getint(SECTION, 'automation_drain_time', default=240)


def sessions():
    "Return how many SMTP sessions at most a drain opens"
    return max(1, config.getint(SECTION, 'automation_sessions', default=8))


def smtp_timeout():
    "Return the seconds to wait for the SMTP server if its URI sets none"
    return config.getint(SECTION, 'automation_smtp_timeout', default=60)


def smtp_final_timeout():
    """Return the seconds to wait for the reply to all of a message

    RFC 5321 §4.5.3.2.6 asks for ten minutes, since to give up earlier makes
    duplicates.  It ends before the lease does, for the same reason.
    """
    return min(FINAL_TIMEOUT, lease() * 2 / 3)


def webhook_hosts():
    "Return the hosts that webhooks may call although they are inside"
    hosts = config.get(SECTION, 'automation_webhook_hosts') or ''
    return set(hosts.lower().replace(',', ' ').split())


def webhook_timeout():
    """Return after how many seconds a webhook is given up until the next try

    It ends before the lease does, or it would be called twice.
    """
    timeout = config.getint(SECTION, 'automation_webhook_timeout', default=10)
    return min(max(1, timeout), lease() / 4)


def webhook_sessions():
    "Return how many webhooks at most a drain calls at once"
    return max(1, config.getint(
            SECTION, 'automation_webhook_sessions', default=8))


def slice_time():
    "Return for how many seconds messages of a claimed slice may be sent"
    return lease() / 4


def retry_age():
    "Return for how many hours a temporary failure is tried again"
    return config.getint(SECTION, 'automation_retry_age', default=48)


def limit():
    "Return how many e-mails may be sent a minute, or 0 for no limit"
    return config.getint(SECTION, 'automation_limit', default=0)


def domain_limit():
    "Return how many e-mails a minute may go to one recipient domain, or 0"
    return config.getint(SECTION, 'automation_domain_limit', default=0)


def hit_age():
    "Return after how many days a hit is forgotten, its count stays"
    return max(1, config.getint(
            SECTION, 'automation_hit_age', default=365))


def content_age():
    "Return after how many days what e-mails said is forgotten, 0 at once"
    return max(0, config.getint(
            SECTION, 'automation_content_age', default=365))


def address():
    "Return the postal address to show when no company gives one, or None"
    return config.get(SECTION, 'automation_address')


def hit_rules():
    """Return the rules that tell people from machines

    automation_hit_early shortens or lengthens all the times, in seconds,
    during which a click is too early to be a person's.
    """
    early = config.getint(
        SECTION, 'automation_hit_early', default=RULES.early_click)
    hold = config.getint(SECTION, 'automation_hit_hold', default=RULES.hold)
    return RULES._replace(
        early_click=early,
        early_open=early * RULES.early_open / RULES.early_click,
        soon=early * RULES.soon / RULES.early_click,
        hold=hold)
