"""Whether the service is ready, checked once a second at most."""

import asyncio
from collections.abc import Callable
from typing import Final

from app.core.db.database import Database
from app.core.db.migrations import EARLIER_FIRST, current_revision, head_revision, is_too_old, suits
from app.core.errors import AppError, DatabaseUnavailable

_SECONDS: Final = 1.0
"""Age up to which a result is shown, good or bad."""


class NotReady(AppError):
    """The database is unavailable or its schema is outdated."""

    status_code = 503
    title = "Not ready"
    retry_after_seconds = 2


class ReadinessCheck:
    """Checks the database for any number of callers, once a second at most.

    What counts is when a check began: one that waits for a database that was away says nothing about now.
    """

    def __init__(self, database: Database, *, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._began_at = float("-inf")
        self._latest: asyncio.Task[dict[str, str] | None]
        self._running: set[asyncio.Task[dict[str, str] | None]] = set()

    async def require_ready(self) -> None:
        """Return if the service is ready, by a check that began within the last second.

        Raises:
            NotReady: The database is unavailable or its schema is outdated.
        """
        now = self._monotonic()
        if now - self._began_at >= _SECONDS:
            self._began_at = now
            self._latest = asyncio.create_task(self._find_problem(), name="readiness check")
            self._running.add(self._latest)
            self._latest.add_done_callback(self._running.discard)
        problem = await asyncio.shield(self._latest)
        if problem is not None:
            raise NotReady(problem)

    async def close(self) -> None:
        """Cancel the checks that are running."""
        for check in self._running:
            check.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _find_problem(self) -> dict[str, str] | None:
        try:
            async with self._database.reading() as session:
                revision = await current_revision(session)
        except DatabaseUnavailable as error:
            return {"database": str(error.details)}
        if suits(revision):
            return None
        advice = EARLIER_FIRST if is_too_old(revision) else "run: python -m app migrate"
        return {"migrations": f"revision {revision}, not {head_revision()}; {advice}"}
