"""Names, symbols and minor units of currencies, from CLDR."""

from functools import cache
from typing import NamedTuple

from babel import Locale
from babel.numbers import get_currency_name, get_currency_precision, get_currency_symbol, list_currencies

_ENGLISH = Locale("en")


class CurrencyFacts(NamedTuple):
    """What is known of a currency beside its rates."""

    name: str
    """English."""
    symbol: str
    """The code where there is no other sign."""
    minor_units: int
    """Decimals of the smallest amount that can be paid."""


@cache
def currency_facts(code: str) -> CurrencyFacts | None:
    """Look a currency up; None where CLDR does not know it, as with crypto currencies."""
    if code not in list_currencies():
        return None
    name, symbol = get_currency_name(code, locale=_ENGLISH), get_currency_symbol(code, locale=_ENGLISH)
    return CurrencyFacts(name, symbol, get_currency_precision(code))


def minor_units(code: str) -> int | None:
    """Decimals in which a currency is paid; None where nobody has set them."""
    facts = currency_facts(code)
    return facts.minor_units if facts else None
