"""What the database engines do differently: column types, the server's clock, upserts."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import aiomysql
import aiosqlite
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    column,
    event,
    func,
    literal,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.dialects.mysql.dml import OnDuplicateClause
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

TABLE_OPTIONS: Final = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
"""For every table: text compares byte by byte, as SQLite does, whatever the server's defaults."""

RowId: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit surrogate key; SQLite numbers rows by itself only in a column that is called INTEGER."""

LongText: Final = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
"""Text of up to 16 MiB; a plain TEXT ends at 64 KiB on MySQL."""

LongBlob: Final = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
"""Bytes, up to 16 MiB; a plain BLOB ends at 64 KiB on MySQL."""


_LONGEST_TEXT: Final = 2**20
"""Bytes that MySQL may put together from many rows; its own default is 1024."""
_SCALE: Final = 2.0**40
"""MySQL writes small numbers with zeros in front, and cuts their digits off at 22 signs. A power of 2 costs none."""
_MYSQL_SILENCE: Final = 60
"""Seconds after which MySQL ends an idle connection."""
_PING_SECONDS: Final = 1.0
"""For the answer of a connection that was idle. One without gives all others of its age away, so that after a failover
only the first request has to wait for a machine that is no more."""
_ROWS_AT_ONCE: Final = 1000
"""In one statement: MySQL's driver writes all of it down before it lets others have their turn."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time in UTC with microseconds, which a bare DATETIME would drop."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ask MySQL and MariaDB for microseconds."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive time is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone can't be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Hand out aware times only."""
        return None if value is None else value.replace(tzinfo=UTC)


class ServerNow(FunctionElement[datetime]):
    """The database's own clock, so many seconds from now: one clock for all processes."""

    inherit_cache = True
    type = UTCDateTime()

    def __init__(self, plus_seconds: float = 0) -> None:
        # A parameter, so that the statement is compiled once.
        super().__init__(literal(round(plus_seconds * 1_000_000)))


@compiles(ServerNow, "mysql")
@compiles(ServerNow, "mariadb")
def _mysql_now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    return f"UTC_TIMESTAMP(6) + INTERVAL {compiler.process(element.clauses, **options)} MICROSECOND"


@compiles(ServerNow, "sqlite")
def _sqlite_now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    shift = f"({compiler.process(element.clauses, **options)} / 1000000.0) || ' seconds'"
    # SQLite counts milliseconds; the three zeros make it the form in which times are stored.
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {shift}) || '000'"


async def upsert(session: AsyncSession, model: type[SQLModel], rows: Sequence[Mapping[str, Any]], *, key: str) -> None:
    """Write rows as one bulk statement; a row whose key is stored replaces that row.

    All rows must have the same columns. The statement is compiled once and run
    by the driver's executemany, which sends it to MySQL as one multi-row
    statement. Values are converted here, column by column: SQLAlchemy does it
    row by row, which takes longer than the database needs to store them.

    Args:
        session: An open transaction; nothing is committed here.
        model: The table.
        rows: Column names to values; a key of None is numbered by the database.
        key: The column, or several separated by commas, that tells rows apart.
    """
    if not rows:
        return
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    connection = await session.connection()
    compiled = _compiled_upsert(table, tuple(rows[0]), key, connection.dialect)
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        columns = [
            _for_driver([row[name] for row in some], table.columns[name].type, connection.dialect)
            for name in compiled.positiontup
        ]
        await connection.exec_driver_sql(compiled.string, list(zip(*columns, strict=True)))


