"""What depends on the day is kept until midnight UTC at most, whatever keeps it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Client, serving
from tests.core.http.test_connection import listening
from tests.core.http.test_ready import Moment
from tests.rates.conftest import add_history
from tests.support.statements import recorded

AGES = ("/rates", "/rates/2026-11-01", "/convert?from=EUR&to=USD", "/convert?from=EUR&to=USD&date=2026-11-01")
NEVER_OLD = ("/countries", "/countries/ghana", "/currencies", "/data-sources")
HEAD = b"GET /rates HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def clock() -> Moment:
    return Moment(datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC))


Start = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def start(settings: Any, clock: Moment, http: Any) -> Start:
    @asynccontextmanager
    async def run(**changes: Any) -> AsyncIterator[Client]:
        changed = settings.model_copy(update={"cache_revalidate_seconds": 600.0, **changes})
        async with serving(changed, clock=clock, http=http) as client:
            assert (await client.post("/countries/refresh")).status_code == 200
            await add_history(client)
            yield client

    return run


@pytest.mark.parametrize("limit", ["off", "1000/minute"])  # with a limit no answer is ready before the layers
@pytest.mark.engines("sqlite")
async def test_rates_of_a_day_are_settled_a_week_later(start, clock, limit):
    async with start(rate_limit_reads=limit) as client:
        await add_history(client, days={date(2026, 11, 13): {"EUR": 1.0, "USD": 1.16}})
        before = [await client.get("/rates/2026-11-14") for _ in range(3)]
        clock.now += timedelta(seconds=1)
        after = [await client.get("/rates/2026-11-14") for _ in range(3)]

    assert {"immutable" in answer.headers["Cache-Control"] for answer in before} == {False}
    assert {"immutable" in answer.headers["Cache-Control"] for answer in after} == {True}


@pytest.mark.parametrize("limit", ["off", "1000/minute"])  # with a limit no answer is ready before the layers
@pytest.mark.engines("sqlite")
async def test_age_of_rates_is_never_that_of_yesterday(start, clock, limit):
    async with start(rate_limit_reads=limit) as client:
        before = {path: [await client.get(path) for _ in range(2)] for path in (*AGES, *NEVER_OLD)}
        clock.now += timedelta(seconds=1)
        with recorded(client.state["database"]) as asked:
            unchanged = {path: await client.get(path) for path in NEVER_OLD}
        after = {path: await client.get(path) for path in AGES}
        tag = before["/rates"][0].headers["ETag"]
        again = [
            await client.get("/rates", headers={"If-None-Match": each})
            for each in (tag, after["/rates"].headers["ETag"])
        ]

    assert all(first.content == second.content for first, second in before.values())
    assert [after[path].json()["age_days"] - before[path][0].json()["age_days"] for path in AGES] == [1, 1, 1, 1]
    assert [answer.status_code for answer in again] == [200, 304]
    assert asked == []
    assert {path: answer.content for path, answer in unchanged.items()} == {
        path: before[path][0].content for path in NEVER_OLD
    }
    expires = [
        answers["/rates/2026-11-01"].headers["Expires"] for answers in ({p: a[0] for p, a in before.items()}, after)
    ]
    assert expires == ["Sun, 22 Nov 2026 00:00:00 GMT", "Mon, 23 Nov 2026 00:00:00 GMT"]


@pytest.mark.engines("sqlite")
async def test_day_that_was_in_the_future_and_a_series_without_an_end_are_looked_up_again(start, clock):
    path = "/rates/2026-11-10..?base=EUR&symbols=USD&fill=previous&source=ecb"
    async with start() as client:
        early = await client.get("/rates/2026-11-23")
        ends = [(await client.get(path)).json()["to"] for _ in range(2)]
        clock.now += timedelta(seconds=1)
        late = await client.get("/rates/2026-11-23")
        ends.append((await client.get(path)).json()["to"])

    assert (early.status_code, late.status_code) == (400, 200)
    assert ends == ["2026-11-21", "2026-11-21", "2026-11-22"]


async def test_answer_that_is_ready_on_a_connection_ends_at_midnight(tmp_path, sqlite_template, clock):
    async with listening(tmp_path, sqlite_template, clock=clock, cache_revalidate_seconds=600) as service:
        ready = service.state["ready"]
        async with service.wire() as wire:
            bodies = []
            for seconds in (0, 0, 0, 1, 0, 0):
                clock.now += timedelta(seconds=seconds)
                was_ready = ready.answer_repeated(HEAD, []) is not None
                await wire.send(HEAD)
                status, _, body = await wire.answer()
                bodies.append((status, was_ready, json.loads(body)["age_days"]))

    age = bodies[0][2]
    today = [(200, False, age), (200, False, age), (200, True, age)]
    assert bodies == [*today, *((status, was_ready, age + 1) for status, was_ready, age in today)]
