# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""A web server with TLS that takes what webhooks post, or misbehaves"""
import os
import ssl
import tempfile
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch

from trytond.modules.marketing_automation.outgoing import post

from .smtp import certificate


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        "What clients end is what tests ask for"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        size = int(self.headers['Content-Length'])
        received = Received(
            self.path, dict(self.headers), self.rfile.read(size))
        self.server.receiver.take(received, self)

    def log_message(self, *args):
        "Nothing"


class Received:
    "A request that was received, the names of its headers in lower case"

    def __init__(self, path, headers, body):
        self.path = path
        self.headers = {n.lower(): v for n, v in headers.items()}
        self.body = body


class Receiver:
    """The server on a free port of loopback, for a with statement

    requests -- list of Received
    answers -- what is answered to the next ones: (status, headers, body), or
               a function of the handler; then 204
    """

    def __init__(self):
        self.requests = []
        self.answers = []
        self.seconds = 0

    def __enter__(self):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            self.certificate, keyfile = certificate(folder)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, keyfile)
            self.server = _Server(('127.0.0.1', 0), _Handler)
            self.server.receiver = self
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True,
                do_handshake_on_connect=False)
            stack.callback(self.server.server_close)
            thread = threading.Thread(
                target=self.server.serve_forever, args=[0.05], daemon=True)
            thread.start()
            stack.callback(self.server.shutdown)
            # As an administrator trusts a certificate
            stack.enter_context(patch.dict(
                    os.environ, {'SSL_CERT_FILE': self.certificate}))
            post._context.cache_clear()
            stack.callback(post._context.cache_clear)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    @property
    def port(self):
        return self.server.server_address[1]

    @property
    def url(self):
        return f'https://localhost:{self.port}/hook?a=b'

    def take(self, received, handler):
        self.requests.append(received)
        time.sleep(self.seconds)
        answer = self.answers.pop(0) if self.answers else (204, {}, b'')
        if callable(answer):
            answer(handler)
            return
        status, headers, body = answer
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
