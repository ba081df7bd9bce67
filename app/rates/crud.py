"""Queries of exchange rates: the rates of a day, conversions, and currencies."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import date
from typing import Final, NamedTuple

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.core.errors import AppError, ValidationFailed
from app.countries.models import Country
from app.rates.currencies import currency_facts
from app.rates.exchange import convert, cross_rate, shown, to_minor_unit
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.rates.schemas import Conversion, ConversionQuery, CurrencyPublic, RatesPublic, RatesQuery
from app.sources.rates import ATTRIBUTIONS


class RatesNotFound(AppError):
    """No rates are stored for the request."""

    status_code = 404
    title = "Rates not found"


class DayKey(NamedTuple):
    """One day of one source."""

    source: str
    day: date


async def get_rates(session: AsyncSession, query: RatesQuery, *, on: date | None = None) -> RatesPublic:
    """The rates in force on a day, or the latest, against any base.

    Raises:
        RatesNotFound: No rates are stored, or only later ones.
        ValidationFailed: The source does not quote one of the currencies.
    """
    symbols = query.wanted
    wanted = {query.base, *(symbols or ())}
    key, rates = await find_rates(session, wanted, wanted if symbols else None, on=on, source=query.source)
    require_quoted({"base": [query.base], "symbols": symbols or ()}, rates, f"by {key.source} on {key.day}")
    return RatesPublic(
        base=query.base,
        date=key.day,
        source=key.source,
        attribution=ATTRIBUTIONS.get(key.source),
        rates={code: shown(cross_rate(rates, query.base, code)) for code in sorted(symbols or rates)},
    )


async def get_conversion(session: AsyncSession, query: ConversionQuery) -> Conversion:
    """Convert an amount from one currency to another, by the rates in force on a day.

    Raises:
        RatesNotFound: No rates are stored, or only later ones.
        ValidationFailed: The source does not quote one of the currencies.
    """
    base, quote = query.base, query.quote
    key, rates = await find_rates(session, {base, quote}, {base, quote}, on=query.on, source=query.source)
    require_quoted({"from": [base], "to": [quote]}, rates, f"by {key.source} on {key.day}")
    result, facts = convert(query.amount, rates, base, quote), currency_facts(quote)
    return Conversion(
        base=base,
        quote=quote,
        amount=float(query.amount),
        result=float(result),
        rounded=to_minor_unit(result, facts.minor_units) if facts else None,
        rate=shown(cross_rate(rates, base, quote)),
        date=key.day,
        source=key.source,
        attribution=ATTRIBUTIONS.get(key.source),
    )


def require_quoted(wanted: Mapping[str, Collection[str]], quoted: Collection[str], where: str) -> None:
    """Raise ValidationFailed if a code is not quoted; ``wanted`` has the codes of each parameter."""
    problems = {
        name: f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not quoted {where}"
        for name, codes in wanted.items()
        if (missing := sorted(code for code in codes if code not in quoted))
    }
    if problems:
        raise ValidationFailed(problems)


async def find_rates(
    session: AsyncSession,
    wanted: Collection[str],
    codes: Collection[str] | None,
    *,
    on: date | None = None,
    source: str | None = None,
) -> tuple[DayKey, dict[str, float]]:
    """Find the day whose rates are in force, and read them.

    Args:
        session: For reading.
        wanted: Currencies that the answer needs. If the newest day lacks one, sources that quote most are preferred.
        codes: Read only these; None reads all.
        on: The last day on or before this one; of several sources with that day, the one that was refreshed last.
            None is the last refresh, or the newest day without one.
        source: Only this source; its newest day if ``on`` is None.

    Raises:
        RatesNotFound: There is no such day.
    """
    key = await _find_day(session, on, () if source is None else (source,))
    rates = await read_rates(session, key, codes)
    if on is None or source is not None or rates.keys() >= set(wanted):
        return key, rates
    knowing = await _sources_that_quote(session, wanted, on)
    if key.source in knowing or not knowing:
        return key, rates
    key = await _find_day(session, on, knowing)
    return key, await read_rates(session, key, codes)


async def _find_day(session: AsyncSession, on: date | None, sources: Collection[str]) -> DayKey:
    """The day in force, of these sources, or of all if none are given."""
    query = select_columns(RateDay.source, RateDay.day).limit(1)
    if on is not None:
        query = query.where(col(RateDay.day) <= on)
    if sources:
        query = query.where(col(RateDay.source).in_(sources))
    day, recorded_at, name = col(RateDay.day).desc(), col(RateDay.recorded_at).desc(), col(RateDay.source).desc()
    # Each order is that of an index. Imported days, which have NULL, come last.
    if len(sources) == 1:
        query = query.order_by(day)
    else:
        query = query.order_by(*((recorded_at, day) if on is None else (day, recorded_at)), name)
    row = (await execute(session, query)).first()
    if row is None:
        raise RatesNotFound(await describe_stored(session, *sources))
    return DayKey(*row)


async def _sources_that_quote(session: AsyncSession, codes: Collection[str], on: date) -> list[str]:
    """The sources that quote the most of these currencies, on this day or before."""
    query = select_columns(CurrencySpan.source, func.count()).group_by(col(CurrencySpan.source))
    quoting = query.where(col(CurrencySpan.quote).in_(codes), col(CurrencySpan.first_day) <= on)
    rows = (await execute(session, quoting)).all()
    most = max((number for _, number in rows), default=0)
    return [name for name, number in rows if number == most]


async def describe_stored(session: AsyncSession, source: str | None = None) -> str:
    """Say which rates are stored, of this source or of all, for a client that asked for others."""
    query = select_columns(func.min(RateDay.day), func.max(RateDay.day))
    if source is not None:
        query = query.where(col(RateDay.source) == source)
    first, last = (await execute(session, query)).one()
    whose = f" of the source {source}" if source is not None else ""
    if first is None and source is not None:
        names = (await session.exec(select(RateDay.source).distinct().order_by(col(RateDay.source)))).all()
        return f"No rates{whose} are stored; sources are: {', '.join(names) or 'none'}"
    if first is None:
        return "No rates are stored; POST /countries/refresh brings the day's"
    return f"Rates{whose} are stored from {first} to {last}"


async def read_rates(session: AsyncSession, key: DayKey, codes: Collection[str] | None = None) -> dict[str, float]:
    """Read the rates of one day by currency code, sorted; of these codes if they are quoted, or of all."""
    query = select_columns(ExchangeRate.quote, ExchangeRate.rate).order_by(col(ExchangeRate.quote))
    query = query.where(col(ExchangeRate.source) == key.source, col(ExchangeRate.day) == key.day)
    if codes is not None:
        query = query.where(col(ExchangeRate.quote).in_(codes))
    return dict((await execute(session, query)).all())


CURRENCY_FIELDS: Final = tuple(CurrencyPublic.model_fields)


async def list_currencies(session: AsyncSession) -> list[tuple[object, ...]]:
    """``CURRENCY_FIELDS`` of every currency that a source has quoted or a stored country uses, sorted by code."""
    query = select_columns(CurrencySpan.quote, func.min(CurrencySpan.first_day), func.max(CurrencySpan.last_day))
    quoted = await execute(session, query.group_by(col(CurrencySpan.quote)))
    spans = {code: (first, last) for code, first, last in quoted}
    query = select_columns(Country.currency_code, func.coalesce(Country.alpha2_code, Country.name))
    users: dict[str, list[str]] = defaultdict(list)
    for code, country in await execute(session, query.where(col(Country.currency_code).is_not(None))):
        users[code].append(country)

    def describe(code: str) -> tuple[object, ...]:
        facts = currency_facts(code) or (None, code, None)
        return (code, *facts, sorted(users.get(code, [])), *spans.get(code, (None, None)))

    # The first call in a process reads CLDR's English names, which takes 80 ms.
    return await asyncio.to_thread(lambda: [describe(code) for code in sorted({*spans, *users})])
