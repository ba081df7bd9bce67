"""Queries and changes of stored countries, one function per use case."""

import json
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from sqlmodel import col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.database import Database, call_after_commit
from app.core.db.keys import name_key
from app.core.db.queries import execute, select_columns
from app.core.db.snapshots import Snapshot, Snapshots
from app.core.errors import AppError, ValidationFailed
from app.core.http.numbers import Decimals, exact, write_decimal
from app.countries import schemas
from app.countries.drawing import draw
from app.countries.models import SUMMARY_ID, Country, CountryHistory, SummaryCache
from app.countries.store import change_summary, lock_summary
from app.countries.stored import Countries, CountryRow, load_countries
from app.countries.summary import Summary, summarize
from app.sources.spellings import suggest

HISTORY_FIELDS: Final = tuple(schemas.HistoryEntryPublic.model_fields)


class CountryNotFound(AppError):
    """No stored country has this name or code, or nothing is stored."""

    status_code = 404
    title = "Country not found"


class ImageNotFound(AppError):
    """No refresh has drawn the picture yet."""

    status_code = 404
    title = "Summary image not found"


async def list_countries(data: Snapshot, filters: schemas.CountryFilters) -> tuple[list[dict[str, Any]], int]:
    """Find countries.

    Returns:
        The countries of this page, each with the fields ``filters.columns`` in
        that order; and the number on all pages.
    """
    found = (await data.read(load_countries)).find(filters)
    end = None if filters.limit is None else filters.offset + filters.limit
    page = (country.select(filters.columns) for country in found[filters.offset : end])
    return _written(page, filters.decimals), len(found)


def _written(entries: Iterable[dict[str, Any]], decimals: Decimals) -> list[dict[str, Any]]:
    """The entries with rates and amounts as asked for: text is exact and without an exponent, None stays None."""
    if decimals is Decimals.NUMBER:
        return list(entries)
    return [
        {
            field: write_decimal(exact(value), decimals)
            if field in schemas.DECIMAL_FIELDS and value is not None
            else value
            for field, value in entry.items()
        }
        for entry in entries
    ]


async def get_country(data: Snapshot, name: str) -> CountryRow:
    """Find one country by its name, any known spelling of it, or its code.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored; the details name similar ones.
    """
    return _find(await data.read(load_countries), name)


def _find(countries: Countries, name: str) -> CountryRow:
    if not name.strip():
        raise ValidationFailed({"name": "must not be blank"})
    if not name_key(name):  # a lone accent
        raise CountryNotFound
    country = countries.get(name)
    if country is None:
        raise CountryNotFound(_did_you_mean(countries, name))
    return country


def _did_you_mean(countries: Countries, name: str) -> str | None:
    """A question with the stored names of similar countries; None if there are none."""
    names = [similar.name for similar in map(countries.with_alpha2, suggest(name)) if similar]
    return f"did you mean {' or '.join(names)}?" if names else None


async def get_fields(data: Snapshot, name: str, query: schemas.CountryQuery) -> dict[str, Any]:
    """Find one country as ``get_country()`` does, and return only the fields ``query.columns`` of it."""
    country = await get_country(data, name)
    (fields,) = _written([country.select(query.columns)], query.decimals)
    return fields


async def get_status(data: Snapshot) -> schemas.StatusPublic:
    """The number of countries, their age and their sources.

    Raises:
        CountryNotFound: Nothing is stored yet.
    """
    status = await data.read(load_status)
    if status is None:
        raise CountryNotFound("Nothing is stored yet; POST /countries/refresh loads it")
    return status


