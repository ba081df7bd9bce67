"""Sources that quote some currencies later than others: tables, conversions, and days with a few late rates."""

from datetime import date
from typing import Any

import pytest

from tests.conftest import RATES, until_loaded
from tests.core.db.test_pool import until_started
from tests.rates.conftest import add_history
from tests.support.statements import recorded, tables_read
from tests.support.upstream import document


def rows(days: dict[str, dict[str, float]]) -> Any:
    """A response in which each rate has its own day, as of Frankfurter v2."""
    return document(
        [{"date": day, "base": "USD", "quote": code, "rate": rate} for day in days for code, rate in days[day].items()]
    )


FRIDAY = {"EUR": 0.5, "GHS": 11.5, "JPY": 150.0, "NGN": 1400.0}


@pytest.fixture
async def mixed(client, upstream):
    """The client of a service whose source quotes one currency on a Saturday, and the others until Friday."""
    await until_started(client)
    upstream.answers[RATES] = rows({"2026-11-20": FRIDAY, "2026-11-21": {"RSD": 100.0}})
    assert (await client.post("/countries/refresh")).status_code == 200
    return client


async def test_table_has_the_newest_rate_of_each_currency_with_its_day(mixed):
    await until_loaded(mixed)
    for path, tables in (("/rates", []), ("/rates/2026-11-21", ["currency_span"])):
        with recorded(mixed.state["database"]) as statements:
            body = (await mixed.get(path)).json()
        assert (path, tables_read(statements)) == (path, tables)
        assert (body["date"], body["age_days"]) == ("2026-11-21", 0)
        assert body["rates"] == {**FRIDAY, "RSD": 100.0, "USD": 1.0}
        assert body["older"] == dict.fromkeys(FRIDAY, "2026-11-20")

    per_euro = (await mixed.get("/rates?base=EUR")).json()
    assert (per_euro["date"], per_euro["older"], per_euro["rates"]["RSD"]) == ("2026-11-20", {}, 200.0)
    csv = (await mixed.get("/rates?format=csv")).text.splitlines()
    assert [line for line in csv if ",EUR," in line or ",RSD," in line] == [
        "2026-11-20,USD,EUR,0.5,127.0.0.1",
        "2026-11-21,USD,RSD,100.0,127.0.0.1",
    ]
    friday = (await mixed.get("/rates/2026-11-20")).json()
    assert (friday["date"], friday["older"], friday["rates"]) == ("2026-11-20", {}, {**FRIDAY, "USD": 1.0})


async def test_currencies_of_different_days_are_converted_and_dated_by_the_older_day(mixed):
    await until_loaded(mixed)
    with recorded(mixed.state["database"]) as statements:
        pair = (await mixed.get("/convert?from=EUR&to=RSD")).json()
    assert tables_read(statements) == ["exchange_rate"]  # of the days before
    several = (await mixed.get("/convert?from=EUR&to=RSD,GHS,USD")).json()
    symbols = (await mixed.get("/rates?base=EUR&symbols=RSD,GHS")).json()
    dollars = (await mixed.get("/convert?from=USD&to=RSD")).json()

    assert (pair["rate"], pair["date"], pair["age_days"]) == (200.0, "2026-11-20", 1)
    assert (several[0], {each["date"] for each in several}) == (pair, {"2026-11-20"})
    assert (symbols["rates"], symbols["date"]) == ({"GHS": 23.0, "RSD": 200.0}, "2026-11-20")
    assert (dollars["rate"], dollars["date"]) == (100.0, "2026-11-21")


async def test_common_day_counts_more_than_newer_rates_of_different_days(mixed):
    days = {date(2026, 11, 20): {"RSD": 99.0, "USD": 1.0}, date(2026, 11, 21): {"CHF": 0.8, "USD": 1.0}}
    await add_history(mixed, source="127.0.0.1", days=days)
    pair = (await mixed.get("/convert?from=EUR&to=RSD")).json()

    assert (pair["rate"], pair["date"]) == (198.0, "2026-11-20")


async def test_late_rate_of_a_past_day_hides_no_table(client, upstream):
    await until_started(client)
    await add_history(client)
    upstream.answers[RATES] = rows({"2026-11-21": FRIDAY, "2026-10-29": {"RSD": 101.0}})
    assert (await client.post("/countries/refresh")).status_code == 200
    past = (await client.get("/rates/2026-10-29")).json()
    rsd = (await client.get("/rates/2026-10-29?symbols=RSD")).json()

    assert (past["source"], past["rates"].keys()) == ("ecb", {"EUR", "JPY", "SEK", "USD"})
    assert (rsd["source"], rsd["rates"]) == ("127.0.0.1", {"RSD": 101.0})


async def test_time_with_a_few_late_rates_has_no_table(client, upstream):
    """As of the bundled Syrian pound, which is months older than the others."""
    await until_started(client)
    many = {f"{first}AA": 2.0 for first in "ABCDEFGHIJKLMNOPQRSTUVW"}
    upstream.answers[RATES] = rows({"2026-11-20": {**FRIDAY, **many}, "2026-07-04": {"SYP": 110.0}})
    assert (await client.post("/countries/refresh")).status_code == 200
    table, one = [await client.get(f"/rates/2026-11-19{query}") for query in ("", "?symbols=SYP")]
    await add_history(client, source="127.0.0.1", days={date(2026, 6, 1): {"USD": 1.0, **many}})
    before = (await client.get("/rates/2026-11-19")).json()

    told = "Rates are stored from 2026-07-04 to 2026-11-20, around 2026-07-04 only of a few currencies"
    assert (table.status_code, table.json()["details"]) == (404, told)
    assert (one.status_code, one.json()["date"]) == (200, "2026-07-04")
    assert (before["date"], before["rates"]) == ("2026-06-01", {"USD": 1.0, **many})
