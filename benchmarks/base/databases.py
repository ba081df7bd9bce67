"""The databases of a run: a private MariaDB, and SQLite files."""

from pathlib import Path
from typing import Final

from benchmarks.base.checkouts import HERE, Checkout
from benchmarks.base.interrupts import uninterrupted
from benchmarks.base.process_figures import processor_seconds
from benchmarks.base.processes import run_to_end
from tests.support.mariadb import PrivateMariaDB, is_installed

ENGINES = ("mariadb", "sqlite")
_WRITES: Final = ("insert", "insert_select", "update", "update_multi", "delete", "delete_multi", "replace")
"""Statements that change rows, as MariaDB counts them."""


class Databases:
    """Creates migrated databases; MariaDB starts with the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0
        self._server: PrivateMariaDB | None = None

    def new(self, engine: str, *, loaded: bool = True, checkout: Checkout = HERE) -> str:
        """Create and migrate a database.

        Args:
            engine: One of ``ENGINES``.
            loaded: Load it with the 250 bundled countries.
            checkout: The version of the service that does it.

        Returns:
            Its URL, as DATABASE_URL takes it.
        """
        self.made += 1
        url = self._new_on_mariadb() if engine == "mariadb" else f"sqlite:///{self.folder}/countries-{self.made}.db"
        work = ("refresh", "--source", "bundled") if loaded else ("migrate",)
        run_to_end(checkout.command(*work), self.folder, checkout.environment(database_url=url))
        return url

    def _new_on_mariadb(self) -> str:
        if self._server is None:
            # As by default: a commit is on disk. The tests' server does not wait for that.
            with uninterrupted():
                self._server = PrivateMariaDB("--innodb-flush-log-at-trx-commit=1")
        name = f"service{self.made}"
        self._server.execute(f"CREATE DATABASE {name}")
        return self._server.url(name)

    def drop(self, url: str) -> None:
        """Remove an unused database."""
        if url.startswith("sqlite"):
            for file in self.folder.glob(f"{Path(url).name}*"):
                file.unlink()
        elif self._server is not None:
            self._server.execute(f"DROP DATABASE {url.rpartition('/')[2]}")

    def connections(self, url: str) -> int:
        """Number of connections that MariaDB has to a database, given by its URL."""
        if self._server is None:
            return 0
        return self._server.connections(url.rpartition("/")[2])

    def processor_seconds(self) -> float:
        """Processor time of MariaDB since its start; 0 without it."""
        return processor_seconds(self._server.process.pid) if self._server is not None else 0.0

    def writes(self) -> int:
        """Number of INSERT, UPDATE, DELETE and REPLACE statements at MariaDB since its start; 0 without it."""
        if self._server is None:
            return 0
        names = ", ".join(f"'Com_{name}'" for name in _WRITES)
        rows = self._server.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")
        return sum(int(str(number)) for _, number in rows)

    def close(self) -> None:
        """Stop the server and remove its files."""
        if self._server is not None:
            with uninterrupted():
                self._server.stop()


def usable_engines(wanted: str | None) -> tuple[str, ...]:
    """The engines to measure: the given one, or all that are installed.

    Raises:
        ValueError: The engine does not exist or is not installed.
    """
    installed = ENGINES if is_installed() else ("sqlite",)
    if wanted is None:
        return installed
    if wanted not in ENGINES:
        raise ValueError(f"--engine must be {' or '.join(ENGINES)}")
    if wanted not in installed:
        raise ValueError("MariaDB is not installed; on Debian: apt-get install mariadb-server")
    return (wanted,)
