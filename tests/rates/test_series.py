"""Series of rates over days: shape, choice of the source, averages, bounds, plans; on both engines."""

import asyncio
import json
import random
import re
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy import bindparam, select
from sqlmodel import col

from app.core.db.database import Database
from app.core.db.queries import read_by_day
from app.core.db.snapshots import snapshot_of
from app.core.http.formats import Format
from app.rates import series, series_output
from app.rates.models import ExchangeRate
from app.rates.schemas import SeriesQuery
from app.rates.store import import_days
from tests.conftest import Client, opened_database
from tests.rates.conftest import add_history
from tests.support.engines import EVERY_ENGINE
from tests.support.service import ServiceProcess
from tests.support.statements import explained, recorded

RANGE = "/rates/2026-10-29..2026-11-03"
UNKNOWN = "QQQ is not a known currency code"
TOO_EARLY = "ISK is not quoted by ecb from 2026-10-29 to 2026-10-30; its first rate is of 2026-11-02"
ABOUT = {
    "base": "EUR",
    "from": "2026-10-29",
    "to": "2026-11-03",
    "group": None,
    "fill": None,
    "source": "ecb",
    "attribution": "Source: European Central Bank, https://www.ecb.europa.eu",
    "fixed": None,
    "partial": None,
    "days": None,
}


async def test_series_has_each_currency_by_day(history):
    response = await history.get(f"{RANGE}?base=EUR&symbols=USD,ISK")

    assert response.status_code == 200
    assert response.json() == {
        **ABOUT,
        "rates": {
            "ISK": {"2026-11-02": 144.6, "2026-11-03": 145.2},
            "USD": {"2026-10-29": 1.16, "2026-10-30": 1.1554, "2026-11-02": 1.1514, "2026-11-03": 1.1491},
        },
    }


async def test_series_is_against_any_base_and_has_all_currencies_without_symbols(history):
    body = (await history.get("/rates/2026-10-30..2026-11-02?base=SEK")).json()

    assert body["rates"] == {
        "EUR": {"2026-10-30": 0.09148712318741137, "2026-11-02": 0.09161284412074573},
        "ISK": {"2026-11-02": 13.247217259859832},
        "JPY": {"2026-10-30": 16.28836741228672, "2026-11-02": 16.265860473638405},
        "SEK": {"2026-10-30": 1.0, "2026-11-02": 1.0},
        "USD": {"2026-10-30": 0.1057042221307351, "2026-11-02": 0.10548302872062663},
    }


async def test_day_on_which_the_base_is_silent_is_left_out(history):
    body = (await history.get(f"{RANGE}?base=ISK&symbols=EUR")).json()

    assert list(body["rates"]["EUR"]) == ["2026-11-02", "2026-11-03"]


async def test_weeks_and_months_are_averages_under_their_first_day(history):
    weeks = (await history.get(f"{RANGE}?base=EUR&symbols=USD&group=week")).json()
    months = (await history.get(f"{RANGE}?base=EUR&symbols=USD&group=month")).json()

    assert weeks == {
        **ABOUT,
        "group": "week",
        "partial": ["2026-10-26", "2026-11-02"],
        "rates": {"USD": {"2026-10-26": 1.1577, "2026-11-02": 1.15025}},
        "days": {"USD": {"2026-10-26": 2, "2026-11-02": 2}},
    }
    assert months["rates"] == {"USD": {"2026-10-01": 1.1577, "2026-11-01": 1.15025}}
    assert months["days"] == {"USD": {"2026-10-01": 2, "2026-11-01": 2}}


@pytest.mark.parametrize(
    ("path", "partial"),
    [
        ("2026-10-26..2026-11-01?group=week", []),
        ("2026-10-27..2026-11-01?group=week", ["2026-10-26"]),
        ("2026-10-26..2026-11-03?group=week", ["2026-11-02"]),
        ("2026-10-01..2026-10-31?group=month", []),
        ("2026-10-01..2026-11-21?group=month", ["2026-11-01"]),
        ("2026-10-26..2026-11-22?group=week", ["2026-11-16"]),  # today is the 21st, and the week runs to the 22nd
        ("2026-10-26..?group=week", ["2026-11-02"]),  # the newest day is the 3rd
    ],
)
@pytest.mark.engines("sqlite")
async def test_period_that_the_range_cuts_off_or_that_runs_is_marked(history, path, partial):
    body = (await history.get(f"/rates/{path}&base=EUR&symbols=USD")).json()

    assert (body["partial"], body["days"]["USD"].keys()) == (partial, body["rates"]["USD"].keys())


