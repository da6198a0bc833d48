# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Real servers, databases and processes on loopback

Once for the tests, the demo and the benchmarks: installation.py has the
programs of Tryton, postgresql.py throw-away clusters, smtp.py a mail server
that fails on demand, farm.py all of them together, to be broken.
"""
