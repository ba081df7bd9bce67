"""Whether the service is ready, checked once a second at most."""

from collections.abc import Callable
from typing import Final

from app.core.db.database import Database
from app.core.db.migrations import EARLIER_FIRST, current_revision, head_revision, is_too_old, suits
from app.core.db.single_flight import SingleFlight
from app.core.errors import AppError, DatabaseUnavailable

_SECONDS: Final = 1.0
"""Age up to which a result is shown, good or bad."""


class NotReady(AppError):
    """The database is unavailable or its schema is outdated."""

    status_code = 503
    title = "Not ready"
    retry_after_seconds = 2


class ReadinessCheck:
    """Checks the database for any number of callers with one unit of work at a time."""

    def __init__(self, database: Database, *, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._flight = SingleFlight[None]()
        self._checked_at = float("-inf")
        self._problem: dict[str, str] | None = None

    async def require_ready(self) -> None:
        """Return if the service was ready within the last second.

        Raises:
            NotReady: The database is unavailable or its schema is outdated.
        """
        if self._monotonic() - self._checked_at >= _SECONDS:
            await self._flight.run("ready", self._check)
        if self._problem is not None:
            raise NotReady(self._problem)

    async def close(self) -> None:
        """Cancel the check that is running."""
        await self._flight.close()

    async def _check(self) -> None:
        self._problem = await self._find_problem()
        self._checked_at = self._monotonic()

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
