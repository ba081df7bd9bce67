"""Queries and changes of stored countries, one function per use case."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Select
from sqlmodel import case, col, delete, false, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.database import Database
from app.core.db.keys import name_key
from app.core.db.queries import execute, select_columns
from app.core.db.types import Contains
from app.core.errors import AppError, ValidationFailed
from app.core.http.numbers import Decimals, exact, write_decimal
from app.countries import schemas
from app.countries.drawing import draw
from app.countries.models import SUMMARY_ID, Country, CountryHistory, SummaryCache
from app.countries.store import change_summary, read_summary
from app.countries.summary import Summary, rank
from app.sources import reference
from app.sources.spellings import alpha2_of, search, suggest

HISTORY_FIELDS: Final = tuple(schemas.HistoryEntryPublic.model_fields)


class CountryNotFound(AppError):
    """No stored country has this name or code, or nothing is stored."""

    status_code = 404
    title = "Country not found"


class ImageNotFound(AppError):
    """No refresh has drawn the picture yet."""

    status_code = 404
    title = "Summary image not found"


async def list_countries(session: AsyncSession, filters: schemas.CountryFilters) -> tuple[list[dict[str, Any]], int]:
    """Find countries.

    Returns:
        The countries of this page, each with the fields ``filters.columns`` in
        that order; and the number on all pages.
    """
    conditions = _conditions(filters)
    derived = [name for name in filters.columns if name in schemas.REFERENCE_FIELDS]
    stored = tuple(name for name in filters.columns if name not in derived)
    query = _listing((*stored, "alpha2_code") if derived else stored, filters.sort or schemas.CountrySort.NAME_ASC)
    if filters.q is not None and filters.sort is None:
        query = query.order_by(None).order_by(_relevance(filters.q), Country.name_key, col(Country.id))
    query = query.where(*conditions)
    if filters.is_paged:
        # MySQL takes OFFSET only after LIMIT.
        query = query.limit(filters.limit or 2**31 - 1).offset(filters.offset)
    rows = (await execute(session, query)).all()
    # Not model objects: our own rows need no validation, and building objects took a quarter of the time.
    countries = [dict(zip(stored, row, strict=not derived)) for row in rows]
    if derived:
        for country, row in zip(countries, rows, strict=True):
            country.update(_reference_values(row[-1], derived))
    if filters.decimals is Decimals.STRING:
        countries = [_with_decimals_in_text(country) for country in countries]
    if not filters.is_paged:
        return countries, len(countries)
    total = (await session.exec(select(func.count()).select_from(Country).where(*conditions))).one()
    return countries, total


@lru_cache(maxsize=64)
def _listing(columns: tuple[str, ...], sort: schemas.CountrySort) -> Select[Any]:
    """The list without filters; cached, because building it takes as long as a small page."""
    return select_columns(*(getattr(Country, name) for name in columns)).order_by(*_order(sort))


def _conditions(filters: schemas.CountryFilters) -> list[Any]:
    """The filters as SQL; a lone accent, whose key is empty, matches nothing."""
    conditions: list[Any] = []
    if filters.region is not None:
        # The whole text too: a region of a source may have a comma.
        keys = {name_key(region) for region in (filters.region, *filters.region.split(","))} - {""}
        conditions.append(col(Country.region_key).in_(sorted(keys)) if keys else false())
    if filters.currency is not None:
        codes = {code.strip().upper() for code in filters.currency.split(",")}
        conditions.append(col(Country.currency_code).in_(sorted(codes)))
    if filters.q is not None:
        conditions.append(_mentions(filters.q))
    return conditions


def _order(sort: schemas.CountrySort) -> list[Any]:
    by, _, direction = sort.value.rpartition("_")
    names = {"name": Country.name_key, "population": Country.population, "gdp": Country.estimated_gdp}
    column = col(names.get(by, Country.exchange_rate))
    known_first = case((column.is_(None), 1), else_=0)
    return [known_first, column.desc() if direction == "desc" else column.asc(), Country.name_key, Country.id]


def _mentions(text: str) -> Any:
    """Whether a country has a text as a code or as part of a name or capital, known to us or only stored."""
    key = name_key(text)
    if not key:
        return false()
    # SQLite lowers ASCII only. That is enough: capitals with other letters are known to us, with few exceptions.
    stored = Contains(Country.name_key, key), Contains(func.lower(col(Country.capital)), key)
    return or_(*stored, col(Country.alpha2_code).in_(search(text).containing), *_exactly(text))


def _relevance(text: str) -> Any:
    """How well a country matches a text: first as ``get_country()`` prefers, then names that start with it."""
    key = name_key(text)
    starts = func.substr(col(Country.name_key), 1, len(key)) == key
    known_start = col(Country.alpha2_code).in_(search(text).starting)
    best_first = (*_exactly(text), starts, known_start)
    return case(*((matches, rank) for rank, matches in enumerate(best_first)), else_=len(best_first))


def _exactly(text: str) -> tuple[Any, Any, Any]:
    """Whether a country has exactly this name, exactly this code, or another spelling or code that we know."""
    # Only ASCII: in upper case the German sharp s would be SS, the code of South Sudan.
    code = text.strip().upper() if text.isascii() else ""
    # Only the column of this length: alpha-3 codes have no index, so that a search among them reads every row.
    column = {2: Country.alpha2_code, 3: Country.alpha3_code}.get(len(code))
    known_as = alpha2_of(text)
    return (
        col(Country.name_key) == name_key(text),
        false() if column is None else col(column) == code,
        # Comparing with None would find every country without a code.
        false() if known_as is None else col(Country.alpha2_code) == known_as,
    )


def _reference_values(alpha2: str | None, fields: Sequence[str]) -> dict[str, Any]:
    """Fields that are not stored but known to us, None if unknown."""
    known = reference.countries().get(alpha2 or "")
    return {field: getattr(known, field, None) for field in fields}


def _with_decimals_in_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write rates and amounts as exact decimals without an exponent; None stays None."""
    return {
        field: write_decimal(exact(value), Decimals.STRING)
        if field in schemas.DECIMAL_FIELDS and value is not None
        else value
        for field, value in values.items()
    }


