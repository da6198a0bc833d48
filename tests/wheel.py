# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
Check that what is distributed is whole: build the source archive and from it
the wheel, install it into a clean environment with no more than it asks for,
activate the module there, and compare with the checkout.
"""
import os
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MODULE = 'marketing_automation'
PREFIX = f'trytond/modules/{MODULE}/'
ROOT = Path(__file__).resolve().parent.parent
# What must arrive, besides the Python files
PATTERNS = [
    'tryton.cfg', '*.py', '*.xml', '*.html', '*.gif', 'view/**/*',
    'locale/**/*', 'icons/**/*', 'delivery/**/*', 'mail/**/*',
    'outgoing/**/*', 'template/**/*', 'starters/**/*', 'tests/**/*']
# Only for the checkout
EXCEPT = {'setup.py'}
SQLITE = 'wheel'


def run(*command, **options):
    command = list(map(str, command))
    process = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, **options)
    if process.returncode:
        sys.exit(f"{process.stdout}\nfailed: {' '.join(command)}")
    return process.stdout


def expected():
    "Return the files of the checkout by their name in the wheel"
    return {
        PREFIX + path.relative_to(ROOT).as_posix(): path
        for pattern in PATTERNS for path in ROOT.glob(pattern)
        if path.is_file() and path.name not in EXCEPT
        and path.suffix != '.pyc' and not path.name.startswith('.')}


def build(folder):
    "Return the wheel"
    program = Path(sys.executable).parent / 'pyproject-build'
    run(program, '--outdir', folder, ROOT, cwd=folder)
    wheel, = folder.glob('*.whl')
    return wheel


def compare(wheel):
    "Return the differences between the wheel and the checkout"
    differences = []
    files = expected()
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if '.dist-info/' not in n}
        for name in sorted(files.keys() - names):
            differences.append(f"missing: {name}")
        for name in sorted(names - files.keys()):
            differences.append(f"unexpected: {name}")
        for name in sorted(names & files.keys()):
            if archive.read(name) != files[name].read_bytes():
                differences.append(f"different: {name}")
    return differences


def activate(wheel, folder):
    "Activate the module in an environment with only the wheel"
    binaries = folder / 'venv' / 'bin'
    run(sys.executable, '-I', '-m', 'venv', folder / 'venv', cwd=folder)
    run(binaries / 'python', '-I', '-m', 'pip', 'install', '-qq', wheel,
        cwd=folder)
    password = folder / 'password'
    password.write_text('wheel')
    environment = {
        **os.environ,
        'TRYTOND_DATABASE_URI': 'sqlite://',
        'TRYTOND_DATABASE__PATH': str(folder),
        'TRYTONPASSFILE': str(password),
        }
    environment.pop('TRYTOND_CONFIG', None)
    environment.pop('PYTHONPATH', None)
    sqlite3.connect(folder / f'{SQLITE}.sqlite').close()
    run(binaries / 'trytond-admin', '-d', SQLITE, '-u', MODULE,
        '--activate-dependencies', '--email', 'wheel@example.com', '-p',
        cwd=folder, env=environment)
    return installed(folder, binaries)


def installed(folder, binaries):
    "Return what is wrong with the activated module"
    wrong = []
    connection = sqlite3.connect(folder / f'{SQLITE}.sqlite')
    with connection:
        state = connection.execute(
            'SELECT state FROM ir_module WHERE name = ?', [MODULE]).fetchone()
        if state != ('activated',):
            wrong.append(f"state of the module: {state}")
        views, = connection.execute(
            'SELECT COUNT(*) FROM ir_ui_view WHERE module = ?',
            [MODULE]).fetchone()
        if not views:
            wrong.append("no views of the module")
    connection.close()
    path = run(
        binaries / 'python', '-c',
        'from trytond.tools import find_path; '
        f'print(find_path("{MODULE}/tryton.cfg"))', cwd=folder).strip()
    if not Path(path).is_relative_to(folder):
        wrong.append(f"the module comes from {path}")
    return wrong


def main():
    with tempfile.TemporaryDirectory(prefix='wheel-') as folder:
        folder = Path(folder).resolve()
        wheel = build(folder)
        wrong = compare(wheel) or activate(wheel, folder)
        for line in wrong:
            print(line)
        if wrong:
            sys.exit(f"{len(wrong)} faults in {wheel.name}")
        print(f"{wheel.name}: {len(expected())} files arrived, activated")


if __name__ == '__main__':
    main()
