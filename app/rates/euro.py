"""Irrevocable euro rates: the law's rates of the currencies that the euro replaced, in place of quotes."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from app.rates.exchange import convert
from app.sources import reference

EURO: Final = "EUR"


class FixedRate(NamedTuple):
    """The irrevocable rate of one currency."""

    per_euro: Decimal
    """Units of the currency for one euro."""
    since: date
    """First day on which the rate is in force: before it the market's counts."""


def fixed_by(codes: Iterable[str], day: date) -> dict[str, FixedRate]:
    """The irrevocable rates that are in force on a day, of those currencies that have one."""
    fixed: dict[str, FixedRate] = {}
    for code in codes:
        rate, known = reference.irrevocable_euro_rate(code, day), reference.currencies().get(code)
        if rate is not None and known is not None and known.fixed_since is not None:
            fixed[code] = FixedRate(rate, known.fixed_since)
    return fixed


def to_quote(codes: Iterable[str], fixed: Mapping[str, FixedRate]) -> set[str]:
    """The currencies that a source must quote: the euro in place of those with an irrevocable rate."""
    return {EURO if code in fixed else code for code in codes}


def apply_fixed(quoted: Mapping[str, Decimal], fixed: Mapping[str, FixedRate]) -> dict[str, Decimal]:
    """Set currencies with an irrevocable rate to that many times the euro's; leave them out if it is not quoted."""
    rates = {code: rate for code, rate in quoted.items() if code not in fixed}
    euro = rates.get(EURO)
    return rates if euro is None else rates | {code: convert(euro, rate.per_euro) for code, rate in fixed.items()}


def apply_fixed_from(quoted: Mapping[str, Decimal], euro: Mapping[str, Decimal], rate: FixedRate) -> dict[str, Decimal]:
    """Rates of one currency by ISO day: the quoted ones, and from the day of its irrevocable rate on the euro's."""
    since = rate.since.isoformat()
    before = {day: known for day, known in quoted.items() if day < since}
    return before | {day: convert(known, rate.per_euro) for day, known in euro.items() if day >= since}
