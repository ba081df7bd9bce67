"""Reads during which the data change: an answer is of one version."""

from datetime import date

import pytest

from app.rates import in_force
from tests.conftest import until_loaded
from tests.core.http.test_cache import Monotonic
from tests.rates.conftest import HISTORY, add_history

NEW_DAY = date(2026, 11, 4)
NEW_RATES = HISTORY[date(2026, 11, 3)]
ASKED_FOR = date(2026, 11, 10)


@pytest.fixture
async def both_processes(service):
    """Two services on one database; the first believes for as long as its clock stands that nothing changes."""
    async with service(monotonic=Monotonic()) as one, service(cache_revalidate_seconds=0) as other:
        await one.post("/countries/refresh")
        await add_history(one)
        await until_loaded(one)
        yield one, other


async def test_what_is_read_after_a_change_elsewhere_does_not_mix_with_what_is_in_memory(both_processes):
    one, other = both_processes

    await other.delete("/countries/togo")
    history = [await client.get("/countries/togo/history") for client in (one, other)]
    await add_history(other, days={NEW_DAY: NEW_RATES})
    series = [await client.get(f"/rates/2026-11-03..{NEW_DAY}?base=EUR&symbols=ISK") for client in (one, other)]

    assert [answer.status_code for answer in (*history, *series)] == [404, 404, 200, 200]
    assert history[0].content == history[1].content
    assert series[0].content == series[1].content


async def test_change_between_two_queries_of_one_request_begins_it_again(both_processes, monkeypatch):
    one, other = both_processes
    load, days_read = in_force.load_newest_days, []

    async def change_afterwards(session, on):
        found = await load(session, on)
        if on == ASKED_FOR:
            days_read.append(max(found).day)
            if len(days_read) == 1:
                await add_history(other, days={NEW_DAY: NEW_RATES})
        return found

    monkeypatch.setattr(in_force, "load_newest_days", change_afterwards)
    answer = await one.get(f"/rates/{ASKED_FOR}?base=EUR&symbols=ISK&source=ecb")

    assert days_read == [date(2026, 11, 3), NEW_DAY]
    assert (answer.status_code, answer.json()["date"]) == (200, str(NEW_DAY))
