"""A source is taken at its word, except where its data are known to be outdated; the report says so."""

import pytest

from app.core.config.sources import COUNTRY_URLS
from app.sources.countries import to_country_list
from tests.conftest import COUNTRIES
from tests.support import payloads
from tests.support.upstream import document

SQLITE = pytest.mark.engines("sqlite")
OLD: dict[str, dict[str, object]] = {
    "BG": {"currencies": {"BGN": {}}},
    "CI": {"name": {"common": "Ivory Coast"}},
    "CK": {"currencies": {"CKD": {}, "NZD": {}}},
    "CU": {"currencies": {"CUC": {}, "CUP": {}}},
    "CW": {"currencies": {"ANG": {}}},
    "EH": {"currencies": {"DZD": {}, "MAD": {}, "MRU": {}}, "capital": ["El Aaiun"]},
    "MN": {"capital": ["Ulan Bator"]},
    "PS": {"currencies": {"EGP": {}, "ILS": {}, "JOD": {}}, "capital": ["Ramallah", "Jerusalem"]},
    "SX": {"currencies": {"ANG": {}}},
    "TR": {"name": {"common": "Turkey"}},
    "VE": {"currencies": {"VEF": {}}},
    "ZW": {"currencies": {code: {} for code in ("BWP", "GBP", "ZAR", "USD")}},
}
"""As published lists had them in 2026."""
AT_ITS_WORD: dict[str, dict[str, object]] = {
    "BT": {"currencies": {"INR": {}, "USD": {}}},
    "GH": {"name": {"common": "Swaziland"}, "capital": ["Lagos"], "currencies": {"XYZ": {}}},
    "HT": {"currencies": {"USD": {}}},
    "PA": {"currencies": {"USD": {}, "EUR": {}}},
    "SZ": {"name": {"common": "Burma"}, "capital": []},
    "XK": {"currencies": {"RSD": {}, "CHF": {}}},
}
KEPT = """
    Bulgaria|currency_code|EUR|BGN|BGN was withdrawn
    Cook Islands|currency_code|NZD|CKD, NZD|of several currencies, the first in our list is stored
    Cuba|currency_code|CUP|CUC, CUP|CUC was withdrawn
    Curaçao|currency_code|XCG|ANG|ANG was withdrawn
    Côte d’Ivoire|name|Côte d’Ivoire|Ivory Coast|an older or different spelling of the same country
    Mongolia|capital|Ulaanbaatar|Ulan Bator|an older capital, or a different spelling of it
    Palestine|currency_code|ILS|EGP, ILS, JOD|of several currencies, the first in our list is stored
    Sint Maarten|currency_code|XCG|ANG|ANG was withdrawn
    Türkiye|name|Türkiye|Turkey|an older or different spelling of the same country
    Venezuela|currency_code|VES|VEF|VEF was withdrawn
    Western Sahara|capital|El Aaiún|El Aaiun|an older capital, or a different spelling of it
    Western Sahara|currency_code|MAD|DZD, MAD, MRU|of several currencies, the first in our list is stored
    Zimbabwe|currency_code|ZWG|BWP, GBP, ZAR, USD|BWP is a known mistake
"""


async def test_outdated_values_become_todays_and_all_others_are_the_sources(loaded, upstream):
    before = {country["alpha2_code"]: country for country in (await loaded.get("/countries")).json()}
    changes = OLD | AT_ITS_WORD
    upstream.answers[COUNTRIES] = document([r | changes.get(r["cca2"], {}) for r in payloads.v3_1()])

    report = (await loaded.post("/countries/refresh")).json()
    after = {country["alpha2_code"]: country for country in (await loaded.get("/countries")).json()}

    shown = ["|".join(entry.values()) for entry in report["kept"]]
    assert sorted(shown) == [line.strip() for line in KEPT.strip().splitlines()]
    assert list(report["kept"][0]) == ["name", "field", "value", "source_value", "reason"]
    same = ("name", "capital", "currency_code", "exchange_rate", "estimated_gdp")
    assert {code: [after[code][field] for field in same] for code in OLD if code != "PS"} == {
        code: [before[code][field] for field in same] for code in OLD if code != "PS"
    }
    words = {code: (after[code]["name"], after[code]["capital"], after[code]["currency_code"]) for code in AT_ITS_WORD}
    assert words == {
        "BT": ("Bhutan", "Thimphu", "INR"),
        "GH": ("Swaziland", "Lagos", "XYZ"),
        "HT": ("Haiti", "Port-au-Prince", "USD"),
        "PA": ("Panama", "Panama City", "USD"),
        "SZ": ("Burma", None, "SZL"),
        "XK": ("Kosovo", "Pristina", "RSD"),
    }
    assert (after["PS"]["capital"], after["PS"]["currency_code"]) == ("Ramallah", "ILS")


def test_of_several_currencies_none_is_stored_that_the_source_does_not_have():
    listed = [{"name": "Zimbabwe", "population": 1, "currencies": codes} for codes in (["USD", "ZAR"], ["ZAR", "USD"])]

    answers = [to_country_list([record]) for record in listed]

    assert [answer.facts[0].currencies for answer in answers] == [("USD", "ZAR")] * 2
    reason = "of several currencies, the first in our list is stored"
    assert [list(answer.kept) for answer in answers] == [
        [],
        [("Zimbabwe", "currency_code", "USD", "ZAR, USD", reason)],
    ]


@SQLITE
async def test_populations_without_a_year_are_not_read_from_the_sources_named_for_it(service, upstream, monkeypatch):
    monkeypatch.setitem(COUNTRY_URLS, "countries.dev", upstream.url(COUNTRIES))
    undated = [{**record, "population": 5} for record in payloads.countries_dev()]
    del undated[0]["population"]
    upstream.answers[COUNTRIES] = document([*undated, {"name": "Abkhazia", "population": 244_000}])
    async with service(country_sources="countries.dev") as client:
        report = (await client.post("/countries/refresh")).json()
        stored = {row["name"]: row["population"] for row in (await client.get("/countries")).json()}

    reason = "the source gives no year for its populations; those of the curated data have one"
    kept = {"name": "250 countries", "field": "population", "value": None, "source_value": None, "reason": reason}
    assert (report["kept"], report["skipped"]) == ([kept], [])
    assert [stored[name] for name in ("Andorra", "Ghana", "Abkhazia")] == [83_753, 35_697_557, 244_000]
    dated = to_country_list(undated, is_undated=True).facts
    assert {fact.population_year for fact in dated} >= {2024, 2026}


@SQLITE
async def test_reported_kept_values_are_limited(client, upstream):
    upper = [r | {"name": {"common": r["name"]["common"].upper()}} for r in payloads.v3_1()]
    upstream.answers[COUNTRIES] = document(upper)

    kept = (await client.post("/countries/refresh")).json()["kept"]

    more = {"name": "...", "field": "...", "value": None, "source_value": None, "reason": "and 151 more"}
    assert (len(kept), kept[-1]) == (100, more)
    assert (await client.get("/countries/gh")).json()["name"] == "Ghana"
