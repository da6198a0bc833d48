# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.

from configparser import ConfigParser
from pathlib import Path

config = ConfigParser()
config.read(Path(__file__).resolve().parent.parent / 'tryton.cfg')

project = "Marketing Automation Module for Tryton"
copyright = "The marketing_automation authors"
release = config['tryton']['version']
version = '.'.join(release.split('.')[:2])

extensions = []
master_doc = 'index'
exclude_patterns = ['_build']
default_role = 'ref'
highlight_language = 'none'
