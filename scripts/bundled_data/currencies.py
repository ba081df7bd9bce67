"""Builds currencies.json: currencies as ISO 4217 knows them."""

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from babel import Locale
from babel.numbers import get_currency_name, list_currencies

from scripts.bundled_data.files import read_input
from scripts.bundled_data.packages import read_json
from scripts.bundled_data.symbols import read_symbols

_ENGLISH: Final = Locale("en")
_METALS: Final = {"XAG", "XAU", "XPD", "XPT"}
_NOT_MONEY: Final = {"XTS", "XXX"}
"""Codes for tests, and for no currency."""
_UNITS_OF_ACCOUNT: Final = {"XAD", "XBA", "XBB", "XBC", "XBD", "XDR", "XSU", "XUA", "UYW"}
"""ISO 4217 does not mark these as funds."""
_CRYPTO_NAMES: Final = {"KAS": "Kaspa", "XBT": "Bitcoin"}  # currency-api has none for these


def build_currencies(core: Path, crypto: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Facts by code: everything in ISO 4217, then what CLDR and our own table have, then ``crypto``.

    Args:
        core: The tarball of cldr-core.
        crypto: Names by code of what currency-api quotes. Codes that turn out to be money are ignored.
    """
    cldr = read_json(core, "supplemental/currencyData.json", "supplemental", "currencyData")
    own = read_input("currencies.json")
    found: dict[str, dict[str, Any]] = {}
    for code, entry in iso_table().items():
        kind = "metal" if code in _METALS else "fund" if entry["fund"] or code in _UNITS_OF_ACCOUNT else "current"
        found[code] = {
            "name": _english_name(code) or entry["name"],
            "iso_name": entry["name"],
            "numeric": entry["numeric"],
            "kind": kind,
            "minor_units": entry["minor_units"],
            "cash_decimals": None if entry["minor_units"] is None else _cash_decimals(cldr["fractions"], code),
        }
    for code, (name, _) in own["local"].items():
        found[code] = _unlisted(name, "current", 2, _cash_decimals(cldr["fractions"], code))
    last_days = _last_days(cldr["region"])
    for code in sorted((set(list_currencies()) | own["historic"].keys()) - found.keys() - _NOT_MONEY):
        facts = own["historic"].get(code, {})
        name = facts.get("name") or _english_name(code) or code
        decimals = int(cldr["fractions"].get(code, cldr["fractions"]["DEFAULT"])["_digits"])
        found[code] = {
            **_unlisted(name, "historic", decimals, _cash_decimals(cldr["fractions"], code)),
            "last_day": facts.get("last_day") or last_days.get(code),
            **{key: facts[key] for key in ("successor", "factor", "fixed_since") if key in facts},
        }
    for code, name in crypto.items():
        if code not in found and (name := name or _CRYPTO_NAMES.get(code, "")):
            found[code] = _unlisted(name, "crypto", None, None)
    symbols = read_symbols()
    rows = {
        code: {"name": facts["name"], "symbol": symbols.get(code), **facts} for code, facts in sorted(found.items())
    }
    return {code: {key: value for key, value in row.items() if value is not None} for code, row in rows.items()}


def iso_table() -> dict[str, dict[str, Any]]:
    """List One of ISO 4217, from the PyPI package iso4217, by code."""
    found: dict[str, dict[str, Any]] = {}
    for row in _iso_rows():
        code, name = row.findtext("Ccy"), row.find("CcyNm")
        if code is None or name is None or code in _NOT_MONEY:
            continue
        units = (row.findtext("CcyMnrUnts") or "").strip()
        found[code] = {
            "name": (name.text or "").strip(),
            "numeric": (row.findtext("CcyNbr") or "").strip().zfill(3),
            "minor_units": int(units) if units.isdigit() else None,
            "fund": name.get("IsFund") == "true",
        }
    return found


def iso_countries() -> dict[str, set[str]]:
    """The currencies of each country in that list, by its name in capitals; some have none."""
    found: dict[str, set[str]] = {}
    for row in _iso_rows():
        code = row.findtext("Ccy")
        found.setdefault((row.findtext("CtryNm") or "").strip(), set()).update([code] if code else [])
    return found


def _iso_rows() -> Iterator[ET.Element]:
    return ET.fromstring((resources.files("iso4217") / "table.xml").read_text("utf-8")).iter("CcyNtry")


def check_currencies(currencies: dict[str, dict[str, Any]]) -> None:
    """Refuse odd codes, nameless ones, and successors that lead nowhere."""
    for code, facts in currencies.items():
        if not re.fullmatch("[A-Z]{3}", code) or not facts["name"]:
            raise ValueError(f"currency {code!r} has the name {facts['name']!r}")
        seen = [code]
        while successor := currencies[seen[-1]].get("successor"):
            if successor in seen or successor not in currencies:
                raise ValueError(f"the successors of {code} lead nowhere: {' '.join([*seen, successor])}")
            seen.append(successor)


def _unlisted(name: str, kind: str, minor_units: int | None, cash_decimals: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "iso_name": None,
        "numeric": None,
        "kind": kind,
        "minor_units": minor_units,
        "cash_decimals": cash_decimals,
    }


def _english_name(code: str) -> str | None:
    name = get_currency_name(code, locale=_ENGLISH)
    return name if name != code else None


def _cash_decimals(fractions: dict[str, dict[str, str]], code: str) -> int:
    digits = fractions.get(code, fractions["DEFAULT"])
    return int(digits.get("_cashDigits", digits["_digits"]))


def _last_days(regions: dict[str, list[dict[str, dict[str, str]]]]) -> dict[str, str]:
    """The last day on which each currency was in use anywhere, by CLDR."""
    days: dict[str, str] = {}
    for periods in regions.values():
        for period in periods:
            for code, facts in period.items():
                if facts.get("_tender") != "false" and "_to" in facts:
                    days[code] = max(days.get(code, ""), facts["_to"])
    return days
