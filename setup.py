#!/usr/bin/env python3
# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

NAME = 'marketing_automation'
PACKAGE = f'trytond.modules.{NAME}'
PREFIX = 'trytond'
# Of Tryton, 8.0 and 8.2, each with its own distributions
SERIES = '>= 8.0, < 8.3'
# Modules that are part of the server
SERVER = {'ir', 'res'}
# What the module needs at run time besides Python files
DATA = [
    'tryton.cfg', '*.xml', '*.html', '*.gif', 'view/**/*', 'locale/**/*',
    'icons/**/*', 'starters/*']
TEST_DATA = ['**/*']

# Folders of Python files that register no model
FOLDERS = ['delivery', 'mail', 'outgoing', 'template', 'tests', 'tests.system']

root = Path(__file__).resolve().parent
config = ConfigParser()
config.optionxform = str
config.read(root / 'tryton.cfg', encoding='utf-8')
info = config['tryton']
version = info['version']


def require(name):
    return f'{name} {SERIES}'


def modules(option):
    return [
        f'{PREFIX}_{m}' for m in info.get(option, '').split()
        if m not in SERVER]


def files(folder, patterns):
    "Return the files that are no code, relative to the folder"
    folder = root / folder
    return sorted({
            str(f.relative_to(folder))
            for p in patterns for f in folder.glob(p)
            if f.is_file() and f.suffix not in {'.py', '.pyc'}
            and not f.name.startswith('.')})


def readme():
    for name in ['README.rst', 'README']:
        if (root / name).exists():
            text = (root / name).read_text(encoding='utf-8')
            return re.sub(r'(?m)^\.\. include::.*\n', '', text)
    return ''


optional = list(map(require, modules('extras_depend')))

setup(
    # So that this file is not taken for a module of the package
    script_name='setup.py',
    name=f'{PREFIX}_{NAME}',
    version=version,
    description="Marketing automation for Tryton",
    long_description=readme(),
    long_description_content_type='text/x-rst',
    license_expression='GPL-3.0-or-later',
    license_files=['LICENSE', 'COPYRIGHT'],
    keywords=['tryton', 'marketing', 'automation', 'e-mail'],
    classifiers=[
        'Development Status :: 5 - Production/Stable',
        'Environment :: Plugins',
        'Framework :: Tryton',
        'Intended Audience :: Developers',
        'Intended Audience :: Financial and Insurance Industry',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Office/Business',
        ],
    python_requires='>=3.10',
    # The checkout is the package
    package_dir={PACKAGE: '.'},
    packages=[PACKAGE, *(f'{PACKAGE}.{f}' for f in FOLDERS)],
    package_data={
        PACKAGE: files('.', DATA),
        f'{PACKAGE}.tests': files('tests', TEST_DATA),
        },
    include_package_data=False,
    zip_safe=False,
    install_requires=[
        require('trytond'),
        *map(require, modules('depends')),
        'python-sql >= 1.8',
        'python-dateutil',
        'cachetools >= 5',
        'Genshi',
        'crawler-user-agents >= 1.67',
        'css-inline >= 0.24',
        'flufl.bounce >= 5.0',
        'idna',
        'inscriptis >= 2.5',
        'lxml',
        'mrml',
        'urllib3 >= 2.2',
        'werkzeug',
        'zstandard',
        ],
    extras_require={
        'postgresql': ['psycopg[binary,pool] >= 3.2'],
        'test': [
            require('proteus'), *optional, 'fast-mail-parser >= 0.10',
            # It extends this module
            require('trytond_marketing_campaign'), 'hypothesis'],
        },
    entry_points={
        'console_scripts': [
            f'trytond-marketing-bounce = {PACKAGE}.command:main'],
        'trytond.modules': [f'{NAME} = {PACKAGE}'],
        },
    )
