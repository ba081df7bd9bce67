"""A MariaDB of our own, on a free port, with a data directory that goes away with it."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pymysql

PROGRAM = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")
INSTALLER = shutil.which("mariadb-install-db")
START_SECONDS = 60


def is_installed() -> bool:
    return PROGRAM is not None and INSTALLER is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class PrivateMariaDB:
    """Starts at construction; stop() ends it and removes its files.

    It runs with Latin-1 as its default character set, so that only tables and
    connections that name theirs pass.
    """

    def __init__(self, *arguments: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self.port = free_port()
        self.arguments = arguments
        # A server that starts sweeps temporary tables out of its tmpdir, also those of others.
        (self.folder / "tmp").mkdir()
        places = [f"--datadir={self.folder}/data", f"--tmpdir={self.folder}/tmp"]
        common = ["--no-defaults", *places, f"--user={_user()}"]
        install = [str(INSTALLER), *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(install, check=True, capture_output=True)
        self.command = [
            *(str(PROGRAM), *common, f"--port={self.port}", "--bind-address=127.0.0.1"),
            *(f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid", f"--log-error={self.folder}/log.err"),
            *("--character-set-server=latin1", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M"),
            *("--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve", "--performance-schema=OFF"),
            *arguments,
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log.err").read_text()) from None
                time.sleep(0.05)

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as root; the rows of the last one."""
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def url(
        self,
        database: str,
        driver: str = os.environ.get("TEST_MYSQL_DRIVER", "mysql"),
        *,
        user: str = "root",
        port: int | None = None,
    ) -> str:
        """TEST_MYSQL_DRIVER=mysql+asyncmy runs the whole suite with the other driver; the port may be a proxy's."""
        return f"{driver}://{user}@127.0.0.1:{port or self.port}/{database}"

    def add_user(self, name: str, database: str) -> None:
        """A user as a service should have one: what stops everybody but administrators stops this one as well."""
        self.execute(f"CREATE USER {name}@'%'", f"GRANT ALL ON {database}.* TO {name}@'%'")

    def connections(self, database: str) -> int:
        """How many connections the server has open into a database."""
        found = self.execute(f"SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{database}'")
        return int(str(found[0][0]))

    def freeze(self) -> None:
        """Stop every thread of the server; it has stopped when this returns."""
        os.kill(self.process.pid, signal.SIGSTOP)
        # The signal alone may take effect after the server answered one query more.
        os.waitpid(self.process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _user() -> str:
    return getpass.getuser()
