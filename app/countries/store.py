"""Reads and writes that refresh and deletion share: the stored countries, their summary, their history."""

import json
from typing import Any, Final

from sqlalchemy import Select, literal
from sqlmodel import case, col, select, update
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


async def change_summary(session: AsyncSession, drawing: Drawing, **more: object) -> bool:
    """Write a drawing and the figures that it shows; the data version grows.

    Runs inside the caller's transaction and does not commit.

    Returns:
        False if no summary is stored yet, so that nothing was changed.
    """
    announce_new_version(session)
    next_version, least = SummaryCache.data_version + 1, least_version(drawing.summary)
    version = case((next_version > least, next_version), else_=least)
    values = {"data_version": version, **summary_values(drawing), **more}
    result = await execute(session, update(SummaryCache).where(col(SummaryCache.id) == SUMMARY_ID).values(values))
    return result.rowcount > 0


def least_version(summary: Summary) -> int:
    """The time of the data in milliseconds, so that a recreated or restored database does not repeat a version."""
    return int(summary.refreshed_at.timestamp() * 1000)


def summary_values(drawing: Drawing) -> dict[str, object]:
    """The columns of the summary row that a drawing fills."""
    summary = drawing.summary
    return {
        "total_countries": summary.total_countries,
        "last_refreshed_at": summary.refreshed_at,
        "country_source": summary.country_source,
        "rate_source": summary.rate_source,
        "rates_date": summary.rates_date,
        "top_countries": json.dumps([vars(country) for country in summary.top], ensure_ascii=False),
        "image": drawing.image,
    }


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