async def get_country(session: AsyncSession, name: str) -> Country:
    """Find one country by its name, any known spelling of it, or its code.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored; the details name similar ones.
    """
    if not name.strip():
        raise ValidationFailed({"name": "must not be blank"})
    if not name_key(name):  # a lone accent
        raise CountryNotFound
    exactly = _exactly(name)
    best_first = case(*((exact, rank) for rank, exact in enumerate(exactly)))
    query = select(Country).where(or_(*exactly)).order_by(best_first, Country.name_key, col(Country.id))
    country = (await session.exec(query)).first()
    if country is None:
        raise CountryNotFound(await _did_you_mean(session, name))
    return country


async def _did_you_mean(session: AsyncSession, name: str) -> str | None:
    """A question with the stored names of similar countries; None if there are none."""
    similar = suggest(name)
    if not similar:
        return None
    query = select_columns(Country.alpha2_code, Country.name).where(col(Country.alpha2_code).in_(similar))
    stored: dict[str, str] = dict((await execute(session, query)).all())
    names = [stored[alpha2] for alpha2 in similar if alpha2 in stored]
    return f"did you mean {' or '.join(names)}?" if names else None


async def get_fields(session: AsyncSession, name: str, query: schemas.CountryQuery) -> dict[str, Any]:
    """Find one country as ``get_country()`` does, and return only the fields ``query.columns`` of it."""
    country = await get_country(session, name)
    derived = _reference_values(country.alpha2_code, schemas.REFERENCE_FIELDS)
    values = {field: derived[field] if field in derived else getattr(country, field) for field in query.columns}
    return _with_decimals_in_text(values) if query.decimals is Decimals.STRING else values


async def get_status(session: AsyncSession) -> schemas.StatusPublic:
    """The number of countries, their age and their sources.

    Raises:
        CountryNotFound: Nothing is stored yet.
    """
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
        raise CountryNotFound("Nothing is stored yet; POST /countries/refresh loads it")
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


async def get_image(session: AsyncSession) -> bytes:
    """The summary picture, PNG.

    Raises:
        ImageNotFound: Nothing is stored yet.
    """
    image = (await session.exec(select(SummaryCache.image).where(SummaryCache.id == SUMMARY_ID))).first()
    if image is None:
        raise ImageNotFound
    return image


async def delete_country(database: Database, name: str) -> schemas.DeleteResult:
    """Delete one country and redraw the summary without it, in one transaction.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored.
    """
    async with database.reading() as session:
        before = await read_summary(session)
        found, left = await _leave_out(session, name, before)
    expected = await draw(left)

    async def remove(session: AsyncSession) -> schemas.DeleteResult:
        summary, country, drawing = await read_summary(session, lock=True), found, expected
        if summary != before:  # a refresh or another deletion came first
            country, left = await _leave_out(session, name, summary)
            drawing = await draw(left)
        deleted = await session.exec(delete(Country).where(col(Country.id) == country["id"]))
        if deleted.rowcount == 0:  # where a snapshot is older than the lock of the summary
            raise CountryNotFound
        await change_summary(session, drawing)
        await record(session, "DELETE_COUNTRY", "Country", country["name"], before=country)
        return schemas.DeleteResult(name=country["name"])

    return await database.transaction(remove)


async def _leave_out(session: AsyncSession, name: str, summary: Summary | None) -> tuple[dict[str, Any], Summary]:
    """What the audit says of a country, and the summary without it."""
    country = await get_country(session, name)
    if summary is None:
        raise CountryNotFound
    gdp = col(Country.estimated_gdp)
    largest = select_columns(Country.name, gdp).where(gdp > 0, col(Country.id) != country.id)
    top = await execute(session, largest.order_by(gdp.desc(), Country.name).limit(5))
    shown = {field: getattr(country, field) for field in ("id", "name", "alpha2_code", "population", "currency_code")}
    return shown, replace(summary, total_countries=summary.total_countries - 1, top=rank(map(tuple, top)))


async def list_history(
    session: AsyncSession, name: str, query: schemas.HistoryQuery
) -> tuple[list[tuple[object, ...]], int, Country]:
    """Find the history of one country, the newest refresh first.

    Returns:
        The values of ``HISTORY_FIELDS`` of each entry on this page; the number
        of entries on all pages; and the country.

    Raises:
        ValidationFailed: The name is blank.
        CountryNotFound: No such country is stored.
    """
    country = await get_country(session, name)
    is_its_own = col(CountryHistory.country_id) == country.id
    columns = (getattr(CountryHistory, field) for field in HISTORY_FIELDS)
    page = select_columns(*columns).where(is_its_own).order_by(col(CountryHistory.refreshed_at).desc())
    rows = await execute(session, page.limit(query.limit).offset(query.offset))
    total = (await session.exec(select(func.count()).select_from(CountryHistory).where(is_its_own))).one()
    entries = [tuple(row) for row in rows]
    if query.decimals is Decimals.STRING:
        named = (dict(zip(HISTORY_FIELDS, entry, strict=True)) for entry in entries)
        entries = [tuple(_with_decimals_in_text(values).values()) for values in named]
    return entries, total, country
