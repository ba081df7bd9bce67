"""MySQL and MariaDB: connections, session settings, and their SQL."""

import asyncio
import math
import ssl
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import aiomysql
from pymysql.constants import SERVER_STATUS
from pymysql.converters import escape_string
from sqlalchemy import URL, Connection, Select, Table, column, event, func, literal_column, select
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql.dml import OnDuplicateClause
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.config.database_url import requires_tls, tls_context
from app.core.config.settings import Settings
from app.core.db import executemany, json_rows
from app.core.db.faults import OUR_MISTAKES, Fault
from app.core.db.types import ServerNow

is_file = False
transactional_ddl = False
reading: Mapping[str, Any] = {}
writing: Mapping[str, Any] = {}

_LONGEST_TEXT: Final = 2**20
"""Bytes that GROUP_CONCAT may return; the server's default is 1024."""
_SCALE: Final = 2.0**40
"""MySQL writes small numbers with leading zeros and stops after 22 characters. Scaling by a power of 2 is exact."""
_IDLE_SECONDS: Final = 60
"""After which MySQL closes an idle connection."""
_PING_SECONDS: Final = 1.0
"""Wait for the answer of an idle connection. A failed ping invalidates all older connections, so that only the first
request after a failover waits."""

_NO_QUORUM: Final = frozenset({1047, 1180})
"""A Galera node without quorum refuses every statement (1047), and a COMMIT under way (1180), which the other nodes may
have received all the same."""
_READ_ONLY_NODE: Final = frozenset({1290, 1836})
"""A former primary after a failover; another connection reaches the new one."""
_FAULTS: Final = {
    # Deadlock, lock wait, changed record, and TiDB's write conflicts.
    Fault.AGAIN: {1213, 1205, 1020, 8002, 8005, 8022, 8028, 9007},
    Fault.LOST: {
        *(1053, 1927, 2003, 2006, 2013, 2014, 2055, 4031, 9001, 9002, 9003, 9004, 9005),
        *(*_NO_QUORUM, *_READ_ONLY_NODE),
    },
    Fault.BUSY: {1040, 1203},
    Fault.NO_SCHEMA: {1054, 1146},
    # An object in a JSON document of rows, where a value belongs: MySQL's number and MariaDB's.
    Fault.OURS: {3666, 4178},
}
_FAULT_OF: Final = {number: fault for fault, numbers in _FAULTS.items() for number in numbers}
_BAD_CERTIFICATE: Final = 2026
"""Number of the client library for a TLS error. Unlike other failures to connect it does not pass."""
_GRANT: Final = "grant the user all rights on the database of DATABASE_URL"
_ADVICE: Final = {
    1044: _GRANT,
    1045: "correct user and password in DATABASE_URL",
    1049: "make the database that DATABASE_URL names, or correct the name",
    1142: _GRANT,
    _BAD_CERTIFICATE: "correct ssl-ca, ssl-mode or the host in DATABASE_URL",
    1290: "the server is read-only: name the primary in DATABASE_URL",
    2003: "start the database, or correct host and port in DATABASE_URL",
}


def place(url: URL) -> str:
    """Host, port and name; only the name for a socket."""
    return f"{url.host}:{url.port or 3306}/{url.database}" if url.host else str(url.database)


def create_engine(url: URL, settings: Settings, **options: Any) -> AsyncEngine:
    """Build the engine of a server, with TLS as the URL asks for it."""
    bare_url, connect_args = connect_arguments(url)
    if bare_url.get_driver_name() == "aiomysql":
        timeout = {"connect_timeout": settings.db_timeout_seconds}
        connect_args = {**timeout, **connect_args, "async_creator_fn": _connect}
    # reading() promises one view of the data, whatever the server's default.
    engine = create_async_engine(bare_url, connect_args=connect_args, isolation_level="REPEATABLE READ", **options)
    event.listen(engine.sync_engine, "handle_error", _mark_disconnects)
    _prepare(engine, seconds=settings.db_timeout_seconds)
    # MySQL 8.4 warns at each upsert that VALUES() is deprecated, and aiomysql makes a Python warning of it.
    warnings.filterwarnings("ignore", message=".*VALUES function.* is deprecated")
    if requires_tls(url):
        event.listen(engine.sync_engine, "connect", _refuse_plain_text)
    return engine


def connect_arguments(url: URL) -> tuple[URL, dict[str, Any]]:
    """Split a normalised URL into the URL without TLS options and the driver's arguments for TLS."""
    context = tls_context(url)
    return url.difference_update_query(["ssl_mode", "ssl_ca"]), {"ssl": context} if context else {}


