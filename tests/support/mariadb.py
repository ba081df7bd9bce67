"""A private MariaDB on a free port, with a data directory that is removed with it."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
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


def wait_until_it_answers(
    ask: Callable[[], object],
    process: "subprocess.Popen[bytes]",
    log: Path,
    not_yet: tuple[type[Exception], ...] = (pymysql.err.OperationalError,),
) -> None:
    """Ask a server that starts until it answers; RuntimeError with its log if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()
            return
        except not_yet:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(log.read_text()) from None
            time.sleep(0.05)


class MariaDBProcess:
    """A running server on a port of loopback."""

    port: int
    process: "subprocess.Popen[bytes]"

    def connect(self, user: str = "root", database: str | None = None) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, database=database, autocommit=True, read_timeout=30
        )

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as root; returns the rows of the last one."""
        with self.connect() as connection, connection.cursor() as cursor:
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
        """The database's URL; the port may be a proxy's.

        TEST_MYSQL_DRIVER=mysql+asyncmy runs the whole suite with the other driver.
        """
        return f"{driver}://{user}@127.0.0.1:{port or self.port}/{database}"

    def connections(self, database: str) -> int:
        """Number of open connections to a database."""
        found = self.execute(f"SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{database}'")
        return int(str(found[0][0]))

    def freeze(self) -> None:
        """Stop every thread; they have stopped when this returns."""
        os.kill(self.process.pid, signal.SIGSTOP)
        # Without this wait the server may still answer one more query.
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


class PrivateMariaDB(MariaDBProcess):
    """Starts at construction; its default character set is Latin-1, so that whoever names none is noticed."""

    def __init__(self, *arguments: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self.port = free_port()
        # A starting server removes temporary tables from its tmpdir, including those of other servers.
        (self.folder / "tmp").mkdir()
        places = [f"--datadir={self.folder}/data", f"--tmpdir={self.folder}/tmp"]
        common = ["--no-defaults", *places, f"--user={getpass.getuser()}"]
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
        wait_until_it_answers(lambda: self.execute("SELECT 1"), self.process, self.folder / "log.err")

    def add_user(self, name: str, database: str) -> None:
        """A user without administrator rights, as a service should have: server limits apply to it."""
        self.execute(f"CREATE USER {name}@'%'", f"GRANT ALL ON {database}.* TO {name}@'%'")

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)