async def test_averages_in_a_table_say_their_days_and_whether_they_are_partial(history):
    path = "/rates/2026-10-29..2026-11-03?base=EUR&symbols=ISK,USD&group=month"
    csv, ndjson = [await history.get(f"{path}&format={name}") for name in ("csv", "ndjson")]

    assert csv.text.removeprefix("\ufeff").splitlines() == [
        "date,base,quote,rate,source,days,partial",
        "2026-11-01,EUR,ISK,144.9,ecb,2,true",
        "2026-10-01,EUR,USD,1.1577,ecb,2,true",
        "2026-11-01,EUR,USD,1.15025,ecb,2,true",
    ]
    about = {"date": "2026-11-01", "base": "EUR", "quote": "ISK", "rate": 144.9, "source": "ecb"}
    assert json.loads(ndjson.text.splitlines()[0]) == {**about, "days": 2, "partial": True}
    whole = await history.get("/rates/2026-10-01..2026-10-31?base=EUR&symbols=USD&group=month&format=csv")
    assert whole.text.splitlines()[1] == "2026-10-01,EUR,USD,1.1577,ecb,2,false"


async def test_series_without_an_end_goes_to_the_newest_day(history):
    await add_history(history, source="other", days={date(2026, 11, 22): {"USD": 1.0, "GHS": 11.5}})
    latest = (await history.get("/rates/2026-10-30..?base=EUR&symbols=USD")).json()
    csv = await history.get("/rates/2026-11-02..?base=USD&source=other&format=csv")

    assert latest == {**(await history.get("/rates/2026-10-30..2026-11-03?base=EUR&symbols=USD")).json()}
    assert (latest["from"], latest["to"]) == ("2026-10-30", "2026-11-03")
    assert csv.headers["Content-Disposition"] == 'attachment; filename="rates-2026-11-02-2026-11-22.csv"'


async def test_days_without_rates_get_the_last_one_on_request(history):
    path = "/rates/2026-10-31..2026-11-05?base=EUR&symbols=USD,ISK&fill=previous"
    body = (await history.get(path)).json()

    assert (body["fill"], body["from"], body["to"]) == ("previous", "2026-10-31", "2026-11-05")
    assert body["rates"] == {
        "ISK": {"2026-11-02": 144.6, **{f"2026-11-0{day}": 145.2 for day in (3, 4, 5)}},
        "USD": {
            "2026-10-31": 1.1554,
            "2026-11-01": 1.1554,
            "2026-11-02": 1.1514,
            **{f"2026-11-0{day}": 1.1491 for day in (3, 4, 5)},
        },
    }
    days = {f"2026-11-{day:02}": 1.1491 for day in range(8, 11)}  # no longer than a week
    assert (await history.get("/rates/2026-11-08..?base=EUR&symbols=USD&fill=previous")).json()["rates"] == {
        "USD": days
    }
    weekend = await history.get("/rates/2026-10-31..2026-11-01?base=SEK&symbols=EUR&fill=previous&decimals=string")
    assert set(weekend.json()["rates"]["EUR"].values()) == {"0.091487123187411371849"}
    table = await history.get("/rates/2026-11-01..2026-11-02?base=EUR&symbols=USD&fill=previous&format=csv")
    assert table.text.splitlines()[1:] == ["2026-11-01,EUR,USD,1.1554,ecb", "2026-11-02,EUR,USD,1.1514,ecb"]


async def test_gaps_are_filled_across_the_parts_in_which_a_long_series_is_read(history: Client):
    days = {day: rates for day, rates in years(1_500, 8).items() if day.weekday() < 5}
    await add_history(history, source="long", days=days)
    first, last = min(days), max(days)
    rates = (await history.get(f"/rates/{first}..{last}?base=EUR&source=long&fill=previous")).json()["rates"]["ABX"]

    expected, rate = {}, 0.0
    for number in range((last - first).days + 1):
        day = first + timedelta(number)
        rate = days[day]["ABX"] if day in days else rate
        expected[str(day)] = rate
    assert rates == expected


