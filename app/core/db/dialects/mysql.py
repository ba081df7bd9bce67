"""MySQL and MariaDB: connections, session settings, bulk reads."""

import asyncio
import math
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import aiomysql
from sqlalchemy import (
    URL,
    Select,
    event,
    func,
)
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.database_url import _single

_LONGEST_TEXT: Final = 2**20
"""Bytes that MySQL may put together from many rows; its own default is 1024."""


_SCALE: Final = 2.0**40
"""MySQL writes small numbers with zeros in front, and cuts their digits off at 22 signs. A power of 2 costs none."""


_MYSQL_SILENCE: Final = 60
"""Seconds after which MySQL ends an idle connection."""


_PING_SECONDS: Final = 1.0
"""For the answer of a connection that was idle. One without gives all others of its age away, so that after a failover
only the first request has to wait for a machine that is no more."""


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


def mysql_connect_arguments(url: URL) -> tuple[URL, dict[str, Any]]:
    """Split a normalised MySQL URL into what the URL and what ``connect_args`` must carry.

    Returns:
        The URL without TLS options, and the arguments with a real TLS context
        where the mode asks for one. Without a mode the connection is plain.
    """
    bare = url.difference_update_query(["ssl_mode", "ssl_ca"])
    context = _tls_context(url.query)
    return bare, {"ssl": context} if context else {}


def requires_tls(url: URL) -> bool:
    """Whether a connection without encryption must be refused.

    The drivers go on in plain text when the server (or somebody between)
    says that it has no TLS, so the caller has to check.
    """
    return url.query.get("ssl_mode") in ("required", "verify_ca", "verify_identity")


def _tls_context(query: Mapping[str, str | tuple[str, ...]]) -> ssl.SSLContext | None:
    mode = query.get("ssl_mode")
    if mode is None or mode == "disabled":
        return None
    context = ssl.create_default_context(cafile=_single(query["ssl_ca"]) if "ssl_ca" in query else None)
    context.check_hostname = mode == "verify_identity"
    if mode in ("preferred", "required"):
        # MySQL's own meaning of these modes: encrypted, but nobody is authenticated.
        context.verify_mode = ssl.CERT_NONE
    return context


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


def error_number(error: BaseException) -> int | None:
    """The server's number of an error; None where it has none, as on SQLite."""
    args = getattr(getattr(error, "orig", None), "args", ())
    return args[0] if args and isinstance(args[0], int) else None


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
