"""Password hashes: argon2, in a few threads of its own."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final, TypeVar

from pwdlib import PasswordHash

from app.core.errors import AppError

T = TypeVar("T")

_THREADS: Final = 2
"""Each hash takes 64 MiB and about 50 ms of a core."""
_MAX_WAITING: Final = 40


class Busy(AppError):
    """More passwords are waiting than can be hashed soon."""

    status_code = 503
    title = "Too busy"
    retry_after_seconds = 2

    def __init__(self) -> None:
        super().__init__("Too many passwords are waiting to be checked")


class Passwords:
    """Hashes and checks passwords off the event loop; raises Busy if too many are waiting."""

    def __init__(self, hasher: PasswordHash | None = None) -> None:
        """Use this hasher; by default, argon2 with pwdlib's recommended parameters."""
        self._hasher = hasher or PasswordHash.recommended()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self.waiting = 0
        """Number of passwords that are being hashed or checked, or wait for it."""

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Hash a password with a new salt."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Check a password against a hash; None, for an unknown account, takes as long and returns False."""
        return await self._run(lambda: self._verify(password, hashed))

    def _verify(self, password: str, hashed: str | None) -> bool:
        # For a known account too: otherwise the first check after a start would show which accounts there are.
        dummy_hash = self._dummy_hash
        return self._hasher.verify(password, hashed or dummy_hash) and hashed is not None

    @cached_property
    def _dummy_hash(self) -> str:
        return self._hasher.hash(secrets.token_hex())

    async def _run(self, work: Callable[[], T]) -> T:
        if self.waiting >= _MAX_WAITING:
            raise Busy
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.waiting -= 1
