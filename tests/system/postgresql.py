# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""
Throw-away PostgreSQL clusters for tests, demonstration and benchmarks.

Only the standard library is used; what is needed are the programs of a
PostgreSQL server, which refuse to run as root: an unprivileged user is taken
then.
"""
import glob
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time

__all__ = ['Cluster', 'programs', 'server_uri']

USER = 'tryton'
# What root becomes, the first that exists
UNPRIVILEGED = ['postgres', 'nobody']
# Ends what a killed process left: $0 is the folder, end of input the signal
GUARD = '''
cat > /dev/null
if [ -f "$0/data/postmaster.pid" ]; then
    kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")"
    sleep 1
fi
rm -rf "$0"
'''


def programs():
    "Return the folder of the newest server programs, None without any"
    if program := shutil.which('initdb'):
        return os.path.dirname(os.path.realpath(program))
    folders = [
        os.path.dirname(p)
        for pattern in [
            '/usr/lib/postgresql/*/bin/initdb',
            '/usr/pgsql-*/bin/initdb',
            '/usr/local/pgsql*/bin/initdb']
        for p in glob.glob(pattern)]
    return max(folders, key=_version, default=None)


def _version(folder):
    return [int(n) for n in re.findall(r'\d+', folder)]


def server_uri():
    "Return the URI of the server the environment names, None without any"
    if uri := os.environ.get('POSTGRESQL_URI'):
        return uri.rstrip('/') + '/' if uri.count('/') == 2 else uri
    if os.environ.get('PGHOST'):
        # libpq takes all the rest from its own variables
        return 'postgresql:///'


def _identity():
    "Return the options of a child process that must not be root"
    if os.geteuid():
        return {}
    for name in UNPRIVILEGED:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {
            'user': user.pw_uid,
            'group': user.pw_gid,
            'extra_groups': [],
            }
    raise OSError(f"PostgreSQL needs one of the users {UNPRIVILEGED}")


class Cluster:
    """
    A server on a free port of loopback with its data in a temporary folder.

    Without fsync it is faster, and what was committed survives the end of
    the server's processes but not the end of the machine. A template is a
    folder filled by save(); settings are those of postgresql.conf.

    Use it as a context manager, or call start() and stop(). Whatever happens
    to this process, the server ends and the folder goes.
    """

    def __init__(self, fsync=True, template=None, **settings):
        self.folder = None
        self.port = None
        self.password = None
        self.settings = settings
        if not fsync:
            self.settings = {
                'fsync': 'off',
                'full_page_writes': 'off',
                **settings}
        self._programs = programs()
        if not self._programs:
            raise FileNotFoundError("No PostgreSQL server programs found")
        self._template = template
        self._identity = _identity()
        self._process = None
        self._guard = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *args):
        self.stop()

    @property
    def uri(self):
        "URI for [database] uri; libpq wants a database's name at its end"
        return f'postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/'

    @property
    def data(self):
        return os.path.join(self.folder, 'data')

    @property
    def log(self):
        with open(os.path.join(self.folder, 'log'), errors='replace') as file:
            return file.read()

    def start(self):
        fresh = self.folder is None
        if fresh:
            self._prepare()
        for _ in range(3):
            if fresh:
                # Somebody else may take it before the server does
                self.port = _free_port()
            if self._launch():
                return
        log = self.log
        self.stop()
        raise OSError("PostgreSQL does not start:\n" + log)

    def stop(self):
        "End the server and remove its folder"
        if self.folder is None:
            return
        self.shutdown()
        self._remove_shared_memory()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._guard.communicate()
        self.folder = None

    def shutdown(self, number=signal.SIGINT):
        """
        End the server only: SIGTERM waits for the sessions, SIGINT cuts
        them, SIGQUIT leaves the recovery to the next start
        """
        if self._process:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def restart(self):
        "Cut the sessions, end the server and start it on the same port"
        self.shutdown()
        self.start()

    def kill(self):
        "End all processes of the server at once, start() recovers"
        # So that it cannot say a word when its children die
        self._process.send_signal(signal.SIGSTOP)
        for child in _children(self._process.pid):
            os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def save(self, folder):
        "End the server and keep its data as a template in the folder"
        self.shutdown()
        target = f'{folder}.{os.getpid()}'
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target, mode=0o700)
        for name in ['data', 'password']:
            self._copy(
                os.path.join(self.folder, name), os.path.join(target, name))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(target, folder)
        except OSError:
            # Another process was faster
            shutil.rmtree(target, ignore_errors=True)

    def program(self, name, *arguments, **options):
        "Run a program as the user of the cluster"
        return subprocess.run(
            [os.path.join(self._programs, name), *arguments],
            cwd=self.folder, stdin=subprocess.DEVNULL, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=self._environment(), **self._identity, **options)

    def _environment(self):
        names = ['LD_LIBRARY_PATH', 'PATH', 'TZ']
        environment = {n: os.environ[n] for n in names if n in os.environ}
        return {**environment, 'HOME': self.folder, 'LC_ALL': 'C'}

    def _prepare(self):
        self.folder = tempfile.mkdtemp(prefix='postgresql-')
        self._guard = subprocess.Popen(
            ['sh', '-c', GUARD, self.folder], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        self._own(self.folder)
        try:
            if self._template and os.path.isdir(self._template):
                self._restore()
            else:
                self._initialize()
        except BaseException:
            self.stop()
            raise

    def _own(self, path):
        if self._identity:
            os.chown(path, self._identity['user'], self._identity['group'])

    def _initialize(self):
        self.password = secrets.token_hex(16)
        path = os.path.join(self.folder, 'password')
        with open(path, 'w') as file:
            file.write(self.password)
        os.chmod(path, 0o600)
        self._own(path)
        arguments = [
            '-D', self.data, '-U', USER, '-A', 'scram-sha-256',
            f'--pwfile={path}', '-E', 'UTF8', '--no-sync']
        try:
            self.program('initdb', *arguments, '--locale=C.UTF-8')
        except subprocess.CalledProcessError:
            # Not every system has this locale
            try:
                self.program('initdb', *arguments, '--locale=C')
            except subprocess.CalledProcessError as e:
                raise OSError(e.stdout) from e

    def _restore(self):
        for name in ['data', 'password']:
            self._copy(
                os.path.join(self._template, name),
                os.path.join(self.folder, name))
        with open(os.path.join(self.folder, 'password')) as file:
            self.password = file.read()
        self._own(os.path.join(self.folder, 'password'))
        for folder, _, files in os.walk(self.data):
            self._own(folder)
            for name in files:
                self._own(os.path.join(folder, name))

    @classmethod
    def _copy(cls, source, target):
        if os.path.isdir(source):
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)

    def _launch(self):
        settings = {
            'listen_addresses': '127.0.0.1',
            'port': self.port,
            'unix_socket_directories': self.folder,
            # So that nothing is left outside of the folder
            'dynamic_shared_memory_type': 'mmap',
            **self.settings}
        command = [os.path.join(self._programs, 'postgres'), '-D', self.data]
        for name, value in settings.items():
            command += ['-c', f'{name}={value}']
        with open(os.path.join(self.folder, 'log'), 'a') as log:
            # A session of its own: an interrupt at the terminal is for us
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
                **self._identity)
        return self._ready()

    def _ready(self, timeout=60):
        end = time.monotonic() + timeout
        while time.monotonic() < end and self._process.poll() is None:
            status = subprocess.call(
                [os.path.join(self._programs, 'pg_isready'), '-q',
                    '-h', '127.0.0.1', '-p', str(self.port)],
                env=self._environment(), cwd=self.folder)
            if not status:
                # It may be another server that answers on the port
                return self._process.poll() is None
            time.sleep(0.05)
        self._process.kill()
        self._process.wait()
        self._process = None
        return False

    def _remove_shared_memory(self):
        "Remove the segment a killed server leaves, line 7 has key and id"
        try:
            with open(os.path.join(self.data, 'postmaster.pid')) as file:
                _, id_ = file.read().splitlines()[6].split()
        except (OSError, IndexError, ValueError):
            return
        if shutil.which('ipcrm'):
            subprocess.call(['ipcrm', '-m', id_], stderr=subprocess.DEVNULL)


def _free_port():
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


def _children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children') as file:
            return list(map(int, file.read().split()))
    except OSError:
        return []
