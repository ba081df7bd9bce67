"""Countries keep their identity whatever the sources call them."""

import pytest

from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.upstream import document


async def ids(client) -> dict[str, int]:
    return {country["alpha2_code"]: country["id"] for country in (await client.get("/countries")).json()}


async def test_two_countries_that_swap_names_stay_themselves(loaded, upstream):
    before = await ids(loaded)
    swapped = payloads.v3_1()
    ghana, togo = (next(r for r in swapped if r["cca2"] == code) for code in ("GH", "TG"))
    ghana["name"], togo["name"] = togo["name"], ghana["name"]
    upstream.answers[COUNTRIES] = document(swapped)

    report = (await loaded.post("/countries/refresh")).json()

    assert (report["inserted"], report["updated"]) == (0, 250)
    assert await ids(loaded) == before
    assert (await loaded.get("/countries/GH")).json()["name"] == "Togo"
    assert (await loaded.get("/countries/togo")).json()["id"] == before["GH"]


async def test_renamed_country_keeps_its_row(loaded, upstream):
    before = await ids(loaded)
    renamed = payloads.v3_1()
    next(r for r in renamed if r["cca2"] == "SZ")["name"] = {"common": "Swaziland"}
    upstream.answers[COUNTRIES] = document(renamed)

    await loaded.post("/countries/refresh")

    assert await ids(loaded) == before
    assert (await loaded.get("/countries/swaziland")).json()["id"] == before["SZ"]


async def test_old_spelling_without_a_code_finds_its_row(loaded, upstream):
    before = await ids(loaded)
    old = payloads.v2_without_codes()
    for record in old:
        record["name"] = {"Eswatini": "Swaziland", "Bolivia": "Bolivia (Plurinational State of)"}.get(
            record["name"], record["name"]
        )
    upstream.answers[COUNTRIES] = document(old)

    report = (await loaded.post("/countries/refresh")).json()

    assert (report["inserted"], report["updated"]) == (0, 250)
    assert await ids(loaded) == before


async def test_country_that_no_table_knows_is_found_by_its_name(loaded, upstream):
    abkhazia = {"names": {"common": "Abkhazia"}, "codes": {"alpha_2": ""}, "population": 244000, "region": "Asia"}
    upstream.answers[COUNTRIES] = document({"data": {"objects": [*payloads.v5(), abkhazia]}})
    first = (await loaded.post("/countries/refresh")).json()

    abkhazia["names"] = {"common": "  ABKHÁZIA "}
    upstream.answers[COUNTRIES] = document({"data": {"objects": [*payloads.v5(), abkhazia]}})
    second = (await loaded.post("/countries/refresh")).json()

    assert (first["inserted"], second["inserted"], second["total_countries"]) == (1, 0, 251)
    stored = (await loaded.get("/countries/abkhazia")).json()
    assert (stored["name"], stored["alpha2_code"], stored["alpha3_code"]) == ("ABKHÁZIA", None, None)


async def test_country_that_gets_a_new_code_keeps_its_row(loaded, upstream):
    before = await ids(loaded)
    changed = payloads.v3_1()
    next(r for r in changed if r["cca2"] == "XK").update(cca2="KS", cca3="KSV")
    upstream.answers[COUNTRIES] = document(changed)

    report = (await loaded.post("/countries/refresh")).json()

    assert (report["inserted"], report["total_countries"]) == (0, 250)
    kosovo = (await loaded.get("/countries/kosovo")).json()
    assert (kosovo["id"], kosovo["alpha2_code"], kosovo["alpha3_code"]) == (before["XK"], "KS", "KSV")


@pytest.mark.parametrize("uncoded_first", [True, False])
async def test_record_with_a_code_goes_before_one_whose_name_only_suggests_it(loaded, upstream, uncoded_first):
    uncoded = {"name": "Congo", "population": 5}
    coded = payloads.v2_with_codes()
    upstream.answers[COUNTRIES] = document([uncoded, *coded] if uncoded_first else [*coded, uncoded])

    report = (await loaded.post("/countries/refresh")).json()

    assert report["skipped"] == [{"name": "Congo", "reason": "is a second record for the same country"}]
    assert (await loaded.get("/countries/CG")).json()["name"] == "Congo - Brazzaville"


