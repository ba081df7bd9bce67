"""Real answers of the sources, from the folder UPSTREAM_SAMPLES or ``upstream-samples`` beside the checkout.

They may not be shipped. The same formats, made from the bundled data, are in test_country_shapes.py.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.sources.countries import to_country_list
from tests.conftest import COUNTRIES, RATES
from tests.support.upstream import document, pages

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [Path(os.environ["UPSTREAM_SAMPLES"])] if "UPSTREAM_SAMPLES" in os.environ else []
FOLDERS += sorted(ROOT.parent.glob("*/upstream-samples"))

pytestmark = pytest.mark.skipif(not FOLDERS, reason="no folder upstream-samples with real payloads")

LISTS = {
    "restcountries-v2-all.json": 250,
    "restcountries-com-v2-all.json": 250,
    "restcountries-v3.1-all.json": 250,
    "restcountries-v3.1-live-2025-11.json": 248,
}
DOUBTED = {
    "open-er-api-shaped-usd.json": ["SYP"],  # in pounds from before the redenomination
    "currency-api-usd-2026-09-29.json": ["SYP"],
    "frankfurter v1": [],
    "frankfurter v2": [],
}
"""The currencies whose rates are not believed, by file of rates."""


def sample(name: str) -> Any:
    if name.startswith("frankfurter"):
        answers = json.loads((FOLDERS[0] / "frankfurter-samples.json").read_text("utf-8"))
        return next(answer for title, answer in answers.items() if f"/{name[-2:]}/" in title)
    return json.loads((FOLDERS[0] / name).read_text("utf-8"))


def comparable(countries: list[dict[str, Any]]) -> bytes:
    kept = [{k: v for k, v in c.items() if k not in ("id", "estimated_gdp", "last_refreshed_at")} for c in countries]
    return json.dumps(kept, ensure_ascii=False).encode()


_seen: dict[str, bytes] = {}


@pytest.mark.parametrize("rates", DOUBTED)
@pytest.mark.parametrize("name", LISTS)
async def test_every_real_list_is_stored_completely_and_alike_on_both_engines(client, upstream, name, rates):
    upstream.answers[COUNTRIES] = document(sample(name))
    upstream.answers[RATES] = document(sample(rates))

    response = await client.post("/countries/refresh")

    assert response.status_code == 200
    assert response.json()["total_countries"] == LISTS[name]
    assert [entry["name"] for entry in response.json()["skipped"]] == DOUBTED[rates]
    listed = comparable((await client.get("/countries", params={"sort": "name_asc"})).json())
    assert _seen.setdefault(f"{name} {rates}", listed) == listed


TODAY = {"PS": "ILS", "CU": "CUP", "BG": "EUR", "CW": "XCG", "SX": "XCG", "ZW": "ZWG", "EH": "MAD", "CK": "NZD"}


@pytest.mark.parametrize("name", LISTS)
def test_outdated_values_of_every_real_list_become_todays(name):
    facts = {fact.alpha2: fact for fact in to_country_list(sample(name)).facts}

    assert {code: facts[code].currency for code in TODAY} == TODAY
    assert [facts[code].name for code in ("TR", "CI")] == ["Türkiye", "Côte d’Ivoire"]


async def test_real_v5_objects_are_read_page_by_page_with_the_key(service, upstream):
    objects = sample("restcountries-v5-sample.json")["data"]["objects"]
    upstream.answers["/v5"] = pages(objects, key="k3y")
    keyed = {"restcountries_url": upstream.url("/v5"), "restcountries_api_key": SecretStr("k3y")}
    async with service(country_sources=("restcountries",), **keyed) as client:
        report = (await client.post("/countries/refresh")).json()
        names = [country["name"] for country in (await client.get("/countries")).json()]

    assert (report["total_countries"], report["skipped"]) == (3, [])
    assert names == ["Abkhazia", "Afghanistan", "Canada"]


async def test_answer_to_the_demo_key_is_refused_as_data(client, upstream):
    upstream.answers[COUNTRIES] = document(sample("restcountries-v5-demo-key-response.json"))

    response = await client.post("/countries/refresh")

    assert response.status_code == 503
    assert "answered with the sample of the demo key, which is not data" in response.json()["details"]


async def test_changing_lists_never_creates_a_duplicate(client, upstream):
    for name in [*LISTS, *reversed(LISTS)]:
        upstream.answers[COUNTRIES] = document(sample(name))
        report = (await client.post("/countries/refresh")).json()

        assert report["total_countries"] == 250
        codes = [country["alpha2_code"] for country in (await client.get("/countries")).json()]
        assert len(set(codes)) == len(codes) == 250
