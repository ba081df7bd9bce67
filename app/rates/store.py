"""Writes exchange rates: those of a refresh, and those of an import."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime

from sqlmodel import and_, col, or_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.core.db.upsert import upsert
from app.countries.models import SummaryCache
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.sources.rate_checks import KnownRate, known_rates
from app.sources.rate_shapes import Quotes


async def last_known_rates(session: AsyncSession, *sources: str) -> Mapping[str, Mapping[str, KnownRate]]:
    """The newest stored rate of each currency, by source: first the source whose rates the countries have, then these.

    Newest per currency, not of the newest day: a rate that was not believed
    that day leaves a hole there, and must still be compared with the one before.
    """
    newest = and_(
        col(ExchangeRate.source) == col(CurrencySpan.source),
        col(ExchangeRate.quote) == col(CurrencySpan.quote),
        col(ExchangeRate.day) == col(CurrencySpan.last_day),
    )
    source = col(CurrencySpan.source)
    is_in_use = source == select_columns(SummaryCache.rate_source).scalar_subquery()
    query = select_columns(ExchangeRate.source, ExchangeRate.quote, ExchangeRate.rate, ExchangeRate.day)
    query = query.join_from(CurrencySpan, ExchangeRate, newest).where(or_(is_in_use, source.in_(sources)))
    query = query.order_by(is_in_use.desc())
    known: dict[str, dict[str, KnownRate]] = defaultdict(dict)
    for source, quote, rate, day in await execute(session, query):
        known[source][quote] = KnownRate(rate, day)
    return dict(known)


async def record_quotes(session: AsyncSession, source: str, quotes: Quotes, *, recorded_at: datetime) -> None:
    """Store rates as a refresh brought them, each under its own day, with the US dollar as the base of each day.

    They replace what the source said earlier about the same currency and day;
    its other rates of these days stay. ``recorded_at`` goes to the newest day
    only: an older one is not the day of the refresh.

    Runs inside the caller's transaction and does not commit.
    """
    days: dict[date, dict[str, float]] = {quotes.day: {"USD": 1.0}}
    for code, known in known_rates(quotes).items():
        days.setdefault(known.day, {"USD": 1.0})[code] = known.rate
    row = {"source": source, "day": quotes.day, "recorded_at": recorded_at}
    await upsert(session, RateDay, [row], key="source,day")
    older = [{"source": source, "day": day} for day in sorted(days.keys() - {quotes.day})]
    await upsert(session, RateDay, older, key="source,day")
    await _record(session, source, days)


async def import_days(session: AsyncSession, source: str, days: Mapping[date, Mapping[str, float]]) -> None:
    """Store rates of past days, by day and currency; the base is among them, with 1.

    Runs inside the caller's transaction and does not commit.
    """
    await upsert(session, RateDay, [{"source": source, "day": day} for day in sorted(days)], key="source,day")
    await _record(session, source, days)


async def _record(session: AsyncSession, source: str, days: Mapping[date, Mapping[str, float]]) -> None:
    """Write rates in the order of their key, and widen the spans of their currencies."""
    rates = sorted((quote, day, rate) for day, quoted in days.items() for quote, rate in quoted.items())
    rows = [{"source": source, "quote": quote, "day": day, "rate": rate} for quote, day, rate in rates]
    await upsert(session, ExchangeRate, rows, key="source,quote,day")
    first, last = ({quote: day for quote, day, _ in some} for some in (reversed(rates), rates))
    spans = [{"quote": quote, "source": source, "first_day": first[quote], "last_day": last[quote]} for quote in last]
    await upsert(session, CurrencySpan, spans, key="quote,source", least="first_day", greatest="last_day")


async def imported_days(session: AsyncSession, source: str) -> set[date]:
    """The days of a source that are stored, whatever currencies they have."""
    return set((await execute(session, select_columns(RateDay.day).where(col(RateDay.source) == source))).scalars())


async def without_stored(
    session: AsyncSession, source: str, days: Mapping[date, Mapping[str, float]]
) -> dict[date, dict[str, float]]:
    """Those of some days' rates that are not stored yet; the others are not compared with what is stored."""
    codes = set().union(*days.values())
    query = select_columns(ExchangeRate.day, ExchangeRate.quote).where(
        col(ExchangeRate.source) == source,
        col(ExchangeRate.quote).in_(codes),
        col(ExchangeRate.day).between(min(days), max(days)),
    )
    stored = {tuple(row) for row in await execute(session, query)}
    left = {
        day: {code: rate for code, rate in rates.items() if (day, code) not in stored} for day, rates in days.items()
    }
    return {day: rates for day, rates in left.items() if rates}
