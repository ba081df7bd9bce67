"""Reference data that ship with the service: countries, spellings, currencies, pegs and rates.

``scripts/update-bundled-data`` writes the files. Each is read at its first use and kept.
"""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, NamedTuple

Kind = Literal["current", "historic", "fund", "metal", "crypto"]

_MAX_SUCCESSORS: Final = 10


class ReferenceCountry(NamedTuple):
    """What we know about a country ourselves."""

    alpha2: str
    alpha3: str
    numeric: str | None
    """Three digits; None for Kosovo."""
    ioc: str | None
    """Code of the National Olympic Committee; None where there is none."""
    name: str
    official_name: str | None
    """Official English name; None for dependent territories."""
    independent: bool | None
    """None for Kosovo."""
    region: str
    subregion: str | None
    """By the UN's M49; None for Antarctica."""
    capitals: tuple[str, ...]
    """The official or constitutional one first; empty for five territories."""
    currencies: tuple[str, ...]
    """Codes of the legal tender, first the one that GeoNames gives, mostly its own; empty for Antarctica."""
    population: int
    population_year: int
    population_source: str
    reference_gdp: int | None
    """Nominal GDP in US dollars at the official exchange rate; None where no source has one."""
    reference_gdp_year: int | None
    older_names: tuple[str, ...] = ()
    """Names it had before; a source that still has one of them means ``name``."""
    older_capitals: tuple[str, ...] = ()
    """Former capitals and older spellings of the capital."""
    mistaken_currencies: tuple[str, ...] = ()
    """Currencies that a known list gives the country by mistake."""


class ReferenceCurrency(NamedTuple):
    """What we know about a currency, fund, metal or cryptocurrency."""

    name: str
    """In English, by CLDR; for cryptocurrencies by currency-api."""
    kind: Kind
    symbol: str | None = None
    """By CLDR: in English, or else in its own country; None if it has only its code. Several may share one."""
    iso_name: str | None = None
    """ISO 4217's own name; None if the code is not in its list of current ones."""
    numeric: str | None = None
    """Three digits; None as for ``iso_name``."""
    minor_units: int | None = None
    """Decimal places by ISO 4217, of historic currencies by CLDR; None for metals, units of account and crypto."""
    cash_decimals: int | None = None
    """Decimal places of prices in cash, by CLDR."""
    last_day: date | None = None
    """Last day in use, of historic currencies, by CLDR or ISO 4217; None if unknown."""
    successor: str | None = None
    factor: Decimal | None = None
    """Units of this currency that one unit of ``successor``, as it is today, replaced."""
    fixed_since: date | None = None
    """Day from which ``factor`` is the irrevocable euro rate; None unless it is one."""


class Redenomination(NamedTuple):
    """New units under the same code."""

    code: str
    day: date
    """First day of the new unit."""
    factor: int
    """Old units per new unit."""


class Peg(NamedTuple):
    """A fixed rate, or the middle of a band."""

    code: str
    base: str
    rate: Decimal
    """Units of ``code`` per unit of ``base``."""
    margin: Decimal
    """How far a rate may be from it, as a fraction."""


class DataSource(NamedTuple):
    """Where a field comes from."""

    source: str
    """Its name; that of a live source as in ``COUNTRY_SOURCES`` and ``RATE_SOURCES``."""
    version: str | None
    """None if it has none, or changes each day."""
    licence: str | None
    """SPDX identifier, or ``public domain``; None if the source states none that fits."""
    licence_url: str | None
    attribution: str | None
    """The credit to show."""


class DataSources(NamedTuple):
    """All sources that we know."""

    curated: tuple[tuple[str, DataSource], ...]
    """Field and source of the data that ship with the service."""
    countries: Mapping[str, DataSource]
    """Live sources of countries by name."""
    rates: Mapping[str, DataSource]
    """Sources of rates by name, ``bundled`` among them."""


class ReferenceRates(NamedTuple):
    """Bundled exchange rates."""

    day: date
    rates: Mapping[str, float]
    """Units per US dollar, by code."""
    days: Mapping[str, date]
    """Days of the rates that are older than ``day``."""


@cache
def countries() -> Mapping[str, ReferenceCountry]:
    """All 250 countries by alpha-2 code."""
    lists = ("capitals", "currencies", "older_names", "older_capitals", "mistaken_currencies")
    return {
        row["alpha2"]: ReferenceCountry(**row | {key: tuple(row.get(key, ())) for key in lists})
        for row in _read("countries.json")["countries"]
    }


@cache
def names() -> Mapping[str, tuple[str, ...]]:
    """Every spelling of every country by alpha-2 code, the shown name first."""
    return {alpha2: tuple(spellings) for alpha2, spellings in _read("names.json").items()}


@cache
def currencies() -> Mapping[str, ReferenceCurrency]:
    """Currencies, funds, metals and cryptocurrencies by code."""
    return {code: _currency(row) for code, row in _currency_file()["currencies"].items()}


def is_money(code: str) -> bool:
    """Whether a code is that of a current or historic currency."""
    found = currencies().get(code)
    return found is not None and found.kind in ("current", "historic")


def current_successor(code: str) -> str | None:
    """The current currency that replaced a historic one; None for other codes, and where it is unknown."""
    found = currencies().get(code)
    if found is None or found.kind != "historic":
        return None
    for _ in range(_MAX_SUCCESSORS):
        if found is None or found.successor is None:
            return None
        code, found = found.successor, currencies().get(found.successor)
        if found is not None and found.kind != "historic":
            return code
    return None


def irrevocable_euro_rate(code: str, on: date) -> Decimal | None:
    """Units of a historic currency per euro, fixed by law; None before that day, and for other currencies."""
    found = currencies().get(code)
    if found is None or found.fixed_since is None or on < found.fixed_since:
        return None
    return found.factor


@cache
def redenominations() -> tuple[Redenomination, ...]:
    """Known redenominations that kept the currency's code."""
    return tuple(
        Redenomination(row["code"], date.fromisoformat(row["day"]), row["factor"])
        for row in _currency_file()["redenominations"]
    )


@cache
def pegs() -> tuple[Peg, ...]:
    """Pegs and bands."""
    return tuple(
        Peg(row["code"], row["base"], Decimal(row["rate"]), Decimal(row["margin"])) for row in _currency_file()["pegs"]
    )


@cache
def rates() -> ReferenceRates:
    """The bundled rates."""
    content = _read("rates.json")
    days = {code: date.fromisoformat(day) for code, day in content["days"].items()}
    return ReferenceRates(date.fromisoformat(content["date"]), content["rates"], days)


@cache
def data_sources() -> DataSources:
    """The sources of all data."""
    content = _read("sources.json")
    curated = ((row.pop("fields"), DataSource(**row)) for row in content["curated"])
    countries, rates = (
        {name: DataSource(name, **row) for name, row in content[part].items()} for part in ("countries", "rates")
    )
    return DataSources(tuple((field, source) for fields, source in curated for field in fields), countries, rates)


@cache
def _currency_file() -> dict[str, Any]:
    content: dict[str, Any] = _read("currencies.json")
    return content


def _read(name: str) -> Any:
    return json.loads((resources.files("app.sources") / "data" / name).read_bytes())


def _currency(row: dict[str, Any]) -> ReferenceCurrency:
    days = {key: date.fromisoformat(row[key]) for key in ("last_day", "fixed_since") if row.get(key)}
    factor = {"factor": Decimal(row["factor"])} if "factor" in row else {}
    return ReferenceCurrency(**{**row, **days, **factor})
