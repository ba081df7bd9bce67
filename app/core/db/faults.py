"""Classes of database errors, and what a client reads about each."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from sqlalchemy.exc import DataError, IntegrityError, NotSupportedError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.errors import DatabaseUnavailable


class Fault(Enum):
    """What an error of the database means for the unit of work that met it."""

    AGAIN = "The transaction did not happen; doing it again may succeed."
    LOST = "The connection broke, so nobody knows what the server did last."
    BUSY = "The server accepts no more connections."
    NO_SCHEMA = "A table or column is missing: the migrations have not run."
    DAMAGED = "The file is not a database, or is damaged."
    OUTAGE = "The server can't be reached or refuses the work."
    OURS = "A bug in this service; another connection would not help."


OUR_MISTAKES: Final = (ProgrammingError, DataError, IntegrityError, NotSupportedError)
"""Errors that a database reports about the statement or its values. Any other error is a fault of the database."""

RETRIED: Final = (Fault.AGAIN, Fault.LOST)

_DETAILS: Final = {
    Fault.BUSY: "The database accepts no more connections",
    Fault.NO_SCHEMA: "The database schema is not up to date; run: python -m app migrate",
    Fault.DAMAGED: "The file is not an SQLite database, or is damaged",
}


def as_unavailable(error: SQLAlchemyError, fault: Fault) -> DatabaseUnavailable | None:
    """The error for the client; None where it is a mistake of ours and not an outage."""
    if isinstance(error, PoolTimeout):
        return DatabaseUnavailable("All database connections are in use")
    if fault is Fault.OURS:
        return None
    return DatabaseUnavailable(_DETAILS.get(fault, "The database can't be reached or refused the work"))


def may_come_up(cause: BaseException | None, classify: Callable[[BaseException], Fault]) -> bool:
    """Whether waiting may help at a start, because the server may still be starting.

    Anything else, such as a wrong password or a path that can't be written, stays until somebody corrects it.
    """
    if isinstance(cause, (TimeoutError, PoolTimeout)):
        return True
    return cause is not None and classify(cause) in (*RETRIED, Fault.BUSY)


def reason_of(error: BaseException) -> str:
    """What the server or the driver says about an error, in one line without the SQL."""
    fault = error.__cause__ if isinstance(error, DatabaseUnavailable) and error.__cause__ else error
    original = getattr(fault, "orig", None)
    return " ".join(str(original.args[-1] if original is not None and original.args else error).split())
