"""Rate limits: requests are counted by client, refused with 429, and every answer says how many are left."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from loguru import logger
from pydantic import SecretStr
from starlette.types import Scope

from app.core.errors import AppError
from app.core.http.middleware.admission import PendingRequest
from app.core.http.middleware.counter_memory import CounterMemory
from app.core.telemetry.counts import Counts

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

T = TypeVar("T")
_STORAGE_SECONDS: Final = 0.5
"""How long a shared storage may take; if it fails, this process counts for itself, and requests are still answered."""
_SILENCE_SECONDS: Final = 5.0
"""Pause before a storage that failed is used again."""


class TooManyRequests(AppError):
    """The client has used up its limit."""

    status_code = 429
    title = "Too many requests"


class RateLimits:
    """The limits, and the counters of all clients: in this process, or in a Redis shared by several.

    A client is whatever text identifies one, such as an address.
    """

    def __init__(
        self,
        limits: Mapping[str, str],
        storage: SecretStr,
        counts: Counts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare the counters of the limits by name; nothing is connected yet.

        A limit is such as ``10/minute``, or ``off``; the storage is ``memory``, or the URL of a Redis or Valkey.
        ``clock`` gives Unix time for the counters of this process.
        """
        self.items = {name: parse(text) for name, text in limits.items() if text != "off"}
        self._own = SlidingWindowCounterRateLimiter(CounterMemory(clock=clock))
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._connections = _connections(storage.get_secret_value())
        if self._connections is not None:
            # The package's types only allow strings and numbers as options.
            options: Any = {"connection_pool": self._connections, "wrap_exceptions": True, "implementation": "redispy"}
            self._shared = SlidingWindowCounterRateLimiter(RedisStorage("async+redis://", **options))
        self._silent_until = 0.0
        self._refused = counts.limited
        self._refused.update(dict.fromkeys(self.items, 0))

    async def check(self, name: str, client: str) -> None:
        """Refuse a client that has used up its limit; nothing is counted.

        Raises:
            TooManyRequests: With the time to wait.
        """
        item = self.items.get(name)
        if item is not None and not await self._ask(lambda strategy: strategy.test(item, name, client)):
            await self._refuse(name, item, client)

    async def spend(self, name: str, client: str) -> None:
        """Count one request.

        Raises:
            TooManyRequests: It is one too many; then it does not count.
        """
        item = self.items.get(name)
        if item is not None and not await self._hit(name, item, client):
            await self._refuse(name, item, client)

    async def count(self, name: str, client: str) -> None:
        """Count a request that was admitted, even if it is now over the limit."""
        if name in self.items:
            await self._hit(name, self.items[name], client)

    async def give_back(self, name: str, client: str) -> None:
        """Undo the count of a request."""
        if name in self.items:
            await self._hit(name, self.items[name], client, cost=-1)

    async def headers(self, name: str, client: str) -> dict[str, str]:
        """The headers about a limit, after the IETF draft; empty if there is no such limit."""
        item = self.items.get(name)
        return _limit_headers(name, item, *await self._left(name, item, client)) if item else {}

    async def close(self) -> None:
        """Close the connections to a shared storage."""
        if self._connections is not None:
            await self._connections.aclose()

    async def _refuse(self, name: str, item: RateLimitItem, client: str) -> NoReturn:
        self._refused[name] += 1
        remaining, seconds = await self._left(name, item, client)
        period = f"{item.multiples} {item.GRANULARITY.name}s" if item.multiples > 1 else f"one {item.GRANULARITY.name}"
        raise TooManyRequests(
            f"At most {item.amount} in {period}; try again in {seconds} s",
            headers={**_limit_headers(name, item, remaining, seconds), "Retry-After": str(seconds)},
        )

    async def _hit(self, name: str, item: RateLimitItem, client: str, *, cost: int = 1) -> bool:
        return await self._ask(lambda strategy: strategy.hit(item, name, client, cost=cost))

    async def _left(self, name: str, item: RateLimitItem, client: str) -> tuple[int, int]:
        """Requests left, and seconds until the next one, at least one."""
        now = time.time()
        stats = await self._ask(lambda strategy: strategy.get_window_stats(item, name, client))
        return stats.remaining, max(1, math.ceil(stats.reset_time - now))

    async def _ask(self, question: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]) -> T:
        """Ask the shared storage or, if there is none or it fails, the memory of this process."""
        if self._shared is not None and time.monotonic() >= self._silent_until:
            try:
                async with asyncio.timeout(_STORAGE_SECONDS):
                    return await question(self._shared)
            except (StorageError, TimeoutError) as error:
                self._silent_until = time.monotonic() + _SILENCE_SECONDS
                fault = type(error.__cause__ or error).__name__
                logger.error("The storage of rate limits failed; each process counts for itself for now: {}", fault)
        return await question(self._own)


def _limit_headers(name: str, item: RateLimitItem, remaining: int, seconds: int) -> dict[str, str]:
    return {
        "RateLimit-Policy": f'"{name}";q={item.amount};w={item.get_expiry()}',
        "RateLimit": f'"{name}";r={remaining};t={seconds}',
    }


def _connections(storage: str) -> "ConnectionPool | None":
    """Connections to the Redis at this address, opened when needed; None for ``memory``."""
    if storage == "memory":
        return None
    # Imports all of OpenTelemetry, which most installations do not need.
    from redis.asyncio import ConnectionPool  # noqa: PLC0415

    scheme, _, place = storage.partition("://")
    # Valkey has the same protocol, and the driver only knows the name of Redis.
    return ConnectionPool.from_url(f"{scheme.replace('valkey', 'redis')}://{place}")


async def check_rate_limit(request: PendingRequest) -> None:
    """Count a request of a route that has a limit; its answer says how many are left.

    Limits count requests, including cache hits.

    Raises:
        TooManyRequests: The client has used up its limit.
    """
    limits: RateLimits | None = request.scope["state"].get("rate_limits")
    name = request.route.rate_limit if request.route else None
    if limits is not None and name in limits.items:
        client = client_of(request.scope)
        await limits.spend(name, client)
        request.headers |= await limits.headers(name, client)


def client_of(scope: Scope) -> str:
    """The client that a request counts for: its address, or the network of an IPv6 address.

    Requests over a local socket have no address and count as one client.
    """
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host or "local"
    if not isinstance(address, IPv6Address):
        return str(address)
    # One IPv6 subscriber owns a /64.
    return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
