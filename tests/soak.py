# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The fault tests with much to send and many kills

The environment variables SOAK_COUNT (record activities, 20000), SOAK_KILLS
(50) and SOAK_SEED change what is done.  Names choose tests of test_faults.
"""
import os
import sys
import unittest

os.environ.setdefault('SOAK_COUNT', '20000')
os.environ.setdefault('SOAK_KILLS', '50')

if __name__ == '__main__':
    module = 'trytond.modules.marketing_automation.tests.test_faults'
    names = [f'{module}.{name}' for name in sys.argv[1:]] or [module]
    unittest.main(module=None, argv=['soak', '-v', *names])
