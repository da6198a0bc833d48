# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Command that hands delivery reports to the database

    trytond-marketing-bounce -c FILE -d DATABASE [-m MAILDIR]

Without a folder, one message is read from the standard input, as a mail
server's pipe gives it.  With a folder, the new messages of the Maildir are
received and filed as seen, each in a transaction of its own.

The exit status is 75 if the message has to be tried again (EX_TEMPFAIL of
sysexits.h, which Postfix, Exim and Sendmail know).
"""
import logging
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import trytond.commandline as commandline
import trytond.config as config

EX_TEMPFAIL = 75
logger = logging.getLogger(__name__)


def main(args=None):
    parser = commandline.get_parser()
    parser.prog = 'trytond-marketing-bounce'
    parser.add_argument(
        '-m', '--maildir', metavar='FOLDER',
        help="receive the new messages of the Maildir")
    options = parser.parse_args(args)
    config.update_etc(options.configfile)
    commandline.config_log(options)
    if len(options.database_names) != 1:
        parser.error("exactly one database is needed")
    database, = options.database_names
    _load_backend(args)
    try:
        pool = _start(database)
        if options.maildir:
            return _receive_folder(pool, Path(options.maildir))
        return _receive(pool, sys.stdin.buffer.read())
    except Exception:
        logger.critical("no message was received", exc_info=True)
        return EX_TEMPFAIL


def _load_backend(args):
    """Start again if another kind of database is loaded than configured

    This file is part of a package which loads it before the configuration.
    """
    from trytond import backend
    uri = config.get('database', 'uri')
    if urlsplit(uri).scheme != backend.name:
        os.environ['TRYTOND_DATABASE_URI'] = uri
        args = sys.argv[1:] if args is None else args
        os.execv(
            sys.executable, [sys.executable, '-m', __spec__.name, *args])


def _start(database):
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    Pool.start()
    pool = Pool(database)
    with Transaction().start(database, 0, readonly=True):
        pool.init()
    return pool


def _receive_folder(pool, folder):
    "Receive what is new in the Maildir and return the exit status"
    status = os.EX_OK
    for path in sorted((folder / 'new').iterdir()):
        result = _receive(pool, path.read_bytes())
        if result == os.EX_OK:
            path.rename(folder / 'cur' / f'{path.name}:2,S')
        status = max(status, result)
    return status


def _receive(pool, data):
    "Store one message (bytes) and return the exit status"
    from trytond.transaction import Transaction
    try:
        with Transaction().start(pool.database_name, 0):
            Bounce = pool.get('marketing.automation.bounce')
            Bounce.receive(data)
    except Exception:
        logger.critical("the message was not received", exc_info=True)
        return EX_TEMPFAIL
    return os.EX_OK


if __name__ == '__main__':
    sys.exit(main())
