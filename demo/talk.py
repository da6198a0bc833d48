# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Steps that are printed, with the time they take"""
import sys
import time
from contextlib import contextmanager


def say(*lines):
    for line in lines:
        print(line, flush=True)


@contextmanager
def step(text):
    "Print the text, then the seconds the block has taken"
    print(f'  {text} … ', end='', flush=True)
    start = time.monotonic()
    try:
        yield
    except BaseException:
        print(flush=True)
        raise
    print(f'{time.monotonic() - start:.0f} s', flush=True)


def progress(items, text):
    "Yield the items and count them on the screen"
    items = list(items)
    with step(f'{text} ({len(items)})'):
        for i, item in enumerate(items, 1):
            yield item
            if i % 20 == 0 and sys.stdout.isatty():
                count = f'{i} '
                print(count, end='\b' * len(count), flush=True)
