"""One country, its deletion, and what the service sums up: the picture and the status."""

import asyncio
import io
from typing import Any

import pytest
from PIL import Image

from tests.conftest import COUNTRIES, everything
from tests.support.upstream import document

NOT_FOUND = {"error": "Country not found"}
IVORY_COAST = "Côte d’Ivoire"
SPELLINGS = {
    **dict.fromkeys(
        ["Côte d’Ivoire", "côte d'ivoire", "COTE D`IVOIRE", "Côte  d‘Ivoire", " Cote d’Ivoire "], "Côte d’Ivoire"
    ),
    **dict.fromkeys(["CI", "ci", " Ci ", "CIV", "civ", "Ivory Coast", "ivory coast"], "Côte d’Ivoire"),
    "gHANA": "Ghana",
    "aland islands": "Åland Islands",
    "ÅLAND ISLANDS": "Åland Islands",
    "A\u030aland Islands": "Åland Islands",
    "Turkey": "Türkiye",
    "turkiye": "Türkiye",
    "Swaziland": "Eswatini",
    "Burma": "Myanmar",
    "Czech Republic": "Czechia",
    "Cape Verde": "Cape Verde",
    "Cabo Verde": "Cape Verde",
    "USA": "United States",
    "United States of America": "United States",
    "gb": "United Kingdom",
    "United Kingdom of Great Britain and Northern Ireland": "United Kingdom",
}


async def name_of(client: Any, spelling: str) -> tuple[int, str]:
    response = await client.get(f"/countries/{spelling}")
    return response.status_code, response.json().get("name")


async def test_country_is_found_by_every_spelling_of_its_name_its_aliases_and_its_codes(loaded):
    found = {spelling: await name_of(loaded, spelling) for spelling in SPELLINGS}

    assert found == {spelling: (200, name) for spelling, name in SPELLINGS.items()}


async def test_name_that_another_country_has_as_its_code_is_a_name_first(client, upstream):
    records = [
        {"name": "Chad", "alpha2Code": "TD", "population": 1},
        {"name": "Td", "alpha2Code": "QZ", "population": 2},
    ]
    upstream.answers[COUNTRIES] = document(records)
    await client.post("/countries/refresh")

    assert (await client.get("/countries/td")).json()["name"] == "Td"
    assert (await client.get("/countries/qz")).json()["name"] == "Td"
    assert (await client.get("/countries/chad")).json()["name"] == "Chad"


BLANK_NAME = {"error": "Validation failed", "details": {"name": "must not be blank"}}
LONG_NAME = {"error": "Validation failed", "details": {"name": "must have at most 200 characters"}}
UNKNOWN = ["Wakanda", "Ghan", "Ghana2", "G", "%25", "_", "%00", "%FF", "0", "' OR 1=1 --", "\u00df"]
ACCENTS = ["%CC%81", "%C2%B8"]
NAMES_OF_NONE = {
    **dict.fromkeys([*UNKNOWN, *ACCENTS], (404, NOT_FOUND)),
    **dict.fromkeys(["%20", "%20%20", "%09", "%C2%A0"], (400, BLANK_NAME)),
    "a" * 201: (400, LONG_NAME),
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_name_of_no_country_is_refused_and_none_is_taken_for_it(loaded, method):
    answers = {name: await loaded.request(method, f"/countries/{name}") for name in NAMES_OF_NONE}

    assert {name: (answer.status_code, answer.json()) for name, answer in answers.items()} == NAMES_OF_NONE
    assert (await loaded.get("/status")).json()["total_countries"] == 250


async def test_lone_accent_is_the_part_of_no_name_and_of_no_region(loaded):
    found = [await loaded.get(f"/countries?{name}={accent}") for name in ("q", "region") for accent in ACCENTS]

    assert [(answer.status_code, answer.json()) for answer in found] == [(200, [])] * 4


async def test_delete_confirms_by_the_stored_name_and_leaves_every_other_country_as_it_was(loaded):
    before = (await loaded.get("/countries")).json()

    response = await loaded.delete("/countries/ghana")

    assert response.status_code == 200
    assert response.json() == {"message": "Country deleted successfully", "name": "Ghana"}
    assert (await loaded.get("/countries")).json() == [country for country in before if country["name"] != "Ghana"]
    assert (await loaded.get("/countries/GH")).status_code == 404
    again = await loaded.delete("/countries/ghana")
    assert (again.status_code, again.json()) == (404, NOT_FOUND)


async def test_delete_takes_every_spelling_that_reading_takes(loaded):
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


async def test_deleting_what_does_not_exist_changes_nothing(loaded):
    before = await everything(loaded)

    response = await loaded.delete("/countries/atlantis")

    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert await everything(loaded) == before


async def test_deleted_twice_at_the_same_time_it_is_gone_once(loaded):
    responses = await asyncio.gather(*(loaded.delete("/countries/ghana") for _ in range(4)))

    assert sorted(response.status_code for response in responses) == [200, 404, 404, 404]
    assert (await loaded.get("/status")).json()["total_countries"] == 249


async def test_different_countries_deleted_at_the_same_time_are_all_counted(loaded):
    gone = ["ghana", "togo", "benin", "cuba", "chad"]

    responses = await asyncio.gather(*(loaded.delete(f"/countries/{name}") for name in gone))

    assert [response.status_code for response in responses] == [200] * 5
    assert (await loaded.get("/status")).json()["total_countries"] == 245
    assert (await loaded.get("/countries?limit=1")).headers["X-Total-Count"] == "245"


async def test_next_refresh_brings_a_deleted_country_back(loaded):
    await loaded.delete("/countries/ghana")

    report = (await loaded.post("/countries/refresh")).json()

    assert (report["inserted"], report["updated"], report["total_countries"]) == (1, 249, 250)
    assert (await loaded.get("/countries/ghana")).status_code == 200


async def test_nothing_to_see_before_the_first_refresh(client):
    image, status = await client.get("/countries/image"), await client.get("/status")
    deleted = await client.delete("/countries/ghana")

    assert (image.status_code, image.json()) == (404, {"error": "Summary image not found"})
    assert (status.status_code, status.json()) == (404, NOT_FOUND)
    assert (deleted.status_code, deleted.json()) == (404, NOT_FOUND)


async def test_status_tells_number_age_and_sources_of_the_data(loaded):
    response = await loaded.get("/status")

    assert response.status_code == 200
    assert response.json() == {
        "total_countries": 250,
        "last_refreshed_at": "2026-11-21T09:17:00.000001Z",
        "sources": {"countries": "127.0.0.1", "rates": "127.0.0.1"},
        "rates_date": "2026-11-20",
    }
