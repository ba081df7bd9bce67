"""The day of each rate: stored as its source gave it, passed over when it is old, and never earlier than before."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import SQLModel, select

from app.core.db.queries import execute, select_columns
from app.countries.models import SummaryCache
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.rates.store import record_quotes
from app.sources.rate_shapes import Quotes
from tests.conftest import COUNTRIES, START
from tests.support import payloads
from tests.support.statements import recorded
from tests.support.upstream import Answer, document, status

FIRST, SECOND = "/first", "/second"
TODAY = START.date()
GHANA, SYRIA = (record for record in payloads.v3_1() if record["cca2"] in ("GH", "SY"))


def ago(days: int) -> date:
    return TODAY - timedelta(days)


def quoted(day: date, **rates: float) -> Answer:
    return document({"base": "USD", "date": day.isoformat(), "rates": {"EUR": 0.9, "GHS": 11.0, **rates}})


@pytest.fixture
def two(upstream):
    """The setting for a chain of two sources, 127.0.0.1 and localhost."""
    upstream.answers[COUNTRIES] = document([GHANA, SYRIA])
    return f"{upstream.url(FIRST)} http://localhost:{upstream.port}{SECOND}"


async def refresh(client: Any, query: str = "") -> dict[str, Any]:
    response = await client.post(f"/countries/refresh{query}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def about_rates(body: dict[str, Any]) -> tuple[str, str, bool]:
    return body["sources"]["rates"], body["rates_date"], body["stale"]


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("first", "second", "used"),
    [
        (ago(7), ago(0), ("127.0.0.1", ago(7), False)),
        (ago(8), ago(7), ("localhost", ago(7), False)),
        (ago(8), ago(9), ("127.0.0.1", ago(8), True)),
        (date(2024, 3, 2), ago(30), ("localhost", ago(30), True)),
        (date(2024, 3, 2), None, ("127.0.0.1", date(2024, 3, 2), True)),
        (None, date(2012, 1, 6), ("localhost", date(2012, 1, 6), True)),
    ],
)
async def test_old_answer_is_passed_over_while_a_later_source_has_a_newer_one(
    service, upstream, two, first, second, used
):
    for path, day in ((FIRST, first), (SECOND, second)):
        upstream.answers[path] = quoted(day) if day else status(404)
    source, day, stale = used
    async with service(rate_sources=two) as client:
        report = await refresh(client)
        stored = (await client.get("/status")).json()
        latest = (await client.get("/rates")).json()
        other = await client.get("/rates", params={"source": {"127.0.0.1": "localhost"}.get(source, "127.0.0.1")})

    assert about_rates(report) == about_rates(stored) == (source, day.isoformat(), stale)
    assert (latest["source"], latest["date"]) == (source, day.isoformat())
    assert other.status_code == 404, "nothing of it is stored"


def rows(**rates: tuple[float, date]) -> Answer:
    return document(
        [{"base": "USD", "quote": code, "rate": rate, "date": f"{day}"} for code, (rate, day) in rates.items()]
    )


@pytest.mark.engines("sqlite")
async def test_a_single_fresh_rate_does_not_make_old_ones_current(service, upstream, two):
    old = date(2024, 11, 27)
    mixed = rows(EUR=(0.8, old), GHS=(9.0, old), JPY=(140.0, old), RSD=(101.0, ago(0)), SYP=(110.0, old))
    upstream.answers |= {FIRST: mixed, SECOND: quoted(ago(1), GHS=11.5)}
    async with service(rate_sources=two) as client:
        of_second = await refresh(client)
        ghana = (await client.get("/countries/gh")).json()["exchange_rate"]
    async with service(rate_sources=upstream.url(FIRST)) as client:
        kept = await refresh(client)
        still = (await client.get("/countries/gh")).json()["exchange_rate"]

    assert (about_rates(of_second), ghana) == (("localhost", str(ago(1)), False), 11.5)
    assert (about_rates(kept), still) == (("localhost", str(ago(1)), False), 11.5)


@pytest.mark.engines("sqlite")
async def test_age_is_a_setting_and_an_answer_passed_over_counts_as_failed(service, upstream, two):
    upstream.answers |= {FIRST: quoted(ago(20)), SECOND: quoted(ago(1))}
    async with service(rate_sources=two, max_rate_age_days=20) as client:
        kept = await refresh(client)
    async with service(rate_sources=two, max_rate_age_days=19) as client:
        passed = await refresh(client)
        lines = (await client.get("/metrics")).text.splitlines()

    assert (about_rates(kept)[0], about_rates(passed)[0]) == ("127.0.0.1", "localhost")
    answers = 'countries_source_answers_total{data="rates",result="%s",source="%s"} %s.0'
    for source, failed, usable in (("127.0.0.1", 1, 0), ("localhost", 0, 1)):
        assert answers % ("failed", source, failed) in lines
        assert answers % ("usable", source, usable) in lines


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("chain", "used", "asked"),
    [
        ("bundled", ("bundled", "2026-09-29", False), 0),
        ("bundled {first}", ("bundled", "2026-09-29", False), 0),
        ("{first} bundled", ("bundled", "2026-09-29", False), 1),
    ],
)
async def test_bundled_rates_are_exempt_where_they_are_named(service, upstream, two, chain, used, asked):
    upstream.answers[FIRST] = quoted(date(2024, 3, 2))
    async with service(rate_sources=chain.format(first=upstream.url(FIRST))) as client:
        assert about_rates(await refresh(client)) == used

    assert upstream.hits[FIRST] == asked


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    ("day", "used"),
    [(ago(40), ("127.0.0.1", str(ago(40)), True)), (date(2024, 3, 2), ("bundled", "2026-09-29", False))],
)
async def test_first_load_takes_the_newest_of_old_and_bundled_rates(service, upstream, two, day, used):
    upstream.answers[FIRST] = quoted(day)
    async with service(rate_sources=upstream.url(FIRST), refresh_on_start="if-empty") as client:
        while (response := await client.get("/status")).status_code != 200:
            await asyncio.sleep(0.02)

    assert about_rates(response.json()) == used


async def test_old_rates_are_stored_under_their_day_and_countries_keep_the_newer_ones(service, upstream, two):
    upstream.answers[FIRST] = quoted(ago(1), GHS=11.5)
    async with service(rate_sources=upstream.url(FIRST)) as client:
        await refresh(client)
    for day in (ago(3), date(2024, 3, 2)):
        upstream.answers[SECOND] = quoted(day, GHS=12.5)
        async with service(rate_sources=f"http://localhost:{upstream.port}{SECOND}") as client:
            report = await refresh(client)
            ghana = (await client.get("/countries/gh")).json()
            entry = (await client.get("/countries/gh/history?limit=1")).json()[0]
            latest, older = [(await client.get(path)).json() for path in ("/rates", f"/rates/{day}?source=localhost")]

        assert about_rates(report) == ("127.0.0.1", ago(1).isoformat(), False)
        assert (ghana["exchange_rate"], entry["exchange_rate"], entry["rates_date"]) == (11.5, 11.5, str(ago(1)))
        assert (latest["date"], latest["rates"]["GHS"]) == (str(ago(1)), 11.5)
        assert (older["date"], older["rates"]["GHS"]) == (str(day), 12.5)


async def rows_of(client: Any, table: type[SQLModel]) -> list[Any]:
    async with client.state["database"].reading() as session:
        return list((await execute(session, select_columns(*table.__table__.columns))).all())  # type: ignore[attr-defined]


def chosen(answers: dict[str, tuple[date, float]]) -> str:
    """The source whose answer a refresh stores: the first with rates of the last week, else the one with the newest."""
    fresh = [source for source, (day, _) in answers.items() if day >= ago(7)]
    return fresh[0] if fresh else max(answers, key=lambda source: answers[source][0])


async def test_latest_day_and_the_days_of_stored_rates_hold_in_any_sequence_of_answers(service, upstream, two):
    chance = random.Random(17)
    stored: dict[tuple[str, date], float] = {}
    latest = ("", date.min)
    async with service(rate_sources=two) as client:
        for _ in range(20):
            answers = {
                source: (ago(chance.choice((0, 1, 2, 5, 8, 9, 30))), round(chance.uniform(10, 13), 4))
                for source in ("127.0.0.1", "localhost")
                if chance.random() < 0.8
            }
            for path, source in ((FIRST, "127.0.0.1"), (SECOND, "localhost")):
                day, rate = answers.get(source, (None, 0.0))
                upstream.answers[path] = quoted(day, GHS=rate) if day else status(404)
            code = (await client.post("/countries/refresh")).status_code
            if answers:
                source = chosen(answers)
                day, rate = answers[source]
                stored[source, day] = rate
                latest = (source, day) if day >= latest[1] else latest

            rates, state = [(await client.get(path)).json() for path in ("/rates", "/status")]
            ghana = (await client.get("/countries/gh")).json()
            assert code == (200 if answers else 503)
            assert (rates["source"], date.fromisoformat(rates["date"])) == latest
            assert (state["sources"]["rates"], state["rates_date"]) == (rates["source"], rates["date"])
            assert ghana["exchange_rate"] == rates["rates"]["GHS"] == stored[latest]
        rows = await rows_of(client, ExchangeRate)

    assert {(row.source, row.day): row.rate for row in rows if row.quote == "GHS"} == stored


def random_quotes(chance: random.Random) -> Quotes:
    """As a source that gives each rate its own day: most of the newest day, some older, one very old."""
    day = ago(chance.randrange(3))
    rates = {code: round(chance.uniform(0.5, 2), 6) for code in chance.sample(["EUR", "GHS", "NGN", "XOF", "SYP"], 3)}
    days = {code: day - timedelta(chance.choice((1, 2, 900))) for code in rates if chance.random() < 0.5}
    return Quotes(day, {**rates, "USD": 1.0}, days=days)


async def test_every_rate_is_stored_under_its_own_day_beside_the_base(client):
    chance, told, newest = random.Random(4217), {}, set()

    async def store(session: Any) -> None:
        for number in range(40):
            quotes, source = random_quotes(chance), chance.choice(("one", "other"))
            await record_quotes(session, source, quotes, recorded_at=datetime(2026, 11, 21, 9, number, tzinfo=UTC))
            newest.add((source, quotes.day))
            for code, rate in quotes.rates.items():
                day = quotes.days.get(code, quotes.day)
                told[source, code, day], told[source, "USD", day] = rate, 1.0

    await client.state["database"].transaction(store)
    rates, days, spans = [await rows_of(client, table) for table in (ExchangeRate, RateDay, CurrencySpan)]

    assert {(row.source, row.quote, row.day): row.rate for row in rates} == told
    assert {(row.source, row.day) for row in days} == {(source, day) for source, _, day in told}
    assert {(row.source, row.day) for row in days if row.recorded_at} == newest
    assert {(row.source, row.quote): (row.first_day, row.last_day) for row in spans} == {
        (source, code): (min(of), max(of))
        for source, code in {key[:2] for key in told}
        if (of := [day for name, other, day in told if (name, other) == (source, code)])
    }


async def test_rates_of_one_day_take_three_statements(client):
    database = client.state["database"]
    for days, number in (({}, 3), ({"EUR": ago(1), "GHS": date(2020, 1, 1)}, 4)):
        quotes = Quotes(TODAY, {"EUR": 0.9, "GHS": 11.0, "NGN": 1400.0, "USD": 1.0}, days=days)

        async def store(session: Any, quotes: Quotes = quotes) -> None:
            await record_quotes(session, "one", quotes, recorded_at=START)

        with recorded(database) as statements:
            await database.transaction(store)
        written = ("rate_day", "exchange_rate", "currency_span")
        assert sum(any(table in sql for table in written) for sql, _ in statements) == number


@pytest.mark.engines("sqlite")
async def test_rate_much_older_than_its_answer_is_stored_and_not_shown_as_that_day_s(service, upstream, two):
    """The bundled rate of the Syrian pound is 87 days older than the others."""
    async with service(rate_sources="bundled") as client:
        report = await refresh(client)
        syria, ghana = [(await client.get(f"/countries/{code}")).json() for code in ("sy", "gh")]
        latest, its_own = [(await client.get(f"/rates{path}")).json() for path in ("", "/2026-07-04?symbols=SYP")]

    why = "its rate is of 2026-07-04, too far from the day of the others, 2026-09-29, to count as quoted"
    assert (report["rates_date"], report["skipped"]) == ("2026-09-29", [{"name": "SYP", "reason": why}])
    assert report["countries_without_rate"] == 1
    assert (syria["currency_code"], syria["exchange_rate"], syria["estimated_gdp"]) == ("SYP", None, None)
    assert ghana["exchange_rate"] == payloads.rates()["GHS"]
    assert "SYP" not in latest["rates"]
    assert (its_own["date"], its_own["rates"]) == ("2026-07-04", {"SYP": payloads.rates()["SYP"]})


@pytest.mark.engines("sqlite")
async def test_status_reads_the_report_of_a_version_that_said_nothing_about_rates(loaded):
    async def forget(session: Any) -> None:
        row = (await session.exec(select(SummaryCache))).one()
        row.report, row.data_version = '{"message": "x"}', row.data_version + 1
        session.add(row)

    await loaded.state["database"].transaction(forget)

    state = (await loaded.get("/status")).json()
    assert (state["stale"], state["implausible_rates"]) == (False, [])
