"""Whatever a driver raises is an error of the database, also where it is not one of the driver's own classes.

A connection that breaks makes drivers raise almost anything: an AttributeError, an IndexError, a struct.error. Here
each becomes SQLAlchemy's error of a lost connection. The same exceptions raised by our own code stay what they are.
"""

from traceback import walk_tb
from typing import Final, cast

from sqlalchemy import event
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

_ADAPTER: Final = "sqlalchemy.connectors.asyncio"
_UNSENDABLE: Final = (OverflowError, UnicodeEncodeError)
"""Drivers raise these for values that they can't send, which is a mistake of ours, and for nothing that they read."""


class ConnectingPool(AsyncAdaptedQueuePool):
    """A pool in which everything that goes wrong with opening, preparing or pinging a connection is a lost connection.

    SQLAlchemy calls no ``handle_error`` listener there, except for the driver's own errors.
    """

    __module__ = AsyncAdaptedQueuePool.__module__  # names the logger, whose level is that of SQLAlchemy

    def connect(self) -> PoolProxiedConnection:
        """Get a connection; raise errors of SQLAlchemy or the driver only."""
        try:
            return super().connect()
        except (SQLAlchemyError, cast(Dialect, self._dialect).loaded_dbapi.Error):
            raise
        except Exception as error:
            raise lost_connection("connect", error) from error


def report_driver_errors(engine: AsyncEngine) -> None:
    """Make each exception of the driver one of SQLAlchemy, and drop the connection that raised it."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def report(context: ExceptionContext) -> DBAPIError | None:
        error = context.original_exception
        if isinstance(context.sqlalchemy_exception, DBAPIError) or not is_from_driver(error):
            return None
        context.is_disconnect = True
        # Only this one: the pool pings the others before it hands them out.
        context.invalidate_pool_on_disconnect = False
        return lost_connection(context.statement, error)


def is_from_driver(error: BaseException) -> bool:
    """Whether an exception went through SQLAlchemy's adapter of a driver, which calls nothing of ours."""
    if not isinstance(error, Exception) or isinstance(error, (SQLAlchemyError, *_UNSENDABLE)):
        return False
    return any(frame.f_globals.get("__name__") == _ADAPTER for frame, _ in walk_tb(error.__traceback__))


def lost_connection(statement: str | None, error: BaseException) -> OperationalError:
    """The error of SQLAlchemy for a connection that broke."""
    return OperationalError(statement, None, error, hide_parameters=True, connection_invalidated=True)
