"""Which rates the countries get: the newest there are, whatever a refresh brought. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from app.sources.rate_checks import KnownRate, are_old, newest_day


@dataclass(frozen=True)
class RatesInUse:
    """The rates of the countries."""

    source: str
    day: date
    """The newest day of the rates, unless almost all are much older."""
    known: Mapping[str, KnownRate]
    """The rates by code, each with its day."""
    left_out: Mapping[str, date]
    """Days of the rates that are much older, or newer, than the others, by code."""
    are_fetched: bool
    """Whether they are those that the refresh brought."""

    @property
    def rates(self) -> Mapping[str, float]:
        """Units of each currency for one US dollar, by code."""
        return {code: known.rate for code, known in self.known.items()}

    def are_old(self, *, oldest: date) -> bool:
        """Whether more than half of them are of days before ``oldest``."""
        return are_old(self.known, oldest=oldest)


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
        max_age: How far from the day of the others a rate may be. One that is further is left out, as if it were not
            quoted.
    """
    # The first of equal days wins: the fetched ones.
    candidates = [(source, fetched), *stored.items()]
    days = [newest_day(rates, max_age=max_age) for _, rates in candidates]
    day = max(days)
    name, rates = candidates[days.index(day)]
    left_out = {code: each.day for code, each in rates.items() if abs(day - each.day) > max_age and code != "USD"}
    known = {code: each for code, each in rates.items() if code not in left_out}
    return RatesInUse(name, day, known, left_out, are_fetched=rates is fetched)