async def test_source_that_quotes_what_is_wanted_serves_the_series(history):
    few = {date(2026, 11, day): {"EUR": 1.0, "USD": 1.15, "GHS": 12.0 + day} for day in (2, 3)}
    await add_history(history, source="other", days=few)

    for query, source in (("base=EUR", "ecb"), ("base=GHS&symbols=EUR", "other"), ("base=EUR&source=other", "other")):
        assert (query, (await history.get(f"{RANGE}?{query}")).json()["source"]) == (query, source)
    response = await history.get(f"{RANGE}?base=GHS&symbols=SEK&source=ecb")
    told = {"base": "GHS is not quoted by ecb from 2026-10-29 to 2026-11-03"}
    assert (response.status_code, response.json()["details"]) == (400, told)


async def test_source_that_stopped_early_does_not_serve_the_series_of_another(history):
    long = {
        date(2026, 10, day): {"EUR": 1.0, "USD": 1.15, **({"RUB": 84.0} if day == 1 else {})} for day in range(1, 9)
    }
    await add_history(history, source="stopped", days=long)
    short = {date(2026, 10, day): {"EUR": 1.0, "USD": 1.15, "RUB": 90.0 + day} for day in (2, 7, 8)}
    await add_history(history, source="other", days=short)

    for symbols, source in (("RUB", "other"), ("USD", "stopped")):
        body = (await history.get(f"/rates/2026-10-01..2026-10-08?base=EUR&symbols={symbols}")).json()
        assert (symbols, body["source"]) == (symbols, source)


async def test_series_is_csv_or_ndjson_on_request(history):
    asked = "/rates/2026-10-30..2026-11-02?base=EUR&symbols=ISK,USD"
    csv = await history.get(asked, headers={"Accept": "text/csv"})
    ndjson = await history.get(f"{asked}&format=ndjson")

    assert csv.text == (
        "\ufeffdate,base,quote,rate,source\r\n2026-11-02,EUR,ISK,144.6,ecb\r\n"
        "2026-10-30,EUR,USD,1.1554,ecb\r\n2026-11-02,EUR,USD,1.1514,ecb\r\n"
    )
    assert csv.headers["Content-Disposition"] == 'attachment; filename="rates-2026-10-30-2026-11-02.csv"'
    lines = [json.loads(line) for line in ndjson.text.splitlines()]
    assert lines[0] == {"date": "2026-11-02", "base": "EUR", "quote": "ISK", "rate": 144.6, "source": "ecb"}
    assert [line["quote"] for line in lines] == ["ISK", "USD", "USD"]


async def test_rates_of_a_series_are_exact_decimals_on_request(history):
    path = "/rates/2026-10-30..2026-11-02?base=SEK&symbols=SEK,USD&decimals=string"
    body, csv = [(await history.get(f"{path}&format={name}")) for name in ("json", "csv")]

    assert body.json()["rates"] == {
        "SEK": {"2026-10-30": "1", "2026-11-02": "1"},
        "USD": {"2026-10-30": "0.10570422213073509903", "2026-11-02": "0.10548302872062663185"},
    }
    assert csv.text.splitlines()[-1] == "2026-11-02,SEK,USD,0.10548302872062663185,ecb"
    weeks = (await history.get(f"{path}&group=week")).json()["rates"]["USD"]
    assert weeks == {"2026-10-26": "0.10570422213073509903", "2026-11-02": "0.10548302872062663185"}


NO_DAY_OR_RANGE = {"date": "must be a day such as 2026-11-21, or a range such as 2026-11-01..2026-11-20"}