async def test_unknown_name_never_means_a_country_without_a_code(loaded, upstream):
    upstream.answers[COUNTRIES] = document([*payloads.v2_with_codes(), {"name": "Abkhazia", "population": 244000}])
    await loaded.post("/countries/refresh")

    assert (await loaded.get("/countries/nowhere")).status_code == 404
    assert (await loaded.delete("/countries/nowhere")).status_code == 404
    assert (await loaded.get("/countries/abkhazia")).status_code == 200


async def test_code_is_kept_when_a_later_source_gives_none(client, upstream):
    example = {"name": "Exampleland", "alpha2Code": "EX", "population": 5}
    upstream.answers[COUNTRIES] = document([*payloads.v2_with_codes(), example])
    await client.post("/countries/refresh")

    upstream.answers[COUNTRIES] = document([*payloads.v2_without_codes(), {"name": "exampleland", "population": 6}])
    report = (await client.post("/countries/refresh")).json()

    assert (report["inserted"], report["total_countries"]) == (0, 251)
    stored = (await client.get("/countries/ex")).json()
    assert (stored["name"], stored["alpha2_code"], stored["population"]) == ("exampleland", "EX", 6)


async def test_code_that_a_later_source_brings_is_added_to_the_row(client, upstream):
    upstream.answers[COUNTRIES] = document([*payloads.v2_without_codes(), {"name": "Exampleland", "population": 5}])
    await client.post("/countries/refresh")
    row = (await client.get("/countries/exampleland")).json()["id"]

    coded = {"name": "Exampleland", "alpha2Code": "EX", "alpha3Code": "EXA", "population": 5}
    upstream.answers[COUNTRIES] = document([*payloads.v2_with_codes(), coded])
    await client.post("/countries/refresh")

    stored = (await client.get("/countries/exa")).json()
    assert (stored["id"], stored["alpha2_code"]) == (row, "EX")


async def test_currency_code_is_never_replaced_by_its_successor(loaded, upstream):
    old = payloads.v3_1()
    next(r for r in old if r["cca2"] == "ZW")["currencies"] = {"ZWX": {"name": "of yesterday"}}
    upstream.answers[COUNTRIES] = document(old)

    await loaded.post("/countries/refresh")

    zimbabwe = (await loaded.get("/countries/zw")).json()
    assert (zimbabwe["currency_code"], zimbabwe["exchange_rate"], zimbabwe["estimated_gdp"]) == ("ZWX", None, None)


async def test_rate_that_moved_more_than_tenfold_is_skipped_and_reported(loaded, upstream):
    rate = payloads.rates()["GHS"]
    upstream.answers[RATES] = document(payloads.er_api(GHS=rate * 10.1))

    report = (await loaded.post("/countries/refresh")).json()

    reason = f"its rate changed more than tenfold, from {rate:g} to {rate * 10.1:g}; force=true accepts it"
    assert report["skipped"] == [{"name": "GHS", "reason": reason}]
    ghana = (await loaded.get("/countries/gh")).json()
    assert (ghana["currency_code"], ghana["exchange_rate"], ghana["estimated_gdp"]) == ("GHS", None, None)


async def test_skipped_rate_stays_unbelieved_the_next_day(loaded, upstream):
    wrong = payloads.rates()["GHS"] / 11
    upstream.answers[RATES] = document(payloads.er_api(payloads.RATES_DAY.replace(day=21), GHS=wrong))
    await loaded.post("/countries/refresh")

    upstream.answers[RATES] = document(payloads.er_api(payloads.RATES_DAY.replace(day=22), GHS=wrong))
    report = (await loaded.post("/countries/refresh")).json()

    assert [skipped["name"] for skipped in report["skipped"]] == ["GHS"]


async def test_force_believes_a_rate_that_moved_more_than_tenfold(loaded, upstream):
    rate = payloads.rates()["GHS"] * 100
    upstream.answers[RATES] = document(payloads.er_api(GHS=rate))

    report = (await loaded.post("/countries/refresh", params={"force": "true"})).json()

    assert report["skipped"] == []
    assert (await loaded.get("/countries/gh")).json()["exchange_rate"] == rate


async def test_rates_that_all_moved_tenfold_are_a_failed_source(loaded, upstream):
    shifted = {code: rate * 20 for code, rate in payloads.rates().items() if code != "USD"}
    upstream.answers[RATES] = document(payloads.er_api() | {"rates": shifted})

    response = await loaded.post("/countries/refresh")

    assert response.status_code == 503
    assert "rates that all changed more than tenfold" in response.json()["details"]
