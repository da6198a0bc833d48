#!/usr/bin/env python3
# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
A company, its customers and three scenarios, to look at and to play with

Everything is in .build/demo of the checkout.  Cron, mail server and web server
are real; only the days are not: they pass at once, by making what the module
has stored older.
"""
import argparse
import signal
import sys
import threading

from ..tests.system.installation import InstallationError
from . import environment, readers, webclient
from .environment import FOLDER, LOG, MAIL, DemoError, Processes
from .talk import progress, say, step

MODULES = ['marketing_automation', 'sale']
# The mail server knows nobody at these addresses
GONE = 'gone*@*'


class Demo:

    def __init__(self, processes, has_web_client):
        self.processes = processes
        self.has_web_client = has_web_client
        # Only who is at this machine can log in
        self.passwords = {n: n for n in ['admin', 'sales', 'marketing']}

    # What is there before

    def prepare(self):
        with step("Mail server"):
            self.processes.start_smtp()
            self.processes.smtp.fail(
                550, "5.1.1 Nobody of this name", match=GONE)
        self.processes.configure(self._web_client())
        with step("Database with the modules, takes about a minute"):
            self.processes.activate(self.passwords['admin'], MODULES)
        self._fill()
        with step("Server"):
            self.processes.start_server()

    def _web_client(self):
        "Return the folder of the web client, None to do without"
        if not self.has_web_client:
            return None
        root = webclient.find()
        if not root and not webclient.can_fetch():
            say("  No web client, since npm is not installed.")
        elif not root:
            with step("Web client from npm, only the first time"):
                root = webclient.fetch()
            if not root:
                say("  No web client, npm could not fetch it: "
                    f"see {LOG / 'npm.log'}")
        self.has_web_client = bool(root)
        return root

    def _fill(self):
        # What needs the configuration
        from . import database, scenarios
        with step(f"Company with {database.PARTIES} parties "
                f"and {sum(database.SALES.values())} sales"):
            database.load()
            company = database.set_up(self.passwords)
            database.Shop(company).fill()
        with step(f"{len(scenarios.PLANS)} scenarios in English, German, "
                "French and Spanish, and one to be tried and run"):
            for plan in scenarios.PLANS:
                with database.session(plan.owner):
                    scenarios.create(plan)
            with database.session('marketing'):
                scenarios.prepare()

    # The main job

    def run(self):
        self.readers = readers.Readers()
        say('', "Day 1: the scenarios start")
        self._cron()
        self._pass(hours=3)
        self._read()
        self._react()
        say('', "The same evening")
        self._pass(hours=1)
        self._cron()
        self._pass(hours=2)
        self._read()
        say('', "Day 4: what follows")
        self._pass(days=3)
        self._cron()
        self._pass(hours=2)
        self._read()
        self._pass(hours=1)
        self._cron()
        self._pass(hours=2)
        self._read()
        say('', "Day 8: the last reminders")
        self._pass(days=4)
        self._cron()

    def _cron(self):
        scanned = len(self.readers.scanned)
        with step("Cron enters records and sends e-mails"), \
                self.readers.scanning():
            self.processes.run_cron()
        self.letters = self.readers.collect()
        say(f"  {len(self.letters)} e-mails have arrived.")
        scanned = len(self.readers.scanned) - scanned
        if scanned:
            say(f"  In {scanned} of them, a security product has followed "
                "every link at once.")

    def _pass(self, **delay):
        from . import clock
        clock.advance(**delay)
        (unit, number), = delay.items()
        if number == 1:
            unit = unit[:-1]
        say(f"  {number} {unit} later (all that is stored becomes older) …")

    def _react(self):
        "Unsubscribe, or accept the offer"
        from . import database
        annoyed = [
            x for x in self.letters
            if x.id in self.readers.opened][7::25]
        with step(f"{len(annoyed)} people unsubscribe"):
            for letter in annoyed:
                self.readers.unsubscribe(letter)
        count = database.accept_quotations()
        say(f"  {count} customers accept their quotation.")

    def _read(self):
        before = len(self.readers.opened), len(self.readers.clicked)
        for letter in progress(
                self.letters, "People look at their mailboxes"):
            self.readers.read(letter)
        say("  {} open an e-mail, {} click.".format(
                len(self.readers.opened) - before[0],
                len(self.readers.clicked) - before[1]))

    # What has become of it

    def report(self):
        "Print what has happened and return if it is all true"
        from . import check, database, inbox
        with database.session('sales'):
            say(*check.table(), '')
        with database.transaction():
            result = check.Check(self.readers, self.processes)
            claims = list(result.run())
            letters = sorted(
                self.readers.letters.values(), key=self.readers.is_read)
            index = inbox.write(letters, result.names())
        say("Compared with the database:")
        for claim, is_true in claims:
            say(f"  {'ok   ' if is_true else 'WRONG'} {claim}")
        say('', f"Received e-mails  {MAIL / 'new'}",
            f"  in the browser  {index}",
            f"            Logs  {LOG}")
        return all(is_true for _, is_true in claims)

    def stay(self):
        "Let cron and server go on until somebody has enough"
        self.processes.start_cron()
        what = "Web client" if self.has_web_client else "Server    "
        say(f"        {what}  {self.processes.base}#{environment.DATABASE}")
        for login, password in reversed(self.passwords.items()):
            say(f"          Log in  {login} / {password}")
        say('', "The cron goes on every minute.  Stop with Ctrl-C.")
        threading.Event().wait()


def _stop(*_):
    raise KeyboardInterrupt


def _arguments():
    parser = argparse.ArgumentParser(
        description="Demonstrate the marketing automation of Tryton")
    parser.add_argument('--once', action='store_true',
        help="end after the main job, with an error if anything is wrong")
    parser.add_argument('--no-web-client', action='store_true',
        help="do not fetch the web client from npm")
    return parser.parse_args()


def main():
    arguments = _arguments()
    for number in [signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, _stop)
    try:
        lock = environment.prepare()
        with lock, Processes() as processes:
            demo = Demo(processes, not arguments.no_web_client)
            say(f"Demo in {FOLDER}")
            demo.prepare()
            demo.run()
            is_true = demo.report()
            if not arguments.once:
                demo.stay()
            elif not is_true:
                return 1
    except (DemoError, InstallationError) as error:
        say('', str(error))
        return 1
    except KeyboardInterrupt:
        say('', "Stopped.")
        return 0 if not arguments.once else 130


if __name__ == '__main__':
    sys.exit(main())
