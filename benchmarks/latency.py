# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""What a mail server that is not next door leaves of the rate

Messages go through a proxy which holds all bytes back for half of the round
trip, in a process of its own.  A server that announces PIPELINING is compared
with one that does not.
"""
import argparse
import asyncio
import multiprocessing
import time
from collections import namedtuple

from ..mail.smtp import Relay
from ..tests.system.smtp import FEATURES, Process

# Seconds of processor time to compose a message and to store its result
WORK = 0.0015
BODY = b'Message-ID: <%d@example.com>\r\n\r\n' + (b'x' * 70 + b'\r\n') * 120

Message = namedtuple('Message', ['sender', 'recipient', 'data', 'cancelled'])


class Line:
    "A connection that is held up"

    def __init__(self, port, seconds):
        self.port = port
        self.seconds = seconds

    async def __call__(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(
            '127.0.0.1', self.port)
        await asyncio.gather(
            self._carry(reader, far_writer), self._carry(far_reader, writer),
            return_exceptions=True)

    async def _carry(self, reader, writer):
        loop = asyncio.get_running_loop()
        while chunk := await reader.read(65536):
            loop.call_later(self.seconds, writer.write, chunk)
        loop.call_later(self.seconds, writer.close)


def proxy(port, seconds, connection):
    async def serve():
        server = await asyncio.start_server(
            Line(port, seconds), '127.0.0.1', 0)
        connection.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()
    asyncio.run(serve())


def messages(count):
    for number in range(count):
        _work()
        yield Message(
            'a@example.com', 'b@example.com', BODY % number, False)


def _work():
    end = time.perf_counter() + WORK
    while time.perf_counter() < end:
        pass


def measure(port, milliseconds, sessions, count):
    "Return the messages a second"
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(
        target=proxy, args=(port, milliseconds / 2000, there), daemon=True)
    process.start()
    try:
        uri = f'smtp://127.0.0.1:{here.recv()}'
        with Relay(uri, sessions) as relay:
            for _ in relay.deliver(messages(sessions * 8)):
                pass
            started = time.perf_counter()
            for _, result in relay.deliver(messages(count)):
                assert result.kind == 'sent', str(result)
            return count / (time.perf_counter() - started)
    finally:
        process.terminate()
        process.join()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument('--sessions', type=int, nargs='+', default=[1, 3, 8])
    parser.add_argument(
        '--milliseconds', type=int, nargs='+', default=[5, 20])
    arguments = parser.parse_args()
    print("round trip  sessions  in turn  pipelined  messages a second")
    with Process(store='count') as server:
        for milliseconds in arguments.milliseconds:
            for sessions in arguments.sessions:
                rates = []
                for features in [set(FEATURES) - {'PIPELINING'}, FEATURES]:
                    server.offer(features)
                    rates.append(measure(
                            server.port, milliseconds, sessions,
                            arguments.count))
                print("{:7} ms {:9} {:8.0f} {:10.0f}".format(
                        milliseconds, sessions, *rates), flush=True)


if __name__ == '__main__':
    main()
