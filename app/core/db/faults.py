"""Which database errors pass by themselves, which break the connection, and what clients are told."""

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.db.dialects.mysql import CONNECT_AGAIN, SCHEMA_MISSING, TOO_MANY_CONNECTIONS, TRY_AGAIN, error_number
from app.core.db.dialects.sqlite import _SQLITE_SCHEMA_HINTS, is_busy_sqlite
from app.core.errors import DatabaseUnavailable


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
