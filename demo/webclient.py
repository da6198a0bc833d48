# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""The web client of Tryton, as npm offers it"""
import os
import shutil
import subprocess
import sys
import tarfile

from trytond import __series__

from .environment import BUILD, LOG

PACKAGE = 'tryton-sao'
FOLDER = BUILD / f'{PACKAGE}-{__series__}'
CACHE = BUILD / 'npm'


def find():
    "Return the folder to serve, None if it has not been fetched yet"
    return FOLDER if (FOLDER / 'index.html').exists() else None


def can_fetch():
    return bool(shutil.which('npm'))


def fetch():
    "Return the folder to serve, None if it can not be fetched"
    temporary = FOLDER.with_suffix('.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    if _unpack(temporary):
        # Only what is complete gets the final name
        (temporary / 'package').rename(FOLDER)
    for folder in [temporary, CACHE]:
        shutil.rmtree(folder, ignore_errors=True)
    return find()


def _unpack(folder):
    if not _npm(folder, 'pack', f'{PACKAGE}@{__series__}'):
        return False
    for archive in folder.glob('*.tgz'):
        with tarfile.open(archive) as tar:
            # Not in every Python 3.10
            tar.extraction_filter = getattr(
                tarfile, 'data_filter', lambda member, path: member)
            tar.extractall(folder)
    # The page loads its libraries from the folder beside it
    return _npm(
        folder / 'package', 'install', '--omit=dev', '--ignore-scripts',
        '--legacy-peer-deps')


def _npm(folder, *args):
    env = {
        **os.environ,
        'npm_config_cache': str(CACHE),
        'npm_config_update_notifier': 'false',
        'npm_config_audit': 'false',
        'npm_config_fund': 'false',
        }
    with open(LOG / 'npm.log', 'ab') as log:
        return subprocess.run(
            ['npm', *args], cwd=folder, env=env, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log).returncode == 0


if __name__ == '__main__':
    LOG.mkdir(parents=True, exist_ok=True)
    sys.exit(0 if find() or fetch() else 1)
