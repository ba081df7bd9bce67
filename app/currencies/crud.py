"""Queries of currencies: which are quoted or used, and what is known about each."""

from collections.abc import Mapping, Sequence, Set
from datetime import date
from functools import cache
from typing import Final, NamedTuple

from app.core.db.snapshots import Snapshot
from app.core.errors import AppError
from app.countries.stored import load_countries
from app.currencies.schemas import CurrencyFilters, CurrencyPublic
from app.rates.in_force import load_spans
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


async def list_currencies(data: Snapshot, filters: CurrencyFilters) -> list[CurrencyPublic]:
    """The currencies of these kinds that can be converted or that a stored country uses, sorted by code.

    A source has quoted them, or the euro has replaced them.
    """
    stored = await _read_stored(data)
    replaced = {code for code, known in reference.currencies().items() if known.fixed_since}
    codes, kinds = sorted({*stored.days, *stored.users, *replaced}), filters.kinds
    return [_describe(code, stored) for code in codes if _is_listed(code, stored, kinds)]


async def get_currency(data: Snapshot, code: str) -> CurrencyPublic:
    """One currency, by its code or number, also if no source has quoted it.

    Raises:
        CurrencyNotFound: Nothing is known about the code.
    """
    code = _codes_by_number().get(code, code)
    stored = await _read_stored(data)
    if not (code in stored.days or code in stored.users or code in reference.currencies()):
        raise CurrencyNotFound
    return _describe(code, stored)


@cache
def _codes_by_number() -> Mapping[str, str]:
    return {known.numeric: code for code, known in reference.currencies().items() if known.numeric}


async def _read_stored(data: Snapshot) -> _Stored:
    days: dict[str, tuple[date, date]] = {}
    for spans in (await data.read(load_spans)).values():
        for code, (first, last) in spans.items():
            begin, end = days.get(code, (first, last))
            days[code] = (min(begin, first), max(end, last))
    return _Stored(days, (await data.read(load_countries)).users_of_currencies)


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