@pytest.mark.parametrize(
    ("path", "status", "answer"),
    [
        ("2026-11-03..2026-11-02", 400, {"from": "must not be after `to`"}),
        ("2026-11-03..2026-11-23", 400, {"to": "is in the future"}),
        ("2026-11-24..2026-11-24", 400, {"from": "is in the future", "to": "is in the future"}),
        ("2026-11-03..today", 400, {"to": "must be a day, such as 2026-11-21"}),
        ("..2026-11-03", 400, NO_DAY_OR_RANGE),
        ("2026-09-01-2026-09-30", 400, NO_DAY_OR_RANGE),
        ("today..", 400, {"from": "must be a day, such as 2026-11-21"}),
        ("2026-11-23..", 400, {"from": "is in the future"}),
        ("2026-11-04..", 404, "No rates are stored from 2026-11-04 to 2026-11-22"),
        ("2026-11-02..2026-11-03?fill=next", 400, {"fill": "must be one of: previous"}),
        ("2026-11-02..2026-11-03?fill=previous&group=week", 400, {"fill": "cannot be combined with group"}),
        ("2026-11-02..2026-11-03?symbols=QQQ", 400, {"symbols": UNKNOWN}),
        ("2026-10-29..2026-10-30?base=ISK", 400, {"base": TOO_EARLY}),
        ("2026-11-02..2026-11-03?group=year", 400, {"group": "must be one of: week, month"}),
        ("2026-10-31..2026-11-01", 404, "No rates of USD are stored from 2026-10-31 to 2026-11-01"),
        ("2026-10-01..2026-10-28", 404, "No rates are stored from 2026-10-01 to 2026-10-28"),
        ("2026-10-01..2026-10-28?source=ecb", 404, "Rates of the source ecb are stored from 2026-10-29 to 2026-11-03"),
        ("2026-10-01..2026-11-03?base=QQQ&source=ecb", 400, {"base": UNKNOWN}),
    ],
)
@pytest.mark.engines("sqlite")
async def test_what_can_not_be_answered_is_told(history, path, status, answer):
    response = await history.get(f"/rates/{path}")

    assert (response.status_code, response.json()["details"]) == (status, answer)


def years(number: int, currencies: int) -> dict[date, dict[str, float]]:
    codes = [f"{chr(65 + index // 26)}{chr(65 + index % 26)}X" for index in range(currencies)]
    first = date(2020, 1, 1)
    return {
        first + timedelta(day): {"EUR": 1.0, **{code: 1 + day / 7 + place for place, code in enumerate(codes)}}
        for day in range(number)
    }


async def test_long_series_is_sent_as_it_is_read_and_is_whole(history: Client):
    days = years(1_500, 8)
    await add_history(history, source="long", days=days)
    first, last = min(days), max(days)
    pieces = 0
    async with history.stream("GET", f"/rates/{first}..{last}?base=EUR&source=long") as response:
        body = b""
        async for piece in response.aiter_raw():
            pieces, body = pieces + 1, body + piece

    assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
    assert "ETag" not in response.headers
    rates = json.loads(body)["rates"]
    assert {code: len(known) for code, known in rates.items()} == dict.fromkeys(days[first], 1_500)
    assert rates["ABX"] == {str(day): known["ABX"] for day, known in days.items()}
    assert list(rates["ABX"]) == sorted(rates["ABX"])


@pytest.mark.engines("sqlite")
async def test_nobody_waits_for_the_end_of_another_clients_series(history: Client, monkeypatch):
    await add_history(history, source="long", days=years(1_500, 8))
    on_the_way, go_on, readings = asyncio.Event(), asyncio.Event(), count(1)

    async def read_or_stop(*about: Any) -> Any:
        if next(readings) == 4:  # after the first piece, which takes three
            on_the_way.set()
            await go_on.wait()
        return await read_rates(*about)

    read_rates = series_output._read_rates
    monkeypatch.setattr(series_output, "_read_rates", read_or_stop)
    path = "/rates/2020-01-01..2025-12-31?base=EUR&source=long"
    first = asyncio.create_task(history.get(path))
    await on_the_way.wait()
    async with asyncio.timeout(30):
        second = await history.get(path)
    assert not first.done()
    go_on.set()

    assert second.content == (await first).content


async def test_long_series_is_read_in_parts_that_block_nobody_and_averages_run_across_them(history: Client):
    days = years(1_500, 8)
    await add_history(history, source="long", days=days)
    path = f"/rates/{min(days)}..{max(days)}?base=EUR&source=long"
    by_period: dict[str, defaultdict[str, list[float]]] = {group: defaultdict(list) for group in ("month", "week")}
    for day, known in days.items():
        by_period["month"][str(day.replace(day=1))].append(known["ABX"])
        by_period["week"][str(day - timedelta(day.weekday()))].append(known["ABX"])

    for group, periods in by_period.items():
        with recorded(history.state["database"]) as statements:
            body = (await history.get(f"{path}&group={group}")).json()
        rates, counts = body["rates"]["ABX"], body["days"]["ABX"]
        parts = [statement for statement in statements if "FROM exchange_rate" in statement.sql]

        assert list(rates) == list(periods)
        assert list(rates.values()) == pytest.approx([sum(some) / len(some) for some in periods.values()])
        assert list(counts.values()) == [len(some) for some in periods.values()]
        assert len(parts) == 2 * len(days[min(days)])  # two spans of at most 1000 days


