"""Countries keep their rows when names or codes change; rates may not change tenfold."""

import pytest

from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.upstream import document


async def ids(client) -> dict[str, int]:
    return {country["alpha2_code"]: country["id"] for country in (await client.get("/countries")).json()}


async def refresh(client, upstream, records) -> dict[str, object]:
    upstream.answers[COUNTRIES] = document(records)
    return dict((await client.post("/countries/refresh")).json())


def v3_1(**changes: dict[str, object]) -> list[dict[str, object]]:
    return [record | changes.get(record["cca2"], {}) for record in payloads.v3_1()]


def v2_with_old_names() -> list[dict[str, object]]:
    old = {"Eswatini": "Swaziland", "Bolivia": "Bolivia (Plurinational State of)"}
    return [record | {"name": old.get(record["name"], record["name"])} for record in payloads.v2_without_codes()]


CHANGES = {
    "two names": (v3_1(GH={"name": {"common": "Togo"}}, TG={"name": {"common": "Ghana"}}), ("GH", "GH"), ["togo"]),
    "one is renamed": (v3_1(SZ={"name": {"common": "Swaziland"}}), ("SZ", "SZ"), ["swaziland"]),
    "old spellings without codes": (v2_with_old_names(), ("SZ", "SZ"), ["swaziland"]),
    "one gets a new code": (v3_1(XK={"cca2": "KS", "cca3": "KSV"}), ("XK", "KS"), ["kosovo", "ks", "ksv"]),
}


async def test_country_keeps_its_row_when_its_name_or_code_changes(loaded, upstream):
    before = await ids(loaded)
    for change, (records, (old_code, new_code), names) in CHANGES.items():
        report = await refresh(loaded, upstream, records)

        expected = {new_code if code == old_code else code: row for code, row in before.items()}
        assert (change, report["inserted"], report["updated"]) == (change, 0, 250)
        assert (change, await ids(loaded)) == (change, expected)
        for name in names:
            assert (change, (await loaded.get(f"/countries/{name}")).json()["id"]) == (change, before[old_code])
        await refresh(loaded, upstream, payloads.v3_1())


async def test_country_without_a_known_code_is_matched_by_name(loaded, upstream):
    abkhazia = {"names": {"common": "Abkhazia"}, "codes": {"alpha_2": ""}, "population": 244000, "region": "Asia"}
    first = await refresh(loaded, upstream, {"data": {"objects": [*payloads.v5(), abkhazia]}})

    abkhazia["names"] = {"common": "  ABKHÁZIA "}
    second = await refresh(loaded, upstream, {"data": {"objects": [*payloads.v5(), abkhazia]}})

    assert (first["inserted"], second["inserted"], second["total_countries"]) == (1, 0, 251)
    stored = (await loaded.get("/countries/abkhazia")).json()
    assert (stored["name"], stored["alpha2_code"], stored["alpha3_code"]) == ("ABKHÁZIA", None, None)


@pytest.mark.parametrize("uncoded_first", [True, False])
async def test_record_with_a_code_wins_over_one_whose_name_suggests_it(loaded, upstream, uncoded_first):
    uncoded = {"name": "Congo", "population": 5}
    coded = payloads.v2_with_codes()

    report = await refresh(loaded, upstream, [uncoded, *coded] if uncoded_first else [*coded, uncoded])

    assert report["skipped"] == [{"name": "Congo", "reason": "is a second record for the same country"}]
    assert (await loaded.get("/countries/CG")).json()["name"] == "Congo - Brazzaville"


async def test_unknown_name_never_matches_a_country_without_a_code(loaded, upstream):
    await refresh(loaded, upstream, [*payloads.v2_with_codes(), {"name": "Abkhazia", "population": 244000}])

    requests = (("GET", "nowhere"), ("DELETE", "nowhere"), ("GET", "abkhazia"))
    answers = [await loaded.request(method, f"/countries/{name}") for method, name in requests]
    assert [answer.status_code for answer in answers] == [404, 404, 200]


async def test_code_is_added_by_a_later_source_and_then_kept(client, upstream):
    plain, coded = {"name": "Exampleland", "population": 5}, {"alpha2Code": "EX", "alpha3Code": "EXA"}
    await refresh(client, upstream, [*payloads.v2_without_codes(), plain])
    row = (await client.get("/countries/exampleland")).json()["id"]

    await refresh(client, upstream, [*payloads.v2_with_codes(), plain | coded])
    with_code = (await client.get("/countries/exa")).json()
    report = await refresh(client, upstream, [*payloads.v2_without_codes(), {"name": "exampleland", "population": 6}])
    later = (await client.get("/countries/ex")).json()

    assert (with_code["id"], with_code["alpha2_code"]) == (row, "EX")
    assert (report["inserted"], report["total_countries"]) == (0, 251)
    assert (later["id"], later["name"], later["alpha2_code"], later["population"]) == (row, "exampleland", "EX", 6)


async def test_currency_code_is_never_replaced_by_its_successor(loaded, upstream):
    await refresh(loaded, upstream, v3_1(ZW={"currencies": {"ZWX": {"name": "of yesterday"}}}))

    zimbabwe = (await loaded.get("/countries/zw")).json()
    assert (zimbabwe["currency_code"], zimbabwe["exchange_rate"], zimbabwe["estimated_gdp"]) == ("ZWX", None, None)


async def test_rate_that_changed_more_than_tenfold_is_skipped_every_day_until_forced(loaded, upstream):
    rate = payloads.rates()["GHS"]
    for day, wrong in ((20, rate * 10.1), (21, rate / 11), (22, rate / 11)):
        upstream.answers[RATES] = document(payloads.er_api(payloads.RATES_DAY.replace(day=day), GHS=wrong))

        report = (await loaded.post("/countries/refresh")).json()

        reason = f"its rate changed more than tenfold, from {rate:g} to {wrong:g}; force=GHS accepts it"
        assert (day, report["skipped"]) == (day, [{"name": "GHS", "reason": reason}])
        ghana = (await loaded.get("/countries/gh")).json()
        assert (ghana["currency_code"], ghana["exchange_rate"], ghana["estimated_gdp"]) == ("GHS", None, None)

    forced = (await loaded.post("/countries/refresh", params={"force": "true"})).json()

    assert forced["skipped"] == []
    assert (await loaded.get("/countries/gh")).json()["exchange_rate"] == wrong


async def test_rates_that_all_changed_tenfold_are_a_failed_source(loaded, upstream):
    shifted = {code: rate * 20 for code, rate in payloads.rates().items() if code != "USD"}
    upstream.answers[RATES] = document(payloads.er_api() | {"rates": shifted})

    response = await loaded.post("/countries/refresh")

    assert response.status_code == 503
    assert "rates that all changed more than tenfold" in response.json()["details"]
