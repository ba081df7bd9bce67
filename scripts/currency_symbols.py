"""Writes the symbols that currencies have in their own countries, from Babel (CLDR); --check only compares.

Run it after updating Babel. English has symbols for some twenty currencies. The others come from the country whose
code begins the currency code (ISO 4217): from the English written there, else from its likely language.
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

FILE: Final = Path(__file__).resolve().parent.parent / "app/currencies/data/symbols.json"


def home_symbols() -> dict[str, str]:
    """The local symbol of each currency for which English has only the code.

    Without symbols that English uses for another currency, so that "$" never means Argentine pesos.
    """
    english = {code: get_currency_symbol(code, locale="en") for code in sorted(list_currencies())}
    taken = set(english.values())
    found = {code: _home_symbol(code) for code, symbol in english.items() if symbol == code}
    return {code: symbol for code, symbol in found.items() if symbol and symbol not in taken}


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


def main() -> None:
    """Write the file; with --check, fail if it is out of date."""
    wanted = json.dumps(home_symbols(), ensure_ascii=False, indent=0) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(wanted, encoding="utf-8")
    elif FILE.read_text("utf-8") != wanted:
        sys.exit(f"{FILE.name} does not match Babel; run: .venv/bin/python -m scripts.currency_symbols")


if __name__ == "__main__":
    main()
