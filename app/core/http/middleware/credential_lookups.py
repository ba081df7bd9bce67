"""Look-ups of tokens and keys: limited by client, few at a time, and remembered for a while."""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from starlette.types import Scope

from app.core.db.database import Database
from app.core.http.access import Principal
from app.core.http.middleware.overload import Overloaded, refuse_overload
from app.core.http.middleware.rate_limits import RateLimits, client_of
from app.core.telemetry.counts import Counts

FindPrincipal = Callable[[Database, str, bytes], Awaitable[Principal | None]]
"""Looks up the principal for a secret, a ``key`` or a ``token``; None if unknown, expired or revoked."""

K = TypeVar("K", bytes, int)

_LIMIT: Final = "credentials"
"""Wrong tokens and keys: not the limit of sign-ins, or an expired token would keep its whole office from signing in."""
_STRANGERS_AT_ONCE: Final = 2
"""Look-ups at a time of secrets that were not found valid lately: one takes about a millisecond."""
_LONGEST_WAIT: Final = 1.0
"""Seconds that such a look-up waits for its turn."""
_VALID_SECONDS: Final = 3600.0
_UNKNOWN_SECONDS: Final = 5.0
_MOST_REMEMBERED: Final = 10_000


class CredentialLookups:
    """Looks up who sends a request, so that guessing costs the database little and locks nobody else out.

    A secret that was found valid lately, or issued by this process, is looked up again, because it may have been
    revoked, but never refused for what others behind the same address do. One that is unknown is not looked up again
    for a few seconds. A new one can't have been tried before, because secrets are random; but where reads may be older
    than the last write, as on Galera without ``wsrep_sync_wait``, a process that did not issue it can refuse it for
    these seconds.
    """

    def __init__(
        self, find_principal: FindPrincipal, counts: Counts, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._find_principal = find_principal
        self._counts = counts
        self._valid = Recent[bytes](_VALID_SECONDS, monotonic)
        self._unknown = Recent[bytes](_UNKNOWN_SECONDS, monotonic)
        self._key = secrets.token_bytes(32)
        self._turns = asyncio.Semaphore(_STRANGERS_AT_ONCE)

    def expect(self, kind: str, secret: str) -> None:
        """Remember a secret that is being issued, so that its first use does not wait for the guesses of others."""
        self._valid.add(self._digest(kind, secret.encode()))

    async def find(self, scope: Scope, kind: str, secret: bytes) -> Principal | None:
        """Find the principal for a secret, a ``key`` or a ``token``; None if unknown, expired or revoked.

        Raises:
            TooManyRequests: The client has sent too many wrong ones, and this one was not valid lately.
            Overloaded: Too many look-ups are waiting.
            DatabaseUnavailable: No answer from the database.
        """
        limits: RateLimits = scope["state"]["rate_limits"]
        client, digest = client_of(scope), self._digest(kind, secret)
        principal = None
        if digest in self._valid:
            principal = await self._look_up(scope, kind, secret)
        else:
            await limits.check(_LIMIT, client)
            if digest not in self._unknown:
                async with self._turn():
                    # Others of this client may have failed while it waited.
                    await limits.check(_LIMIT, client)
                    principal = await self._look_up(scope, kind, secret)
                if principal is None:
                    self._unknown.add(digest)
        if principal is None:
            self._valid.remove(digest)
            await limits.count(_LIMIT, client)
        else:
            self._valid.add(digest)
        return principal

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                await self._turns.acquire()
        except TimeoutError:
            self._counts.overloaded += 1
            raise Overloaded from None
        try:
            yield
        finally:
            self._turns.release()

    async def _look_up(self, scope: Scope, kind: str, secret: bytes) -> Principal | None:
        database: Database = scope["state"]["database"]
        refuse_overload(database, self._counts)
        return await self._find_principal(database, kind, secret)

    def _digest(self, kind: str, secret: bytes) -> bytes:
        """What is remembered of a secret; it is worth nothing outside of this process."""
        return hashlib.blake2b(kind.encode() + b" " + secret, digest_size=16, key=self._key).digest()


class Recent(Generic[K]):
    """What was added in the last seconds, at most 10,000."""

    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._times: OrderedDict[K, float] = OrderedDict()
        """When each was added, in this order."""

    def __contains__(self, key: K) -> bool:
        return self._monotonic() - self._times.get(key, float("-inf")) < self._seconds

    def add(self, key: K) -> None:
        """Remember from now on; the one that was added longest ago is forgotten where there are too many."""
        self._times[key] = self._monotonic()
        self._times.move_to_end(key)
        if len(self._times) > _MOST_REMEMBERED:
            self._times.popitem(last=False)

    def remove(self, key: K) -> None:
        """Forget, if it is remembered."""
        self._times.pop(key, None)
