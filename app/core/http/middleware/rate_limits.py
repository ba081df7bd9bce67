"""How much a client may ask: counted by its address, refused with 429, and told in headers either way."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final, TypeVar

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from loguru import logger
from pydantic import SecretStr
from starlette.types import Scope

from app.core.errors import AppError
from app.core.http.middleware.admission import PendingRequest
from app.core.telemetry.counts import Counts

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

T = TypeVar("T")
_STORAGE_SECONDS: Final = 0.5
"""How long a shared storage may take; without it nothing is limited, because a limit must not be what fails."""
_SILENCE_SECONDS: Final = 5.0
"""How long a storage that failed is not asked again."""


class TooManyRequests(AppError):
    """The client has used up what it may ask in this time."""

    status_code = 429
    title = "Too many requests"


class RateLimits:
    """The limits that are set, and the counters of all clients: in this process, or in a Redis that several share.

    Their names are ``refresh``, ``sign-in`` and ``reads``.
    """

    def __init__(self, limits: Mapping[str, str], storage: SecretStr, counts: Counts) -> None:
        """Prepare the counters; nothing is connected yet.

        Args:
            limits: Such as ``10/minute``, or ``off``.
            storage: ``memory``, or the URL of a Redis or Valkey.
            counts: Where refusals are counted.
        """
        self._items = {name: parse(text) for name, text in limits.items() if text != "off"}
        self._connections = _connections(storage.get_secret_value())
        self._strategy = SlidingWindowCounterRateLimiter(_storage(self._connections))
        self._silent_until = 0.0
        self._refused = counts.limited
        self._refused.update(dict.fromkeys(self._items, 0))

    def limits(self, name: str) -> bool:
        """Whether there is a limit of this name."""
        return name in self._items

    async def check(self, name: str, client: str) -> None:
        """Refuse a client that has used up its limit; nothing is counted.

        Raises:
            TooManyRequests: With the time to wait.
        """
        item = self._items.get(name)
        if item is not None and not await self._asked(self._strategy.test, item, client, otherwise=True):
            raise await self._refusal(name, item, client)

    async def spend(self, name: str, client: str) -> None:
        """Count one request.

        Raises:
            TooManyRequests: It is one too many; then it does not count.
        """
        item = self._items.get(name)
        if item is not None and not await self._asked(self._strategy.hit, item, client, otherwise=True):
            raise await self._refusal(name, item, client)

    async def count(self, name: str, client: str) -> None:
        """Count what has been admitted, also where it is one too many meanwhile."""
        item = self._items.get(name)
        if item is not None:
            await self._asked(self._strategy.hit, item, client, otherwise=True)

    async def headers(self, name: str, client: str) -> dict[str, str]:
        """What answers tell of a limit, as the IETF's draft has it; nothing where there is none."""
        item = self._items.get(name)
        if item is None:
            return {}
        return _told(name, item, *await self._left(item, client))

    async def close(self) -> None:
        """Close the connections to a shared storage."""
        if self._connections is not None:
            await self._connections.aclose()

    async def _refusal(self, name: str, item: RateLimitItem, client: str) -> TooManyRequests:
        self._refused[name] += 1
        remaining, seconds = await self._left(item, client)
        return TooManyRequests(
            f"At most {item.amount} in one {item.GRANULARITY.name}; try again in {seconds} s",
            headers={**_told(name, item, remaining, seconds), "Retry-After": str(seconds)},
        )

    async def _left(self, item: RateLimitItem, client: str) -> tuple[int, int]:
        """Requests that are left, and the seconds until there is one more, at least one."""
        now = time.time()
        stats = await self._asked(self._strategy.get_window_stats, item, client, otherwise=None)
        if stats is None:
            return item.amount, item.get_expiry()
        return stats.remaining, max(1, math.ceil(stats.reset_time - now))

    async def _asked(
        self, question: Callable[..., Awaitable[T]], item: RateLimitItem, client: str, *, otherwise: T
    ) -> T:
        """The storage's answer, or another one where it fails."""
        if time.monotonic() < self._silent_until:
            return otherwise
        try:
            async with asyncio.timeout(_STORAGE_SECONDS):
                return await question(item, client)
        except (StorageError, TimeoutError) as error:
            self._silent_until = time.monotonic() + _SILENCE_SECONDS
            fault = type(error.__cause__ or error).__name__
            logger.error("The storage of rate limits failed, nothing is limited meanwhile: {}", fault)
            return otherwise


def _told(name: str, item: RateLimitItem, remaining: int, seconds: int) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"{name}";q={item.amount};w={item.get_expiry()}',
        "RateLimit": f'"{name}";r={remaining};t={seconds}',
    }


def _connections(storage: str) -> "ConnectionPool | None":
    """To the Redis at this address, once they are needed; None for ``memory``."""
    if storage == "memory":
        return None
    # It brings the whole of OpenTelemetry along, which most services have no use for.
    from redis.asyncio import ConnectionPool  # noqa: PLC0415

    scheme, _, place = storage.partition("://")
    # Valkey speaks the same language, and the driver knows it by Redis' name only.
    return ConnectionPool.from_url(f"{scheme.replace('valkey', 'redis')}://{place}")


def _storage(connections: "ConnectionPool | None") -> MemoryStorage | RedisStorage:
    if connections is None:
        return MemoryStorage()
    own: Any = {"connection_pool": connections}  # the package's types know of options that are texts and numbers
    return RedisStorage("async+redis://", wrap_exceptions=True, implementation="redispy", **own)


async def check_rate_limit(request: PendingRequest) -> None:
    """Count a request of a route that has a limit; its answer says how many are left.

    Limits count requests, including cache hits.

    Raises:
        TooManyRequests: The client has used up its limit.
    """
    limits: RateLimits | None = request.scope["state"].get("rate_limits")
    name = request.route.rate_limit if request.route else None
    if limits is not None and name is not None and limits.limits(name):
        client = client_of(request.scope)
        await limits.spend(name, client)
        request.headers |= await limits.headers(name, client)


_NETWORK_OF_ONE: Final = 64
"""Bits: whoever has one address of IPv6 has all that begin alike."""


def client_of(scope: Scope) -> str:
    """The client of a request, as one that is counted: an address, or the network of an IPv6 address.

    Requests that come over a local socket have none, and count as one client.
    """
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host or "local"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _NETWORK_OF_ONE), strict=False))
