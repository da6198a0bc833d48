# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from .system.postgresql import Cluster, programs

try:
    import psycopg
except ImportError:
    psycopg = None


@unittest.skipUnless(
    psycopg and programs(), "psycopg and a PostgreSQL server are needed")
class ClusterTestCase(unittest.TestCase):
    "Test throw-away clusters of PostgreSQL"

    def start(self, **options):
        cluster = Cluster(**options)
        self.addCleanup(cluster.stop)
        cluster.start()
        return cluster

    def execute(self, cluster, query):
        with psycopg.connect(
                cluster.uri + 'template1', autocommit=True) as connection:
            cursor = connection.execute(query)
            if cursor.description:
                return cursor.fetchall()

    def test_restart(self):
        "Test the server comes back on the same port with its data"
        cluster = self.start(fsync=False)
        port = cluster.port
        self.execute(cluster, 'CREATE TABLE test (id INTEGER)')

        cluster.restart()

        self.assertEqual(cluster.port, port)
        self.assertEqual(self.execute(cluster, 'SELECT * FROM test'), [])

    def test_kill(self):
        "Test sessions are cut and what was committed is kept"
        cluster = self.start(fsync=False)
        with psycopg.connect(
                cluster.uri + 'template1', autocommit=True) as connection:
            connection.execute('CREATE TABLE test (id INTEGER)')
            connection.autocommit = False
            connection.execute('INSERT INTO test VALUES (1)')
            connection.commit()
            connection.execute('INSERT INTO test VALUES (2)')

            cluster.kill()

            with self.assertRaises(psycopg.OperationalError):
                connection.execute('SELECT 1')
        with self.assertRaises(psycopg.OperationalError):
            self.execute(cluster, 'SELECT 1')
        cluster.start()
        self.assertEqual(self.execute(cluster, 'SELECT * FROM test'), [(1,)])

    def test_password(self):
        "Test the server asks for the password"
        cluster = self.start(fsync=False)
        uri = cluster.uri.replace(cluster.password, 'wrong')

        with self.assertRaises(psycopg.OperationalError):
            psycopg.connect(uri + 'template1')

    def test_settings(self):
        "Test settings of the server"
        cluster = self.start(work_mem='7MB')

        self.assertEqual(self.execute(cluster, 'SHOW work_mem'), [('7MB',)])
        self.assertEqual(self.execute(cluster, 'SHOW fsync'), [('on',)])

    def test_template(self):
        "Test a cluster starts from the data of another"
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        template = os.path.join(folder, 'template')
        cluster = self.start(fsync=False, template=template)
        self.execute(cluster, 'CREATE TABLE test (id INTEGER)')

        cluster.save(template)
        other = self.start(fsync=False, template=template)

        self.assertEqual(self.execute(other, 'SELECT * FROM test'), [])

    def test_stop(self):
        "Test nothing is left"
        cluster = self.start(fsync=False)
        folder = cluster.folder
        uri = cluster.uri

        cluster.stop()

        self.assertFalse(os.path.exists(folder))
        with self.assertRaises(psycopg.OperationalError):
            psycopg.connect(uri + 'template1')

    def test_guard(self):
        "Test nothing is left when the process is killed"
        code = (
            'import os, signal; '
            f'from {Cluster.__module__} import Cluster; '
            'cluster = Cluster(fsync=False); '
            'cluster.start(); '
            'print(cluster.folder, flush=True); '
            'os.kill(os.getpid(), signal.SIGKILL)')
        process = subprocess.run(
            [sys.executable, '-I', '-c', code],
            stdout=subprocess.PIPE, text=True)
        folder = process.stdout.strip()
        self.assertTrue(folder)

        end = time.monotonic() + 10
        while os.path.exists(folder) and time.monotonic() < end:
            time.sleep(0.1)

        self.assertFalse(os.path.exists(folder))
