"""The history of a country: written by each refresh, deleted with the country."""

import asyncio
import re
from typing import Any

import pytest
from sqlmodel import func, select

from app.countries.models import CountryHistory
from tests.conftest import COUNTRIES, RATES, START, serving
from tests.support.statements import explained, recorded
from tests.support.upstream import document, status

NOT_FOUND = {"error": "Country not found"}


def _record(name: str, code: str, currency: str | None, population: int = 100) -> dict[str, Any]:
    return {"name": name, "alpha2Code": code, "population": population, "currencies": [{"code": currency}]}


GHANA, TOGO = _record("Ghana", "GH", "GHS"), _record("Togo", "TG", "XOF")
RECORDS = [GHANA, TOGO, _record("Cuba", "CU", "CUP"), _record("Antarctica", "AQ", None)]


def _quotes(day: str, **rates: float) -> Any:
    return document({"base": "USD", "date": day, "rates": {"GHS": 10.0, "XOF": 500.0, **rates}})


def _entry(moment: int, currency: str | None, rate: float | None, gdp: float | None, day: str) -> dict[str, Any]:
    return {
        "refreshed_at": f"2026-11-21T09:17:00.{moment:06}Z",
        "currency_code": currency,
        "exchange_rate": rate,
        "estimated_gdp": gdp,
        "rate_source": "127.0.0.1",
        "rates_date": day,
    }


OLDER = _entry(1, "GHS", 10.0, 15000.0, "2026-11-19")
NEWER = _entry(3, "GHS", 12.0, 12500.0, "2026-11-20")


@pytest.fixture
async def twice(client, upstream):
    """A service with four countries that was refreshed on two days."""
    upstream.answers[COUNTRIES] = document(RECORDS)
    upstream.answers[RATES] = _quotes("2026-11-19")
    await refresh(client)
    upstream.answers[RATES] = _quotes("2026-11-20", GHS=12.0)
    await refresh(client)
    return client


async def refresh(client: Any) -> dict[str, Any]:
    response = await client.post("/countries/refresh")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def history(client: Any, name: str) -> Any:
    response = await client.get(f"/countries/{name}/history")
    assert response.status_code == 200, response.text
    return response.json()


async def number_of_entries(client: Any) -> int:
    async with client.state["database"].reading() as session:
        return int((await session.exec(select(func.count()).select_from(CountryHistory))).one())


async def test_history_lists_each_refresh_with_its_source_newest_first(twice):
    response = await twice.get("/countries/ghana/history")

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.json() == [NEWER, OLDER]
    assert response.headers["X-Total-Count"] == "2"
    days = ((3, "2026-11-20"), (1, "2026-11-19"))
    assert await history(twice, "cuba") == [_entry(at, "CUP", None, None, day) for at, day in days]  # not quoted
    assert await history(twice, "antarctica") == [_entry(at, None, None, 0.0, day) for at, day in days]


async def test_history_is_found_by_every_spelling_that_finds_the_country(twice):
    blank = {"error": "Validation failed", "details": {"name": "must not be blank"}}
    found = {
        **dict.fromkeys(("gHANA", "GH", "gha", " Ghana "), (200, [NEWER, OLDER])),
        **dict.fromkeys(("wakanda", "image", "refresh", "history"), (404, NOT_FOUND)),
        "%20": (400, blank),
    }
    answers = {name: await twice.get(f"/countries/{name}/history") for name in found}

    assert {name: (answer.status_code, answer.json()) for name, answer in answers.items()} == found


async def test_history_is_paged(twice):
    queries = ("limit=1", "limit=1&offset=1", "offset=2")
    pages = [await twice.get(f"/countries/ghana/history?{query}") for query in queries]

    assert [(page.json(), page.headers["X-Total-Count"]) for page in pages] == [
        ([NEWER], "2"),
        ([OLDER], "2"),
        ([], "2"),
    ]
    assert pages[0].headers["Link"] == (
        '</countries/ghana/history?limit=1&offset=0>; rel="first", '
        '</countries/ghana/history?limit=1&offset=1>; rel="last", '
        '</countries/ghana/history?limit=1&offset=1>; rel="next", '
        '</data-sources>; rel="license"'
    )


async def test_history_is_available_as_csv_and_ndjson(twice):
    csv = await twice.get("/countries/ghana/history", headers={"Accept": "text/csv"})
    ndjson = await twice.get("/countries/cuba/history?format=ndjson&limit=1")

    assert csv.headers["Content-Disposition"] == 'attachment; filename="history-GH.csv"'
    assert csv.text == (
        "\ufeffrefreshed_at,currency_code,exchange_rate,estimated_gdp,rate_source,rates_date\r\n"
        "2026-11-21T09:17:00.000003Z,GHS,12.0,12500.0,127.0.0.1,2026-11-20\r\n"
        "2026-11-21T09:17:00.000001Z,GHS,10.0,15000.0,127.0.0.1,2026-11-19\r\n"
    )
    assert ndjson.text == (
        '{"refreshed_at":"2026-11-21T09:17:00.000003Z","currency_code":"CUP","exchange_rate":null,'
        '"estimated_gdp":null,"rate_source":"127.0.0.1","rates_date":"2026-11-20"}\n'
    )


