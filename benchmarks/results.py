# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What is printed: measured values, the figures required of them"""
import json
from statistics import median

__all__ = ['Results', 'median']


class Results:
    "Everything that was measured, in order"

    def __init__(self, **conditions):
        self.conditions = conditions
        self.values = []
        self.figures = []

    def value(self, section, what, value, unit, **details):
        "Note a measured value, print it at once, and return it"
        self.values.append({
                'section': section, 'what': what, 'value': value,
                'unit': unit, **details})
        text = 'not measured' if value is None else f'{value:,.4g} {unit}'
        notes = ', '.join(f'{k} {_short(v)}' for k, v in details.items())
        print(f'  {what:<52} {text:>16}  {notes}', flush=True)
        return value

    def figure(self, what, value, required, unit='', at_most=False):
        """Note a figure that is required

        value -- None if it was not measured
        at_most -- if the required is the upper limit
        """
        passed = None
        if value is not None:
            passed = value <= required if at_most else value >= required
        self.figures.append({
                'figure': what, 'value': value, 'required': required,
                'unit': unit, 'at most': at_most, 'passed': passed})

    @property
    def failed(self):
        return [f for f in self.figures if f['passed'] is False]

    def table(self):
        "Return the lines of the table of figures, as reStructuredText"
        rows = [('figure', 'measured', 'required', 'result')]
        for figure in self.figures:
            value, unit = figure['value'], figure['unit']
            sign = '≤' if figure['at most'] else '≥'
            rows.append((
                    figure['figure'],
                    '–' if value is None else f'{value:,.3g} {unit}'.strip(),
                    f"{sign} {figure['required']:,.3g} {unit}".strip(),
                    {True: 'pass', False: 'FAIL', None: 'not measured'}[
                        figure['passed']],
                    ))
        return table(rows)

    def growth(self):
        "Return the lines of the rates at each size, beside each other"
        rates = [v for v in self.values if v.get('size')]
        columns = list(dict.fromkeys(
                (v['section'], v['who']) for v in rates))
        rows = [('size', *(' '.join(c) for c in columns))]
        for size in sorted({v['size'] for v in rates}):
            known = {
                (v['section'], v['who']): v['value']
                for v in rates if v['size'] == size}
            rows.append((f'{size:,}', *(
                        f'{known[c]:,.4g}' if known.get(c) else '–'
                        for c in columns)))
        return table(rows)

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / 'benchmark.json', 'w') as file:
            json.dump({
                    'conditions': self.conditions,
                    'figures': self.figures,
                    'values': self.values,
                    }, file, indent=2)
        with open(folder / 'benchmark.rst', 'w') as file:
            file.write('\n'.join(self._document()) + '\n')

    def _document(self):
        yield from ['Benchmarks', '==========', '']
        for name, value in self.conditions.items():
            yield f'* {name}: {value}'
        yield from ['', *self.table(), '']
        yield from ['Units per second at several sizes:', '']
        yield from [*self.growth(), '']


def table(rows):
    "Return the lines of a simple table of reStructuredText"
    widths = [max(map(len, column)) for column in zip(*rows)]
    line = '  '.join('=' * w for w in widths)
    lines = [
        '  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
        for row in rows]
    return [line, lines[0], line, *lines[1:], line]


def _short(value):
    return f'{value:.4g}' if isinstance(value, float) else str(value)
