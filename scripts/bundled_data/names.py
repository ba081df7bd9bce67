"""Builds names.json: every spelling of every country."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.core.db.keys import name_key
from app.sources.spellings import spelling_key
from scripts.bundled_data.packages import read_json


def build_spellings(
    countries: list[dict[str, Any]],
    english: dict[str, str],
    geo: dict[str, Any],
    native: dict[str, list[str]],
    ours: dict[str, list[str]],
) -> dict[str, list[str]]:
    """All spellings of each country: the displayed name, then CLDR's, GeoNames', the official ones and ours."""
    if strangers := ours.keys() - geo.keys():
        raise ValueError(f"spellings.json: unknown codes {', '.join(sorted(strangers))}")
    found: dict[str, list[str]] = {}
    for row in countries:
        code = row["alpha2"]
        official = [row["official_name"]] if row["official_name"] else []
        found[code] = [row["name"], *official, *row.get("older_names", [])]
    for key, name in sorted(english.items()):
        if key[:2] in found and re.fullmatch("[A-Z]{2}(-alt-.+)?", key):
            found[key[:2]].append(name)
    return without_repeats(
        {code: [*found[code], geo[code]["name"].strip(), *ours.get(code, []), *native.get(code, [])] for code in found}
    )


def without_repeats(spellings: dict[str, list[str]]) -> dict[str, list[str]]:
    """Keep the first spelling of each ``name_key()``.

    Raises:
        ValueError: Two countries share a ``spelling_key()``, so a name would be ambiguous.
    """
    owner: dict[str, str] = {}
    kept: dict[str, dict[str, str]] = {code: {} for code in spellings}
    for code, names in spellings.items():
        for name in names:
            first = owner.setdefault(spelling_key(name), code)
            if first != code:
                raise ValueError(f"{name!r} would mean both {first} and {code}")
            kept[code].setdefault(name_key(name), name)
    return {code: list(names.values()) for code, names in kept.items()}


def native_names(core: Path, localenames: Path, codes: list[str]) -> dict[str, list[str]]:
    """The name of each country in each of its official languages that CLDR has."""
    info = read_json(core, "supplemental/territoryInfo.json", "supplemental", "territoryInfo")
    found: dict[str, list[str]] = {}
    for code in codes:
        for language in _official_languages(info.get(code, {}).get("languagePopulation", {})):
            member = f"main/{language}/territories.json"
            try:
                names = read_json(localenames, member, "main", language, "localeDisplayNames", "territories")
            except ValueError:
                continue  # a language without a translation
            if (name := names.get(code, code)) != code:
                found.setdefault(code, []).append(name)
    return found


def _official_languages(languages: dict[str, dict[str, str]]) -> Iterator[str]:
    for language, facts in languages.items():
        if "_officialStatus" in facts:
            yield language.replace("_", "-")
