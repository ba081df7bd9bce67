"""What the service says about all countries together: totals and the top five."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

TOP_COUNTRIES = 5


@dataclass(frozen=True)
class RankedCountry:
    """One country with an estimate, as the summary picture needs it."""

    name: str
    estimated_gdp: float
    """US dollars, greater than zero."""


@dataclass(frozen=True)
class Summary:
    """The figures of one generation of the data; equal summaries look equal."""

    total_countries: int
    top: tuple[RankedCountry, ...]
    """At most five, the largest estimate first."""
    refreshed_at: datetime
    """End of the refresh, UTC."""
    country_source: str
    rate_source: str
    rates_date: date
    """The day to which the exchange rates belong."""


def summarize(estimates: Sequence[tuple[str, float | None]], *, like: Summary) -> Summary:
    """Sum up countries, given as name and estimate, with the time and the sources of another summary."""
    return replace(like, total_countries=len(estimates), top=rank(estimates))


def rank(estimates: Iterable[tuple[str, float | None]]) -> tuple[RankedCountry, ...]:
    """Pick the five largest estimates.

    Args:
        estimates: Pairs of name and estimated GDP in US dollars; None or zero
            where there is no estimate, and such countries are left out.

    Returns:
        Largest first; equal estimates in the order of their names.
    """
    known = [RankedCountry(name, gdp) for name, gdp in estimates if gdp]
    return tuple(sorted(known, key=lambda country: (-country.estimated_gdp, country.name))[:TOP_COUNTRIES])