# The backslash first: it is in all the others.
_ESCAPES: Final = [(sign, escaped) for sign in ("\\", *map(chr, range(92))) if (escaped := escape_string(sign)) != sign]


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # the package has no types
    """Bounds a ping in time and reports its failure, and tells values that can't be sent from faults."""

    def escape(self, obj: Any) -> str:
        try:
            return str(super().escape(obj))
        except Exception as error:  # a TypeError or AttributeError here says nothing about the connection
            raise aiomysql.DataError(f"a value of type {type(obj).__name__} can't be sent") from error

    def escape_string(self, s: str) -> str:  # same signature as the base class
        """Escape what the driver escapes, in a fifth of its time for a long text."""
        if self.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES:
            return str(super().escape_string(s))
        for sign, escaped in _ESCAPES:
            s = s.replace(sign, escaped)
        return s

    async def ping(self, reconnect: bool = True) -> None:  # same signature as the base class
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await super().ping(reconnect)
        except aiomysql.Error:
            raise
        except Exception as error:  # no answer in time, or a RuntimeError of uvloop where the server has hung up
            self.close()
            raise aiomysql.OperationalError(2013, f"Lost connection to MySQL server: {error!r}") from error

    async def ensure_closed(self) -> None:
        try:
            await super().ensure_closed()
        except Exception:  # it is to be closed anyway
            self.close()


async def _connect(*arguments: Any, connect_timeout: float | None = None, **options: Any) -> aiomysql.Connection:
    """Connect as ``aiomysql.connect`` does; a cancelled call, say in a TLS handshake, leaves nothing open.

    ``connect_timeout`` bounds the handshake as well, in which a greeting may get lost. aiomysql does not get it: its
    wait_for() sometimes swallows a cancellation on Python 3.11.
    """
    connection = _Connection(*arguments, **options)
    try:
        async with asyncio.timeout(connect_timeout):
            await connection._connect()
    except aiomysql.Error as error:
        connection.close()
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise aiomysql.OperationalError(_BAD_CERTIFICATE, f"TLS: {error.__cause__.verify_message}") from error
        raise
    except asyncio.CancelledError:
        connection.close()
        raise
    except Exception as error:
        # No answer in time, nonsense for an answer, or a reset before aiomysql had looked at the connection.
        connection.close()
        raise aiomysql.OperationalError(2003, f"Can't connect to MySQL server: {error!r}") from error
    return connection


