"""Connections to PostgreSQL: several hosts, poolers, bounds in time, and what a SQLSTATE means for a connection."""

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import asyncpg

from app.core.config.postgresql_url import Target, connect_arguments
from app.core.db.faults import Fault

_PING_SECONDS: Final = 1.0
"""Wait for the answer of an idle connection. A failed ping invalidates all older connections, so that only the first
request after a failover waits."""
_CLOSE_SECONDS: Final = 0.25
"""Wait for a connection to close: long enough to send the server word that its statement is cancelled."""
_HOST_SECONDS: Final = 1.0
"""Wait for a connection to one of several hosts, before the next one is tried."""

_FAULTS: Final = {
    # Serialization, deadlock, lock wait.
    Fault.AGAIN: {"40001", "40P01", "55P03"},
    # Besides class 08: a server that stops, starts or ended the session, and a former primary after a failover.
    Fault.LOST: {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006"},
    Fault.BUSY: {"53300"},
    Fault.NO_SCHEMA: {"42P01", "42703"},
    # No database, schema or right; another encoding than UTF-8; settings of the session that the server does not have.
    Fault.OUTAGE: {"3D000", "3F000", "42501", "22P05", "42704", "22023"},
}
_FAULT_OF: Final = {state: fault for fault, states in _FAULTS.items() for state in states}
_FAULT_OF_CLASS: Final = {
    "08": Fault.LOST,
    **dict.fromkeys(("25", "28", "40", "53", "54", "55", "57", "58", "XX"), Fault.OUTAGE),
}


def fault_of_state(state: str) -> Fault | None:
    """What a SQLSTATE means; None for mistakes and without one."""
    return _FAULT_OF.get(state) or _FAULT_OF_CLASS.get(state[:2])


def state_of(error: BaseException | None) -> str:
    """SQLSTATE of a driver's error; empty without one."""
    return getattr(error, "sqlstate", None) or ""


class BoundedConnection(asyncpg.Connection):  # type: ignore[misc]  # the package has no types
    """Bounds pings and closing in time."""

    __slots__ = ()

    async def ping(self) -> None:
        try:
            await self.execute("SELECT 1", timeout=_PING_SECONDS)
        except Exception as error:
            self.terminate()
            raise asyncpg.InterfaceError("connection is closed") from error

    async def close(self, *, timeout: float | None = None) -> None:  # same signature as the base class
        try:
            await super().close(timeout=_CLOSE_SECONDS)
        except Exception:  # it is to be closed anyway
            self.terminate()


def _settings_in_each_transaction(settings: Mapping[str, str]) -> type[BoundedConnection]:
    """The class of connections through a pooler: it refuses settings of a session, which others would inherit."""
    values = ((name, value.replace("'", "''")) for name, value in settings.items())
    local = "".join(f" SET LOCAL {name} = '{value}';" for name, value in values)

    class PooledConnection(BoundedConnection):
        __slots__ = ()

        async def execute(self, query: str, *arguments: Any, timeout: float | None = None) -> str:
            if query.startswith("BEGIN"):
                query += local  # in the same round trip
            return str(await super().execute(query, *arguments, timeout=timeout))

    return PooledConnection


def connect_to(target: Target, seconds: float) -> Callable[..., Awaitable[asyncpg.Connection]]:
    """Build the function that connects to the first host that takes the work, beginning with the last one that did."""
    arguments = connect_arguments(target)
    arguments["timeout"] = target.connect_timeout or (_HOST_SECONDS if len(target.hosts) > 1 else seconds)
    session = {**session_settings(seconds), **target.server_settings}
    direct = {**arguments, "server_settings": session, "connection_class": BoundedConnection}
    pooled = {**arguments, "server_settings": {}, "connection_class": _settings_in_each_transaction(session)}
    pooled["statement_cache_size"] = 0  # the next transaction may be in another session
    hosts, is_pooled = list(target.hosts), target.is_pooled_by_transaction

    async def connect(*_: Any, **__: Any) -> asyncpg.Connection:
        nonlocal is_pooled
        if not is_pooled:
            try:
                return await _connect_to_first(hosts, **direct)
            except asyncpg.ProtocolViolationError as error:
                if "startup parameter" not in str(error):  # PgBouncer's words for a setting that it does not pass on
                    raise
                is_pooled = True
        return await _connect_to_first(hosts, **pooled)

    return connect


async def _connect_to_first(hosts: list[tuple[str, int]], **arguments: Any) -> asyncpg.Connection:
    """Connect to the first host that takes the work, and move it to the front."""
    errors = []
    for host, port in tuple(hosts):
        try:
            connection = await _connect(host=host, port=port, **arguments)
        except asyncpg.PostgresError as error:
            if fault_of_state(state_of(error)) is not Fault.LOST or isinstance(error, asyncpg.ProtocolViolationError):
                raise  # the next host would refuse it too
            errors.append(error)
        else:
            hosts.remove((host, port))
            hosts.insert(0, (host, port))
            return connection
    raise errors[0] if len(errors) == 1 else asyncpg.ClientCannotConnectError("; ".join(map(str, errors)))


async def _connect(**options: Any) -> asyncpg.Connection:
    """Connect as ``asyncpg.connect`` does; a failure is an error of the driver with a SQLSTATE.

    A cancelled call does not cancel the handshake, where asyncpg would leave the error of a task to nobody.
    """
    connecting = asyncio.ensure_future(asyncpg.connect(**options))
    place = f"{options['host']}:{options['port']}"
    try:
        connection = await asyncio.shield(connecting)
        if (encoding := connection.get_settings().server_encoding) != "UTF8":
            connection.terminate()
            raise asyncpg.UntranslatableCharacterError(f"the encoding of the database is {encoding}, not UTF8")
        return connection
    except asyncio.CancelledError:
        connecting.add_done_callback(_drop)
        raise
    except asyncpg.TargetServerAttributeNotMatched as error:
        raise asyncpg.ReadOnlySQLTransactionError(f"{place} is read-only") from error
    except (ssl.SSLError, ConnectionError) as error:
        if isinstance(error, ssl.SSLError) or "SSL" in str(error):
            message = getattr(error, "verify_message", None) or str(error)
            raise asyncpg.InvalidAuthorizationSpecificationError(f"TLS: {message}") from error
        raise asyncpg.ClientCannotConnectError(f"Can't connect to {place}: {error}") from error
    except TimeoutError as error:
        raise asyncpg.ClientCannotConnectError(f"Can't connect to {place}: no answer in time") from error
    except OSError as error:
        raise asyncpg.ClientCannotConnectError(f"Can't connect to {place}: {error}") from error


def _drop(connecting: "asyncio.Task[asyncpg.Connection]") -> None:
    """Close a connection that came too late."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()


def session_settings(seconds: float) -> dict[str, str]:
    """Bounds of the server for sessions whose units of work last ``seconds`` at most.

    A client that falls silent in a transaction, because its process is frozen or its machine gone, loses its locks.
    That bound is longer than the one of the unit of work: if both end at once, the driver does not know what happened.
    """
    bound = math.ceil(seconds)
    return {
        "lock_timeout": f"{bound}s",
        "idle_in_transaction_session_timeout": f"{bound + 1}s",
        "client_connection_check_interval": "1s",  # ends the statement of a client that has left
        "application_name": "countries",
    }
