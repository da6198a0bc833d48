# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The received e-mails as pages to look at in a browser"""
from html import escape

from .environment import FOLDER

INBOX = FOLDER / 'inbox'
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inbox of the demo</title>
<style>
table {{ border-collapse: collapse; }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
    font: 1rem/1.5 system-ui, sans-serif; color: #222; }}
td {{ padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #ddd; }}
</style>
</head>
<body>
<h1>Inbox</h1>
<p>One e-mail of each kind and language, unread if there is one.  Pixels and
links are genuine: what you open and follow while the demo is running is
tracked, and its cron does what comes next.  Answer a
&ldquo;How was your coffee?&rdquo;, for example, and look for the new e-mail a
minute later.  The links end in a shop that does not exist.</p>
<table>
{rows}
</table>
</body>
</html>
"""


def write(letters, names):
    """Write a page for one letter of each kind and language

    names -- {Message-ID: name of the kind}
    Return the path of the index.
    """
    INBOX.mkdir()
    rows = []
    kinds = {}
    for letter in letters:
        kinds.setdefault((names[letter.id], letter.language), letter)
    for i, ((name, language), letter) in enumerate(sorted(kinds.items()), 1):
        page = f'{i:02}-{language}.html'
        (INBOX / page).write_text(letter.html, encoding='utf-8')
        rows.append(
            f'<tr><td>{escape(name)}<td>{language}'
            f'<td><a href="{page}">{escape(letter.subject)}</a>'
            f'<td>{escape(letter.address)}</tr>')
    index = INBOX / 'index.html'
    index.write_text(PAGE.format(rows='\n'.join(rows)), encoding='utf-8')
    return index
