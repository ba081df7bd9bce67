"""One country and its deletion; the picture and the status."""

import asyncio
import io

import pytest
from PIL import Image

from tests.conftest import COUNTRIES, everything
from tests.support.upstream import document

NOT_FOUND = {"error": "Country not found"}
IVORY_COAST = "Côte d’Ivoire"
SPELLINGS = {
    **dict.fromkeys(["côte d'ivoire", "COTE D`IVOIRE", "Côte  d‘Ivoire", " Cote d’Ivoire "], IVORY_COAST),
    **dict.fromkeys([IVORY_COAST, "CI", "ci", " Ci ", "CIV", "civ", "Ivory Coast", "ivory coast"], IVORY_COAST),
    **dict.fromkeys(["aland islands", "ÅLAND ISLANDS", "A\u030aland Islands"], "Åland Islands"),
    **dict.fromkeys(["Turkey", "turkiye"], "Türkiye"),
    "gHANA": "Ghana",
    "Swaziland": "Eswatini",
    "Burma": "Myanmar",
    "Czech Republic": "Czechia",
    **dict.fromkeys(["Cape Verde", "Cabo Verde"], "Cabo Verde"),
    **dict.fromkeys(["USA", "United States of America"], "United States"),
    **dict.fromkeys(["gb", "United Kingdom of Great Britain and Northern Ireland"], "United Kingdom"),
}


async def test_country_is_found_by_every_spelling_of_its_name_its_aliases_and_its_codes(loaded):
    found = {spelling: await loaded.get(f"/countries/{spelling}") for spelling in SPELLINGS}

    assert {spelling: country.json().get("name") for spelling, country in found.items()} == SPELLINGS


async def test_name_wins_over_an_equal_code_of_another_country(client, upstream):
    records = [
        {"name": "Chad", "alpha2Code": "TD", "population": 1},
        {"name": "Td", "alpha2Code": "QZ", "population": 2},
    ]
    upstream.answers[COUNTRIES] = document(records)
    await client.post("/countries/refresh")

    found = [(await client.get(f"/countries/{name}")).json()["name"] for name in ("td", "qz", "chad")]
    assert found == ["Td", "Td", "Chad"]


BLANK_NAME = {"error": "Validation failed", "details": {"name": "must not be blank"}}
LONG_NAME = {"error": "Validation failed", "details": {"name": "must have at most 200 characters"}}
UNKNOWN = ["Wakanda", "G", "%25", "_", "%00", "%FF", "0", "' OR 1=1 --", "\u00df"]
ACCENTS = ["%CC%81", "%C2%B8"]
WRONG_NAMES = {
    **dict.fromkeys([*UNKNOWN, *ACCENTS], (404, NOT_FOUND)),
    **dict.fromkeys(["%20", "%20%20", "%09", "%C2%A0"], (400, BLANK_NAME)),
    "a" * 201: (400, LONG_NAME),
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_wrong_name_is_refused_and_changes_nothing(loaded, method):
    before = await everything(loaded)
    answers = {name: await loaded.request(method, f"/countries/{name}") for name in WRONG_NAMES}

    assert {name: (answer.status_code, answer.json()) for name, answer in answers.items()} == WRONG_NAMES
    assert await everything(loaded) == before


async def test_lone_accent_matches_no_name_and_no_region(loaded):
    found = [await loaded.get(f"/countries?{name}={accent}") for name in ("q", "region") for accent in ACCENTS]

    assert [(answer.status_code, answer.json()) for answer in found] == [(200, [])] * 4


async def test_deleted_country_is_gone_alone_until_the_next_refresh(loaded):
    before = (await loaded.get("/countries")).json()

    response = await loaded.delete("/countries/ghana")

    assert response.status_code == 200
    assert response.json() == {"message": "Country deleted successfully", "name": "Ghana"}
    assert (await loaded.get("/countries")).json() == [country for country in before if country["name"] != "Ghana"]
    assert (await loaded.get("/countries/GH")).status_code == 404
    again = await loaded.delete("/countries/ghana")
    assert (again.status_code, again.json()) == (404, NOT_FOUND)
    report = (await loaded.post("/countries/refresh")).json()
    assert (report["inserted"], report["updated"], report["total_countries"]) == (1, 249, 250)


async def test_delete_accepts_every_spelling(loaded):
    responses = [await loaded.delete(f"/countries/{name}") for name in ("ivory coast", "GHA", "tr", "ALAND ISLANDS/")]

    assert [response.json() for response in responses] == [
        {"message": "Country deleted successfully", "name": name}
        for name in ("Côte d’Ivoire", "Ghana", "Türkiye", "Åland Islands")
    ]


async def test_picture_and_status_change_with_a_deletion(loaded):
    before = await everything(loaded)
    status = (await loaded.get("/status")).json()
    richest = (await loaded.get("/countries?sort=gdp_desc&limit=1")).json()[0]["name"]

    await loaded.delete(f"/countries/{richest}")

    after = await loaded.get("/countries/image")
    assert (await loaded.get("/status")).json() == {**status, "total_countries": 249}
    assert (after.status_code, after.headers["Content-Type"]) == (200, "image/png")
    for image in (before["image"], after.content):
        assert (Image.open(io.BytesIO(image)).format, Image.open(io.BytesIO(image)).size) == ("PNG", (1200, 630))
    assert after.content != before["image"]


async def test_concurrent_deletions_are_each_counted_once(loaded):
    gone = ["togo", "benin", "cuba", "chad", "ghana", "ghana", "ghana", "ghana"]

    responses = await asyncio.gather(*(loaded.delete(f"/countries/{name}") for name in gone))

    assert [response.status_code for response in responses[:4]] == [200] * 4
    assert sorted(response.status_code for response in responses[4:]) == [200, 404, 404, 404]
    assert (await loaded.get("/status")).json()["total_countries"] == 245
    assert (await loaded.get("/countries?limit=1")).headers["X-Total-Count"] == "245"


async def test_picture_status_and_deletion_are_404_before_the_first_refresh(client):
    image, status = await client.get("/countries/image"), await client.get("/status")
    answers = [image, status, await client.delete("/countries/ghana")]

    assert [answer.status_code for answer in answers] == [404] * 3
    empty = {**NOT_FOUND, "details": "Nothing is stored yet; POST /countries/refresh loads it"}
    assert [answer.json() for answer in answers] == [{"error": "Summary image not found"}, empty, NOT_FOUND]


async def test_status_has_number_age_and_sources_of_the_data(loaded):
    assert (await loaded.get("/status")).json() == {
        "total_countries": 250,
        "last_refreshed_at": "2026-11-21T09:17:00.000001Z",
        "sources": {"countries": "127.0.0.1", "rates": "127.0.0.1"},
        "rates_date": "2026-11-20",
        "stale": False,
        "countries_without_rate": 0,
        "implausible_rates": [],
    }
