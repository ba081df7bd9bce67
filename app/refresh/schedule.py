"""Background work: the first load, scheduled refreshes, the return from bundled rates, and the data gauges."""

import asyncio
import random
from asyncio import sleep
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from loguru import logger

from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED
from app.core.db.database import Database
from app.core.db.lease import acquire
from app.core.errors import AppError, DatabaseUnavailable
from app.core.telemetry.counts import Counts
from app.countries.store import read_generation, read_summary
from app.countries.summary import Summary
from app.refresh.crud import Refresher

TURN: Final = "scheduled refresh"
RETRY: Final = timedelta(minutes=10)
START_RETRY_SECONDS: Final = 5.0
GAUGE_SECONDS: Final = 60.0


async def keep_fresh(database: Database, refresher: Refresher, settings: Settings) -> None:
    """Load data after the start, then refresh whenever it is due, until cancelled."""
    while not await _load_at_start(database, refresher, settings):  # noqa: ASYNC110  # the database sends no events
        await sleep(START_RETRY_SECONDS)
    while True:
        pause = START_RETRY_SECONDS
        with _failures_logged():
            pause = await _seconds_until_due(database, refresher, settings)
        await sleep(pause * random.uniform(1.0, 1.1))
        with _failures_logged():
            await _refresh_if_due(database, refresher, settings)


@contextmanager
def _failures_logged() -> Iterator[None]:
    """Log any error and go on, so that one failure does not end the schedule."""
    try:
        yield
    except Exception as error:
        _log_failure(error)


def _log_failure(error: Exception) -> None:
    if isinstance(error, AppError):
        logger.warning("Refreshing in the background failed: {}", error.details or error.title)
    else:
        logger.opt(exception=error).error("Refreshing in the background failed")


async def _load_at_start(database: Database, refresher: Refresher, settings: Settings) -> bool:
    """Load data as REFRESH_ON_START says; False if the database is not ready yet."""
    if settings.refresh_on_start == "never":
        return True
    try:
        summary, seen = await _read_state(database, refresher)
        if settings.refresh_on_start == "if-empty" and summary is not None and summary.rate_source != BUNDLED:
            return True
        await _refresh(refresher, summary, seen)
    except Exception as error:  # the schedule must go on
        _log_failure(error)
        return not isinstance(error, DatabaseUnavailable)
    return True


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


def _due_at(summary: Summary | None, settings: Settings) -> datetime | None:
    """When the next refresh is due; None if nothing is scheduled."""
    interval = timedelta(minutes=settings.refresh_interval_minutes)
    if summary is None:
        return datetime.now(UTC) if interval or settings.refresh_on_start != "never" else None
    if summary.rate_source == BUNDLED and any(entry != BUNDLED for entry in settings.rate_sources):
        return datetime.now(UTC)
    return summary.refreshed_at + interval if interval else None


async def _seconds_until_due(database: Database, refresher: Refresher, settings: Settings) -> float:
    summary, _ = await _read_state(database, refresher)
    due, shortest = _due_at(summary, settings), _shortest_pause(settings)
    pause = shortest if due is None else max(shortest, due - datetime.now(UTC))
    return pause.total_seconds()


async def _refresh_if_due(database: Database, refresher: Refresher, settings: Settings) -> None:
    """Refresh in the one process that takes the turn; a failed attempt uses up the turn too."""
    summary, seen = await _read_state(database, refresher)
    due = _due_at(summary, settings)
    if due is None or due > datetime.now(UTC):
        return
    if await acquire(database, TURN, seconds=_shortest_pause(settings).total_seconds() * 0.9):
        await _refresh(refresher, summary, seen)


async def update_data_gauges(database: Database, counts: Counts) -> None:
    """Read the summary once a minute for the data gauges, until cancelled; the schedule does so at the start."""
    while True:
        await asyncio.sleep(GAUGE_SECONDS)
        try:
            async with database.reading() as session:
                counts.data = await read_summary(session)
        except DatabaseUnavailable:
            continue  # already logged; the gauges keep their last values
        except Exception:
            logger.exception("Updating the data gauges failed")
