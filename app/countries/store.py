"""Reads and writes that refresh and deletion share: the stored countries, their summary, their history."""

import json
from typing import Any, Final

from sqlalchemy import Select, literal
from sqlmodel import col, insert, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import announce_new_version
from app.core.db.queries import execute, select_columns
from app.core.db.upsert import upsert_from
from app.countries.drawing import Drawing
from app.countries.models import SUMMARY_ID, Country, CountryHistory, SummaryCache
from app.countries.summary import Summary

_SUMMARY: Final = select_columns(
    SummaryCache.data_version,
    SummaryCache.total_countries,
    SummaryCache.last_refreshed_at,
    SummaryCache.country_source,
    SummaryCache.rate_source,
    SummaryCache.rates_date,
).where(col(SummaryCache.id) == SUMMARY_ID)


async def read_summary(session: AsyncSession) -> Summary | None:
    """Read the summary of the last refresh, without the top five; None before the first one."""
    _, summary = await _read(session, _SUMMARY)
    return summary


async def lock_summary(session: AsyncSession) -> tuple[int, Summary | None]:
    """Lock the summary, as the last commit left it, until the commit of this transaction.

    All that change countries lock it first, so that what they read afterwards stays as it is.

    Returns:
        The data version and the summary; 0 and None before the first refresh.
    """
    return await _read(session, _SUMMARY.with_for_update())


async def _read(session: AsyncSession, query: Select[Any]) -> tuple[int, Summary | None]:
    row = (await execute(session, query)).first()
    return (row[0], Summary(*row[1:])) if row else (0, None)


async def change_summary(session: AsyncSession, version: int, drawing: Drawing, **more: object) -> int:
    """Write a drawing and the figures that it shows.

    Runs inside the caller's transaction, which has locked the summary, and does not commit.

    Args:
        session: The open transaction.
        version: Of the data until now; 0 if no summary is stored yet.
        drawing: What to write.
        more: Other columns of the row; all that have no default, if it is the first.

    Returns:
        The version from now on. It is at least the time of the data in milliseconds, so that a recreated or restored
        database does not repeat one.
    """
    announce_new_version(session)
    summary = drawing.summary
    next_version = max(version + 1, int(summary.refreshed_at.timestamp() * 1000))
    values = {
        "data_version": next_version,
        "total_countries": summary.total_countries,
        "last_refreshed_at": summary.refreshed_at,
        "country_source": summary.country_source,
        "rate_source": summary.rate_source,
        "rates_date": summary.rates_date,
        "top_countries": json.dumps([vars(country) for country in summary.top], ensure_ascii=False),
        "image": drawing.image,
        **more,
    }
    is_first = version == 0
    change = insert(SummaryCache) if is_first else update(SummaryCache).where(col(SummaryCache.id) == SUMMARY_ID)
    await execute(session, change.values(id=SUMMARY_ID, **values))
    return next_version


async def read_generation(session: AsyncSession) -> int:
    """Number of the last refresh that was stored; 0 before the first."""
    query = select(SummaryCache.generation).where(SummaryCache.id == SUMMARY_ID)
    return (await session.exec(query)).first() or 0


async def record_history(session: AsyncSession, summary: Summary) -> None:
    """Add a history entry for each country that a refresh wrote; running it again changes nothing.

    Runs inside the caller's transaction, after the countries were written, and
    does not commit. The time of the summary identifies the countries that the
    refresh wrote; they are copied within the database.
    """
    written = select_columns(
        col(Country.id).label("country_id"),
        col(Country.last_refreshed_at).label("refreshed_at"),
        Country.currency_code,
        Country.exchange_rate,
        Country.estimated_gdp,
        literal(summary.rate_source).label("rate_source"),
        literal(summary.rates_date).label("rates_date"),
    ).where(col(Country.last_refreshed_at) == summary.refreshed_at)
    await upsert_from(session, CountryHistory, written, key="country_id,refreshed_at")