def _prepare(engine: AsyncEngine, *, seconds: float) -> None:
    """Bound lock waits and silent clients on the server, and ask what it can do, for each new connection.

    While MySQL waits for a row's lock it does not see that its client has left: each unit of work that gave up would
    leave a connection for the default of 50 seconds. The bound is rounded up to whole seconds.

    A client that falls silent in a transaction, because its process is frozen or its machine gone, loses its locks:
    after half of that time if it has written, so that others get their turn. MariaDB has a bound for exactly that;
    MySQL only one for all idle connections, and those of the pool are opened again.
    """
    bound = math.ceil(seconds)
    silence = f"idle_transaction_timeout = {bound}, idle_write_transaction_timeout = {math.ceil(seconds / 2)}"

    @event.listens_for(engine.sync_engine, "connect")
    def set_bounds(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(
            f"SET innodb_lock_wait_timeout = LEAST(@@innodb_lock_wait_timeout, {bound}), "
            f"group_concat_max_len = {_LONGEST_TEXT} "
            f"/*M!100300 , {silence} */ /*!80000 , wait_timeout = LEAST(@@wait_timeout, {_IDLE_SECONDS}) */"
        )
        record.info[json_rows.LONGEST] = _longest_json(cursor, engine.dialect.loaded_dbapi.Error)
        cursor.close()


def _longest_json(cursor: DBAPICursor, error: type[BaseException]) -> int:
    try:
        cursor.execute(json_rows.PROBE)
        rows = [tuple(row) for row in cursor.fetchall()]
    except error:  # it has no JSON_TABLE; a fault of the connection is met again
        return 0
    longest: int = rows[0][-1] if rows else 0
    return longest if rows == [("x", longest), (None, longest)] else 0


def _refuse_plain_text(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
    row = cursor.fetchone()
    cursor.close()
    if not row or not row[1]:
        connection.close()  # the pool does not know it yet, and would leave it open
        message = "ssl-mode asks for TLS, but the server offers none"
        raise OperationalError("connect", None, ConnectionError(message))


def _mark_disconnects(context: ExceptionContext) -> None:
    """Drop connections to a node without quorum or a former primary, which SQLAlchemy would keep in the pool."""
    number = getattr(context.original_exception, "args", (None,))[:1]
    if number and number[0] in (*_NO_QUORUM, *_READ_ONLY_NODE):
        context.is_disconnect = True
        # Only this one: on a server that is read-only for a time all reads would connect again after each change.
        context.invalidate_pool_on_disconnect = False


def fault(error: BaseException) -> Fault:
    """Classify by the server's error number."""
    if not isinstance(error, DBAPIError):
        return Fault.OURS
    if error.connection_invalidated:
        return Fault.LOST
    if known := _FAULT_OF.get(_number(error)):
        return known
    # A server too busy for the handshake, in the driver's words and without a number.
    if "Packet sequence number wrong" in str(error.orig):
        return Fault.AGAIN
    return Fault.OURS if isinstance(error, OUR_MISTAKES) else Fault.OUTAGE


def advice(error: BaseException) -> str | None:
    """Advice by the server's error number."""
    return _ADVICE.get(_number(error))


def _number(error: BaseException) -> int:
    """The server's number of an error; 0 without one."""
    args = getattr(getattr(error, "orig", None), "args", ())
    return args[0] if args and isinstance(args[0], int) else 0


def upsert_statement(
    table: Table, columns: Sequence[str], keys: Sequence[str], *, least: str = "", greatest: str = ""
) -> Any:
    """Build an INSERT with ON DUPLICATE KEY UPDATE, in the VALUES(column) form.

    MySQL 8.4 and MariaDB both take it, and aiomysql turns only this form into one multi-row statement.
    """
    values: dict[str, Any] = {name: func.VALUES(column(name)) for name in columns}
    for name, choose in ((least, func.least), (greatest, func.greatest)):
        if name:
            values[name] = choose(table.columns[name], values[name])
    return mysql.insert(table).on_duplicate_key_update(values)


@compiles(OnDuplicateClause, "mysql")
def _without_row_alias(clause: OnDuplicateClause, compiler: Any, **options: Any) -> str:
    """Leave out the ``AS new`` that SQLAlchemy writes for MySQL 8: aiomysql would send such a bulk row by row."""
    sql: str = compiler.visit_on_duplicate_key_update(clause, **options)
    return sql.removeprefix("AS new ")


async def read_by_day(
    connection: AsyncConnection, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> dict[str, list[tuple[str, str]]]:
    """Read each group as one text, in a third of the time for a year: aiomysql needs 5 us for each row.

    Numbers come back digit by digit, from 1e-12 on.
    """
    rows = await connection.execute(_packed(query), parameters)
    return {name: _unpack(packed, size) for name, packed, size in rows}


@lru_cache(maxsize=16)
def _packed(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    group, day, number = query.selected_columns
    text = func.group_concat(func.concat(day, " ", number * _SCALE).op("ORDER BY")(day))
    return query.with_only_columns(group, text, func.count()).group_by(group)


def _unpack(packed: str, size: int) -> list[tuple[str, str]]:
    found = (pair.partition(" ") for pair in packed.split(","))
    pairs = [(day, repr(float(number) / _SCALE)) for day, _, number in found]
    if len(pairs) != size:
        raise ValueError(f"the server cut the text of {size} rows off at {len(packed)} characters")
    return pairs


async def bulk_inserts(
    connection: AsyncConnection, insert: Any, columns: Mapping[str, Sequence[Any]]
) -> Sequence[tuple[str, Any]]:
    """Send rows as JSON where the server can read it, else in the form of which aiomysql makes one statement."""
    longest = connection.info.get(json_rows.LONGEST)
    number = len(next(iter(columns.values())))
    if longest and json_rows.can_carry(number, [insert.table.columns[name] for name in columns]):
        return await json_rows.bulk_inserts(insert, columns, connection.dialect, longest)
    return executemany.bulk_inserts(insert, columns, connection.dialect)


async def verify(_: AsyncConnection) -> None:
    """InnoDB checks each page that it reads."""


async def version(connection: AsyncConnection) -> str:
    """Name and version of the server."""
    found = str(await connection.scalar(select(literal_column("version()"))))
    return f"{'MariaDB' if 'mariadb' in found.lower() else 'MySQL'} {found.partition('-')[0]}"


def before_first_table(_: Connection) -> None:
    """IF NOT EXISTS is enough."""


def before_revisions(_: Connection) -> None:
    """Locks of tables are waited for as long as the server is set to."""


@compiles(ServerNow, "mysql")
def _now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    return f"UTC_TIMESTAMP(6) + INTERVAL {compiler.process(element.clauses, **options)} MICROSECOND"
