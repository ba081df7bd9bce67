"""Summary of all countries: totals and the top five."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.core.telemetry.counts import DataFigures


@dataclass(frozen=True)
class RankedCountry:
    """A country with an estimate, for the summary picture."""

    name: str
    estimated_gdp: float
    """US dollars, greater than zero."""


@dataclass(frozen=True)
class Summary(DataFigures):
    """The figures in the summary picture; equal summaries have equal pictures."""

    top: tuple[RankedCountry, ...] = ()
    """At most five, largest estimate first."""


def summarize(estimates: Sequence[tuple[str, float | None]], *, like: Summary) -> Summary:
    """Summarize countries, as pairs of name and estimate, with the time and sources of another summary."""
    return replace(like, total_countries=len(estimates), top=rank(estimates))


def rank(estimates: Iterable[tuple[str, float | None]]) -> tuple[RankedCountry, ...]:
    """Pick the five largest estimates in US dollars, largest first; equal ones are sorted by name.

    Countries with None or zero, which means no estimate, are left out.
    """
    ranked = [RankedCountry(name, gdp) for name, gdp in estimates if gdp]
    return tuple(sorted(ranked, key=lambda country: (-country.estimated_gdp, country.name))[:5])
