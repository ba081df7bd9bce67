"""Takes turns at a work of which one process of all does a part at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from loguru import logger

from app.core.db.database import Database
from app.core.db.lease import Lease, acquire, held, release
from app.core.errors import AppError

GATHER_SECONDS: Final = 0.2
"""What comes close together is done together."""
BUSY_SECONDS: Final = 1.0
"""Pause while another process is at it."""
FAILED_SECONDS: Final = 5.0
"""Pause after a turn that failed, whatever comes meanwhile: most likely the database is away."""


class Turns:
    """Takes turns at a work of which one process of all does a part at a time: when there is news, and now and then."""

    def __init__(
        self,
        database: Database,
        lease: str,
        news: asyncio.Event,
        pause_before: Callable[[], Awaitable[float]],
        work: Callable[[Lease], Awaitable[None]],
    ) -> None:
        """Take the parts.

        Args:
            database: Has the lease.
            lease: Its name.
            news: Set where there may be work.
            pause_before: Looks for work; the seconds after which to look again, 0 where it is to be done now.
            work: Does a part of it, under the lease, which it holds against what it writes.
        """
        self._database = database
        self._lease = lease
        self._news = news
        self._pause_before = pause_before
        self._work = work
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Take turns until cancelled."""
        while True:
            self._news.clear()
            try:
                pause = await self._take()
            except Exception as error:  # whatever happens in one turn, the next must come
                log_failure(error)
                await asyncio.sleep(FAILED_SECONDS)
                continue
            if pause is None:
                await asyncio.sleep(BUSY_SECONDS)
                continue
            if pause:
                # Not wait_for(): Python 3.11's forgets to be cancelled where news come in the same moment.
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)

    async def drain(self) -> None:
        """Take turns until nothing is left that can be done now, after the one that runs."""
        while (pause := await self._take()) is None or pause == 0:  # noqa: ASYNC110  # nobody sends events
            await asyncio.sleep(GATHER_SECONDS)

    async def _take(self) -> float | None:
        """Take one turn.

        Returns:
            Seconds until the next; None where another process is at it.
        """
        async with self._one_at_a_time:
            pause = await self._pause_before()
            if pause:
                return pause
            lease = await acquire(self._database, self._lease)
            if lease is None:
                return None
            async with held(self._database, lease):
                await self._work(lease)
                await release(self._database, lease)
            return 0


def log_failure(error: Exception) -> None:
    """Say that entries wait, with a trace where nobody foresaw why."""
    if isinstance(error, AppError | TimeoutError):
        details = getattr(error, "details", None) or "it took too long"
        logger.warning("Audit entries wait for their delivery: {}", details)
    else:
        logger.opt(exception=error).error("Delivering audit entries failed")
