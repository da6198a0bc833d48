# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What the guard of templates costs, against Genshi as it comes"""
import json
import time
from types import SimpleNamespace

from bound import NEWSLETTER
from genshi.template import MarkupTemplate

from trytond.modules.marketing_automation.mail.content import Content
from trytond.modules.marketing_automation.mail.link import Placeholders
from trytond.modules.marketing_automation.template import compile_markup
from trytond.modules.marketing_automation.template.values import Namespace

COUNT = 1000
# Nothing but expressions, so that their guard is what is measured
EXPRESSIONS = (
    '<html xmlns:py="http://genshi.edgewall.org/"><body>'
    '<p py:for="i in range(50)" py:if="i % 2 == 0">'
    "${record.rec_name.upper()} ${i * 2 + 1} ${record.code + '-' + str(i)}"
    '</p></body></html>')
SOURCES = {'newsletter': NEWSLETTER.read_text(), 'expressions': EXPRESSIONS}


def values(i):
    return {'rec_name': f"Party {i}", 'code': f'B{i}'}


def genshi(source):
    template = MarkupTemplate(source)
    return lambda i: template.generate(
        record=SimpleNamespace(**values(i))).render('xhtml')


def guarded(source):
    template = compile_markup(source)
    return lambda i: template.render({'record': Namespace('r', values(i))})


def message(source):
    template = compile_markup(source)
    return lambda i: Content(
        template.chunks({'record': Namespace('r', values(i))}),
        Placeholders('own', True)).html


def measure(render):
    "Return how many are rendered in a second of processor time"
    for i in range(20):
        render(i)
    started = time.process_time()
    for i in range(COUNT):
        render(i)
    return COUNT / (time.process_time() - started)


def main():
    print(json.dumps({
                name: {f.__name__: measure(f(source))
                    for f in [genshi, guarded, message]}
                for name, source in SOURCES.items()}))


if __name__ == '__main__':
    main()
