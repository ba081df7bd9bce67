"""Password hashes: argon2 in threads of its own, a few at a time."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from pwdlib import PasswordHash

from app.core.errors import AppError

T = TypeVar("T")

_THREADS: Final = 2
"""Each hash takes 64 MiB and a core for some 50 ms."""
_MOST_WAITING: Final = 40


class Busy(AppError):
    """More people sign in than hashes can be computed for."""

    status_code = 503
    title = "Too busy"
    retry_after_seconds = 2

    def __init__(self) -> None:
        super().__init__("Too many passwords wait to be checked")


class Passwords:
    """Hashes and checks passwords off the event loop."""

    def __init__(self, hasher: PasswordHash | None = None) -> None:
        """Take argon2 with recommended parameters, or another hasher."""
        self._hasher = hasher or PasswordHash.recommended()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self.waiting = 0
        """Passwords that are being hashed or checked, or will be."""
        # The first work of the threads, so it is there before anybody asks.
        self._hash_of_nobody = self._threads.submit(self._hasher.hash, secrets.token_hex())

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Hash a new password, with a salt of its own.

        Raises:
            Busy: Too many wait already.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Check a password; None for an account that does not exist takes as long, and is False.

        Raises:
            Busy: Too many wait already.
        """
        is_right = await self._run(lambda: self._hasher.verify(password, hashed or self._hash_of_nobody.result()))
        return is_right and hashed is not None

    async def _run(self, work: Callable[[], T]) -> T:
        if self.waiting >= _MOST_WAITING:
            raise Busy
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.waiting -= 1