async def upsert_from(
    session: AsyncSession, model: type[SQLModel], query: Select[Any], *, key: str, least: str = "", greatest: str = ""
) -> None:
    """Write the rows of a query without reading them; a row whose key is stored replaces that row.

    Args:
        session: An open transaction; nothing is committed here.
        model: The table.
        query: Its columns are called like those of the table.
        key: As of ``upsert()``.
        least: A column in which the smaller value stays, the stored or the new one.
        greatest: The same for the larger one.
    """
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    connection = await session.connection()
    names, keys = [column.name for column in query.selected_columns], key.split(",")
    columns = [name for name in names if name not in keys]
    statement = upsert_statement(table, columns, keys, connection.dialect.name, least=least, greatest=greatest)
    await connection.execute(statement.from_select(names, query))


@lru_cache(maxsize=64)
def _compiled_upsert(table: Table, names: tuple[str, ...], key: str, dialect: Dialect) -> Any:
    keys = key.split(",")
    columns = [name for name in names if name not in keys] or keys[:1]  # something has to be updated
    statement = upsert_statement(table, columns, keys, dialect.name)
    return statement.compile(dialect=dialect, column_keys=names)


def _for_driver(values: list[Any], kind: TypeEngine[Any], dialect: Dialect) -> list[Any]:
    """The values of one column as the driver takes them; what is the same object is converted once."""
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    if convert is None:
        return values
    converted = {key: convert(value) for key, value in {id(value): value for value in values}.items()}
    return [converted[id(value)] for value in values]


def upsert_statement(
    table: Table, columns: Sequence[str], keys: Sequence[str], dialect: str, *, least: str = "", greatest: str = ""
) -> Any:
    """Compile-ready INSERT that updates on a duplicate key, for one engine; see ``upsert_from()``.

    On MySQL it is the VALUES(column) form: MySQL 8.4 and MariaDB both take it,
    and aiomysql turns only this form into one multi-row statement.
    """
    if dialect == "sqlite":
        insert = sqlite.insert(table)
        values: dict[str, Any] = {name: insert.excluded[name] for name in columns}
        choose: dict[str, Any] = {least: func.min, greatest: func.max}  # which compare two values as well
        return insert.on_conflict_do_update(index_elements=keys, set_=_chosen(table, values, choose))
    values = {name: func.VALUES(column(name)) for name in columns}
    choose = {least: func.least, greatest: func.greatest}
    return mysql.insert(table).on_duplicate_key_update(_chosen(table, values, choose))


def _chosen(table: Table, values: Mapping[str, Any], choose: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: choose[name](table.columns[name], value) if name in choose else value for name, value in values.items()
    }


@compiles(OnDuplicateClause, "mysql")
def _without_row_alias(clause: OnDuplicateClause, compiler: Any, **options: Any) -> str:
    """Leave out the ``AS new`` that SQLAlchemy writes for MySQL 8: aiomysql would send such a bulk row by row."""
    sql: str = compiler.visit_on_duplicate_key_update(clause, **options)
    return sql.removeprefix("AS new ")


