"""The data files that ship with the service, and the script that rewrites them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.core.db.keys import name_key
from scripts.bundled_data.countries import currencies_in_force
from scripts.bundled_data.symbols import read_symbols

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "app/sources/data"
FACTS = json.loads((DATA / "countries.json").read_text("utf-8"))
COUNTRIES: dict[str, dict[str, Any]] = {row["alpha2"]: row for row in FACTS["countries"]}
NAMES: dict[str, list[str]] = json.loads((DATA / "names.json").read_text("utf-8"))
CODE_BY_KEY = {name_key(name): code for code, names in NAMES.items() for name in names}
CURRENCIES = json.loads((DATA / "currencies.json").read_text("utf-8"))["currencies"]
RATES = json.loads((DATA / "rates.json").read_text("utf-8"))

COUNTRY_FACTS = """
    AQ Antarctic - Antarctica|AX Europe EUR Åland Islands|BG Europe EUR Bulgaria|BY Europe BYN Belarus
    CI Africa XOF Côte d’Ivoire|CU Americas CUP Cuba|CW Americas XCG Curaçao|CY Asia EUR Cyprus
    HK Asia HKD Hong Kong|HR Europe EUR Croatia|HT Americas HTG Haiti|LS Africa LSL Lesotho|MM Asia MMK Myanmar
    MO Asia MOP Macao|MR Africa MRU Mauritania|NA Africa NAD Namibia|NG Africa NGN Nigeria|PA Americas PAB Panama
    PS Asia ILS Palestine|SL Africa SLE Sierra Leone|ST Africa STN São Tomé & Príncipe|SV Americas USD El Salvador
    SX Americas XCG Sint Maarten|TR Asia TRY Türkiye|US Americas USD United States|VE Americas VES Venezuela
    CV Africa CVE Cabo Verde|XK Europe EUR Kosovo|ZW Africa ZWG Zimbabwe
"""
SPELLINGS = """
    AX Aland Islands|BO Bolivia (Plurinational State of)|BQ Bonaire, Sint Eustatius and Saba|BS Bahamas, The
    BN Brunei Darussalam|CD DR Congo|CD Congo (Democratic Republic of the)|CD Congo, Dem. Rep.|CG Congo
    CG Republic of the Congo|CI Ivory Coast|CI COTE D'IVOIRE|CV Cabo Verde|CV Cape Verde|CW Curacao|CZ Czech Republic
    CZ Czechia|GB Great Britain|GB UK|GB United Kingdom of Great Britain and Northern Ireland|GS South Georgia
    HK Hong Kong|HK Hong Kong SAR China|IR Iran (Islamic Republic of)|KP North Korea|KR South Korea
    KR Korea (Republic of)|LA Lao People's Democratic Republic|MF Saint Martin (French part)|MK Macedonia|MM Burma
    MO Macau|NL Holland|PS Palestine, State of|RU Russian Federation|SX Sint Maarten (Dutch part)|SZ Swaziland
    SZ Eswatini|TF French Southern and Antarctic Lands|TR Turkey|TR Turkiye|TZ Tanzania, United Republic of|US USA
    VA Holy See|VA Vatican|VA Vatican City|VE Venezuela (Bolivarian Republic of)|VG Virgin Islands (British)
    VI United States Virgin Islands|VN Viet Nam|XK Republic of Kosovo|DE Deutschland|DE Federal Republic of Germany
    JP 日本|GR Ελλάδα|UA Україна|GB Y Deyrnas Unedig|NZ Aotearoa|CH Svizra|KR Korea, Republic of|PH Philippines (the)
    KR Korea (the Republic of)|IR Iran, Islamic Republic of|AE U.A.E.|CD DRC|KP DPRK|LK Ceylon|TH Siam|VA Holy See *
