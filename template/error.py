# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.


class TemplateError(ValueError):
    """What is wrong with a template, for who writes it

    reason -- symbol of what is wrong, msg_template_<reason> is its text
    line -- of the source, or None
    variables -- values for the text of the reason
    """

    def __init__(self, reason, line=None, **variables):
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.variables = variables

    def __str__(self):
        return f"{self.reason} {self.variables} (line {self.line})"


class TemplateSyntaxError(TemplateError):
    "The template can not be compiled"


class TemplateRenderError(TemplateError):
    "The template can not be rendered with these values"
