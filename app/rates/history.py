"""Imports a history of rates in batches of whole days; stored rates are skipped."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.data_version import raise_version
from app.core.db.database import Database
from app.core.db.lease import Lease, acquire, held, release, renew_in
from app.rates.in_force import DayKey, read_rates
from app.rates.store import import_days, imported_days, without_stored
from app.sources.ecb_cells import PastDay
from app.sources.ecb_file import check_moves, read_history
from app.sources.rates import ECB

LEASE: Final = "import of rates"
POLL_SECONDS: Final = 0.25
RATES_AT_ONCE: Final = 5000
"""Minimum number of rates in one transaction; its last day may add a few more."""
SECONDS_AT_ONCE: Final = 60.0
"""Time limit of one such transaction."""

Days = Mapping[date, Mapping[str, float]]


@dataclass
class Tally:
    """Progress of an import."""

    sizes: dict[date, int] = field(default_factory=dict)
    """Number of rates to store, by day."""
    known: int = 0
    """Days of which all rates were stored before the import."""
    done: int = 0
    """Rates stored so far."""

    @property
    def total(self) -> int:
        """Rates to store."""
        return sum(self.sizes.values())


@asynccontextmanager
async def own_turn(database: Database) -> AsyncIterator[Lease]:
    """Hold the lease of imports while the block runs; wait for another import first.

    Two simultaneous imports would both treat the same days as new and report them twice.
    """
    while (lease := await acquire(database, LEASE)) is None:  # noqa: ASYNC110  # nobody sends events
        await asyncio.sleep(POLL_SECONDS)
    async with held(database, lease):
        yield lease
        await release(database, lease)


async def find_missing(database: Database, history: Iterable[PastDay], tally: Tally) -> set[date]:
    """Note in the tally how many rates of each day of a file are not stored yet.

    Returns:
        All stored days that get no further rates, whether the file has them or not.
    """
    async with database.reading() as session:
        stored = await imported_days(session, ECB)
    for days in pieces(history):
        missing = days
        if not stored.isdisjoint(days):
            async with database.reading() as session:
                missing = await without_stored(session, ECB, days)
        tally.sizes.update((day, len(rates)) for day, rates in missing.items())
        tally.known += len(days) - len(missing)
    return stored - tally.sizes.keys()


async def compare_with_stored(
    database: Database, history: Iterable[PastDay], new: Collection[date], stored: Collection[date]
) -> None:
    """Raise UnusableFile if a rate moved more than tenfold between a new day and a stored day next to it."""
    beside = _neighbours(new, stored)
    for past in history if beside else ():
        for day in beside.get(past.day, ()):
            async with database.reading() as session:
                rates = await read_rates(session, DayKey(ECB, day))
            check_moves(past, rates, f"{day}, which is stored")


def _neighbours(new: Collection[date], stored: Collection[date]) -> dict[date, list[date]]:
    """The stored days directly before and after each new one."""
    beside: dict[date, list[date]] = {}
    for pair in pairwise(sorted({*new, *stored})):
        fresh = [day for day in pair if day not in stored]
        if len(fresh) == 1:
            beside.setdefault(fresh[0], []).extend(day for day in pair if day in stored)
    return beside


async def store_history(database: Database, lease: Lease, path: Path, tally: Tally, *, today: date) -> None:
    """Store the days of the tally, each batch in its own transaction; raises LeaseLost if another import took over."""
    history = (past for past in read_history(path, today=today) if past.day in tally.sizes)
    for days in pieces(history):
        await database.transaction(partial(_store, lease=lease, days=days), repeatable=True, seconds=SECONDS_AT_ONCE)
        tally.done += sum(tally.sizes[day] for day in days)


def pieces(history: Iterable[PastDay]) -> Iterator[Days]:
    """Group days into batches of at least RATES_AT_ONCE rates."""
    days: dict[date, Mapping[str, float]] = {}
    size = 0
    for past in history:
        days[past.day] = past.rates
        size += len(past.rates)
        if size >= RATES_AT_ONCE:
            yield days
            days, size = {}, 0
    if days:
        yield days


async def _store(session: AsyncSession, *, lease: Lease, days: Days) -> None:
    # Repeated after a commit whose answer was lost, it must not report the same rates twice.
    missing = await without_stored(session, ECB, days)
    if not missing:
        return
    await import_days(session, ECB, missing)
    first, last = min(missing).isoformat(), max(missing).isoformat()
    summary = {"source": ECB, "from": first, "to": last, "rates": sum(map(len, missing.values()))}
    await record(session, "IMPORT_RATES", "Rates", ECB, after=summary)
    await renew_in(session, lease)  # late, because the heartbeat can't renew it from here on
    await raise_version(session)  # last, because a refresh waits from here on
