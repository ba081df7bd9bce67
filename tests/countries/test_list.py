"""The list of countries: filters, orders, pages, fields."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlmodel import col, update

from app.core.db.data_version import raise_version
from app.countries.models import Country
from app.countries.schemas import COUNTRY_FIELDS
from tests.conftest import COUNTRIES, RATES
from tests.support.upstream import document


def _record(name: str, region: str, population: int, currency: str | None) -> dict[str, Any]:
    return {"name": name, "region": region, "population": population, "currencies": [{"code": currency}]}


RECORDS = [
    _record("Togo", "Africa", 80, "XOF"),
    _record("Cuba", "Americas", 50, "CUP"),  # not quoted: no rate, no estimate
    _record("Côte d’Ivoire", "Africa", 60, "XOF"),
    _record("Nigeria", "Africa", 100, "NGN"),
    _record("Åland Islands", "Europe", 30, "EUR"),
    _record("Antarctica", "Polar", 0, None),  # no currency: no rate, estimate 0
    _record("Ghana", "Africa", 100, "GHS"),
    _record("Benin", "Africa", 80, "XOF"),
]
QUOTES = {"XOF": 500.0, "NGN": 1000.0, "EUR": 0.5, "GHS": 10.0}
BY_NAME = ["Åland Islands", "Antarctica", "Benin", "Côte d’Ivoire", "Cuba", "Ghana", "Nigeria", "Togo"]


@pytest.fixture
async def eight(client, upstream):
    """A service with eight countries: ties, nulls, accents."""
    upstream.answers[COUNTRIES] = document(RECORDS)
    upstream.answers[RATES] = document({"base": "USD", "date": "2026-11-20", "rates": QUOTES})
    assert (await client.post("/countries/refresh")).status_code == 200
    return client


async def names(client: Any, query: str = "") -> list[str]:
    response = await client.get(f"/countries?{query}")
    assert response.status_code == 200, response.text
    return [country["name"] for country in response.json()]


async def test_list_is_a_bare_array_of_whole_countries_sorted_by_name(eight):
    response = await eight.get("/countries")

    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Total-Count"] == "8"
    assert links(response) == {}
    countries = response.json()
    assert [country["name"] for country in countries] == BY_NAME
    assert {tuple(country) for country in countries} == {COUNTRY_FIELDS}
    cuba = countries[4]
    assert isinstance(cuba.pop("id"), int)
    assert cuba == {
        "name": "Cuba",
        "alpha2_code": "CU",
        "alpha3_code": "CUB",
        "capital": None,
        "region": "Americas",
        "population": 50,
        "currency_code": "CUP",
        "exchange_rate": None,
        "estimated_gdp": None,
        "flag_url": None,
        "last_refreshed_at": "2026-11-21T09:17:00.000001Z",
    }


async def test_list_is_empty_before_anything_is_stored(client):
    response = await client.get("/countries")

    assert (response.status_code, response.json(), response.headers["X-Total-Count"]) == (200, [], "0")


ORDERS = {
    "name_asc": "Åland Antarctica Benin Côte Cuba Ghana Nigeria Togo",
    "name_desc": "Togo Nigeria Ghana Cuba Côte Benin Antarctica Åland",
    "population_desc": "Ghana Nigeria Benin Togo Côte Cuba Åland Antarctica",
    "population_asc": "Antarctica Åland Cuba Côte Benin Togo Ghana Nigeria",
    "gdp_desc": "Åland Ghana Benin Togo Côte Nigeria Antarctica Cuba",
    "gdp_asc": "Antarctica Nigeria Côte Benin Togo Ghana Åland Cuba",
    "exchange_rate_desc": "Nigeria Benin Côte Togo Ghana Åland Antarctica Cuba",
    "exchange_rate_asc": "Åland Ghana Benin Côte Togo Nigeria Antarctica Cuba",
}


async def test_every_order_puts_unknown_values_last_and_ties_by_name(eight):
    found = {order: await names(eight, f"sort={order}") for order in ORDERS}

    assert {order: " ".join(name.split()[0] for name in listed) for order, listed in found.items()} == ORDERS


FILTERS = [
    (["region=Americas", "region= aMERICAS ", "region=americas, Atlantis"], ["Cuba"]),
    (["region=Americas,europe", "region= EUROPE ,americas,Europe"], ["Åland Islands", "Cuba"]),
    (["currency=XOF", "currency=xof", "currency=xof,ZZZ"], ["Benin", "Côte d’Ivoire", "Togo"]),
    (["currency=XOF, ghs", "currency=ghs,XOF"], ["Benin", "Côte d’Ivoire", "Ghana", "Togo"]),
    (["region=africa,europe&currency=eur,ghs"], ["Åland Islands", "Ghana"]),
    (["q=GO"], ["Ghana", "Togo"]),  # Gold Coast
    (["q=ni"], ["Nigeria", "Benin"]),
    (["q=aland", "q=Ålan"], ["Åland Islands"]),
    (["q=côté d'ivoire", "q=’"], ["Côte d’Ivoire"]),
    (["region=africa&currency=xof&q=oast", "q=%20IVORY%20%20coast"], ["Côte d’Ivoire"]),
    (["region=africa&currency=xof&q=or&sort=population_asc"], ["Côte d’Ivoire", "Benin"]),
    (["region=America", "currency=XO", "region=europe&currency=xof", "q=zz", "region=Mars,Moon"], []),
    (["q=%25", "q=_", "q=\\", "q=n%25g", "q=%00"], []),
    (["region=' OR '1'='1", "currency=' OR 1", "q='; DROP TABLE country; --"], []),
]


async def test_filters_combine_and_ignore_case_and_accents_but_have_no_wildcards_or_sql(eight):
    expected = {query: listed for queries, listed in FILTERS for query in queries}

    assert {query: await names(eight, query) for query in expected} == expected
    assert await names(eight) == BY_NAME


async def test_q_finds_percent_and_underscore_as_such(client, upstream):
    odd = ["50% Land", "A_B", "Back\\slash", "AxB", "500 Land"]
    upstream.answers[COUNTRIES] = document([_record(name, "Africa", 1, "GHS") for name in odd])
    await client.post("/countries/refresh")

    found = {q: await names(client, f"q={q}") for q in ("%25", "a_b", "\\")}
    assert found == {"%25": ["50% Land"], "a_b": ["A_B"], "\\": ["Back\\slash"]}


def links(response: Any) -> dict[str, dict[str, str]]:
    """The parameters of each linked page, by its relation; not the link to the sources of the data."""
    pages = {relation: link["url"] for relation, link in response.links.items() if relation != "license"}
    return {relation: dict(parse_qsl(urlsplit(url).query)) for relation, url in pages.items()}


async def test_links_lead_to_neighbouring_pages_and_keep_the_filters_and_the_total(eight):
    asked = {"region": "africa", "q": "a", "sort": "name_desc", "fields": "name"}

    whole = await eight.get("/countries", params=asked)
    middle = await eight.get("/countries", params={**asked, "limit": 1, "offset": 1})

    assert middle.json() == [{"name": "Ghana"}] == whole.json()[1:2]
    assert middle.headers["X-Total-Count"] == whole.headers["X-Total-Count"] == str(len(whole.json())) == "4"
    assert links(middle) == {
        "first": {**asked, "limit": "1", "offset": "0"},
        "prev": {**asked, "limit": "1", "offset": "0"},
        "next": {**asked, "limit": "1", "offset": "2"},
        "last": {**asked, "limit": "1", "offset": "3"},
    }


async def test_following_the_next_links_walks_through_all_countries_once(eight):
    walked: list[str] = []
    url: str | None = "/countries?limit=3&q=a&sort=gdp_desc"
    while url:
        page = await eight.get(url)
        walked += [country["name"] for country in page.json()]
        url = page.links.get("next", {}).get("url")

    assert walked == await names(eight, "q=a&sort=gdp_desc")


async def test_first_page_has_no_previous_and_last_page_no_next(eight):
    assert links(await eight.get("/countries?limit=5")).keys() == {"first", "next", "last"}
    assert links(await eight.get("/countries?limit=5&offset=5")).keys() == {"first", "prev", "last"}
    assert links(await eight.get("/countries?limit=1000")).keys() == {"first", "last"}


async def test_offset_without_limit_skips_the_start(eight):
    found = [await names(eight, f"offset={offset}") for offset in ("6", "8", "1000000000&limit=1000")]
    assert found == [["Nigeria", "Togo"], [], []]


async def test_fields_selects_fields_in_their_documented_order(eight):
    response = await eight.get("/countries", params={"fields": "population, name", "limit": "1"})

    assert response.text == '[{"name":"Åland Islands","population":30}]'


async def test_fields_that_are_not_returned_by_default_come_if_named(loaded):
    asked = "reference_gdp_year,name,population_year,reference_gdp"

    listed = await loaded.get("/countries", params={"fields": asked, "q": "ghana"})
    table = await loaded.get("/countries", params={"fields": asked, "q": "ghana", "format": "csv"})
    one = await loaded.get("/countries/ghana", params={"fields": asked})

    expected = {"name": "Ghana", "population_year": None, "reference_gdp": 82825000000, "reference_gdp_year": 2024}
    assert listed.json() == [expected]
    assert one.text == listed.text[1:-1]
    assert table.text == "\ufeffname,population_year,reference_gdp,reference_gdp_year\r\nGhana,,82825000000,2024\r\n"


async def test_population_year_is_the_stored_one_and_gdp_is_null_where_nobody_knows_it(eight):
    async with eight.state["database"].engine.begin() as connection:
        await connection.execute(update(Country).where(col(Country.alpha2_code) == "TG").values(population_year=2020))
    await eight.state["database"].transaction(raise_version)

    fields = "name,population_year,reference_gdp,reference_gdp_year"
    found = (await eight.get(f"/countries?q=togo&fields={fields}")).json()
    polar = (await eight.get(f"/countries/antarctica?fields={fields}")).json()

    assert found == [{"name": "Togo", "population_year": 2020, "reference_gdp": 9926000000, "reference_gdp_year": 2024}]
    assert polar == {"name": "Antarctica"} | dict.fromkeys(fields.split(",")[1:])


async def test_head_and_trailing_slash_make_no_difference(eight):
    plain = await eight.get("/countries?limit=3")
    slash = await eight.get("/countries/?limit=3")
    head = await eight.head("/countries?limit=3")

    assert (slash.status_code, slash.json()) == (200, plain.json())
    assert (head.status_code, head.content) == (200, b"")
    for header in ("Content-Length", "Content-Type", "X-Total-Count", "Link"):
        assert head.headers[header] == slash.headers[header] == plain.headers[header]
