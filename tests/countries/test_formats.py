"""The list of countries as a table: for spreadsheets, and line by line."""

import csv
import io
import json
from typing import Any

import pytest

from tests.conftest import COUNTRIES, Client
from tests.support.upstream import FakeUpstream, document

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "＋1", "－1", "＠SUM(A1)")
RECORDS: list[dict[str, Any]] = [
    {"name": "Côte d’Ivoire", "capital": '=HYPERLINK("http://evil.example")', "region": "Africa, West"},
    {"name": "Atlantis", "capital": None, "region": None},
]


@pytest.fixture
async def two(client: Client, upstream: FakeUpstream) -> Client:
    common = {"population": 1000, "flag": None, "currencies": [{"code": "GHS"}]}
    upstream.answers[COUNTRIES] = document([{**record, **common} for record in RECORDS])
    response = await client.post("/countries/refresh")
    assert response.status_code == 200, response.text
    return client


async def test_csv_keeps_accents_and_runs_no_formulas(two: Client):
    response = await two.get("/countries?format=csv&fields=name,capital,region,population,exchange_rate")

    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="countries.csv"'
    assert response.headers["x-total-count"] == "2"
    assert response.content.startswith("\ufeffname,capital,region,population,exchange_rate\r\n".encode())
    rate = (await two.get("/countries/atlantis")).json()["exchange_rate"]
    assert list(csv.reader(io.StringIO(response.text.removeprefix("\ufeff"), newline="")))[1:] == [
        ["Atlantis", "", "", "1000", str(rate)],
        ["Côte d’Ivoire", '\'=HYPERLINK("http://evil.example")', "Africa, West", "1000", str(rate)],
    ]


async def test_csv_runs_no_formula_of_any_spelling(client: Client, upstream: FakeUpstream):
    common = {"population": 1000, "flag": None, "currencies": [{"code": "GHS"}]}
    upstream.answers[COUNTRIES] = document(
        [{"name": f"Country {n}", "capital": formula, **common} for n, formula in enumerate(FORMULAS)]
    )
    assert (await client.post("/countries/refresh")).status_code == 200

    response = await client.get("/countries?format=csv&fields=name,capital")

    rows = list(csv.reader(io.StringIO(response.text.removeprefix("\ufeff"), newline="")))[1:]
    assert rows == [[f"Country {n}", f"'{formula}"] for n, formula in enumerate(FORMULAS)]


async def test_ndjson_has_the_objects_of_the_list(two: Client):
    listed = (await two.get("/countries")).json()
    response = await two.get("/countries", headers={"Accept": "application/x-ndjson"})

    assert response.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in response.text.splitlines()] == listed
    assert "Accept" in response.headers["vary"]


async def test_csv_is_filtered_sorted_and_paged_like_the_list_and_has_another_etag(loaded: Client):
    query = "region=Africa&sort=population_desc&limit=3&offset=2&fields=name"
    listed, table = [await loaded.get(f"/countries?{query}&format={form}") for form in ("json", "csv")]
    again = await loaded.get(f"/countries?{query}&format=csv", headers={"If-None-Match": table.headers["etag"]})

    names = [country["name"] for country in listed.json()]
    assert len(names) == 3
    assert table.text.splitlines()[1:] == names
    assert table.headers["x-total-count"] == listed.headers["x-total-count"]
    assert "format=csv" in table.headers["link"]
    assert listed.headers["etag"] != table.headers["etag"]
    assert (again.status_code, again.content) == (304, b"")


async def test_csv_without_rows_has_a_header_and_browsers_get_json(loaded: Client):
    empty = await loaded.get("/countries?format=csv&q=nowhere&fields=name,region")
    shown = await loaded.get("/countries", headers={"Accept": "text/html,application/xml;q=0.9,*/*;q=0.8"})

    assert empty.content == "\ufeffname,region\r\n".encode()
    assert shown.headers["content-type"] == "application/json"