async def load_status(session: AsyncSession) -> schemas.StatusPublic | None:
    """Read the status; None before the first refresh."""
    query = select_columns(
        SummaryCache.total_countries,
        SummaryCache.last_refreshed_at,
        SummaryCache.country_source,
        SummaryCache.rate_source,
        SummaryCache.rates_date,
        SummaryCache.report,
    ).where(col(SummaryCache.id) == SUMMARY_ID)
    row = (await execute(session, query)).first()
    if row is None:
        return None
    report = json.loads(row.report)  # of a version that said nothing about the rates, perhaps
    return schemas.StatusPublic(
        total_countries=row.total_countries,
        last_refreshed_at=row.last_refreshed_at,
        sources=schemas.SourcesPublic(countries=row.country_source, rates=row.rate_source),
        rates_date=row.rates_date,
        stale=report.get("stale", False),
        countries_without_rate=report.get("countries_without_rate"),
        implausible_rates=report.get("implausible_rates", []),
    )


async def get_image(data: Snapshot) -> bytes:
    """The summary picture, PNG.

    Raises:
        ImageNotFound: Nothing is stored yet.
    """
    image = await data.read(load_image)
    if image is None:
        raise ImageNotFound
    return image


async def load_image(session: AsyncSession) -> bytes | None:
    """Read the summary picture, PNG; None before the first refresh."""
    return (await session.exec(select(SummaryCache.image).where(SummaryCache.id == SUMMARY_ID))).first()


async def delete_country(database: Database, snapshots: Snapshots, name: str) -> schemas.DeleteResult:
    """Delete one country and redraw the summary without it, in one transaction.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored.
    """
    known, _ = await snapshots.newest(database)
    status, countries = await known.read(load_status), await known.read(load_countries)
    try:
        country = _find(countries, name)
    except CountryNotFound:
        async with database.reading() as session:  # another process may have stored it a moment ago
            country = _find(await load_countries(session), name)
    # Drawn before the transaction, because what is known is nearly always current.
    expected = None
    if status is not None:
        expected = await draw(summarize(countries.without(country).estimates, like=_summary_of(status)))

    async def remove(session: AsyncSession) -> schemas.DeleteResult:
        version, summary = await lock_summary(session)
        if summary is None:
            raise CountryNotFound
        is_current = version == known.version
        stored = countries if is_current else await load_countries(session, lock=True)
        country = _find(stored, name)
        left = stored.without(country)
        drawing = await draw(summarize(left.estimates, like=summary), existing=expected)
        await session.exec(delete(Country).where(col(Country.id) == country.id))
        version = await change_summary(session, version, drawing)
        shown = ("id", "name", "alpha2_code", "population", "currency_code")
        await record(session, "DELETE_COUNTRY", "Country", country.name, before=country.select(shown))
        if is_current and status is not None:
            left_status = status.model_copy(update={"total_countries": len(left.by_name)})
            results = {load_countries: left, load_status: left_status, load_image: drawing.image}
            call_after_commit(session, partial(snapshots.succeed, known, version, results, keep=True))
        return schemas.DeleteResult(name=country.name)

    return await database.transaction(remove)


def _summary_of(status: schemas.StatusPublic) -> Summary:
    """The summary that is stored, without the top five."""
    return Summary(
        total_countries=status.total_countries,
        refreshed_at=status.last_refreshed_at,
        country_source=status.sources.countries,
        rate_source=status.sources.rates,
        rates_date=status.rates_date,
    )


async def list_history(
    data: Snapshot, name: str, query: schemas.HistoryQuery
) -> tuple[list[dict[str, Any]], int, CountryRow]:
    """Find the history of one country, the newest refresh first.

    Returns:
        The entries of this page, each with ``HISTORY_FIELDS``; the number of entries on all pages; and the country.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored.
    """
    country = await get_country(data, name)
    is_its_own = col(CountryHistory.country_id) == country.id
    columns = (getattr(CountryHistory, field) for field in HISTORY_FIELDS)
    page = select_columns(*columns).where(is_its_own).order_by(col(CountryHistory.refreshed_at).desc())

    async def load(session: AsyncSession) -> tuple[list[dict[str, Any]], int]:
        rows = await execute(session, page.limit(query.limit).offset(query.offset))
        total = (await session.exec(select(func.count()).select_from(CountryHistory).where(is_its_own))).one()
        return [dict(row) for row in rows.mappings()], total

    entries, total = await data.read_once(load)
    return _written(entries, query.decimals), total, country
