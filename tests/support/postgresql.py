"""A private PostgreSQL on a free port, with a data directory that is removed with it."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.mariadb import free_port, wait_until_it_answers

USER = "postgres"


def _programs() -> Path | None:
    """The folder of the newest server; Debian keeps each version in its own."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    program = shutil.which("postgres")
    return Path(program).resolve().parent if program else None


PROGRAMS = _programs()
# PostgreSQL refuses to run as root.
AS_USER = [*("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")] if os.geteuid() == 0 else []


def is_installed() -> bool:
    return PROGRAMS is not None


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own: tests ask a server synchronously, also where their own loop runs."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="console of PostgreSQL").start()
    return loop


class Console:
    """Runs statements as an administrator, each batch in one trip, over a connection that stays open."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: asyncpg.Connection | None = None

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; returns the rows of the last one."""
        return asyncio.run_coroutine_threadsafe(self._execute(statements), _loop()).result(60)

    async def _execute(self, statements: tuple[str, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self.url, ssl=False, timeout=30)
        *first, last = statements
        for statement in first:
            await self._connection.execute(statement)
        return [tuple(row) for row in await self._connection.fetch(last)]

    def close(self) -> None:
        if self._connection is not None:
            _loop().call_soon_threadsafe(self._connection.terminate)
            self._connection = None


class PrivatePostgreSQL:
    """Starts at construction. Its locale is ICU's for English, so that a column without a collation is noticed."""

    port: int
    process: "subprocess.Popen[bytes]"

    def __init__(self, *arguments: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        if AS_USER:
            shutil.chown(self.folder, USER, USER)
        self.port = free_port()
        self.consoles: dict[str, Console] = {}
        locale = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
        initdb = [f"{PROGRAMS}/initdb", "-D", f"{self.folder}/data", "-U", USER, "--auth=trust", "--no-sync", *locale]
        subprocess.run([*AS_USER, *initdb], check=True, capture_output=True, cwd=self.folder)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "shared_buffers": "64MB",
            "fsync": "off",  # no test cuts the power
        }
        self.command = [*AS_USER, f"{PROGRAMS}/postgres", "-D", f"{self.folder}/data"]
        for name, value in settings.items():
            self.command += ["-c", f"{name}={value}"]
        self.command += arguments
        self.start()

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("ab") as stream:
            self.process = subprocess.Popen(self.command, stdout=stream, stderr=stream, cwd=self.folder)
        not_yet = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
        wait_until_it_answers(lambda: self.execute("SELECT 1"), self.process, log, not_yet)

    def execute(self, *statements: str, database: str = USER) -> list[tuple[Any, ...]]:
        """Run statements as an administrator; returns the rows of the last one."""
        url = f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"
        return self.consoles.setdefault(database, Console(url)).execute(*statements)

    def create(self, database: str, *, template: str = "template1") -> None:
        """Create a database, in place of one with that name."""
        self.drop(database)
        self.execute(f"CREATE DATABASE {database} TEMPLATE {template}")

    def drop(self, database: str) -> None:
        """Drop a database, if there is one."""
        if database in self.consoles:
            self.consoles.pop(database).close()
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def url(self, database: str, *, user: str = USER, port: int | None = None) -> str:
        """The database's URL; the port may be a proxy's."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def connections(self, database: str) -> int:
        """Number of open connections to a database."""
        return int(self.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")[0][0])

    def add_user(self, name: str, database: str) -> None:
        """A user without administrator rights, as a service should have: server limits apply to it."""
        self.execute(f"CREATE USER {name}", f"ALTER DATABASE {database} OWNER TO {name}")

    def _processes(self) -> list[int]:
        """The server's process and those of its connections."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *map(int, children.split())]

    def freeze(self) -> None:
        """Stop every process; they have stopped when this returns."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
        for process in self._processes()[1:]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        for process in self._processes()[1:]:
            while _state(process) not in "TZ":
                pass

    def thaw(self) -> None:
        for process in reversed(self._processes()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def kill(self) -> None:
        """Kill every process, as when the machine loses its power; they have ended when this returns."""
        processes = self._processes()
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()
        while any(_state(process) != "Z" for process in processes[1:]):
            pass

    def stop(self) -> None:
        for console in self.consoles.values():
            console.close()
        self.process.send_signal(signal.SIGQUIT)  # what is in memory is not needed any more
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _state(process: int) -> str:
    """The state of a process, such as T for stopped; Z if it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
