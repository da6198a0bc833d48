# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The picture of a flow as SVG: a tidy tree of boxes and arrows

A box is as high as its texts need, boxes never overlap, and a parent stands
in the middle of its children.  An arrow tells when what is at its end happens.

What follows stands below, as pages are high.  Where many ways part it would
become too wide to be read, and what follows stands at the right.

The picture holds only shapes and texts: no script and nothing of elsewhere.
"""
import unicodedata
from dataclasses import dataclass, field
from xml.etree import ElementTree

# In pixels
WIDTH = 170
PADDING = 9
LINE = 16
# Between boxes beside each other
SPACE = 18
# From a box to where the ways to its children part
STEM = 14
# What an arrow needs besides its text
HEAD = 14
TEXT = WIDTH / 2
MARGIN = 12
FONT_SIZE = 13
SMALL = 11
# Of the width of a character to the size of the font, at most for most texts
RATIO = .58
# What a window shows without making it smaller
READABLE = 1200

FONT = 'system-ui, "DejaVu Sans", Arial, sans-serif'
INK, QUIET, FAINT = '#1f2933', '#52606d', '#9aa5b1'
STROKE, FILL, MUTED_FILL = '#7b8794', '#ffffff', '#f5f7fa'
DASHES = {'stroke-dasharray': '4 3'}
SVG = 'http://www.w3.org/2000/svg'


@dataclass(eq=False)
class Node:
    "What happens, when, with which numbers, and what follows"

    title: str
    when: str = ''
    numbers: list = field(default_factory=list)
    muted: bool = False
    children: list = field(default_factory=list)

    def __post_init__(self):
        self.title_lines = wrap(self.title, WIDTH - 2 * PADDING, FONT_SIZE)
        self.when_lines = wrap(self.when, TEXT, SMALL)
        self.number_lines = [
            line for number in self.numbers
            for line in wrap(number, WIDTH - 2 * PADDING, SMALL)]
        lines = len(self.title_lines) + len(self.number_lines)
        self.height = 2 * PADDING + lines * LINE

    def levels(self):
        "Return lists of the nodes with the same distance from this one"
        levels, level = [], [self]
        while level:
            levels.append(level)
            level = [c for n in level for c in n.children]
        return levels


class Down:
    "What follows stands below"

    def __init__(self, root):
        self.root = root
        self.levels = root.levels()
        self.middles = {}
        self.breadth = self._spread(root, MARGIN)
        self.starts, self.parts = {}, {}
        self.length = self._line_up()

    @property
    def size(self):
        return self.breadth + MARGIN, self.length + MARGIN

    def _line_up(self):
        "Place the levels one after the other, and return where the last ends"
        end = MARGIN
        for level in self.levels:
            # Where the ways to the nodes of the level part
            self.parts.update(dict.fromkeys(level, end + STEM))
            start = end + max(map(self._way, level))
            self.starts.update(dict.fromkeys(level, start))
            end = start + max(map(self._depth, level))
        return end

    def _spread(self, node, start):
        "Place what starts there beside the others, and return where it ends"
        end = start
        for child in node.children:
            end = self._spread(child, end) + SPACE
        middle = start
        if node.children:
            end -= SPACE
            first, last = node.children[0], node.children[-1]
            middle = (self.middles[first] + self.middles[last]) / 2
        room = self._room(node)
        # What follows may need less room than the box
        if (missing := start + room / 2 - middle) > 0:
            for level in node.levels()[1:]:
                for descendant in level:
                    self.middles[descendant] += missing
            end += missing
            middle += missing
        self.middles[node] = middle
        return max(end, middle + room / 2)

    def _room(self, node):
        "Return what the node needs beside the others"
        return WIDTH

    def _depth(self, node):
        "Return what the box needs from the start to the end of its level"
        return node.height

    def _way(self, node):
        "Return how long the way to the node has to be"
        if node is self.root:
            return 0
        return STEM + LINE * len(node.when_lines) + HEAD

    def corner(self, node):
        return self.middles[node] - WIDTH / 2, self.starts[node]

    def way(self, node, child):
        "Return the path, the head of the arrow, and where its text starts"
        x, top = self.middles[child], self.starts[child]
        part = self.parts[child]
        return (
            f'M{_number(self.middles[node])} '
            f'{_number(self.starts[node] + node.height)}'
            f'V{_number(part)}H{_number(x)}V{_number(top - 6)}',
            f'M{_number(x)} {_number(top - 1)}l-4 -8h8z',
            (x + 7, part + 4))


class Right(Down):
    "What follows stands at the right"

    @property
    def size(self):
        return super().size[::-1]

    def _room(self, node):
        # The text stands above the middle
        return max(node.height, 2 * LINE * len(node.when_lines) + HEAD)

    def _depth(self, node):
        return WIDTH

    def _way(self, node):
        return 0 if node is self.root else STEM + TEXT + HEAD

    def corner(self, node):
        return self.starts[node], self.middles[node] - node.height / 2

    def way(self, node, child):
        y, left = self.middles[child], self.starts[child]
        part = self.parts[child]
        return (
            f'M{_number(self.starts[node] + WIDTH)} '
            f'{_number(self.middles[node])}'
            f'H{_number(part)}V{_number(y)}H{_number(left - 6)}',
            f'M{_number(left - 1)} {_number(y)}l-8 -4v8z',
            (part + 6, y - LINE * len(child.when_lines) - 4))


def draw(root, title=''):
    "Return the picture of the root and of all that follows as SVG"
    layout = Down(root)
    if layout.size[0] > READABLE:
        layout = min(layout, Right(root), key=lambda l: l.size[0])
    width, height = map(_number, layout.size)
    svg = ElementTree.Element('svg', {
            'xmlns': SVG,
            'width': width,
            'height': height,
            'viewBox': f'0 0 {width} {height}',
            'role': 'img',
            'font-family': FONT,
            })
    if title:
        ElementTree.SubElement(svg, 'title').text = printable(title)
    # What shows the picture may be dark
    ElementTree.SubElement(svg, 'rect', {
            'width': '100%', 'height': '100%', 'fill': FILL})
    nodes = [n for level in layout.levels for n in level]
    for node in nodes:
        for child in node.children:
            _draw_way(svg, child, *layout.way(node, child))
    for node in nodes:
        _draw_box(svg, node, *layout.corner(node))
    return ElementTree.tostring(svg, encoding='unicode')


def _draw_way(svg, node, path, head, text):
    color = FAINT if node.muted else STROKE
    ElementTree.SubElement(svg, 'path', {
            'd': path,
            'fill': 'none',
            'stroke': color,
            **(DASHES if node.muted else {}),
            })
    ElementTree.SubElement(svg, 'path', {'d': head, 'fill': color})
    _draw_lines(
        svg, node.when_lines, *text, SMALL, FAINT if node.muted else QUIET)


def _draw_box(svg, node, x, y):
    ElementTree.SubElement(svg, 'rect', {
            'class': 'box',
            'x': _number(x),
            'y': _number(y),
            'width': _number(WIDTH),
            'height': _number(node.height),
            'rx': '6',
            'fill': MUTED_FILL if node.muted else FILL,
            'stroke': FAINT if node.muted else STROKE,
            **(DASHES if node.muted else {}),
            })
    x, y = x + PADDING, y + PADDING
    _draw_lines(
        svg, node.title_lines, x, y, FONT_SIZE,
        FAINT if node.muted else INK, weight='600')
    _draw_lines(
        svg, node.number_lines, x, y + LINE * len(node.title_lines), SMALL,
        FAINT if node.muted else QUIET)


def _draw_lines(svg, lines, x, y, size, color, weight='400'):
    "Draw the lines, y is the top of the first one"
    for i, line in enumerate(lines):
        ElementTree.SubElement(svg, 'text', {
                'x': _number(x),
                'y': _number(y + (i + .75) * LINE),
                'font-size': str(size),
                'font-weight': weight,
                'fill': color,
                }).text = line


def wrap(text, width, size):
    "Return the lines into which the text fits"
    lines, line = [], ''
    # Not at spaces that keep words together
    for word in printable(text).split(' '):
        while word:
            longer = f'{line} {word}' if line else word
            if _width(longer, size) <= width:
                line, word = longer, ''
            elif line:
                lines.append(line)
                line = ''
            else:
                fitting = _fitting(word, width, size)
                lines.append(word[:fitting])
                word = word[fitting:]
    return lines + [line] if line else lines


def _fitting(word, width, size):
    "Return how many characters of the word fit, at least one"
    count = 1
    while _width(word[:count + 1], size) <= width:
        count += 1
    return count


def _width(text, size):
    "Return about how wide the text is, there is no font to measure with"
    return size * sum(
        1 if unicodedata.east_asian_width(c) in {'W', 'F'} else RATIO
        for c in text)


def printable(text):
    "Return the text without what XML can not hold"
    return ''.join(
        ' ' if unicodedata.category(c) in {'Cc', 'Cs', 'Cn', 'Zl', 'Zp'}
        else c
        for c in text)


def _number(value):
    return f'{value:.1f}'.removesuffix('.0')
