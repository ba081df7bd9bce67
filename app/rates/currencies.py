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
