"""Builds all bundled files together, so that each is checked against the others before any is written."""

import json
from pathlib import Path
from typing import Any

from scripts.bundled_data import countries, currencies, names, rates
from scripts.bundled_data.files import DATA, one_per_line, read_input
from scripts.bundled_data.packages import find_tarball, read_json, read_member


def build(folder: Path, only: str | None) -> dict[str, str]:
    """The new content of the bundled files, by name.

    Args:
        folder: Has the tarballs of CLDR and of two versions of currency-api.
        only: ``rates`` or ``countries`` to rebuild one part, None for both.

    Raises:
        ValueError: An input is missing, or a value fails a gate.
    """
    files: dict[str, str] = {}
    if only != "rates":
        files |= _country_files(folder)
    if only != "countries":
        files |= _rate_files(folder, files)
    return files


def _country_files(folder: Path) -> dict[str, str]:
    core, localenames = (find_tarball(folder, *package) for package in countries.CLDR_PACKAGES.items())
    english = read_json(localenames, "main/en/territories.json", "main", "en", "localeDisplayNames", "territories")
    geo = countries.geonames()
    rows = countries.build_countries(core, english, geo)
    countries.check_countries(rows)
    native = names.native_names(core, localenames, list(geo))
    spellings = names.build_spellings(rows, english, geo, native, read_input("spellings.json"))
    own = read_input("currencies.json")
    money = currencies.build_currencies(core, _crypto_names(folder))
    currencies.check_currencies(money)
    document = {"currencies": money, "redenominations": own["redenominations"], "pegs": own["pegs"]}
    return {
        "countries.json": one_per_line({"date": countries.CURRENCY_DAY, "countries": rows}, "countries"),
        "names.json": one_per_line(spellings),
        "currencies.json": one_per_line(document, *document),
        "LICENSE-unicode.txt": read_member(core, "LICENSE").decode(),
    }


def _rate_files(folder: Path, files: dict[str, str]) -> dict[str, str]:
    text = files.get("currencies.json") or (DATA / "currencies.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    latest, earlier = _rate_tarballs(folder)
    built = rates.build_rates(latest, earlier, document["currencies"], document)
    return {"rates.json": one_per_line(built, "rates")}


def _rate_tarballs(folder: Path) -> tuple[Path, Path]:
    """The latest version of currency-api, and the earlier one."""
    earlier = find_tarball(folder, rates.PACKAGE, rates.EARLIER_VERSION)
    others = [path for path in folder.glob("fawazahmed0-currency-api-*.tgz") if path != earlier]
    if len(others) != 1:
        raise ValueError(f"{folder} must contain one later version of {rates.PACKAGE}, contains {len(others)}")
    return others[0], earlier


def _crypto_names(folder: Path) -> dict[str, str]:
    """What currency-api calls the three-letter codes that it quotes."""
    latest, _ = _rate_tarballs(folder)
    _, quoted = rates.read_rates(latest)
    listed = read_json(latest, "v1/currencies.json")
    return {code: str(listed.get(code.lower(), "")).strip() for code in quoted if code not in _NOT_COINS}


_NOT_COINS = {"SPL"}  # the "luigino" of Seborga, a micronation
