"""The main job: fetch countries and rates together, estimate, draw, and store it all at once."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

import httpx
from loguru import logger
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.config.settings import Settings
from app.core.db.budget import one_request
from app.core.db.database import Database
from app.core.db.lease import Lease, LeaseLost, acquire, held, release, release_in
from app.core.db.single_flight import SingleFlight
from app.core.errors import AppError, DatabaseUnavailable, UpstreamUnavailable
from app.core.telemetry.counts import Counts, DataFigures
from app.countries.models import SUMMARY_ID, SummaryCache
from app.countries.picture import draw
from app.countries.store import (
    read_generation,
    read_stored,
    read_summary,
    record_history,
)
from app.rates.store import last_known_rates, record_quotes
from app.refresh.fetch import Answers, RefreshOrder
from app.refresh.rows import prepare, report
from app.refresh.schemas import RefreshResult
from app.refresh.store import _audited, _write
from app.sources.chain import first_usable
from app.sources.countries import country_chain
from app.sources.rates import rate_chain, source_name

LEASE: Final = "refresh"
WAIT_SECONDS: Final = 40.0
"""How long to wait for a refresh of another process: longer than a lease and a chain of sources."""
POLL_SECONDS: Final = 0.25


class RefreshInProgress(AppError):
    """Another process still refreshes, after a time in which it should have ended."""

    status_code = 409
    title = "Refresh in progress"
    retry_after_seconds = 10

    def __init__(self) -> None:
        super().__init__("Another process is refreshing and did not end in time; try again later")


OnLead = Callable[[], Awaitable[None]]


async def _nothing() -> None: ...


class Refresher:
    """Runs refreshes: each order once, in one process of all, however many ask."""

    def __init__(
        self,
        database: Database,
        http: httpx.AsyncClient,
        settings: Settings,
        *,
        counts: Counts | None = None,
        draw_multiplier: Callable[[], float] = lambda: random.uniform(1000, 2000),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._http = http
        self._settings = settings
        self.counts = counts or Counts()
        self._draw_multiplier = draw_multiplier
        self._clock = clock
        self._flights: SingleFlight[RefreshResult] = SingleFlight()

    async def close(self) -> None:
        """Abandon what runs; nothing of it was or will be stored."""
        await self._flights.close()

    def order(self, *, force: bool = False) -> RefreshOrder:
        """The order for the sources in the settings."""
        return RefreshOrder(self._settings.country_sources, self._settings.rate_sources, force)

    def runs(self, order: RefreshOrder) -> bool:
        """Whether this process works on an equal order, which the next caller would join."""
        return self._flights.runs(order)

    async def refresh(
        self, order: RefreshOrder, *, since: int | None = None, on_lead: OnLead = _nothing
    ) -> RefreshResult:
        """Replace what is stored about every country with what the sources say now.

        Both sources answer before the transaction opens, so a failing one
        leaves countries, rates and picture exactly as they were.

        Args:
            order: Which sources to ask, and what to believe.
            since: A generation that the caller has seen; any later one with an
                equal order is good enough. None takes the one stored now.
            on_lead: Called before the sources are asked; not where another one's answer is shared.

        Raises:
            UpstreamUnavailable: A whole chain of sources gave no usable answer.
            RefreshInProgress: Another process did not end in time.
            DatabaseUnavailable: Reading or writing failed; nothing changed.
        """
        return await self._flights.run(order, lambda: self._counted(order, since, on_lead))

    async def _counted(self, order: RefreshOrder, since: int | None, on_lead: OnLead) -> RefreshResult:
        """Count what fails; a success is counted by the process that made it."""
        try:
            result = await self._lead_or_follow(order, since, on_lead)
        except Exception as error:
            self.counts.refreshes[_failure(error)] += 1
            raise
        self.counts.data = _figures(result)
        return result

    async def _lead_or_follow(self, order: RefreshOrder, since: int | None, on_lead: OnLead) -> RefreshResult:
        """Refresh under the lease, or wait for the process that does and share its answer."""
        give_up = time.monotonic() + WAIT_SECONDS
        while True:
            with one_request():
                if since is None:
                    async with self._database.reading() as session:
                        since = await read_generation(session)
                answer = await self._try(order, since, on_lead)
            if answer is not None:
                return answer
            if time.monotonic() > give_up:
                raise RefreshInProgress
            await asyncio.sleep(POLL_SECONDS)

    async def _try(self, order: RefreshOrder, since: int, on_lead: OnLead) -> RefreshResult | None:
        """Refresh if the lease is free, else look for the answer of the process that has it."""
        lease = await acquire(self._database, LEASE)
        if lease is not None:
            try:
                async with held(self._database, lease):
                    return await self._answer_under(lease, order, since, on_lead)
            except LeaseLost:
                logger.warning("This refresh took too long and lost its lease; waiting for the one that took over")
        return await self._answer_of_another(order, since)

    async def _answer_under(self, lease: Lease, order: RefreshOrder, since: int, on_lead: OnLead) -> RefreshResult:
        """Refresh, unless another process did so between the question and the lease."""
        answer = await self._answer_of_another(order, since)
        if answer is None:
            await on_lead()
            return await self._lead(order, lease)
        await release(self._database, lease)
        return answer

    async def _answer_of_another(self, order: RefreshOrder, seen: int) -> RefreshResult | None:
        async with self._database.reading() as session:
            query = select(SummaryCache.generation, SummaryCache.request_digest, SummaryCache.report)
            row = (await session.exec(query.where(SummaryCache.id == SUMMARY_ID))).first()
        if row is None or row[0] <= seen or row[1] != order.digest:
            return None
        self._database.note_change()
        return RefreshResult.model_validate_json(row[2])

    async def _lead(self, order: RefreshOrder, lease: Lease) -> RefreshResult:
        started = time.perf_counter()
        async with self._database.reading() as session:
            stored, summary = await read_stored(session), await read_summary(session)
            previous = await last_known_rates(session, [source_name(entry) for entry in order.rate_sources])
        answers = await self._ask_sources(order, stored=len(stored), previous=previous)
        expected = prepare(answers, stored)
        drawing = await draw(expected.summary)

        async def store(session: AsyncSession) -> RefreshResult:
            await release_in(session, lease)
            locked = await read_stored(session, lock=True)
            batch = expected if locked == stored else prepare(answers, locked)
            # A deletion may have come in between.
            before = _audited(summary if locked == stored else await read_summary(session))
            result = report(answers, batch, duration_ms=round((time.perf_counter() - started) * 1000))
            await _write(session, batch, await draw(batch.summary, existing=drawing), lease, order, result)
            await record_history(session, batch.summary)
            await record_quotes(session, answers.rate_source, answers.quotes, recorded_at=batch.summary.refreshed_at)
            await record(session, "REFRESH_COUNTRIES", "Countries", before=before, after=_audited(batch.summary))
            return result

        result = await self._database.transaction(store, repeatable=True)
        self.counts.refreshes["success"] += 1
        self.counts.refresh_durations.add(time.perf_counter() - started)
        logger.info(
            "Refreshed {} countries from {} with rates of {} from {} ({} inserted, {} updated, {} skipped) in {} ms",
            *(result.total_countries, result.sources.countries, result.rates_date, result.sources.rates),
            *(result.inserted, result.updated, len(result.skipped), result.duration_ms),
        )
        return result

    async def _ask_sources(
        self, order: RefreshOrder, *, stored: int, previous: Mapping[str, Mapping[str, float]]
    ) -> Answers:
        """Fetch both lists at the same time; the first chain that fails ends the other."""
        http, settings = self._http, self._settings
        countries = country_chain(order.country_sources, http, settings, stored=stored)
        today = self._clock().date()
        rates = rate_chain(order.rate_sources, http, settings, today=today, previous=previous, force=order.force)
        timeout = settings.upstream_timeout_seconds
        about = {data: partial(self.counts.note_source, data) for data in ("countries", "rates")}
        fetches = (
            asyncio.ensure_future(first_usable("country API", countries, timeout=timeout, note=about["countries"])),
            asyncio.ensure_future(first_usable("exchange rate API", rates, timeout=timeout, note=about["rates"])),
        )
        try:
            (country_source, country_list), (rate_source, quotes) = await asyncio.gather(*fetches)
        finally:
            # A TaskGroup would wrap the error, and the handlers look it up by its class.
            for fetch in fetches:
                fetch.cancel()
        multipliers = [self._draw_multiplier() for _ in country_list.facts]
        return Answers(country_source, country_list, rate_source, quotes, multipliers, self._clock())


def _failure(error: Exception) -> str:
    """What counts call a refresh that ended so."""
    match error:
        case UpstreamUnavailable():
            return "sources_unavailable"
        case DatabaseUnavailable():
            return "database_unavailable"
        case RefreshInProgress():
            return "in_progress"
        case _:
            return "error"


def _figures(result: RefreshResult) -> DataFigures:
    sources = result.sources
    return DataFigures(
        result.total_countries, result.last_refreshed_at, sources.countries, sources.rates, result.rates_date
    )
