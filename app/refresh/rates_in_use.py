"""Which rates the countries get: the newest there are, whatever a refresh brought. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from app.sources.rate_checks import KnownRate


@dataclass(frozen=True)
class RatesInUse:
    """The rates of the countries."""

    source: str
    day: date
    """The newest day of any rate."""
    rates: Mapping[str, float]
    """Units of each currency for one US dollar, by code."""


def newest_rates(
    source: str,
    fetched: Mapping[str, KnownRate],
    stored: Mapping[str, Mapping[str, KnownRate]],
    *,
    max_age: timedelta,
) -> RatesInUse:
    """The rates that a refresh brought, unless those of a newer day are stored: an older day never becomes the latest.

    Args:
        source: The source of the fetched rates.
        fetched: Its rates by code.
        stored: The last rates by code of each source that counts.
        max_age: How much older than the newest day a rate may be. An older one is left out, as if it were not quoted.
    """
    # The first of equal days wins: the fetched ones.
    candidates = [(source, fetched), *stored.items()]
    newest, rates = max(candidates, key=lambda candidate: _day_of(candidate[1]))
    day = _day_of(rates)
    return RatesInUse(newest, day, {code: known.rate for code, known in rates.items() if day - known.day <= max_age})


def _day_of(rates: Mapping[str, KnownRate]) -> date:
    return max(known.day for known in rates.values())
