# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What can be wrong with a template"""

# code: reasons, whose texts are the messages msg_template_<reason>
_REASONS = {
    'limit': (
        'limit_depth limit_memory limit_number limit_output limit_steps '
        'limit_text limit_time too_complex too_deep too_long too_many'),
    'syntax': (
        'ampersand not_well_formed one_root prefix unclosed_tag '
        'unexpected_end unknown_element void_tag'),
    'entity': 'doctype unknown_entity',
    'include': 'include',
    'instruction': 'instruction',
    'directive': (
        'directive_element directive_end directive_outside '
        'directive_value unknown_directive'),
    'expression': (
        'empty failed invalid iterate place refused unclosed undefined'),
    'access': (
        'argument attribute call field format function member method '
        'model record show underscore'),
    }
CODES = {r: c for c, reasons in _REASONS.items() for r in reasons.split()}


class TemplateError(ValueError):
    """What is wrong with a template, for who writes it

    code -- symbol of the kind of error
    reason -- symbol of what is wrong, whose text is a message of Tryton
    variables -- values for the text of the reason
    line, column -- position in the source, or None
    """

    def __init__(self, reason, line=None, column=None, **variables):
        super().__init__(reason)
        self.reason = reason
        self.code = CODES[reason]
        self.variables = variables
        self.line = line
        self.column = column

    def __str__(self):
        return f"{self.reason} {self.variables} (line {self.line})"


class TemplateSyntaxError(TemplateError):
    "The template can not be compiled"


class TemplateRenderError(TemplateError):
    "The template can not be rendered with these values"
