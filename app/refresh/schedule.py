"""Background work: the first load, scheduled refreshes, the return from bundled rates, and the data gauges."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from app.core.background import log_failure, repeat
from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED
from app.core.db.database import Database
from app.core.db.lease import acquire
from app.core.errors import DatabaseUnavailable
from app.countries.store import read_generation, read_summary
from app.countries.summary import Summary
from app.refresh.crud import Refresher

TURN: Final = "scheduled refresh"
RETRY: Final = timedelta(minutes=10)
START_RETRY_SECONDS: Final = 5.0
LOOK_AGAIN: Final = timedelta(minutes=1)
"""Longest pause before the schedule looks at the data and the clock again, because either may have changed."""
_FAILED: Final = "Refreshing in the background failed"

Clock = Callable[[], datetime]


async def keep_fresh(database: Database, refresher: Refresher, settings: Settings, *, clock: Clock) -> None:
    """Load data after the start, then refresh whenever it is due, until cancelled.

    ``clock`` returns the time in UTC. It may be put forward or back at any moment.
    """
    rested = timedelta()

    async def load() -> float | None:
        try:
            await _load_at_start(database, refresher, settings)
        except DatabaseUnavailable:
            raise  # not ready yet: soon again
        except Exception as error:  # the sources: the schedule asks them later
            log_failure(_FAILED, error)
        return None

    async def look() -> float:
        nonlocal rested
        summary, seen = await _read_state(database, refresher)
        left, rest = _time_left(summary, settings, clock), _shortest_pause(settings)
        wait = max(rest - rested, left or timedelta())
        if wait > timedelta():
            step = min(wait, LOOK_AGAIN)
            rested += step
            return step.total_seconds() * random.uniform(1.0, 1.1)
        rested = timedelta()
        if left is not None:
            await _refresh_in_turn(database, refresher, settings, summary, seen)
        return 0

    for turn in (load, look):
        await repeat(turn, pause_after_failure=START_RETRY_SECONDS, when_failed=_FAILED)


async def _load_at_start(database: Database, refresher: Refresher, settings: Settings) -> None:
    """Load data as REFRESH_ON_START says."""
    if settings.refresh_on_start == "never":
        return
    summary, seen = await _read_state(database, refresher)
    if settings.refresh_on_start == "always" or summary is None or summary.rate_source == BUNDLED:
        await _refresh(refresher, summary, seen)


async def _refresh(refresher: Refresher, summary: Summary | None, seen: int) -> None:
    """Refresh; an empty database takes bundled rates if need be, so that a new installation works offline."""
    order = refresher.order()
    if summary is None and BUNDLED not in order.rate_sources:
        order = replace(order, rate_sources=(*order.rate_sources, BUNDLED))
    await refresher.refresh(order, guard=None, since=seen)


async def _read_state(database: Database, refresher: Refresher) -> tuple[Summary | None, int]:
    """The last summary and its generation; updates the data gauges on the way."""
    async with database.reading() as session:
        summary, generation = await read_summary(session), await read_generation(session)
    refresher.counts.data = summary
    return summary, generation


def _shortest_pause(settings: Settings) -> timedelta:
    interval = timedelta(minutes=settings.refresh_interval_minutes)
    return min(RETRY, interval) if interval else RETRY


def _time_left(summary: Summary | None, settings: Settings, clock: Clock) -> timedelta | None:
    """Time until the next refresh is due; None if nothing is scheduled."""
    interval = timedelta(minutes=settings.refresh_interval_minutes)
    if summary is None:
        return timedelta() if interval or settings.refresh_on_start != "never" else None
    if summary.rate_source == BUNDLED and any(entry != BUNDLED for entry in settings.rate_sources):
        return timedelta()
    if not interval:
        return None
    age = clock() - summary.refreshed_at
    # Data from the future were stored before the clock was put back. The clocks of two machines differ by less.
    return timedelta() if age < -LOOK_AGAIN else interval - age


async def _refresh_in_turn(
    database: Database, refresher: Refresher, settings: Settings, summary: Summary | None, seen: int
) -> None:
    """Refresh in the one process that takes the turn; a failed attempt uses up the turn too."""
    if await acquire(database, TURN, seconds=_shortest_pause(settings).total_seconds() * 0.9):
        await _refresh(refresher, summary, seen)
