"""Writes the signs that currencies have at home, as Babel (CLDR) knows them; --check only compares.

Run it after an update of Babel. English has a sign of its own for some twenty currencies; the others are read from
the language of the country whose code begins the currency's (ISO 4217): English as it is written there, else the
likely language.
"""

import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel import Locale
from babel.core import get_global
from babel.localedata import exists
from babel.numbers import get_currency_symbol, list_currencies

FILE: Final = Path(__file__).resolve().parent.parent / "app/rates/data/symbols.json"


def home_symbols() -> dict[str, str]:
    """The sign of each currency for which English has only the code, where its country has one that is clear.

    Not what English takes for another currency: a price in Argentine pesos is not to be read as one in US dollars.
    """
    english = {code: get_currency_symbol(code, locale="en") for code in sorted(list_currencies())}
    taken = set(english.values())
    found = {code: _home_symbol(code) for code, symbol in english.items() if symbol == code}
    return {code: symbol for code, symbol in found.items() if symbol and symbol not in taken}


def _home_symbol(code: str) -> str:
    """Empty where there is none."""
    symbols = (get_currency_symbol(code, locale=locale) for locale in _locales(code[:2]))
    return next((visible for symbol in symbols if symbol != code and (visible := _visible(symbol))), "")


def _locales(territory: str) -> Iterator[Locale]:
    likely = get_global("likely_subtags").get(f"und_{territory}", f"und_{territory}")
    language, *_ = likely.split("_")
    for name in (f"en_{territory}", likely, f"{language}_{territory}"):
        if exists(name):
            yield Locale.parse(name)


def _visible(symbol: str) -> str:
    """Without marks for the direction of writing; Cape Verde's sign is nothing but a space of no width."""
    return "".join(char for char in symbol if unicodedata.category(char) != "Cf").strip()


def main() -> None:
    """Write the file, or fail where it is not the one that is there."""
    wanted = json.dumps(home_symbols(), ensure_ascii=False, indent=0) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(wanted, encoding="utf-8")
    elif FILE.read_text("utf-8") != wanted:
        sys.exit(f"{FILE.name} is not what Babel says; run: .venv/bin/python -m scripts.currency_symbols")


if __name__ == "__main__":
    main()
