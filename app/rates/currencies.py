"""Names, symbols and minor units of currencies, from CLDR."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple

from babel import Locale
from babel.numbers import get_currency_name, get_currency_precision, get_currency_symbol
from babel.numbers import list_currencies as cldr_currencies
from sqlalchemy import select as select_columns  # takes any number of columns, which sqlmodel's does not
from sqlmodel import col, func
from sqlmodel.ext.asyncio.session import AsyncSession

from app.countries.models import Country
from app.rates.models import CurrencySpan
from app.rates.schemas import CurrencyPublic

CURRENCY_FIELDS: Final = tuple(CurrencyPublic.model_fields)


Span = tuple[date, date]
"""First and last day."""


_ENGLISH = Locale("en")


class CurrencyFacts(NamedTuple):
    """What is known of a currency beside its rates."""

    name: str
    """English."""
    symbol: str
    """As English writes it; where that is the code, the sign at home. Several may share one; the code where none is."""
    minor_units: int
    """Decimals of the smallest amount that can be paid."""


@cache
def currency_facts(code: str) -> CurrencyFacts | None:
    """Look a currency up; None where CLDR does not know it, as with crypto currencies."""
    if code not in cldr_currencies():
        return None
    symbol = get_currency_symbol(code, locale=_ENGLISH)
    return CurrencyFacts(
        get_currency_name(code, locale=_ENGLISH),
        symbol if symbol != code else _home_symbols().get(code, code),
        get_currency_precision(code),
    )


@cache
def _home_symbols() -> dict[str, str]:
    """Signs that CLDR has in the currencies' own languages only.

    ``scripts/currency_symbols.py`` wrote them down from Babel: to load all
    these languages here would take each process a second and 60 MB.
    """
    text = (resources.files("app.rates") / "data" / "symbols.json").read_text("utf-8")
    symbols: dict[str, str] = json.loads(text)
    return symbols


def minor_units(code: str) -> int | None:
    """Decimals in which a currency is paid; None where nobody has set them."""
    facts = currency_facts(code)
    return facts.minor_units if facts else None


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