@pytest.mark.parametrize("query", ["", "&group=month", "&fill=previous&symbols=USD"])
@pytest.mark.engines("sqlite")
async def test_range_that_begins_centuries_before_the_rates_takes_few_statements(history: Client, query):
    with recorded(history.state["database"]) as statements:
        for last in ("", "2026-11-21"):
            response = await history.get(f"/rates/0001-01-01..{last}?source=ecb&base=EUR{query}")
            assert response.status_code == 200, response.text

            body = response.json()
            assert body["from"] == "0001-01-01"
            assert (
                body["rates"]["USD"]
                == (await history.get(f"/rates/2026-10-01..{last}?base=EUR{query}")).json()["rates"]["USD"]
            )

    assert len(statements) < 50


@pytest.mark.engines("sqlite")
async def test_third_long_series_at_once_is_refused(history: Client, monkeypatch):
    await add_history(history, source="long", days=years(1_500, 8))
    go_on, waiting = asyncio.Event(), []

    async def read_when_told(*about: Any) -> Any:
        waiting.append(about)
        await go_on.wait()
        return await read_rates(*about)

    read_rates = series_output._read_rates
    monkeypatch.setattr(series_output, "_read_rates", read_when_told)
    path = "/rates/2020-01-0{}..2025-12-31?base=EUR&source=long"
    running = [asyncio.create_task(history.get(path.format(day))) for day in (1, 2)]
    async with asyncio.timeout(30):
        while len(waiting) < 2:
            await asyncio.sleep(0.01)
    refused = await history.get(path.format(3))
    short = asyncio.create_task(history.get(f"{RANGE}?base=EUR&source=ecb"))
    go_on.set()

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json()["error"] == "Too busy"
    assert [(await task).status_code for task in (*running, short)] == [200, 200, 200]
    assert (await history.get(path.format(3))).status_code == 200


@pytest.mark.engines("sqlite")
async def test_series_that_waits_for_its_client_keeps_no_other_out(history: Client):
    days, database = years(1_500, 8), history.state["database"]
    await add_history(history, source="long", days=days)
    slots: series_output.SeriesSlots = history.state["series_slots"]
    query = SeriesQuery(base="EUR", source="long")
    async with database.reading() as session:
        plan = await series.plan_series(snapshot_of(session), min(days), max(days), query, today=max(days))
    streams = [await slots.start(database, plan, Format.JSON) for _ in range(5)]
    beginnings = {await anext(stream) for stream in streams}
    wholes = {b"".join([piece async for piece in stream]) for stream in streams}

    assert len(beginnings) == len(wholes) == 1


@pytest.mark.engines("sqlite")
async def test_series_ends_where_its_client_leaves_and_costs_no_connection(database_url, tmp_path):
    days = years(2_000, 12)
    async with opened_database(database_url) as database:
        await database.transaction(lambda session: import_days(session, "long", days), seconds=60)
    path = f"/rates/{min(days)}..{max(days)}?base=EUR"
    async with (
        ServiceProcess(tmp_path, database_url=database_url) as process,
        httpx.AsyncClient(base_url=process.url, timeout=30) as client,
    ):
        for _ in range(15):
            reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: service\r\n\r\n".encode())
            await reader.readexactly(2_000)
            writer.transport.abort()
        async with asyncio.timeout(20):
            while (await client.get("/health/ready")).json()["pool"]["in_use"]:
                await asyncio.sleep(0.02)
    log = process.log.read_text()
    assert "ERROR" not in log, log


