"""One module per database engine, each with the same functions and constants."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import URL, Connection, Select, Table
from sqlalchemy import Dialect as SQLAlchemyDialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.core.config.settings import Settings
from app.core.db.faults import Fault

ROWS_AT_ONCE: Final = 1000
"""Rows of a bulk write that are prepared, or sent in one statement by a driver, without giving other tasks a turn."""


class Dialect(Protocol):
    """What each module in this folder offers. Nothing outside ``core/db`` and ``alembic/`` asks which one it has.

    SQL that an engine spells in its own way is a construct of ``core/db/types``, which the modules compile.
    """

    is_file: bool
    """Whether the database is a file, not one of a server."""
    transactional_ddl: bool
    """Whether a revision that fails leaves nothing behind. Without it each DDL statement commits."""
    reading: Mapping[str, Any]
    writing: Mapping[str, Any]
    """Execution options of a unit of work that only reads, and of one that may write."""

    def place(self, url: URL) -> str:
        """Where the database of a normalised URL is, for people: hosts, ports and name, or the file."""

    def create_engine(self, url: URL, settings: Settings, **options: Any) -> AsyncEngine:
        """Build an engine for a normalised URL; nothing is connected yet. ``options`` are those of all engines."""

    def fault(self, error: BaseException) -> Fault:
        """Classify an error of SQLAlchemy or a driver; what did not come from the database is ``OURS``."""

    def advice(self, error: BaseException) -> str | None:
        """Tell an operator how to mend what an error reports; None without better advice than to look there."""

    def upsert_statement(
        self, table: Table, columns: Sequence[str], keys: Sequence[str], *, least: str = "", greatest: str = ""
    ) -> Any:
        """Build an INSERT that updates ``columns`` where ``keys`` are stored already; see ``upsert()``."""

    async def bulk_inserts(
        self, connection: AsyncConnection, insert: Any, columns: Mapping[str, Sequence[Any]]
    ) -> Sequence[tuple[str, Any]]:
        """Build SQL and parameters that insert rows, given as the values of each column; ``insert`` names none."""

    async def read_by_day(
        self, connection: AsyncConnection, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
    ) -> dict[str, list[tuple[str, str]]]:
        """Run a query of group, day and number; see ``queries.read_by_day()``."""

    async def verify(self, connection: AsyncConnection) -> None:
        """Check all stored data for damage, which takes time; raise DBAPIError. Nothing where the server does so."""

    async def version(self, connection: AsyncConnection) -> str:
        """Name and version of the server, such as ``MariaDB 10.11.19``."""

    def before_first_table(self, connection: Connection) -> None:
        """Called in the transaction that creates the table of leases, which keep migrations apart, if it is missing."""

    def before_revisions(self, connection: Connection) -> None:
        """Called before migrations that no other process runs at the same time."""


def dialect_for(database: URL | SQLAlchemyDialect) -> Dialect:
    """The module for a normalised URL, or for what SQLAlchemy calls the dialect of a connection."""
    name = database.get_backend_name() if isinstance(database, URL) else database.name
    # Imported on first use: the driver of another engine takes up to 40 ms and 5 MB of each start.
    if name == "mysql":
        from app.core.db.dialects import mysql  # noqa: PLC0415

        return mysql
    if name == "postgresql":
        from app.core.db.dialects import postgresql  # noqa: PLC0415

        return postgresql
    from app.core.db.dialects import sqlite  # noqa: PLC0415

    return sqlite
