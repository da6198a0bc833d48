# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import re

from trytond.exceptions import UserError, UserWarning
from trytond.i18n import gettext
from trytond.model.exceptions import AccessError, ValidationError

# NUL and lone surrogates
_unstorable = re.compile('[\0\ud800-\udfff]')


class DomainError(ValidationError):
    pass


class ConditionError(ValidationError):
    pass


class TemplateError(ValidationError):
    pass


class ActivityError(ValidationError):
    pass


class ActionError(ValidationError):
    pass


class WebhookError(ValidationError):
    pass


class ScenarioRunningError(AccessError):
    pass


class ActivityPassedError(AccessError):
    pass


class RunError(UserError):
    pass


class CriterionError(ValidationError):
    pass


class ExpertFilterWarning(UserWarning):
    pass


class RunWarning(UserWarning):
    pass


class EverybodyWarning(UserWarning):
    pass


class TemplateWarning(UserWarning):
    pass


class WindowError(ValidationError):
    pass


class VariantError(ValidationError):
    pass


class SplitError(ValidationError):
    pass


class FlowWarning(UserWarning):
    pass


class DelayWarning(UserWarning):
    pass


class SuppressedWarning(UserWarning):
    pass


class PreviewError(UserError):
    pass


class FilterError(UserError):
    pass


class Outcome(Exception):
    """What ends the execution of an activity on one record

    reason -- symbol of marketing.automation.record.activity:reason
    detail -- text from outside (a server's answer, an exception), or None
    """
    state = None

    def __init__(self, reason, detail=None):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = storable(detail) if detail else None

    @property
    def values(self):
        "What is stored of it"
        return {
            'state': self.state,
            'reason': self.reason,
            'detail': self.detail,
            }


class Skip(Outcome):
    "Nothing is wrong but the record must not have this activity"
    state = 'skipped'


class Failure(Outcome):
    "The activity can not be done until somebody corrects something"
    state = 'failed'


class Postponement(Outcome):
    "The activity waits for another time"
    state = 'waiting'

    def __init__(self, reason, at):
        super().__init__(reason)
        self.at = at

    @property
    def values(self):
        return {
            'reason': self.reason,
            'at': self.at,
            }


class Cancel(Outcome):
    "What the activity waited for does not matter any more"
    state = 'cancelled'


def storable(text):
    "Return the text without what a database can not store"
    return _unstorable.sub('\N{REPLACEMENT CHARACTER}', text)


def explain(error):
    "Return the translated sentence of a TemplateError"
    text = gettext(
        f'marketing_automation.msg_template_{error.reason}',
        **error.variables)
    if error.line:
        text = gettext(
            'marketing_automation.msg_template_line',
            line=error.line, error=text)
    return text
