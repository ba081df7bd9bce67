"""What is stored about exchange rates."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from sqlmodel import col, func, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.dialects import upsert
from app.rates.models import ExchangeRate
from app.rates.shapes import Quotes


async def last_known_rates(session: AsyncSession, sources: Collection[str]) -> Mapping[str, Mapping[str, float]]:
    """The newest stored rate of each currency, source by source.

    Newest per currency, not of the newest day: a rate that was not believed
    that day leaves a hole there, and must still be compared with the one before.
    """
    newest = (
        select(ExchangeRate.source, ExchangeRate.quote, func.max(col(ExchangeRate.day)))
        .where(col(ExchangeRate.source).in_(sources))
        .group_by(ExchangeRate.source, ExchangeRate.quote)
    )
    key = tuple_(col(ExchangeRate.source), col(ExchangeRate.quote), col(ExchangeRate.day))
    rows = await session.exec(select(ExchangeRate.source, ExchangeRate.quote, ExchangeRate.rate).where(key.in_(newest)))
    known: dict[str, dict[str, float]] = defaultdict(dict)
    for source, quote, rate in rows:
        known[source][quote] = rate
    return known


async def record_quotes(session: AsyncSession, source: str, quotes: Quotes) -> None:
    """Store a day's rates, replacing what the source said earlier about that day.

    Runs inside the caller's transaction and does not commit.
    """
    rows = [{"source": source, "quote": code, "day": quotes.day, "rate": rate} for code, rate in quotes.rates.items()]
    await upsert(session, ExchangeRate, sorted(rows, key=lambda row: str(row["quote"])), key="source,quote,day")
