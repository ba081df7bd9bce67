"""A password hasher that records its work, and waits where a test needs it to."""

import asyncio
import threading
from typing import Any

from pwdlib import PasswordHash

from tests.conftest import CHEAP


class WatchedHasher(PasswordHash):
    """Replaces the real one; ``go_on`` is set unless a test clears it."""

    def __init__(self) -> None:
        super().__init__(CHEAP.hashers)
        self.checked: list[Any] = []
        """The hashes that passwords were checked against."""
        self.go_on = threading.Event()
        self.go_on.set()

    def verify(self, password: Any, hash: Any) -> bool:  # noqa: A002  # so it is called there
        self.checked.append(hash)
        assert self.go_on.wait(60)
        return super().verify(password, hash)

    async def wait_until_asked(self) -> None:
        while not self.checked:
            await asyncio.sleep(0.001)
