"""GET /data-sources, and the links to it."""

from pathlib import Path

import pytest

from app.core.config.sources import COUNTRY_URLS
from app.sources.rates import ATTRIBUTIONS
from app.sources.reference import data_sources
from tests.conftest import COUNTRIES, Client

LICENCE = '</data-sources>; rel="license"'
ATTRIBUTION = Path(__file__).resolve().parents[2] / "app/sources/data/ATTRIBUTION.md"


def _fields(rows: list[dict[str, str]], source: str) -> list[str]:
    return [row["field"] for row in rows if row["source"] == source]


async def test_sources_of_the_bundled_data_are_listed_before_the_first_refresh(client: Client):
    response = await client.get("/data-sources")

    rows = response.json()
    assert response.status_code == 200
    assert [row for row in rows if row["field"] == "reference_gdp"] == [
        {
            "field": "reference_gdp",
            "source": "CIA World Factbook",
            "version": "0.1.2",
            "licence": "public domain",
            "licence_url": None,
            "attribution": "CIA World Factbook",
        }
    ]
    assert _fields(rows, "GeoNames") == ["alpha2_code", "alpha3_code", "capital"]
    assert _fields(rows, "UN World Population Prospects") == ["population", "population_year"]
    assert "exchange_rate" not in {row["field"] for row in rows}


async def test_sources_that_the_stored_data_came_from_are_listed_after_them(loaded: Client):
    rows = (await loaded.get("/data-sources")).json()

    assert rows[-1] == {
        "field": "exchange_rate",
        "source": "127.0.0.1",
        "version": None,
        "licence": None,
        "licence_url": None,
        "attribution": None,
    }
    own = ["name", "alpha2_code", "alpha3_code", "capital", "region", "population", "currency_code", "flag_url"]
    assert _fields(rows, "127.0.0.1") == [*own, "exchange_rate"]


@pytest.mark.engines("sqlite")
async def test_populations_that_are_not_read_are_not_credited_to_their_source(service, upstream, monkeypatch):
    monkeypatch.setitem(COUNTRY_URLS, "countries.dev", upstream.url(COUNTRIES))
    async with service(country_sources="countries.dev") as client:
        await client.post("/countries/refresh")
        rows = (await client.get("/data-sources")).json()

    own = ["name", "alpha2_code", "alpha3_code", "capital", "region", "currency_code", "flag_url"]
    assert _fields(rows, "countries.dev") == own


async def test_answers_with_data_link_to_their_licences_and_others_do_not(loaded: Client):
    paths = ["/countries", "/countries/ghana", "/countries/image", "/rates", "/convert?from=USD&to=EUR", "/currencies"]
    paths += ["/status", "/data-sources", "/countries?format=csv", "/rates/2026-11-01..2026-11-20?format=csv"]

    links = {path: (await loaded.get(path)).headers["link"] for path in paths * 2}
    paged = (await loaded.get("/countries?limit=100")).headers["link"]
    others = [await loaded.get(path) for path in ("/health/live", "/metrics", "/countries/atlantis")]

    assert links == dict.fromkeys(paths, LICENCE)
    assert paged.endswith(f", {LICENCE}")
    assert paged.count("rel=") == 4
    assert ["link" in other.headers for other in others] == [False] * 3


async def test_the_page_and_the_list_of_links_lead_to_the_sources(loaded: Client):
    page = (await loaded.get("/?format=html")).text

    assert page.count('href="data-sources"') == 2
    assert (await loaded.get("/")).json()["links"]["data_sources"] == "/data-sources"
    for accept in ("text/html", "application/json"):
        assert (await loaded.head("/", headers={"Accept": accept})).headers["link"] == LICENCE


def test_credit_is_the_same_in_answers_and_in_the_list():
    known = data_sources().rates

    assert {name: known[name].attribution for name in ATTRIBUTIONS} == ATTRIBUTIONS


def test_attribution_page_names_every_source_with_its_version_and_licence():
    page = ATTRIBUTION.read_text("utf-8")

    for field, source in data_sources().curated:
        (row,) = [
            line
            for line in page.splitlines()
            if line.startswith("|") and f"| {source.source} |" in line and field in line
        ]
        assert row.endswith(f"| {source.source} | {source.version or ''} | {source.licence or ''} |")
