"""The page at ``/`` for browsers: the stored data as one HTML document."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import Request
from fastapi.responses import HTMLResponse
from loguru import logger
from pydantic import BaseModel, Field

from app import TITLE, __version__
from app.core.config.sources import BUNDLED
from app.core.db.snapshots import Snapshot
from app.core.errors import DatabaseUnavailable
from app.core.http.dependencies import get_data, get_today
from app.core.http.formats import FORMAT_DESCRIPTION
from app.core.http.numbers import exact
from app.core.http.security_headers import page_policy
from app.countries.crud import CountryNotFound, get_status, list_countries
from app.countries.schemas import CountryFilters, CountrySort, SearchParam, StatusPublic
from app.currencies.crud import list_currencies
from app.currencies.schemas import CurrencyFilters, CurrencyPublic
from app.rates.crud import get_rates
from app.rates.in_force import RatesNotFound
from app.rates.schemas import Code, RatesQuery
from app.service.converter import convert_for_people, six_digits
from app.sources import reference

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER: Final = Path(__file__).parent / "assets"
FILES: Final = [_FOLDER / "page.css", _FOLDER / "page.js"]
"""Files that the page loads, apart from the picture and the favicon."""
_LISTED: Final = CountryFilters(sort=CountrySort.GDP_DESC)
_HEADERS: Final = {"Vary": "Accept", "Content-Security-Policy": page_policy()}
_FIRST_INDICATOR: Final = 0x1F1E6
"""Regional indicator symbol A; two such symbols form a flag."""
_UNITS: Final = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


class RootFormat(StrEnum):
    """Formats of the front page."""

    JSON = "json"
    HTML = "html"


class PageQuery(BaseModel):
    """Parameters of the front page."""

    q: SearchParam = Field(default=None, description="What the page searches for, as `GET /countries` does.")
    amount: str | None = Field(
        default=None, max_length=50, description="Amount that the page converts; may have commas between thousands."
    )
    base: Code | None = Field(default=None, alias="from", description="Code of the amount's currency; USD by default.")
    to: Code | None = Field(default=None, description="Code of the currency to convert to; EUR by default.")
    format: RootFormat | None = Field(default=None, description=FORMAT_DESCRIPTION)


class Bar(NamedTuple):
    """One region in the chart."""

    region: str
    gdp: str
    percent: float
    """Of the largest region."""


class View(NamedTuple):
    """The data that the page shows."""

    status: StatusPublic | None = None
    """None before the first refresh."""
    countries: Sequence[Mapping[str, Any]] = ()
    """Fields of each country by name."""
    found: frozenset[int] = frozenset()
    """Ids of the countries that the search finds; the others are hidden."""
    regions: Sequence[str] = ()
    currencies: Sequence[str] = ()
    """Codes of the currencies that the countries use."""
    bars: Sequence[Bar] = ()
    credit: str = ""
    """The source of the rates, with its attribution."""
    converted: str = ""
    """Result of the conversion; empty if none was asked for."""
    money: Sequence[CurrencyPublic] = ()
    """Current currencies that the newest rates of the last refresh's source quote."""
    problem: str = ""
    """Why no data can be shown; empty if it can."""


async def render_page(request: Request, query: PageQuery) -> HTMLResponse:
    """Render the stored data, or a 503 page if the database is unavailable."""
    try:
        view = await _read_view(await get_data(request), query, await get_today(request))
    except DatabaseUnavailable as error:
        logger.error("Cannot render the page: {}", error.details)
        view = View(problem="The database is unavailable. Please try again in a moment.")
    page = _template().render(title=TITLE, version=__version__, bundled=BUNDLED, query=query, **view._asdict())
    if not view.problem:
        return HTMLResponse(page, headers=_HEADERS)
    return HTMLResponse(page, 503, headers={**_HEADERS, "Cache-Control": "no-store", "Retry-After": "2"})


async def _read_view(data: Snapshot, query: PageQuery, today: date) -> View:
    try:
        status = await get_status(data)
    except CountryNotFound:
        return View()
    countries, _ = await list_countries(data, _LISTED)
    listed = countries
    if query.q is not None:
        listed, _ = await list_countries(data, CountryFilters(q=query.q, fields="id"))
    found = frozenset(country["id"] for country in listed)
    try:
        # Those that the page names, though an import may have brought newer ones of fewer currencies.
        quoted = (await get_rates(data, RatesQuery(source=status.sources.rates), today=today)).rates
    except RatesNotFound:
        quoted = {}
    money = [currency for currency in await list_currencies(data, CurrencyFilters()) if currency.code in quoted]
    regions = sorted({country["region"] for country in countries if country["region"]})
    currencies = sorted({country["currency_code"] for country in countries if country["currency_code"]})
    source = reference.data_sources().rates.get(status.sources.rates)
    converted = ""
    if query.amount is not None:
        converted = await convert_for_people(data, query.amount, query.base or "USD", query.to or "EUR", today=today)
    return View(
        status=status,
        countries=countries,
        found=found,
        regions=regions,
        currencies=currencies,
        bars=_bars_of(countries),
        credit=(source and source.attribution) or status.sources.rates,
        converted=converted,
        money=money,
    )


def _bars_of(countries: Iterable[Mapping[str, Any]]) -> list[Bar]:
    """The estimated GDP of each region that has an estimate, largest first."""
    totals: dict[str, float] = defaultdict(float)
    for country in countries:
        totals[country["region"] or "No region"] += country["estimated_gdp"] or 0
    largest = max(totals.values(), default=0)
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    return [Bar(region, _dollars(total), round(100 * total / largest, 1)) for region, total in ordered if total]


def _flag(alpha2: str | None) -> str:
    """The flag emoji of an alpha-2 code; empty without a code."""
    return "".join(chr(_FIRST_INDICATOR + ord(letter) - ord("A")) for letter in alpha2 or "" if "A" <= letter <= "Z")


def _dollars(amount: float | None) -> str:
    """An amount to three digits, such as ``$1.23 trillion``; empty if unknown."""
    if amount is None:
        return ""
    for size, unit in _UNITS:
        if amount >= size:
            number = amount / size
            return f"${number:,.{0 if number >= 99.95 else 1 if number >= 9.995 else 2}f} {unit}"
    return f"${amount:,.0f}" if amount >= 1 else f"${six_digits(exact(amount))}"


def _rate(rate: float | None) -> str:
    """A rate to six significant digits; empty if unknown."""
    return "" if rate is None else six_digits(exact(rate))


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  # 10 ms of a start without pages

    templates = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"flag": _flag, "dollars": _dollars, "rate": _rate}
    return templates.get_template("page.html")
