"""What is known of each currency: its facts, who uses it, and since when it is quoted."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from sqlalchemy import select as select_columns  # takes any number of columns, which sqlmodel's does not
from sqlmodel import col, func
from sqlmodel.ext.asyncio.session import AsyncSession

from app.countries.models import Country
from app.countries.schemas import CurrencyPublic
from app.rates.currencies import currency_facts
from app.rates.models import CurrencySpan

CURRENCY_FIELDS: Final = tuple(CurrencyPublic.model_fields)
Span = tuple[date, date]
"""First and last day."""


async def list_currencies(session: AsyncSession) -> list[tuple[object, ...]]:
    """Every currency that a source ever quoted or that a stored country uses, in the order of the codes.

    Returns:
        For each the values of ``CURRENCY_FIELDS``.
    """
    spans, users = await _read_spans(session), await _read_users(session)
    # The first one in a process reads CLDR's English, which takes 80 ms.
    return await asyncio.to_thread(_rows, spans, users)


def _rows(spans: Mapping[str, Span], users: Mapping[str, list[str]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for code in sorted({*spans, *users}):
        name, symbol, minor_units = currency_facts(code) or (None, code, None)
        rows.append((code, name, symbol, minor_units, sorted(users.get(code, [])), *spans.get(code, (None, None))))
    return rows


async def _read_spans(session: AsyncSession) -> dict[str, Span]:
    """First and last day of each currency over all sources."""
    columns: tuple[Any, ...] = (CurrencySpan.quote, func.min(CurrencySpan.first_day), func.max(CurrencySpan.last_day))
    query = select_columns(*columns).group_by(col(CurrencySpan.quote))
    return {code: (first, last) for code, first, last in await (await session.connection()).execute(query)}


async def _read_users(session: AsyncSession) -> dict[str, list[str]]:
    """The stored countries that use each currency."""
    columns: tuple[Any, ...] = (Country.currency_code, func.coalesce(Country.alpha2_code, Country.name))
    query = select_columns(*columns).where(col(Country.currency_code).is_not(None))
    users: dict[str, list[str]] = defaultdict(list)
    for code, country in await (await session.connection()).execute(query):
        users[code].append(country)
    return users