"""


def test_there_are_250_countries_in_order_each_with_a_code_and_name_of_its_own() -> None:
    assert list(COUNTRIES) == sorted(COUNTRIES)
    assert len(FACTS["countries"]) == len(COUNTRIES) == 250
    assert len({row["alpha3"] for row in COUNTRIES.values()}) == 250
    assert len({name_key(row["name"]) for row in COUNTRIES.values()}) == 250


def test_every_region_is_one_that_clients_know_and_populations_count_people() -> None:
    regions = {row["region"] for row in COUNTRIES.values()}
    assert regions == {"Africa", "Americas", "Antarctic", "Asia", "Europe", "Oceania"}
    assert all(type(row["population"]) is int and row["population"] >= 0 for row in COUNTRIES.values())
    assert COUNTRIES["NG"]["population"] == 242_431_832


@pytest.mark.parametrize("fact", re.split(r"[|\n]\s*", COUNTRY_FACTS.strip()))
def test_countries_have_their_accents_their_region_and_the_currency_in_force(fact: str) -> None:
    code, region, currency, name = fact.split(maxsplit=3)
    row = COUNTRIES[code]
    assert (row["name"], row["region"], next(iter(row["currencies"]), "-")) == (name, region, currency)


def test_capitals_are_current_have_their_accents_and_may_be_absent() -> None:
    expected = {"AQ": [], "BI": ["Gitega"], "CW": ["Willemstad"], "GQ": ["Ciudad de la Paz"], "KZ": ["Astana"]}
    expected |= {"BR": ["Brasília"], "CO": ["Bogotá"], "EH": ["El Aaiún"], "IS": ["Reykjavík"], "MD": ["Chișinău"]}
    expected |= {"MV": ["Malé"], "PY": ["Asunción"], "PW": ["Ngerulmud"], "ST": ["São Tomé"], "TK": []}
    expected |= {"BO": ["Sucre", "La Paz"], "ZA": ["Pretoria", "Cape Town", "Bloemfontein"]}
    assert {code: COUNTRIES[code]["capitals"] for code in expected} == expected


def test_bundled_rates_are_sorted_positive_per_dollar_and_cover_every_country() -> None:
    assert (RATES["base"], RATES["rates"]["USD"]) == ("USD", 1)
    assert list(RATES["rates"]) == sorted(RATES["rates"])
    assert all(re.fullmatch("[A-Z]{3}", code) and 0 < rate < 1e12 for code, rate in RATES["rates"].items())
    assert {code for row in COUNTRIES.values() for code in row["currencies"]} <= RATES["rates"].keys()


def test_every_spelling_means_one_country_and_the_first_is_the_shown_name() -> None:
    assert sum(map(len, NAMES.values())) == len(CODE_BY_KEY)
    assert {code: names[0] for code, names in NAMES.items()} == {c: row["name"] for c, row in COUNTRIES.items()}


def test_official_names_lead_to_their_country() -> None:
    official = {code: row["official_name"] for code, row in COUNTRIES.items() if row["official_name"]}

    assert len(official) == 195
    assert {code: CODE_BY_KEY[name_key(name)] for code, name in official.items()} == {code: code for code in official}


@pytest.mark.parametrize("spelling", re.split(r"[|\n]\s*", SPELLINGS.strip()))
def test_names_of_other_lists_lead_to_the_country(spelling: str) -> None:
    code, name = spelling.split(maxsplit=1)
    assert CODE_BY_KEY[name_key(name)] == code


@pytest.mark.parametrize("name", ["Abkhazia", "Northern Cyprus", "Somaliland", "South Ossetia", "Korea", "World"])
def test_places_outside_the_list_and_ambiguous_names_lead_nowhere(name: str) -> None:
    assert name_key(name) not in CODE_BY_KEY


def test_a_currency_counts_until_the_day_it_ends_and_geonames_decides_between_two() -> None:
    bulgaria = [{"EUR": {"_from": "2026-01-01"}}, {"BGN": {"_from": "1999-07-05", "_to": "2026-02-01"}}]
    assert currencies_in_force(bulgaria, "BGN", "2026-01-31") == ["BGN", "EUR"]
    assert currencies_in_force(bulgaria, "BGN", "2026-02-01") == ["EUR"]
    assert currencies_in_force([{"XXX": {"_tender": "false"}}], "", "2026-01-01") == []


def test_symbols_of_currencies_are_those_of_the_installed_cldr() -> None:
    symbols = read_symbols()

    shown = {code: row.get("symbol") for code, row in CURRENCIES.items()}
    assert shown == {code: symbols.get(code) for code in CURRENCIES}
    assert symbols.keys() - CURRENCIES.keys() == {"XXX"}
