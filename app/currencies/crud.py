"""Queries of currencies: which are quoted or used, and what is known about each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import date
from functools import cache
from typing import Final, NamedTuple

from sqlmodel import col, func
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.core.errors import AppError
from app.countries.models import Country
from app.currencies.schemas import CurrencyFilters, CurrencyPublic
from app.rates.models import CurrencySpan
from app.sources import reference

CURRENCY_FIELDS: Final = tuple(CurrencyPublic.model_fields)


class CurrencyNotFound(AppError):
    """No source has quoted the code, no stored country uses it, and it is not in the reference data."""

    status_code = 404
    title = "Currency not found"


class _Stored(NamedTuple):
    """What is stored about currencies, by code."""

    days: Mapping[str, tuple[date, date]]
    """First and last day with a rate."""
    users: Mapping[str, Sequence[str]]
    """Alpha-2 codes, or else names, of the countries whose first currency it is."""


async def list_currencies(session: AsyncSession, filters: CurrencyFilters) -> list[CurrencyPublic]:
    """The currencies of these kinds that can be converted or that a stored country uses, sorted by code.

    A source has quoted them, or the euro has replaced them.
    """
    stored = await _read_stored(session)
    replaced = {code for code, known in reference.currencies().items() if known.fixed_since}
    codes, kinds = sorted({*stored.days, *stored.users, *replaced}), filters.kinds
    return [_describe(code, stored) for code in codes if _is_listed(code, stored, kinds)]


async def get_currency(session: AsyncSession, code: str) -> CurrencyPublic:
    """One currency, by its code or number, also if no source has quoted it.

    Raises:
        CurrencyNotFound: Nothing is known about the code.
    """
    code = _codes_by_number().get(code, code)
    stored = await _read_stored(session, code)
    if not (stored.days or stored.users or code in reference.currencies()):
        raise CurrencyNotFound
    return _describe(code, stored)


@cache
def _codes_by_number() -> Mapping[str, str]:
    return {known.numeric: code for code, known in reference.currencies().items() if known.numeric}


async def _read_stored(session: AsyncSession, code: str | None = None) -> _Stored:
    """Read what is stored about a currency, or about all."""
    quote, currency = col(CurrencySpan.quote), col(Country.currency_code)
    days = select_columns(quote, func.min(CurrencySpan.first_day), func.max(CurrencySpan.last_day)).group_by(quote)
    users = select_columns(currency, func.coalesce(Country.alpha2_code, Country.name)).where(currency.is_not(None))
    if code is not None:
        days, users = days.where(quote == code), users.where(currency == code)
    spans = {of: (first, last) for of, first, last in await execute(session, days)}
    countries: dict[str, list[str]] = defaultdict(list)
    for of, country in await execute(session, users):
        countries[of].append(country)
    return _Stored(spans, countries)


def _is_listed(code: str, stored: _Stored, kinds: Set[str] | None) -> bool:
    if kinds is None or ("current" in kinds and code in stored.users):
        return True
    known = reference.currencies().get(code)
    return known is not None and known.kind in kinds


def _describe(code: str, stored: _Stored) -> CurrencyPublic:
    known = reference.currencies().get(code)
    first_day, last_day = stored.days.get(code, (None, None))
    return CurrencyPublic(
        code=code,
        numeric=known and known.numeric,
        name=known and known.name,
        symbol=(known and known.symbol) or code,
        kind=known and known.kind,
        minor_units=known and known.minor_units,
        cash_decimals=known and known.cash_decimals,
        used_until=known and known.last_day,
        successor=known and known.successor,
        countries=sorted(stored.users.get(code, ())),
        first_day=first_day,
        last_day=last_day,
    )
