"""The data of the page, formatted for people."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.countries.schemas import StatusPublic
from app.rates.schemas import RatesPublic

_FIRST_INDICATOR: Final = 0x1F1E6
"""Regional indicator symbol A; two such symbols form a flag."""
_NO_REGION: Final = "No region"
_UNITS: Final = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))

Country = Mapping[str, Any]
"""Fields of a country by name."""


class Bar(NamedTuple):
    """One region in the chart."""

    region: str
    gdp: str
    percent: float
    """Of the largest region."""


class View(NamedTuple):
    """The data that the page shows."""

    status: StatusPublic | None
    """None before the first refresh."""
    countries: Sequence[Country]
    regions: Sequence[str]
    currencies: Sequence[str]
    """Codes of the currencies that the countries use."""
    bars: Sequence[Bar]
    rates: RatesPublic | None
    """Rates of the last refresh; None before the first."""
    problem: str = ""
    """Why no data can be shown; empty if it can."""


NOTHING: Final = View(None, (), (), (), (), None)


def make_view(status: StatusPublic | None, countries: Sequence[Country], rates: RatesPublic | None) -> View:
    """Collect what the page shows of the stored data."""
    regions = sorted({country["region"] for country in countries if country["region"]})
    currencies = sorted({country["currency_code"] for country in countries if country["currency_code"]})
    return View(status, countries, regions, currencies, bars_of(countries), rates)


def bars_of(countries: Iterable[Country]) -> list[Bar]:
    """The estimated GDP of each region that has an estimate, largest first."""
    totals: dict[str, float] = defaultdict(float)
    for country in countries:
        totals[country["region"] or _NO_REGION] += country["estimated_gdp"] or 0
    largest = max(totals.values(), default=0)
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    return [Bar(region, dollars(total), round(100 * total / largest, 1)) for region, total in ordered if total]


def flag_of(alpha2: str | None) -> str:
    """The flag emoji of an alpha-2 code; empty without a code."""
    return "".join(chr(_FIRST_INDICATOR + ord(letter) - ord("A")) for letter in alpha2 or "" if "A" <= letter <= "Z")


def dollars(amount: float | None) -> str:
    """An amount to three digits, such as ``$1.23 trillion``; empty if unknown."""
    if amount is None:
        return ""
    for size, unit in _UNITS:
        if amount >= size:
            return f"${_three_digits(amount / size)} {unit}"
    return f"${amount:,.0f}"


def rate_of(rate: float | None) -> str:
    """A rate with two decimals, or four significant digits below 1; empty if unknown."""
    if rate is None:
        return ""
    return f"{rate:,.2f}" if rate >= 1 else f"{rate:.4g}"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"
