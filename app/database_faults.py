"""Which database errors pass by themselves, which break the connection, and what clients are told."""

from typing import Final

from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.errors import DatabaseUnavailable

TRY_AGAIN: Final = frozenset({1213, 1205, 1020, 8002, 8005, 8022, 8028, 9007})
"""Deadlock, lock wait, changed record, and TiDB's write conflicts: the transaction did not happen."""
NO_QUORUM: Final = frozenset({1047, 1180})
"""A Galera node that lost most others refuses every statement (1047), and a COMMIT under way (1180), which the others
may have received all the same."""
READ_ONLY_NODE: Final = frozenset({1290, 1836})
"""After a failover the old primary answers so; another connection reaches the new one."""
CONNECT_AGAIN: Final = frozenset(
    {1053, 1927, 2003, 2006, 2013, 2014, 2055, 4031, 9001, 9002, 9003, 9004, 9005, *NO_QUORUM, *READ_ONLY_NODE}
)
"""The connection is of no use any more; a new one may be."""
TOO_MANY_CONNECTIONS: Final = frozenset({1040, 1203})
SCHEMA_MISSING: Final = frozenset({1054, 1146})
_SQLITE_BUSY: Final = frozenset({5, 6})
_SQLITE_SCHEMA_HINTS: Final = ("no such table", "no such column", "has no column named")


def error_number(error: BaseException) -> int | None:
    """The server's number of an error; None where it has none, as on SQLite."""
    args = getattr(getattr(error, "orig", None), "args", ())
    return args[0] if args and isinstance(args[0], int) else None


def is_busy_sqlite(error: BaseException) -> bool:
    """Whether SQLite gave up waiting for another writer."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _SQLITE_BUSY


def is_lost_connection(error: BaseException) -> bool:
    """Whether the connection broke, so that nobody knows what the server did last."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or error_number(error) in CONNECT_AGAIN)


def is_worth_a_retry(error: Exception) -> bool:
    """Whether the whole unit of work may succeed when it is done again."""
    return isinstance(error, DBAPIError) and (
        error_number(error) in TRY_AGAIN
        or is_lost_connection(error)
        or is_busy_sqlite(error)
        # What a server says that is too busy for the handshake, in words of the driver and without a number.
        or "Packet sequence number wrong" in str(error.orig)
    )


def mark_disconnects(context: ExceptionContext) -> None:
    """Listener: throw away connections that SQLAlchemy would keep in the pool.

    A Galera node without quorum and a former primary go on answering errors
    for as long as one keeps asking them.
    """
    number = getattr(context.original_exception, "args", (None,))[:1]
    if number and number[0] in (*NO_QUORUM, *READ_ONLY_NODE):
        context.is_disconnect = True
        # The others find out for themselves. On a server that is read-only for a time all reads would connect anew, and
        # again after each change that is tried.
        context.invalidate_pool_on_disconnect = False


def is_missing_schema(error: BaseException) -> bool:
    """Whether a table or column is not there: the migrations have not run."""
    text = str(getattr(error, "orig", ""))
    return error_number(error) in SCHEMA_MISSING or any(hint in text for hint in _SQLITE_SCHEMA_HINTS)


def as_unavailable(error: Exception) -> DatabaseUnavailable | None:
    """What to tell a client; None where the error is a mistake of ours and no outage."""
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable("All database connections are in use")
    if is_missing_schema(error):
        return DatabaseUnavailable("The database schema is not up to date; run: python -m app migrate")
    if error_number(error) in TOO_MANY_CONNECTIONS:
        return DatabaseUnavailable("The database accepts no more connections")
    if isinstance(error, (OperationalError, InterfaceError, InternalError)):
        return DatabaseUnavailable("The database can't be reached or refused the work")
    return None
