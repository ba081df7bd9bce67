"""Series of rates over a range of days, read and written piece by piece."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import select as select_columns  # takes any number of columns, which sqlmodel's does not
from sqlmodel import col, func
from sqlmodel.ext.asyncio.session import AsyncSession

from app.errors import AppError, ValidationFailed
from app.formats import Format, write_heading, write_rows
from app.rates.crud import RatesNotFound
from app.rates.exchange import Group, averages, cross, exact, shown
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.rates.schemas import SeriesQuery
from app.rates.sources import ATTRIBUTIONS

LARGEST_SERIES: Final = 300_000
"""Rates in one answer: all of the European Central Bank's history, or five years of 160 currencies."""
LARGEST_KEPT: Final = 10_000
"""Rates in an answer that is made as a whole and kept; larger ones are sent as they are read."""
PAGE: Final = 1000
"""Rates that are read at a time: the driver turns rows into objects without letting others have their turn."""
COLUMNS: Final = ("date", "base", "quote", "rate", "source")


Reading = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class RangeTooLarge(AppError):
    """The answer would have too many rates."""

    status_code = 413
    title = "Range too large"


@dataclass(frozen=True)
class Series:
    """What a series will have; its rates are still in the database."""

    query: SeriesQuery
    source: str
    first: date
    last: date
    codes: Sequence[str]
    """The currencies, in the order in which they come."""
    size: int
    """Rates to read, at most."""


async def plan_series(session: AsyncSession, first: date, last: date, query: SeriesQuery) -> Series:
    """Find out which source serves a series, and how large it is.

    One source serves all of it: the one that quotes the most of what is wanted,
    among equals the one with the most days.

    Args:
        session: For reading.
        first: The first day, not behind the last.
        last: The last day.
        query: What is wanted.

    Raises:
        RatesNotFound: No rates of these days are stored.
        ValidationFailed: The source does not quote a currency that is wanted.
        RangeTooLarge: There are too many rates.
    """
    days = await _count_days(session, first, last, query.source)
    if not days:
        raise RatesNotFound(f"No rates are stored from {first} to {last}")
    symbols = query.wanted
    wanted = {query.base, *(symbols or ())}
    quoted = await _quoted(session, first, last, days, wanted if symbols else None)
    source = max(days, key=lambda name: (len(wanted.intersection(quoted[name])), days[name], name))
    problems = {
        name: f"{', '.join(missing)} is not quoted by {source} from {first} to {last}"
        for name, codes in (("base", [query.base]), ("symbols", symbols or ()))
        if (missing := [code for code in codes if code not in quoted[source]])
    }
    if problems:
        raise ValidationFailed(problems)
    codes = symbols or quoted[source]
    size = days[source] * len(codes)
    if size > LARGEST_SERIES:
        raise RangeTooLarge(
            f"{days[source]} days of {len(codes)} currencies are {size} rates, more than {LARGEST_SERIES}; "
            "ask for fewer with symbols, or for fewer days"
        )
    return Series(query, source, first, last, codes, size)


async def _count_days(session: AsyncSession, first: date, last: date, source: str | None) -> dict[str, int]:
    columns: tuple[Any, ...] = (RateDay.source, func.count())
    query = select_columns(*columns).where(col(RateDay.day).between(first, last)).group_by(col(RateDay.source))
    if source is not None:
        query = query.where(col(RateDay.source) == source)
    return dict((await (await session.connection()).execute(query)).all())


async def _quoted(
    session: AsyncSession, first: date, last: date, sources: Iterable[str], codes: Collection[str] | None
) -> dict[str, list[str]]:
    """Codes by source that are quoted somewhere in the range; of these ones, or of all."""
    columns: tuple[Any, ...] = (CurrencySpan.source, CurrencySpan.quote)
    query = select_columns(*columns).where(
        col(CurrencySpan.source).in_(sources), col(CurrencySpan.first_day) <= last, col(CurrencySpan.last_day) >= first
    )
    if codes is not None:
        query = query.where(col(CurrencySpan.quote).in_(codes))
    quoted: dict[str, list[str]] = defaultdict(list)
    for source, code in await (await session.connection()).execute(query.order_by(col(CurrencySpan.quote))):
        quoted[source].append(code)
    return quoted


async def write_series(reading: Reading, series: Series, form: Format) -> AsyncIterator[bytes]:
    """Write a series piece by piece, a currency at a time.

    JSON has the days of each currency in an object of their own; CSV and NDJSON have a row for each rate.

    Args:
        reading: Opens the session for each page.
        series: What to write.
        form: How to write it.

    Raises:
        DatabaseUnavailable: On the way; what was written by then is incomplete.
    """
    base_rates = {day: exact(rate) async for day, rate in _read_rates(reading, series, series.query.base)}
    yield _json_head(series) if form is Format.JSON else write_heading(form, COLUMNS)
    for number, code in enumerate(series.codes):
        rates = [
            (day, cross(base_rates[day], exact(rate)))
            async for day, rate in _read_rates(reading, series, code)
            if day in base_rates
        ]
        known = _grouped(rates, series.query.group)
        if form is Format.JSON:
            yield (b"," if number else b"") + to_json(code) + b":" + to_json({str(day): rate for day, rate in known})
        else:
            rows = ((str(day), series.query.base, code, rate, series.source) for day, rate in known)
            yield write_rows(form, COLUMNS, rows)
    if form is Format.JSON:
        yield b"}}"


def _grouped(rates: list[tuple[date, Decimal]], group: Group | None) -> list[tuple[date, float]]:
    return [(day, shown(rate)) for day, rate in (averages(rates, group) if group else rates)]


def _json_head(series: Series) -> bytes:
    about = {
        "base": series.query.base,
        "from": series.first,
        "to": series.last,
        "group": series.query.group,
        "source": series.source,
        "attribution": ATTRIBUTIONS.get(series.source),
    }
    return to_json(about)[:-1] + b',"rates":{'


async def _read_rates(reading: Reading, series: Series, quote: str) -> AsyncIterator[tuple[date, float]]:
    """One currency's stored rates in the order of the days, page by page."""
    columns: tuple[Any, ...] = (ExchangeRate.day, ExchangeRate.rate)
    first = series.first
    while True:
        query = select_columns(*columns).where(
            col(ExchangeRate.source) == series.source,
            col(ExchangeRate.quote) == quote,
            col(ExchangeRate.day).between(first, series.last),
        )
        async with reading() as session:
            found = await (await session.connection()).execute(query.order_by(col(ExchangeRate.day)).limit(PAGE))
            rows = found.all()
        for day, rate in rows:
            yield day, rate
        if len(rows) < PAGE:
            return
        first = rows[-1][0] + timedelta(days=1)
