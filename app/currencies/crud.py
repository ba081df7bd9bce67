"""Queries of currencies: which are quoted or used, and what is known about each."""

import asyncio
from collections import defaultdict
from typing import Final

from sqlmodel import col, func
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.countries.models import Country
from app.currencies.facts import currency_facts
from app.currencies.schemas import CurrencyPublic
from app.rates.models import CurrencySpan

CURRENCY_FIELDS: Final = tuple(CurrencyPublic.model_fields)


async def list_currencies(session: AsyncSession) -> list[tuple[object, ...]]:
    """``CURRENCY_FIELDS`` of every currency that a source has quoted or a stored country uses, sorted by code."""
    query = select_columns(CurrencySpan.quote, func.min(CurrencySpan.first_day), func.max(CurrencySpan.last_day))
    quoted = await execute(session, query.group_by(col(CurrencySpan.quote)))
    spans = {code: (first, last) for code, first, last in quoted}
    query = select_columns(Country.currency_code, func.coalesce(Country.alpha2_code, Country.name))
    users: dict[str, list[str]] = defaultdict(list)
    for code, country in await execute(session, query.where(col(Country.currency_code).is_not(None))):
        users[code].append(country)

    def describe(code: str) -> tuple[object, ...]:
        facts = currency_facts(code) or (None, code, None)
        return (code, *facts, sorted(users.get(code, [])), *spans.get(code, (None, None)))

    # The first call in a process reads CLDR's English names, which takes 80 ms.
    return await asyncio.to_thread(lambda: [describe(code) for code in sorted({*spans, *users})])