async def test_history_is_not_modified_until_the_next_refresh(twice):
    before = await twice.get("/countries/ghana/history")
    same = await twice.get("/countries/ghana/history", headers={"If-None-Match": before.headers["ETag"]})
    await refresh(twice)
    after = await twice.get("/countries/ghana/history", headers={"If-None-Match": before.headers["ETag"]})

    assert (same.status_code, same.content) == (304, b"")
    assert (after.status_code, after.headers["X-Total-Count"]) == (200, "3")


async def test_failed_refresh_adds_no_history(twice, upstream):
    upstream.answers[COUNTRIES] = document([])
    none = await twice.post("/countries/refresh")
    upstream.answers[COUNTRIES], upstream.answers[RATES] = document(RECORDS), status(500)
    failed = await twice.post("/countries/refresh")

    assert (none.status_code, failed.status_code) == (503, 503)
    assert await history(twice, "ghana") == [NEWER, OLDER]
    assert await number_of_entries(twice) == 8


async def test_skipped_or_missing_country_gets_no_entry(twice, upstream):
    upstream.answers[COUNTRIES] = document([{**GHANA, "population": "many"}, *RECORDS[2:]])  # and no Togo

    report = await refresh(twice)

    assert (report["updated"], [skipped["name"] for skipped in report["skipped"]]) == (2, ["Ghana"])
    lengths = {name: len(await history(twice, name)) for name in ("ghana", "togo", "cuba", "antarctica")}
    assert lengths == {"ghana": 2, "togo": 2, "cuba": 3, "antarctica": 3}
    assert await history(twice, "ghana") == [NEWER, OLDER]


async def test_history_is_deleted_with_its_country_and_starts_again_with_it(twice):
    others = await history(twice, "togo")
    before = (await twice.get("/countries/ghana")).json()

    await twice.delete("/countries/ghana")
    gone, left = await twice.get("/countries/ghana/history"), await number_of_entries(twice)
    await refresh(twice)

    assert ((gone.status_code, gone.json()), left) == ((404, NOT_FOUND), 6)
    assert (await twice.get("/countries/ghana")).json()["id"] != before["id"]
    assert await history(twice, "ghana") == [_entry(5, "GHS", 12.0, 12500.0, "2026-11-20")]
    assert (await history(twice, "togo"))[1:] == others


async def test_two_refreshes_at_the_same_moment_leave_one_entry(settings, upstream):
    upstream.answers[COUNTRIES], upstream.answers[RATES] = document(RECORDS), _quotes("2026-11-20")
    draws = iter(range(1000, 1008))
    async with serving(settings, clock=lambda: START, draw_multiplier=lambda: float(next(draws))) as client:
        await refresh(client)
        await refresh(client)

        assert [entry["estimated_gdp"] for entry in await history(client, "ghana")] == [10040.0]
        assert await number_of_entries(client) == 4


async def test_refresh_deletions_and_reads_run_concurrently(loaded):
    gone = ["ghana", "togo", "benin"]

    answers = await asyncio.gather(
        *(loaded.delete(f"/countries/{name}") for name in gone),
        loaded.post("/countries/refresh"),
        *(loaded.get(f"/countries/cuba/history?limit={limit}") for limit in (1, 2, 3)),
    )

    assert [answer.status_code for answer in answers] == [200] * 7
    assert len(await history(loaded, "cuba")) == 2


async def test_history_is_written_by_one_statement_and_read_by_its_key(twice):
    database = twice.state["database"]
    with recorded(database) as written:
        await refresh(twice)
    with recorded(database) as read:
        await twice.get("/countries/ghana/history?limit=1")

    (insert,) = (statement.sql for statement in written if "country_history" in statement.sql)
    assert re.match(r"INSERT INTO country_history \(.*\) SELECT .*\sFROM country\s+WHERE", insert, re.DOTALL), insert
    page, total = (statement for statement in read if "country_history" in statement.sql)
    by_key = r"USING PRIMARY KEY \(country_id=\?\)|ref PRIMARY PRIMARY 8 const|Scan .*country_history_pkey"
    for statement in (page, total):
        plan = await explained(database, statement, "country_history")
        assert re.search(by_key, plan), plan
        assert "filesort" not in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


async def test_links_work_for_names_with_spaces_and_accents(loaded):
    for name in ("Côte d’Ivoire", "Curaçao", "Burkina Faso"):
        assert (await loaded.get(f"/countries/{name}")).status_code == 200
        first = await loaded.get(f"/countries/{name}/history?limit=1")

        followed = await loaded.get(first.links["last"]["url"])
        assert (name, followed.status_code, followed.json()) == (name, 200, first.json())
