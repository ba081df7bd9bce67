"""The refresh: fetch countries and rates, estimate, draw, and store everything in one transaction."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from loguru import logger
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.settings import Settings
from app.core.db.database import Database, Guard, call_after_commit
from app.core.db.lease import Lease, LeaseLost, acquire, held, read_fence, release, release_in
from app.core.db.single_flight import SingleFlight
from app.core.db.snapshots import Snapshots
from app.core.errors import AppError, DatabaseUnavailable, UpstreamUnavailable
from app.core.telemetry.counts import Counts, DataFigures
from app.countries.crud import load_image, load_status
from app.countries.drawing import draw
from app.countries.models import SUMMARY_ID, SummaryCache
from app.countries.schemas import StatusPublic
from app.countries.store import lock_summary
from app.countries.stored import Countries, load_countries
from app.rates.store import last_known_rates
from app.refresh.fetch import RefreshOrder, fetch_sources
from app.refresh.rows import build_result, build_rows
from app.refresh.schemas import RefreshResult
from app.refresh.store import store_refresh
from app.sources.client import HttpClient
from app.sources.rates import source_name
from app.users.credentials import CredentialEnded

LEASE: Final = "refresh"
WAIT_SECONDS: Final = 40.0
"""How long to wait for the refresh of another process: longer than a lease and a chain of sources."""
POLL_SECONDS: Final = 0.25

Hook = Callable[[], Awaitable[None]]


class RefreshInProgress(AppError):
    """Another process is still refreshing after WAIT_SECONDS."""

    status_code = 409
    title = "Refresh in progress"
    retry_after_seconds = 10


_OUTCOMES: Final = {
    UpstreamUnavailable: "sources_unavailable",
    DatabaseUnavailable: "database_unavailable",
    RefreshInProgress: "in_progress",
}
"""Labels of failed refreshes in the metrics; any other is ``error``."""


class Refresher:
    """Runs refreshes: equal orders at the same time share one, within this process and between processes."""

    def __init__(
        self,
        database: Database,
        snapshots: Snapshots,
        http: HttpClient,
        settings: Settings,
        *,
        counts: Counts | None = None,
        draw_multiplier: Callable[[], float] = lambda: random.uniform(1000, 2000),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._snapshots = snapshots
        self._http = http
        self._settings = settings
        self.counts = counts or Counts()
        self._draw_multiplier = draw_multiplier
        self._clock = clock
        self._flights: SingleFlight[RefreshResult] = SingleFlight()

    async def close(self) -> None:
        """Cancel running refreshes; they store nothing."""
        await self._flights.close()

    def order(self, *, force: bool | str = False) -> RefreshOrder:
        """The order for the sources in the settings; ``force`` is as of ``to_force()``."""
        codes = tuple(sorted(set(force.split(",")))) if isinstance(force, str) else ()
        return RefreshOrder(self._settings.country_sources, self._settings.rate_sources, force is True, codes)

    async def refresh(
        self,
        order: RefreshOrder,
        *,
        guard: Guard | None,
        since: int | None = None,
        before_start: Hook | None = None,
        on_lead: Hook | None = None,
    ) -> RefreshResult:
        """Replace what is stored about every country with what the sources say now.

        Both sources answer before the transaction opens, so a failing one
        leaves countries, rates and picture exactly as they were.

        Args:
            order: Which sources to ask, and whether to accept any change of a rate.
            guard: Checks in the transaction that the caller may still do this;
                None for the service itself. Of callers that share a refresh,
                the one who started it is checked.
            since: The generation that the caller has seen; the result of any
                later refresh with an equal order is good enough. None starts
                one, unless one is running.
            before_start: Called unless this process is running an equal order,
                which the caller joins; its error ends the call.
            on_lead: Called before this process asks the sources; not called
                where the result of another refresh is shared.

        Raises:
            UpstreamUnavailable: No source of one chain gave a usable answer.
            RefreshInProgress: Another process did not finish in time.
            DatabaseUnavailable: Reading or writing failed; nothing changed.
            CredentialEnded: The guard refused; nothing changed.
        """
        is_ours = False

        def start() -> Coroutine[Any, Any, RefreshResult]:
            nonlocal is_ours
            is_ours = True
            return self._counted(order, guard, since, on_lead)

        while True:
            if before_start is not None and not self._flights.runs(order):
                await before_start()
            try:
                return await self._flights.run(order, start)
            except CredentialEnded:
                # The end of another caller's credential does not concern this one, who starts a refresh instead.
                if is_ours:
                    raise

    async def _counted(
        self, order: RefreshOrder, guard: Guard | None, since: int | None, on_lead: Hook | None
    ) -> RefreshResult:
        """Count failures; a success is counted by the process that stored it."""
        try:
            result = await self._lead_or_follow(order, guard, since, on_lead)
        except Exception as error:
            outcome = next((label for kind, label in _OUTCOMES.items() if isinstance(error, kind)), "error")
            self.counts.refreshes[outcome] += 1
            raise
        sources = result.sources
        self.counts.data = DataFigures(
            result.total_countries, result.last_refreshed_at, sources.countries, sources.rates, result.rates_date
        )
        return result

    async def _lead_or_follow(
        self, order: RefreshOrder, guard: Guard | None, since: int | None, on_lead: Hook | None
    ) -> RefreshResult:
        """Refresh under the lease, or wait for the process that holds it and share its result."""
        give_up = time.monotonic() + WAIT_SECONDS
        while True:
            database = self._database.for_request()
            lease = await acquire(database, LEASE)
            if lease is not None:
                try:
                    async with held(database, lease):
                        return await self._lead(database, order, guard, since, on_lead, lease)
                except LeaseLost:
                    logger.warning("This refresh took too long and lost its lease; waiting for the process that has it")
            async with database.reading() as session:
                if since is None:
                    since = await read_fence(session, LEASE) - 1  # before the one that runs now
                result = await self._stored_result(session, order, since)
            if result is not None:
                return result
            if time.monotonic() > give_up:
                raise RefreshInProgress("Another process is refreshing and did not finish in time; try again later")
            await asyncio.sleep(POLL_SECONDS)

    async def _stored_result(self, session: AsyncSession, order: RefreshOrder, since: int) -> RefreshResult | None:
        """The result of the last refresh, if it is newer than a generation and had an equal order."""
        is_newer, is_equal = col(SummaryCache.generation) > since, SummaryCache.request_digest == order.digest
        query = select(SummaryCache.report).where(SummaryCache.id == SUMMARY_ID, is_newer, is_equal)
        report = (await session.exec(query)).first()
        if report is None:
            return None
        self._database.note_change()
        return RefreshResult.model_validate_json(report)

    async def _lead(
        self,
        database: Database,
        order: RefreshOrder,
        guard: Guard | None,
        since: int | None,
        on_lead: Hook | None,
        lease: Lease,
    ) -> RefreshResult:
        """Fetch, compute and store; the transaction gives the lease back."""
        started = time.perf_counter()
        if since is not None:
            async with database.reading() as session:
                # Another process may have refreshed before this one got the lease.
                shared = await self._stored_result(session, order, since)
            if shared is not None:
                await release(database, lease)
                return shared
        known, _ = await self._snapshots.newest(database)
        stored = (await known.read(load_countries)).by_name
        previous = await known.read(last_known_rates, *map(source_name, order.rate_sources))
        if on_lead is not None:
            await on_lead()
        data = await fetch_sources(
            *(self._http, self._settings, order, self.counts),
            stored=stored,
            previous=previous,
            draw_multiplier=self._draw_multiplier,
            clock=self._clock,
        )
        # Computed before the transaction, because it is nearly always right: only a deletion changes `stored`.
        expected = build_rows(data, stored)
        drawing = await draw(expected.summary)

        async def store(session: AsyncSession) -> RefreshResult:
            await release_in(session, lease)
            version, before = await lock_summary(session)
            rows = expected
            if version != known.version:
                rows = build_rows(data, (await load_countries(session, lock=True)).by_name)
            result = build_result(data, rows, duration_ms=round((time.perf_counter() - started) * 1000))
            picture = await draw(rows.summary, existing=drawing)
            version = await store_refresh(
                *(session, order, lease, data, rows, picture, result), version=version, before=before
            )
            if rows is expected and not rows.inserted:  # else there are ids that only the database knows
                status = StatusPublic(**{field: getattr(result, field) for field in StatusPublic.model_fields})
                results = {load_countries: Countries(rows.stored), load_status: status, load_image: picture.image}
                call_after_commit(session, partial(self._snapshots.succeed, known, version, results, keep=False))
            return result

        result = await database.guarded(guard).transaction(store, repeatable=True)
        self.counts.refreshes["success"] += 1
        self.counts.refresh_durations.add(time.perf_counter() - started)
        logger.info(
            "Refreshed {} countries from {} with rates of {} from {} ({} inserted, {} updated, {} skipped) in {} ms",
            *(result.total_countries, result.sources.countries, result.rates_date, result.sources.rates),
            *(result.inserted, result.updated, len(result.skipped), result.duration_ms),
        )
        return result
