"""Builds all bundled files together, so that each is checked against the others before any is written."""

import json
from datetime import date
from pathlib import Path
from typing import Any, Final

from app.core.db.keys import name_key
from scripts.bundled_data import countries, currencies, ecb, names, rates, second_sources, sources
from scripts.bundled_data.factbook import read_factbook
from scripts.bundled_data.files import DATA, one_per_line, read_input, read_table
from scripts.bundled_data.packages import find_tarball, read_json, read_member

_NOT_COINS: Final = {"SPL"}  # the "luigino" of Seborga, a micronation


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
    quoted = json.loads(files.get("rates.json") or (DATA / "rates.json").read_text("utf-8"))
    document = sources.build_sources(quoted["source"]["version"])
    return files | {
        "sources.json": one_per_line(document, *document),
        "ATTRIBUTION.md": sources.attribution(document),
    }


def _country_files(folder: Path) -> dict[str, str]:
    core, localenames = (find_tarball(folder, *package) for package in countries.CLDR_PACKAGES.items())
    english = read_json(localenames, "main/en/territories.json", "main", "en", "localeDisplayNames", "territories")
    geo = countries.geonames()
    rows = countries.build_countries(core, english, geo)
    countries.check_countries(rows)
    native = names.native_names(core, localenames, list(geo))
    spellings = names.build_spellings(rows, english, geo, native, read_input("spellings.json"))
    reasons = read_input("reasons.json")
    second_sources.refuse_unlisted(_compare(rows, spellings, geo), reasons)
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


def compare_bundled() -> list[second_sources.Field]:
    """Hold the files as they are against their second sources."""
    files = ("countries.json", "names.json", "rates.json")
    rows, spellings, quoted = (json.loads((DATA / name).read_text("utf-8")) for name in files)
    fields = _compare(rows["countries"], spellings, countries.geonames())
    return [*fields, ecb.compare_rates(quoted["rates"], date.fromisoformat(quoted["date"]))]


def _compare(
    rows: list[dict[str, Any]], spellings: dict[str, list[str]], geo: dict[str, Any]
) -> list[second_sources.Field]:
    others = second_sources.Sources(
        geonames=geo,
        factbook=read_factbook({code: facts["fips"] for code, facts in geo.items()}),
        world_bank=read_table("world_bank.csv"),
        iso_currencies={name_key(name): frozenset(codes) for name, codes in currencies.iso_countries().items()},
        codes_by_name={name_key(name): code for code, listed in spellings.items() for name in listed},
    )
    return second_sources.compare(rows, others, read_input("reasons.json"))


def _rate_files(folder: Path, files: dict[str, str]) -> dict[str, str]:
    text = files.get("currencies.json") or (DATA / "currencies.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    latest, earlier = _rate_tarballs(folder)
    built = rates.build_rates(latest, earlier, document)
    second_sources.refuse_unlisted([ecb.compare_rates(built["rates"], date.fromisoformat(built["date"]))], {})
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
