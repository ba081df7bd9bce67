"""Finds the symbols of currencies in CLDR, through Babel.

English has symbols for some twenty currencies. The others come from the country whose code begins the currency code
(ISO 4217): from the English written there, else from its likely language.
"""

import unicodedata
from collections.abc import Iterator

from babel import Locale
from babel.core import get_global
from babel.localedata import exists
from babel.numbers import get_currency_symbol, list_currencies


def read_symbols() -> dict[str, str]:
    """The symbol of each currency by code, without those that have only their code.

    A local symbol that English uses for another currency is left out, so that "$" never means Argentine pesos.
    """
    english = {code: get_currency_symbol(code, locale="en") for code in sorted(list_currencies())}
    taken = set(english.values())
    found: dict[str, str] = {}
    for code, symbol in english.items():
        if symbol != code:
            found[code] = symbol
        elif (local := _home_symbol(code)) and local not in taken:
            found[code] = local
    return found


def _home_symbol(code: str) -> str:
    """Empty if there is none."""
    symbols = (get_currency_symbol(code, locale=locale) for locale in _locales(code[:2]))
    return next((visible for symbol in symbols if symbol != code and (visible := _visible(symbol))), "")


def _locales(territory: str) -> Iterator[Locale]:
    likely = get_global("likely_subtags").get(f"und_{territory}", f"und_{territory}")
    language, *_ = likely.split("_")
    for name in (f"en_{territory}", likely, f"{language}_{territory}"):
        if exists(name):
            yield Locale.parse(name)


def _visible(symbol: str) -> str:
    """Without invisible characters; the symbol of Cape Verde's currency is only a zero-width space."""
    return "".join(char for char in symbol if unicodedata.category(char) != "Cf").strip()
