"""SQLite: connections, their settings, and its SQL."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import aiosqlite
from sqlalchemy import URL, Connection, Select, Table, event, func, literal_column, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.config.settings import Settings
from app.core.db import executemany
from app.core.db.faults import OUR_MISTAKES, Fault
from app.core.db.types import ServerNow
from app.core.errors import DatabaseUnavailable

is_file = True
transactional_ddl = True
reading: Mapping[str, Any] = {}
writing: Mapping[str, Any] = {"writes": True}

_DAMAGE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_SCHEMA_HINTS: Final = ("no such table", "no such column", "has no column named")
_ADVICE: Final = {
    Fault.AGAIN: "end the program that holds the lock of the file",
    Fault.DAMAGED: "correct DATABASE_URL, or stop the service and restore the file from a backup",
    Fault.NO_SCHEMA: "run: python -m app migrate",
}


def place(url: URL) -> str:
    """The file."""
    return str(url.database)


def create_engine(url: URL, settings: Settings, **options: Any) -> AsyncEngine:
    """Build the engine of a file; its folder is made.

    Raises:
        DatabaseUnavailable: The folder can't be made.
    """
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"The folder {folder} of the SQLite file can't be made: {error.strerror}") from error
    engine = create_async_engine(url, connect_args={"async_creator_fn": _connect, "factory": _Connection}, **options)
    prepare(engine, busy_seconds=settings.db_timeout_seconds / 2)
    event.listen(engine.sync_engine, "handle_error", _forget_damaged_pages)
    return engine


class _Connection(sqlite3.Connection):
    """A connection that gives up its locks when it is closed.

    SQLite keeps a closed connection and its transaction until its last statement has ended. Python 3.11 and later do
    not end statements on close: one that was executed but not fetched, say because its unit of work was cancelled,
    would wait for the garbage collector, and all writers with it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors = WeakSet[sqlite3.Cursor]()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()
        super().close()


async def _connect(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Open the file; a cancelled call leaves nothing open, as aiosqlite's own would."""
    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True  # as SQLAlchemy does: a forgotten connection must not hold up an exit
    opening = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await opening  # a local file: it takes a moment
        await connection.close()
        raise
    except Exception:
        # The thread reports its end to the event loop, which must not be closed by then.
        connection.stop()
        await asyncio.to_thread(connection._thread.join)
        raise


def prepare(engine: AsyncEngine, *, busy_seconds: float) -> None:
    """Set foreign keys, durable commits, and readers beside one writer, for each new connection."""

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


def _forget_damaged_pages(context: ExceptionContext) -> None:
    """Open the file again after damage: open connections keep its pages in memory, and it may be restored."""
    if _code(context.original_exception) in _DAMAGE:
        context.is_disconnect = True


def fault(error: BaseException) -> Fault:
    """Classify by SQLite's error code, and by its message where the code says too little."""
    if not isinstance(error, DBAPIError):
        return Fault.OURS
    code = _code(error.orig)
    if code in _DAMAGE:
        return Fault.DAMAGED
    if error.connection_invalidated:
        return Fault.LOST
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Fault.AGAIN
    if any(hint in str(error.orig) for hint in _SCHEMA_HINTS):
        return Fault.NO_SCHEMA
    return Fault.OURS if isinstance(error, OUR_MISTAKES) else Fault.OUTAGE


def _code(error: BaseException | None) -> int | None:
    """SQLite's primary code of an error; None without one."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def advice(error: BaseException) -> str:
    """Advice by the class of the error."""
    return _ADVICE.get(fault(error), "correct DATABASE_URL, or make the file and its folder writable")


def upsert_statement(
    table: Table, columns: Sequence[str], keys: Sequence[str], *, least: str = "", greatest: str = ""
) -> Any:
    """Build an INSERT with ON CONFLICT DO UPDATE."""
    insert = sqlite.insert(table)
    values: dict[str, Any] = {name: insert.excluded[name] for name in columns}
    # Here min() and max() also compare two values.
    for name, choose in ((least, func.min), (greatest, func.max)):
        if name:
            values[name] = choose(table.columns[name], values[name])
    return insert.on_conflict_do_update(index_elements=keys, set_=values)


async def read_by_day(
    connection: AsyncConnection, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> dict[str, list[tuple[str, str]]]:
    """Read row by row: SQLite would write numbers with 15 digits only."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, day, number in await connection.execute(_in_order(query), parameters):
        found.setdefault(name, []).append((str(day), repr(number)))
    return found


@lru_cache(maxsize=16)
def _in_order(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    group, day, _ = query.selected_columns
    return query.order_by(group, day)


async def bulk_inserts(
    connection: AsyncConnection, insert: Any, columns: Mapping[str, Sequence[Any]]
) -> Sequence[tuple[str, Any]]:
    """Run a statement for a single row with all of them."""
    return executemany.bulk_inserts(insert, columns, connection.dialect)


async def verify(connection: AsyncConnection) -> None:
    """Check the structure of the whole file."""
    found = (await connection.exec_driver_sql("PRAGMA quick_check(1)")).scalar()
    if found != "ok":
        await connection.invalidate()  # as after damage that a statement meets
        damage = sqlite3.DatabaseError(str(found).splitlines()[-1])
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise DatabaseError("PRAGMA quick_check", None, damage)


async def version(connection: AsyncConnection) -> str:
    """Name and version of the library."""
    return f"SQLite {await connection.scalar(select(literal_column('sqlite_version()')))}"


def before_first_table(_: Connection) -> None:
    """IF NOT EXISTS is enough."""


def before_revisions(_: Connection) -> None:
    """One writer at a time holds the lock of the file."""


@compiles(ServerNow, "sqlite")
def _now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    shift = f"({compiler.process(element.clauses, **options)} / 1000000.0) || ' seconds'"
    # SQLite counts milliseconds; the three zeros make it the form in which times are stored.
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {shift}) || '000'"
