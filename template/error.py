# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What can be wrong with a template, and how it is said"""

# reason: (code, text)
MESSAGES = {
    'too_long': (
        'limit', "The template is longer than %(limit)s characters."),
    'too_deep': ('limit', "The elements are nested too deeply."),
    'too_many': (
        'limit', "The template has too many elements or expressions."),
    'too_complex': ('limit', "The expression is too long or too complex."),
    'unclosed_tag': (
        'syntax', "The element <%(tag)s> of line %(opened)s is not closed "
        "before </%(found)s>."),
    'void_tag': (
        'syntax', "The element <%(tag)s> of line %(opened)s is not closed, "
        "write <%(tag)s/>."),
    'unexpected_end': (
        'syntax', "The template ends before </%(tag)s> which closes the "
        "element of line %(opened)s."),
    'ampersand': ('syntax', "An ampersand must be written &amp;."),
    'prefix': (
        'syntax', "A prefix is not declared, the outermost element needs "
        "xmlns:py=\"http://genshi.edgewall.org/\" for \"py:\"."),
    'one_root': (
        'syntax', "The template must have exactly one outermost element, "
        "such as <html> or <mjml>."),
    'not_well_formed': (
        'syntax', "The template is not well-formed: %(error)s."),
    'unknown_element': ('syntax', "The element <%(tag)s> does not exist."),
    'unknown_entity': (
        'entity', "The entity %(name)s does not exist."),
    'doctype': (
        'entity', "Only a simple document type is allowed, "
        "write <!DOCTYPE html>."),
    'include': (
        'include', "A template can not include another template."),
    'instruction': (
        'instruction', "A template can not contain Python instructions."),
    'unknown_directive': (
        'directive', "The directive \"%(name)s\" can not be used."),
    'directive_value': (
        'directive', "The value of the directive \"%(name)s\" is not valid."),
    'directive_element': (
        'directive', "The directive \"%(name)s\" can only be used as an "
        "attribute."),
    'directive_outside': (
        'directive', "The directive \"%(name)s\" must be inside of "
        "\"choose\"."),
    'directive_end': (
        'directive', "The directive \"%(name)s\" has no matching end."),
    'unclosed': ('expression', "An expression ${…} is not closed."),
    'invalid': ('expression', "The expression \"%(source)s\" is not valid."),
    'refused': (
        'expression', "\"%(kind)s\" can not be used in an expression."),
    'underscore': (
        'access', "The name \"%(name)s\" starts with an underscore."),
    'undefined': ('expression', "The name \"%(name)s\" does not exist."),
    'failed': ('expression', "%(error)s"),
    'empty': (
        'expression', "\"%(name)s\" can not be read because there is no "
        "value before it."),
    'attribute': (
        'access', "\"%(name)s\" of a value of type \"%(type)s\" "
        "can not be read."),
    'method': (
        'access', "\"%(name)s\" of a value of type \"%(type)s\" "
        "can not be called."),
    'call': ('access', "A value of type \"%(type)s\" can not be called."),
    'show': ('access', "A value of type \"%(type)s\" can not be shown."),
    'iterate': (
        'expression', "A value of type \"%(type)s\" can not be looped over."),
    'argument': (
        'access', "The argument \"%(name)s\" has a value that is not "
        "allowed."),
    'format': (
        'access', "The format \"%(format)s\" can not be used."),
    'model': (
        'access', "The records of \"%(model)s\" can not be read by marketing."
        ),
    'field': (
        'access', "The field \"%(field)s\" of \"%(model)s\" can not be read "
        "by marketing."),
    'record': (
        'access', "The record %(record)s of \"%(model)s\" can not be read by "
        "marketing."),
    'member': (
        'access', "\"%(model)s\" has no field \"%(field)s\" that a template "
        "can read."),
    'function': (
        'access', "\"%(model)s\" has no method \"%(field)s\" that a template "
        "can call."),
    'limit_time': (
        'limit', "The template takes more than %(limit)s seconds."),
    'limit_steps': (
        'limit', "The template does more than %(limit)s operations."),
    'limit_output': (
        'limit', "The result is longer than %(limit)s characters."),
    'limit_text': (
        'limit', "A text would be longer than %(limit)s characters."),
    'limit_number': ('limit', "A number is too big."),
    'limit_depth': ('limit', "Values are nested too deeply."),
    'limit_memory': ('limit', "The template needs too much memory."),
    }


class TemplateError(ValueError):
    """What is wrong with a template, for who writes it

    code -- symbol of the kind of error
    reason -- key of MESSAGES, to translate the detail
    variables -- values for the text of the reason
    line, column -- position in the source, or None
    """

    def __init__(self, reason, line=None, column=None, **variables):
        super().__init__(reason)
        self.reason = reason
        self.variables = variables
        self.line = line
        self.column = column
        self.code, self._text = MESSAGES[reason]

    @property
    def detail(self):
        return self._text % self.variables

    def __str__(self):
        if self.line:
            return f"{self.detail} (line {self.line})"
        return self.detail


class TemplateSyntaxError(TemplateError):
    "The template can not be compiled"


class TemplateRenderError(TemplateError):
    "The template can not be rendered with these values"
