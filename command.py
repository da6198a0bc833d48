# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Command that hands delivery reports to the database

    trytond-marketing-bounce -c FILE -d DATABASE [MAILDIR]

Without a folder, one message is read from the standard input, as a mail
server's pipe gives it.  With a folder, the new messages of the Maildir are
received and marked as seen, each in a transaction of its own.

The exit status is 75 if the message has to be tried again (EX_TEMPFAIL of
sysexits.h, which Postfix, Exim and Sendmail know).
"""
import logging
import mailbox
import os
import sys

import trytond.commandline as commandline
import trytond.config as config

EX_TEMPFAIL = 75
logger = logging.getLogger(__name__)


def main(args=None):
    parser = commandline.get_parser()
    parser.prog = 'trytond-marketing-bounce'
    parser.add_argument(
        'maildir', nargs='?', help="receive the new messages of the folder")
    options = parser.parse_args(args)
    config.update_etc(options.configfile)
    commandline.config_log(options)
    if len(options.database_names) != 1:
        parser.error("exactly one database is needed")
    database, = options.database_names
    if options.maildir:
        return _receive_folder(database, options.maildir)
    return _receive(database, sys.stdin.buffer.read())


def _receive(database, data):
    "Store one message (bytes) and return the exit status"
    from trytond.pool import Pool
    from trytond.transaction import Transaction
    try:
        Pool.start()
        pool = Pool(database)
        with Transaction().start(database, 0, readonly=True):
            pool.init()
        with Transaction().start(database, 0):
            Bounce = pool.get('marketing.automation.bounce')
            Bounce.receive(data)
    except Exception:
        logger.critical("the message was not received", exc_info=True)
        return EX_TEMPFAIL
    return os.EX_OK


def _receive_folder(database, path):
    folder = mailbox.Maildir(path, create=False)
    status = os.EX_OK
    for key, message in folder.items():
        if message.get_subdir() != 'new':
            continue
        result = _receive(database, folder.get_bytes(key))
        if result == os.EX_OK:
            message.set_subdir('cur')
            message.add_flag('S')
            folder[key] = message
        status = max(status, result)
    return status


if __name__ == '__main__':
    sys.exit(main())
