# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The funnel of a scenario: from those who entered to those who clicked"""
from lxml import etree
from lxml.builder import ElementMaker

from trytond.i18n import gettext
from trytond.model import fields
from trytond.pool import Pool, PoolMeta

SVG = ElementMaker(
    namespace='http://www.w3.org/2000/svg',
    nsmap={None: 'http://www.w3.org/2000/svg'})
WIDTH = 420
HEIGHT = 34
LABEL = 120
BAR = 180
COLORS = ['#94a3b8', '#267f82', '#3b9ea1', '#7cc4c6']


class Scenario(metaclass=PoolMeta):
    __name__ = 'marketing.automation.scenario'

    funnel = fields.Function(fields.Binary("Funnel"), 'get_funnel')

    def get_funnel(self, name):
        return draw([
                (gettext(f'marketing_automation.msg_funnel_{name}'), value)
                for name, value in self.funnel_steps()], _format)

    def funnel_steps(self):
        "Return the list of (name of the message, number) of the bars"
        return [
            ('entered', self.record_count),
            ('sent', self.email_sent),
            ('opened', self.email_opened),
            ('clicked', self.email_clicked),
            ]


def _format(number):
    Lang = Pool().get('ir.lang')
    return Lang.get().format_number(number)


def draw(steps, format_=str):
    """Return the bytes of an SVG with a bar for each (label, number)

    The bars are in proportion to the greatest number.
    """
    whole = max([n for _, n in steps] + [1])
    height = HEIGHT * len(steps)
    svg = SVG.svg(
        width=str(WIDTH), height=str(height),
        viewBox=f'0 0 {WIDTH} {height}')
    for i, (label, number) in enumerate(steps):
        svg.extend(_bar(
                i * HEIGHT, label, format_(number), BAR * number / whole,
                COLORS[i % len(COLORS)]))
    return etree.tostring(svg)


def _bar(top, label, number, width, color):
    middle = str(top + HEIGHT / 2 + 5)
    font = {'font-family': 'sans-serif', 'font-size': '14'}
    yield SVG.text(
        label, x='0', y=middle, fill='#333333', **font)
    yield SVG.rect(
        x=str(LABEL), y=str(top + 5), width=f'{max(width, 1):.1f}',
        height=str(HEIGHT - 10), rx='3', fill=color)
    yield SVG.text(
        number, x=f'{LABEL + width + 8:.1f}', y=middle, fill='#333333',
        **{**font, 'font-weight': 'bold'})
