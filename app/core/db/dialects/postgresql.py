"""PostgreSQL: connections, session settings, and its SQL."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import asyncpg
from sqlalchemy import (
    ARRAY,
    URL,
    BigInteger,
    Column,
    Connection,
    Select,
    String,
    Table,
    bindparam,
    event,
    func,
    literal_column,
    select,
)
from sqlalchemy import Dialect as SQLAlchemyDialect
from sqlalchemy.dialects import postgresql, registry
from sqlalchemy.dialects.postgresql.asyncpg import AsyncpgString, PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from app.core.config.postgresql_url import Target, read_target
from app.core.config.settings import Settings
from app.core.db.dialects import ROWS_AT_ONCE
from app.core.db.dialects.postgresql_connections import BoundedConnection, connect_to, fault_of_state, state_of
from app.core.db.faults import OUR_MISTAKES, Fault
from app.core.db.types import Contains, ServerNow

is_file = False
transactional_ddl = True
# Neither takes a round trip: BEGIN names them. Changes lock the rows that they depend on, and read those again; under
# REPEATABLE READ each lock that another transaction held would be an error instead of a wait.
reading: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
writing: Mapping[str, Any] = {"isolation_level": "READ COMMITTED", "postgresql_readonly": False}

_DDL_LOCK_SECONDS: Final = 0.5
"""A statement that waits for a table's lock makes every later reader of the table wait behind it."""
_MIGRATIONS: Final = 0x636F756E74727921
"""Number of the advisory lock under which the first table is created; any that nothing else in the database uses."""

_ADVICE: Final = {
    "08001": "start the database, or correct host and port in DATABASE_URL",
    "25006": "the server is read-only: name the primary in DATABASE_URL",
    "28000": "correct user, sslmode, sslrootcert or the host in DATABASE_URL",
    "28P01": "correct user and password in DATABASE_URL",
    "22P05": "create the database with ENCODING 'UTF8' TEMPLATE template0",
    "3F000": "create the schema that search_path names, or correct it",
    "3D000": "make the database that DATABASE_URL names, or correct the name",
    **dict.fromkeys(("22023", "42704"), "use PostgreSQL 14 or newer, or correct the options in DATABASE_URL"),
    "42501": "make the user the owner of the database and its tables, such as by ALTER DATABASE name OWNER TO user",
}


class _Text(AsyncpgString):
    """Text without NUL, which PostgreSQL refuses: no stored text has one, so that a search for one finds nothing."""

    def bind_processor(self, dialect: SQLAlchemyDialect) -> Callable[[Any], Any]:
        """Replace NUL; the driver checks the type."""
        return lambda value: value.replace("\0", "\ufffd") if isinstance(value, str) else value


class _TypeCompiler(PGTypeCompiler):
    """Gives every text column the collation C: it compares byte by byte, as the other engines do."""

    def visit_VARCHAR(self, type_: Any, **options: Any) -> str:  # noqa: N802  # SQLAlchemy's name
        return super().visit_VARCHAR(type_, **options) + _collation(options)

    def visit_TEXT(self, type_: Any, **options: Any) -> str:  # noqa: N802
        return super().visit_TEXT(type_, **options) + _collation(options)


def _collation(options: Mapping[str, Any]) -> str:
    return ' COLLATE "C"' if isinstance(options.get("type_expression"), Column) else ""


class _AsyncpgDialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect, with fewer round trips for each unit of work."""

    supports_statement_cache = True
    type_compiler_cls = _TypeCompiler
    colspecs = {**PGDialect_asyncpg.colspecs, String: _Text}  # noqa: RUF012  # as in the base class

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ask in one round trip instead of three."""
        try:
            dbapi_connection.run_async(BoundedConnection.ping)
        except Exception as error:
            dbapi_connection._handle_exception(error)
        return True


registry.register("postgresql.asyncpg", __name__, _AsyncpgDialect.__name__)


def place(url: URL) -> str:
    """Every host with its port, and the name."""
    target = _target_of(url)
    return f"{','.join(f'{host}:{port}' for host, port in target.hosts)}/{target.database}"


def _target_of(url: URL) -> Target:
    return read_target(url.render_as_string(hide_password=False))


def create_engine(url: URL, settings: Settings, **options: Any) -> AsyncEngine:
    """Build the engine of a server, or of several of which one is the primary."""
    target = _target_of(url)
    connect_args = {"async_creator_fn": connect_to(target, settings.db_timeout_seconds)}
    # The connection used last has the most prepared statements.
    engine = create_async_engine(url.set(query={}), connect_args=connect_args, pool_use_lifo=True, **options)
    event.listen(engine.sync_engine, "handle_error", _mark_disconnects)
    event.listen(engine.sync_engine, "handle_error", _hide_value)
    return engine


def _mark_disconnects(context: ExceptionContext) -> None:
    """Drop connections that the server ends or that lead to a former primary, which SQLAlchemy may keep in the pool."""
    error = context.original_exception
    if fault_of_state(state_of(error)) is Fault.LOST or isinstance(error.__cause__, asyncpg.InternalClientError):
        context.is_disconnect = True
        # Only this one: the pool pings the others before it hands them out.
        context.invalidate_pool_on_disconnect = False


