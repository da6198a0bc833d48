# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import random
import unittest
from itertools import combinations
from xml.etree import ElementTree

from trytond.modules.marketing_automation.flow_picture import (
    READABLE, Node, draw, wrap)

SVG = '{http://www.w3.org/2000/svg}'


def tree(count, branches, seed=0):
    "Return the root of a tree with the number of nodes below it"
    choose = random.Random(seed)
    nodes = [Node("Scenario")]
    for i in range(count):
        child = Node(
            f"send “E-mail {i} {'with a long name ' * choose.randrange(4)}”",
            "3 days later, if not opened", ["Sent: 1,234"] * (i % 4))
        choose.choice(nodes[-branches:]).children.append(child)
        nodes.append(child)
    return nodes[0]


class FlowPictureTestCase(unittest.TestCase):
    "Test the picture of a flow"

    def boxes(self, svg):
        for rect in svg.iter(f'{SVG}rect'):
            if rect.get('class') == 'box':
                x, y, width, height = (
                    float(rect.get(n)) for n in ['x', 'y', 'width', 'height'])
                yield x, y, x + width, y + height

    def texts(self, svg):
        return ' '.join(t.text for t in svg.iter(f'{SVG}text'))

    def test_boxes(self):
        "Test that no boxes overlap and all are within the picture"
        for count, branches in [
                (0, 1), (1, 1), (12, 1), (7, 3), (20, 20), (60, 5), (60, 60)]:
            with self.subTest(count=count, branches=branches):
                svg = ElementTree.fromstring(draw(tree(count, branches)))
                boxes = list(self.boxes(svg))

                self.assertEqual(len(boxes), count + 1)
                for a, b in combinations(boxes, 2):
                    self.assertTrue(
                        a[2] <= b[0] or b[2] <= a[0]
                        or a[3] <= b[1] or b[3] <= a[1], (a, b))
                width, height = (
                    float(svg.get(n)) for n in ['width', 'height'])
                for left, top, right, bottom in boxes:
                    self.assertTrue(
                        0 <= left and right <= width
                        and 0 <= top and bottom <= height)

    def test_order(self):
        "Test that children stand in their order"
        for count in [3, 20]:
            with self.subTest(count=count):
                root = Node("Scenario")
                root.children = [Node(str(i)) for i in range(count)]
                svg = ElementTree.fromstring(draw(root))
                children = list(self.boxes(svg))[1:]
                self.assertEqual(children, sorted(children))

    def test_width(self):
        "Test that long and broad flows stay within a window"
        for count, branches in [(30, 1), (60, 60)]:
            with self.subTest(branches=branches):
                svg = ElementTree.fromstring(draw(tree(count, branches)))
                self.assertLess(float(svg.get('width')), 2 * READABLE)

    def test_texts(self):
        "Test that each text is there, whatever it is"
        for text in [
                '<script>alert(1)</script>', '"><image href="//example.com"/>',
                '&amp; ]]> <!--', "日本語" * 20, "a" * 200, "שלום", "e\u0301"]:
            with self.subTest(text=text):
                svg = ElementTree.fromstring(draw(
                        Node(text, children=[Node(text, text, [text])]),
                        text))
                self.assertEqual(
                    {e.tag.removeprefix(SVG) for e in svg.iter()},
                    {'svg', 'title', 'rect', 'path', 'text'})
                self.assertEqual(
                    self.texts(svg).replace(' ', ''),
                    4 * text.replace(' ', ''))

    def test_no_characters_of_xml(self):
        "Test that what XML can not hold is left out"
        svg = ElementTree.fromstring(
            draw(Node("a\x00b\x1b\ud800c\uffff", "\n"), "\x01"))

        self.assertEqual(self.texts(svg).split(), ["a", "b", "c"])

    def test_wrap(self):
        "Test that lines are not longer than the width"
        self.assertEqual(
            wrap("one two\N{NO-BREAK SPACE}three four", 80, 12),
            ["one", "two\N{NO-BREAK SPACE}three", "four"])
        self.assertEqual(wrap("", 100, 12), [])
        self.assertEqual(wrap("ab", 1, 12), ["a", "b"])

    def test_muted(self):
        "Test that what is inactive differs"
        svg = ElementTree.fromstring(draw(
                Node("Scenario", children=[Node("Off", muted=True)])))

        root, child = (
            r for r in svg.iter(f'{SVG}rect') if r.get('class') == 'box')
        self.assertIsNone(root.get('stroke-dasharray'))
        self.assertTrue(child.get('stroke-dasharray'))
