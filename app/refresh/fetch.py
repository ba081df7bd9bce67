"""Asks the sources of countries and of rates at the same time."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from functools import partial

from loguru import logger

from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED
from app.core.telemetry.counts import Counts
from app.countries.stored import CountryRow
from app.refresh.losses import refuse_losses
from app.refresh.rate_losses import find_rate_losses
from app.refresh.rates_in_use import RatesInUse, newest_rates
from app.sources.chain import first_usable
from app.sources.client import HttpClient
from app.sources.countries import CountryList, country_chain
from app.sources.rate_checks import KnownRate, known_rates
from app.sources.rates import FetchedRates, fetch_rates, rate_chain


@dataclass(frozen=True)
class RefreshOrder:
    """What a refresh is asked to do; callers with equal orders share one refresh."""

    country_sources: tuple[str, ...]
    rate_sources: tuple[str, ...]
    force: bool = False
    """Accept rates that changed more than tenfold, and countries that lose much, also their rates."""
    force_rates: tuple[str, ...] = ()
    """Codes of the currencies for which such rates are accepted, sorted."""

    @property
    def digest(self) -> str:
        """A hash to store in place of the order, whose source URLs may contain secrets."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()


@dataclass(frozen=True)
class SourceData:
    """The answers of both sources, and what else the rows are computed from."""

    country_source: str
    countries: CountryList
    fetched_rates: FetchedRates
    """Stored under their own days."""
    rates_in_use: RatesInUse
    """Those of the countries."""
    stale: bool
    """Whether most of these are more than MAX_RATE_AGE_DAYS old; never so for bundled rates that were asked for."""
    multipliers: Sequence[float]
    """One GDP multiplier per country, in the order of the countries."""
    now: datetime
    """When the last answer arrived; UTC."""


async def fetch_sources(
    http: HttpClient,
    settings: Settings,
    order: RefreshOrder,
    counts: Counts,
    *,
    stored: Sequence[CountryRow],
    previous: Mapping[str, Mapping[str, KnownRate]],
    draw_multiplier: Callable[[], float],
    clock: Callable[[], datetime],
) -> SourceData:
    """Fetch countries and rates at the same time; the first chain that fails cancels the other.

    ``stored`` is what an answer must not lose, ``previous`` that of ``rate_chain()``, with the rates that the countries
    have now.

    Raises:
        UpstreamUnavailable: No source of one chain gave a usable answer.
    """
    timeout, today = settings.upstream_timeout_seconds, clock().date()
    max_age = timedelta(days=settings.max_rate_age_days)
    rates = rate_chain(
        *(order.rate_sources, http, settings),
        today=today,
        previous=previous,
        check=partial(find_rate_losses, countries=stored, previous=previous, max_age=max_age),
        force=order.force,
        force_rates=order.force_rates,
    )
    check = partial(refuse_losses, stored=stored, force=order.force)
    countries = country_chain(order.country_sources, http, settings, check=check)
    note_countries, note_rates = (partial(counts.note_source, data) for data in ("countries", "rates"))
    fetches = (
        asyncio.ensure_future(first_usable("country API", countries, timeout=timeout, note=note_countries)),
        asyncio.ensure_future(fetch_rates(rates, timeout=timeout, note=note_rates)),
    )
    try:
        (country_source, country_list), fetched = await asyncio.gather(*fetches)
    finally:
        # Not a TaskGroup: it would wrap the error, and the error handlers are found by its class.
        for fetch in fetches:
            fetch.cancel()
    in_use = newest_rates(fetched.source, known_rates(fetched.quotes), previous, max_age=max_age)
    if not in_use.are_fetched:
        about = (fetched.quotes.day, fetched.source, in_use.day, in_use.source)
        logger.warning("The rates of {} from {} are stored; countries keep those of {} from {}", *about)
    is_exempt = in_use.source == BUNDLED and BUNDLED in order.rate_sources
    stale = in_use.are_old(oldest=today - max_age) and not is_exempt
    multipliers = [draw_multiplier() for _ in country_list.facts]
    return SourceData(country_source, country_list, fetched, in_use, stale, multipliers, clock())