async def read_by_day(
    session: AsyncSession, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> dict[str, list[tuple[str, str]]]:
    """Read a day and a number of each row, as texts: by group, in the order of the days.

    aiomysql takes 5 us to make objects of one row, so MySQL puts the rows of a
    group into one text: a third of the time for a year. The numbers come back
    digit by digit, from 1e-12 on; SQLite would write 15 digits.

    Args:
        session: For reading.
        query: Of three columns: the group, the day and the number. Made once, because so is what becomes of it.
        parameters: Of the query; ten thousand rows or so at most, because a text has a limit on the server.
    """
    connection = await session.connection()
    rows = await connection.execute(_by_day_query(query, connection.dialect.name), parameters)
    if connection.dialect.name != "sqlite":
        return {name: _unpacked(packed, size) for name, packed, size in rows}
    found: dict[str, list[tuple[str, str]]] = {}
    for name, day, number in rows:
        found.setdefault(name, []).append((str(day), repr(number)))
    return found


@lru_cache(maxsize=16)
def _by_day_query(query: Select[*tuple[Any, ...]], dialect: str) -> Select[Any]:
    group, day, number = query.selected_columns
    if dialect == "sqlite":
        return query.order_by(group, day)
    text = func.group_concat(func.concat(day, " ", number * _SCALE).op("ORDER BY")(day))
    return query.with_only_columns(group, text, func.count()).group_by(group)


def _unpacked(packed: str, size: int) -> list[tuple[str, str]]:
    found = (pair.partition(" ") for pair in packed.split(","))
    pairs = [(day, repr(float(number) / _SCALE)) for day, _, number in found]
    if len(pairs) != size:
        raise ValueError(f"the server cut the text of {size} rows off at {len(packed)} characters")
    return pairs


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


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # the package has no types
    """Knows what to do where the server has hung up; uvloop tells it by a RuntimeError, which aiomysql lets pass."""

    def _write_bytes(self, data: bytes) -> None:
        try:
            super()._write_bytes(data)
        except RuntimeError as error:
            raise aiomysql.OperationalError(2006, "MySQL server has gone away") from error

    async def _read_query_result(self, unbuffered: bool = False) -> None:
        try:
            await super()._read_query_result(unbuffered)
        except aiomysql.Error:
            raise
        except Exception as error:  # an answer that can't be read; who reads on would read rows of another query
            self.close()
            raise aiomysql.OperationalError(2013, f"Lost connection to MySQL server: {error!r}") from error

    async def ping(self, reconnect: bool = True) -> None:  # as its base
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await super().ping(reconnect)
        except TimeoutError as error:
            self.close()
            raise aiomysql.OperationalError(2013, "Lost connection to MySQL server: no answer to a ping") from error

    async def ensure_closed(self) -> None:
        try:
            await super().ensure_closed()
        except (OSError, RuntimeError):
            self.close()


async def open_aiomysql(*arguments: Any, connect_timeout: float | None = None, **options: Any) -> aiomysql.Connection:
    """Connect as ``aiomysql.connect`` does; who is cancelled meanwhile, say in a TLS handshake, leaves nothing open.

    ``connect_timeout`` bounds the handshake as well: work with a long bound
    would otherwise wait for a greeting that got lost. aiomysql does not get it, because it would use wait_for(), and
    Python 3.11's sometimes forgets to be cancelled.
    """
    connection = _Connection(*arguments, **options)
    try:
        async with asyncio.timeout(connect_timeout):
            await connection._connect()
    except (aiomysql.Error, asyncio.CancelledError):
        connection.close()
        raise
    except Exception as error:
        # No answer in time, nonsense for an answer, or a reset before aiomysql had looked at the connection.
        connection.close()
        raise aiomysql.OperationalError(2003, f"Can't connect to MySQL server: {error!r}") from error
    return connection


def prepare_mysql(engine: AsyncEngine, *, seconds: float) -> None:
    """Make MySQL give up waiting for a row's lock after so many seconds, rounded up, where it would not do so earlier.

    While it waits it does not see that its client has left. Without this, every
    unit of work that gave up on a locked row would leave a connection behind on
    the server, for the 50 seconds that are the default. And let it put texts together, for ``read_by_day()``.

    It also takes the locks from a client that has fallen silent in a transaction, because its process is frozen or its
    machine gone: after half of that time where something was written, so that those who wait still get their turn.
    MySQL only knows a bound for idle connections in general; those in the pool are opened again when it has ended them.
    """
    bound = math.ceil(seconds)
    silence = f"idle_transaction_timeout = {bound}, idle_write_transaction_timeout = {math.ceil(seconds / 2)}"

    @event.listens_for(engine.sync_engine, "connect")
    def set_bound(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(
            f"SET innodb_lock_wait_timeout = LEAST(@@innodb_lock_wait_timeout, {bound}), "
            f"group_concat_max_len = {_LONGEST_TEXT} "
            f"/*M!100300 , {silence} */ /*!80000 , wait_timeout = LEAST(@@wait_timeout, {_MYSQL_SILENCE}) */"
        )
        cursor.close()


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
