"""What each refresh said about a country."""

from typing import Any, Final

from sqlalchemy import literal
from sqlalchemy import select as select_columns  # takes any number of columns, which sqlmodel's does not
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.upsert import upsert_from
from app.countries.crud import get_country
from app.countries.models import Country, CountryHistory
from app.countries.schemas import HistoryEntryPublic, HistoryQuery
from app.countries.summary import Summary

HISTORY_FIELDS: Final = tuple(HistoryEntryPublic.model_fields)


async def list_history(
    session: AsyncSession, name: str, query: HistoryQuery
) -> tuple[list[tuple[object, ...]], int, Country]:
    """Find what the refreshes said about one country, the newest first.

    Returns:
        The values of ``HISTORY_FIELDS`` of each entry on this page; how many
        entries there are on all pages together; and the country.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored.
    """
    country = await get_country(session, name)
    is_its_own = col(CountryHistory.country_id) == country.id
    columns = (getattr(CountryHistory, field) for field in HISTORY_FIELDS)
    page = select_columns(*columns).where(is_its_own).order_by(col(CountryHistory.refreshed_at).desc())
    rows = await (await session.connection()).execute(page.limit(query.limit).offset(query.offset))
    total = (await session.exec(select(func.count()).select_from(CountryHistory).where(is_its_own))).one()
    return [tuple(row) for row in rows], total, country


async def record_history(session: AsyncSession, summary: Summary) -> None:
    """Add an entry for each country that this refresh wrote; once more is as once.

    Runs inside the caller's transaction, after the countries were written, and
    does not commit. The rows go from table to table within the database.

    Args:
        session: Of the open transaction.
        summary: Of the refresh; its time tells which countries it wrote.
    """
    columns: tuple[Any, ...] = (
        col(Country.id).label("country_id"),
        col(Country.last_refreshed_at).label("refreshed_at"),
        Country.currency_code,
        Country.exchange_rate,
        Country.estimated_gdp,
        literal(summary.rate_source).label("rate_source"),
        literal(summary.rates_date).label("rates_date"),
    )
    written = select_columns(*columns).where(col(Country.last_refreshed_at) == summary.refreshed_at)
    await upsert_from(session, CountryHistory, written, key="country_id,refreshed_at")
