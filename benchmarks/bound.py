# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
The bound: the same template rendered, built and delivered without a database.

Two programs for one message after the other over one SMTP session:

    stock   the libraries as they come: Genshi, inscriptis, email, smtplib
    parts   this module's template, envelope and session, on values in memory

Both sign a link of its own for each of the links, the pixel and the
unsubscription, as the messages of the module have them.
"""
import argparse
import hmac
import json
import smtplib
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

NEWSLETTER = Path(__file__).resolve().parent / 'newsletter.html'
TITLE = "News for ${record.rec_name}"
FROM = "Shop <shop@example.com>"
BASE = 'https://example.com/m/bench/'
SECRET = b'0123456789abcdef0123456789abcdef'


class Stock:

    def __init__(self, host, port):
        from genshi.template import MarkupTemplate, TextTemplate
        self.template = MarkupTemplate(NEWSLETTER.read_text())
        self.title = TextTemplate(TITLE)
        self.server = smtplib.SMTP(host, port)

    def send(self, i):
        context = {
            'record': SimpleNamespace(
                rec_name=f"Party {i}", code=f'B{i}'),
            }
        title = self.title.generate(**context).render()
        html = (self.template
            .generate(**context)
            .filter(lambda stream: self._links(stream, i))
            .render('xhtml'))
        pixel = f'<img src="{self._url("open", i)}" alt=""/></body>'
        msg = self._message(i, title, html.replace('</body>', pixel))
        self.server.sendmail(
            'shop@example.com', [f'p{i}@example.com'], msg.as_bytes(),
            ['BODY=8BITMIME'])

    def _links(self, stream, i):
        from genshi.core import START, QName
        for kind, data, pos in stream:
            if kind is START:
                tag, attrs = data
                if href := attrs.get('href'):
                    data = tag, attrs | [
                        (QName('href'), self._url(href, i))]
            yield kind, data, pos

    @staticmethod
    def _url(purpose, i):
        token = hmac.digest(SECRET, f'{purpose}\0{i}'.encode(), 'sha256')
        return f'{BASE}c/{i}-{token[:12].hex()}'

    def _message(self, i, title, html):
        from inscriptis import get_text
        from inscriptis.model.config import ParserConfig
        unsubscribe = self._url('unsubscribe', i)
        msg = EmailMessage(policy=SMTP)
        msg['From'] = FROM
        msg['To'] = f'"Party {i}" <p{i}@example.com>'
        msg['Subject'] = title
        msg['Date'] = formatdate()
        msg['Message-ID'] = f'<{i}@example.com>'
        msg['List-Unsubscribe'] = f'<{unsubscribe}>'
        msg['List-Unsubscribe-Post'] = 'List-Unsubscribe=One-Click'
        msg['List-Id'] = '<scenario-1.example.com>'
        msg['Auto-Submitted'] = 'auto-generated'
        msg['Precedence'] = 'bulk'
        msg['X-Marketing-Automation'] = f'{i}'
        msg.set_content(get_text(html, ParserConfig(display_links=True)))
        msg.add_alternative(html, subtype='html')
        return msg

    def close(self):
        self.server.quit()


class Parts:

    def __init__(self, host, port):
        import trytond.config as config
        from trytond.modules.marketing_automation.mail import message, smtp

        config.set('email', 'from', FROM)
        self.message = message
        self.session = smtp.Session(f'smtp://{host}:{port}')
        self.outbox = object.__new__(message.Outbox)
        self.outbox.secret = SECRET
        self.outbox.base = BASE
        self.outbox.host = 'example.com'
        self.activity = SimpleNamespace(
            id=1, email_title=TITLE, email_template=NEWSLETTER.read_text(),
            email_context=lambda record: {'record': record})

    def send(self, i):
        draft = self._draft(i)
        draft.render(self.activity, self._record(i), None)
        ids = {(1, url): n for n, url in enumerate(draft.urls)}
        result, _ = self.session.send(self.outbox.seal(draft, ids))
        assert result.kind == 'sent', str(result)

    def _draft(self, i):
        draft = object.__new__(self.message.Draft)
        values = {
            'id': i, 'activity': 1, 'scenario': 1, 'sender': FROM,
            'record': i, 'uuid': f'{i:032x}', 'resource': f'party.party,{i}',
            'name': f"Party {i}", 'address': f'p{i}@example.com',
            'tracking': 'individual',
            'links': self.message.Placeholders('own', True),
            }
        for name, value in values.items():
            setattr(draft, name, value)
        return draft

    @staticmethod
    def _record(i):
        from trytond.modules.marketing_automation.template.values import (
            Namespace)
        return Namespace(
            'record', {'rec_name': f"Party {i}", 'code': f'B{i}'})

    def close(self):
        self.session.quit()


PROGRAMS = {'stock': Stock, 'parts': Parts}


def measure(program, host, port, count):
    program = PROGRAMS[program](host, port)
    for i in range(20):
        program.send(i + 1)
    processor, started = time.process_time(), time.perf_counter()
    for i in range(count):
        program.send(i + 100)
    result = {
        'seconds': time.perf_counter() - started,
        'processor': time.process_time() - processor,
        }
    program.close()
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('program', choices=PROGRAMS)
    parser.add_argument('host')
    parser.add_argument('port', type=int)
    parser.add_argument('count', type=int)
    arguments = parser.parse_args()
    print(json.dumps(measure(**vars(arguments))))


if __name__ == '__main__':
    main()
