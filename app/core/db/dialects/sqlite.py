"""SQLite: connections and their settings."""

import asyncio
from typing import Any, Final

import aiosqlite
from sqlalchemy import (
    Connection,
    event,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine


async def open_sqlite(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Connect to a SQLite file; who is cancelled meanwhile leaves no open file behind, as aiosqlite itself would."""
    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True  # as SQLAlchemy does: a forgotten connection must not hold up an exit
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await opening  # a local file: it takes a moment
        await connection.close()
        raise


def prepare_sqlite(engine: AsyncEngine, *, busy_seconds: float) -> None:
    """Make SQLite keep its promises: foreign keys, durable commits, readers beside one writer."""

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _: object) -> None:
        connection.isolation_level = None  # BEGIN is sent below, not guessed by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # an acknowledged write survives a power cut
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: upgrading a read transaction later fails where another one wrote.
        mode = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")


_SQLITE_BUSY: Final = frozenset({5, 6})


_SQLITE_SCHEMA_HINTS: Final = ("no such table", "no such column", "has no column named")


def is_busy_sqlite(error: BaseException) -> bool:
    """Whether SQLite gave up waiting for another writer."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _SQLITE_BUSY
