"""Names, symbols and minor units of currencies, from CLDR."""

import json
from functools import cache
from importlib import resources
from typing import NamedTuple

from babel import Locale
from babel.numbers import get_currency_name, get_currency_precision, get_currency_symbol
from babel.numbers import list_currencies as cldr_currencies

_ENGLISH = Locale("en")


class CurrencyFacts(NamedTuple):
    """Name, symbol and precision of a currency."""

    name: str
    """In English."""
    symbol: str
    """English symbol, or else the local one, or else the code. Several currencies may share a symbol."""
    minor_units: int
    """Decimal places of the smallest unit."""


@cache
def currency_facts(code: str) -> CurrencyFacts | None:
    """Look up a currency; None if CLDR does not have it, as with cryptocurrencies."""
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
    """Symbols that CLDR has only in a currency's local languages; ``scripts/currency_symbols.py`` extracted them."""
    # Loading all these languages from Babel would cost each process a second and 60 MB.
    symbols: dict[str, str] = json.loads((resources.files("app.currencies") / "data" / "symbols.json").read_bytes())
    return symbols