@pytest.mark.engines("sqlite")
async def test_range_that_is_too_large_is_refused_before_it_is_read(history, monkeypatch):
    monkeypatch.setattr("app.rates.series.LARGEST_KEPT", 5)
    monkeypatch.setattr("app.rates.series.LARGEST_SERIES", 10)
    with recorded(history.state["database"]) as statements:
        response = await history.get(RANGE)

    told = "4 days of 5 currencies are 20 rates, more than 10; ask for fewer with symbols, or for fewer days"
    assert (response.status_code, response.json()) == (413, {"error": "Range too large", "details": told})
    assert not any("FROM exchange_rate" in statement.sql for statement in statements)


@EVERY_ENGINE
async def test_year_of_a_pair_and_all_pairs_of_a_day_are_one_range_each(history: Client):
    await add_history(history, source="long", days=years(400, 30))
    database: Database = history.state["database"]

    async def plans(path: str) -> list[str]:
        with recorded(database) as statements:
            assert (await history.get(path)).status_code == 200
        reading = [statement for statement in statements if "FROM exchange_rate" in statement.sql]
        return [await explained(database, statement, "exchange_rate") for statement in reading]

    year = await plans("/rates/2020-01-01..2020-12-31?base=EUR&symbols=AAX&source=long")
    day = await plans("/rates/2020-06-01?base=EUR&source=long")

    # The ranges of both currencies. The last of each is PostgreSQL's.
    by_key = (
        r"USING PRIMARY KEY \(source=\? AND quote=\? AND day>\?|range PRIMARY|exchange_rate_pkey .*\n.*quote.*day >="
    )
    by_day = r"USING COVERING INDEX \w+_day \(source=\? AND day=\?\)|ref .* ix_exchange_rate_day .*Using index"
    by_day += r"|Index Only Scan using ix_exchange_rate_day .*\n.*day ="
    for plans_found, wanted in ((year, by_key), (day, by_day)):
        (plan,) = plans_found
        assert re.search(wanted, plan), plan
        assert not re.search("SCAN|filesort|TEMP B-TREE", plan), plan


@EVERY_ENGINE
async def test_day_is_found_by_index_among_many(history: Client):
    await add_history(history, source="long", days=years(400, 1))
    database: Database = history.state["database"]
    for query in ("?base=EUR", "/2020-06-06?base=EUR", "/2020-06-06?base=EUR&source=long"):
        path = f"/rates{query}"
        with recorded(database) as statements:
            assert (await history.get(path)).status_code == 200
        statement = next(found for found in statements if "FROM rate_day" in found.sql)

        plan = await explained(database, statement, "rate_day")
        assert re.search(
            r"uq_rate_day_recorded_at|uq_rate_day_day|sqlite_autoindex_rate_day_|PRIMARY|rate_day_pkey", plan
        ), plan
        assert not re.search("filesort|SCAN rate_day", plan), (path, plan)


@EVERY_ENGINE
async def test_every_digit_of_a_rate_comes_back(history: Client):
    chance = random.Random(14)
    rates = [chance.uniform(1, 10) * 10.0 ** chance.randrange(-11, 14) for _ in range(3000)] + [1e15, 1e-12, 0.1, 1 / 3]
    days = {date(2018, 1, 1) + timedelta(number): {"EUR": 1.0, "AAA": rate} for number, rate in enumerate(rates)}
    await add_history(history, source="odd", days=days)

    columns = (col(ExchangeRate.quote), col(ExchangeRate.day), col(ExchangeRate.rate))
    query = select(*columns).where(col(ExchangeRate.source) == bindparam("source"))
    async with history.state["database"].reading() as session:
        found = await read_by_day(session, query, {"source": "odd"})
    assert [float(text) for _, text in found["AAA"]] == rates
    assert [Decimal(text) for _, text in found["AAA"]] == [Decimal(repr(rate)) for rate in rates]


async def test_long_series_that_can_not_begin_is_an_answer(history: Client, monkeypatch):
    monkeypatch.setattr("app.rates.series.LARGEST_KEPT", 1)
    monkeypatch.setattr("app.rates.router.LARGEST_KEPT", 1)
    few = {date(2026, 11, day): {"EUR": 1.0, **({"GHS": 12.0} if day != 3 else {})} for day in (2, 3, 4)}
    await add_history(history, source="other", days=few)

    response = await history.get("/rates/2026-11-03..2026-11-03?base=GHS&source=other")
    told = "No rates of GHS are stored from 2026-11-03 to 2026-11-03"
    assert (response.status_code, response.json()) == (404, {"error": "Rates not found", "details": told})
