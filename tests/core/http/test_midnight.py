"""What depends on the day is kept until midnight UTC at most, whatever keeps it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Client, serving
from tests.core.http.test_ready import Moment
from tests.rates.conftest import add_history


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