def _hide_value(context: ExceptionContext) -> None:
    """Take a value that can't be sent out of the messages in which asyncpg quotes it; they may get into the log."""
    error = context.original_exception
    if isinstance(error.__cause__, asyncpg.DataError):
        for each in (error.__cause__, error, context.sqlalchemy_exception):
            message = str(each.args[0]) if each and each.args else ""
            if each and "query argument" in message:
                each.args = (
                    re.sub(r"(query argument \$\d+): .*", r"\1: the value can't be sent", message, flags=re.DOTALL),
                )


def fault(error: BaseException) -> Fault:
    """Classify by SQLSTATE."""
    if not isinstance(error, DBAPIError):
        return Fault.OURS
    if error.connection_invalidated:
        return Fault.LOST
    state = state_of(error.orig)
    if known := fault_of_state(state):
        return known
    cause = getattr(error.orig, "__cause__", None)
    if isinstance(cause, asyncpg.InvalidCachedStatementError):
        return Fault.AGAIN  # once for each connection, after a column has changed its type
    is_ours = isinstance(error, OUR_MISTAKES) or state or isinstance(cause, asyncpg.DataError)
    return Fault.OURS if is_ours else Fault.OUTAGE


def advice(error: BaseException) -> str | None:
    """Advice by SQLSTATE."""
    return _ADVICE.get(state_of(getattr(error, "orig", None)))


def upsert_statement(
    table: Table, columns: Sequence[str], keys: Sequence[str], *, least: str = "", greatest: str = ""
) -> Any:
    """Build an INSERT with ON CONFLICT DO UPDATE."""
    insert = postgresql.insert(table)
    values: dict[str, Any] = {name: insert.excluded[name] for name in columns}
    for name, choose in ((least, func.least), (greatest, func.greatest)):
        if name:
            values[name] = choose(table.columns[name], values[name])
    return insert.on_conflict_do_update(index_elements=keys, set_=values)


async def bulk_inserts(
    connection: AsyncConnection, insert: Any, columns: Mapping[str, Sequence[Any]]
) -> Sequence[tuple[str, Any]]:
    """Send each column as one array: asyncpg's executemany is one trip, but the server runs a statement per row."""
    compiled = _compiled(insert, tuple(columns), connection.dialect)
    arrays = [columns[name] for name in compiled.positiontup]
    starts = range(0, len(arrays[0]), ROWS_AT_ONCE)
    return [(compiled.string, tuple(array[at : at + ROWS_AT_ONCE] for array in arrays)) for at in starts]


@lru_cache(maxsize=64)
def _compiled(insert: Any, names: tuple[str, ...], dialect: SQLAlchemyDialect) -> Any:
    arrays = (bindparam(name, type_=_array_of(insert.table.columns[name])) for name in names)
    given = func.unnest(*arrays).table_valued(*names).render_derived(name="given")
    return insert.from_select(names, select(*given.columns), include_defaults=False).compile(dialect=dialect)


def _array_of(column: Column[Any]) -> ARRAY[Any]:
    # A cast to a text of limited length would cut off what is too long; the INSERT refuses it.
    return ARRAY(String() if column.type.python_type is str else column.type)


async def read_by_day(
    connection: AsyncConnection, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> dict[str, list[tuple[str, str]]]:
    """Read each group as two arrays, in half of the time for many days."""
    rows = await connection.execute(_packed(query), parameters)
    return {name: list(zip(map(str, days), map(repr, numbers), strict=True)) for name, days, numbers in rows}


@lru_cache(maxsize=16)
def _packed(query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    group, day, number = query.selected_columns
    arrays = (func.array_agg(postgresql.aggregate_order_by(column, day)) for column in (day, number))
    return query.with_only_columns(group, *arrays).group_by(group)


async def verify(_: AsyncConnection) -> None:
    """The server checks each page that it reads, if its cluster has checksums."""


async def version(connection: AsyncConnection) -> str:
    """Name and version of the server."""
    found = str(await connection.scalar(select(literal_column("current_setting('server_version')"))))
    return f"PostgreSQL {found.split(maxsplit=1)[0]}"


def before_first_table(connection: Connection) -> None:
    """Create tables one process at a time: IF NOT EXISTS fails where another process is creating the same one."""
    connection.execute(select(func.pg_advisory_xact_lock(bindparam("number", _MIGRATIONS, BigInteger))))


def before_revisions(connection: Connection) -> None:
    """Wait only briefly for the lock of a table, in each transaction of this connection."""

    @event.listens_for(connection, "begin")
    def shorten_wait(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_DDL_LOCK_SECONDS}s'")


@compiles(ServerNow, "postgresql")
def _now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    # Not now(): that is the time of BEGIN, before a wait for a lock.
    return f"(statement_timestamp() + {compiler.process(element.clauses, **options)} * INTERVAL '1 microsecond')"


@compiles(Contains, "postgresql")
def _contains(element: Contains, compiler: SQLCompiler, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)}) > 0"
