"""Asks the sources of countries and of rates at the same time."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import httpx

from app.core.config.settings import Settings
from app.core.telemetry.counts import Counts
from app.sources.chain import first_usable
from app.sources.countries import CountryList, country_chain
from app.sources.rate_shapes import Quotes
from app.sources.rates import rate_chain


@dataclass(frozen=True)
class RefreshOrder:
    """What a refresh is asked to do; callers with equal orders share one refresh."""

    country_sources: tuple[str, ...]
    rate_sources: tuple[str, ...]
    force: bool = False
    """Accept rates that changed more than tenfold."""

    @property
    def digest(self) -> str:
        """A hash to store in place of the order, whose source URLs may contain secrets."""
        return hashlib.sha256(repr((self.country_sources, self.rate_sources, self.force)).encode()).hexdigest()


@dataclass(frozen=True)
class SourceData:
    """The answers of both sources, and what else the rows are computed from."""

    country_source: str
    countries: CountryList
    rate_source: str
    quotes: Quotes
    multipliers: Sequence[float]
    """One GDP multiplier per country, in the order of the countries."""
    now: datetime
    """When the last answer arrived; UTC."""


async def fetch_sources(
    http: httpx.AsyncClient,
    settings: Settings,
    order: RefreshOrder,
    counts: Counts,
    *,
    stored: int,
    previous: Mapping[str, Mapping[str, float]],
    draw_multiplier: Callable[[], float],
    clock: Callable[[], datetime],
) -> SourceData:
    """Fetch countries and rates at the same time; the first chain that fails cancels the other.

    ``stored`` and ``previous`` are those of ``country_chain()`` and ``rate_chain()``.

    Raises:
        UpstreamUnavailable: No source of one chain gave a usable answer.
    """
    timeout, today = settings.upstream_timeout_seconds, clock().date()
    countries = country_chain(order.country_sources, http, settings, stored=stored)
    rates = rate_chain(order.rate_sources, http, settings, today=today, previous=previous, force=order.force)
    note_countries, note_rates = (partial(counts.note_source, data) for data in ("countries", "rates"))
    fetches = (
        asyncio.ensure_future(first_usable("country API", countries, timeout=timeout, note=note_countries)),
        asyncio.ensure_future(first_usable("exchange rate API", rates, timeout=timeout, note=note_rates)),
    )
    try:
        (country_source, country_list), (rate_source, quotes) = await asyncio.gather(*fetches)
    finally:
        # Not a TaskGroup: it would wrap the error, and the error handlers are found by its class.
        for fetch in fetches:
            fetch.cancel()
    multipliers = [draw_multiplier() for _ in country_list.facts]
    return SourceData(country_source, country_list, rate_source, quotes, multipliers, clock())
