"""What comes when more is under way than the database has connections for."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.conftest import Service, until_loaded
from tests.core.http.test_cache import Monotonic

DETAILS = "More requests came at once than can be answered in time; try again in a moment"


@pytest.fixture
def small(service: Service):
    """A service with one connection: eight units of work may be under way."""
    return service(db_pool_size=1, db_max_overflow=0, cache_revalidate_seconds=60)


@pytest.mark.engines("sqlite")  # the pool is the same on both
async def test_what_would_only_wait_is_refused_at_once_and_what_costs_nothing_is_answered(small):
    async with small as client:
        await client.post("/countries/refresh")
        kept = (await client.get("/countries")).text
        pool = client.state["database"].pool
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(pool.unit_of_work())
            refused = [await client.get("/countries?region=Africa"), await client.post("/countries/refresh")]
            # Credentials, though nobody's, lead past the memory.
            refused.append(await client.get("/", headers={"Accept": "text/html", "Authorization": "Bearer x"}))
            from_memory = await client.get("/countries")
            service = [(await client.get(path)).status_code for path in ("/health/live", "/health/ready", "/metrics")]
        afterwards = await client.get("/countries?region=Africa")

    for response in refused:
        assert (response.status_code, response.json()) == (503, {"error": "Too busy", "details": DETAILS})
        assert response.headers["retry-after"] == "1"
        assert response.headers["cache-control"] == "no-store"
    assert from_memory.text == kept
    assert service == [200, 200, 200]
    assert afterwards.status_code == 200


@pytest.mark.engines("sqlite")
async def test_burst_is_answered_or_refused_and_leaves_nothing_behind(small):
    async with small as client:
        await client.post("/countries/refresh")
        await until_loaded(client)
        paths = [f"/countries/ghana/history?limit={number}" for number in range(1, 41)]
        burst = await asyncio.gather(*(client.get(path) for path in paths))
        codes = {response.status_code for response in burst}
        afterwards = [(await client.get(path)).status_code for path in paths]

    assert codes == {200, 503}
    assert set(afterwards) == {200}
    assert client.state["database"].pool.units == 0


@pytest.mark.engines("sqlite")
async def test_requests_that_waited_together_are_refused_if_they_would_ask_the_database_together(service):
    monotonic = Monotonic()
    async with service(db_pool_size=1, db_max_overflow=0, monotonic=monotonic) as client:
        await client.post("/countries/refresh")
        await client.get("/countries")
        monotonic.seconds += 2  # all have to wait for the version, which is one query
        paths = [f"/countries/ghana/history?limit={number}" for number in range(1, 41)]
        burst = await asyncio.gather(*(client.get(path) for path in paths))
        afterwards = await client.get(paths[-1])

    refused = [response for response in burst if response.status_code == 503]
    assert len(burst) - len(refused) == 6  # units of work for callers without a credential
    assert {response.json()["error"] for response in refused} == {"Too busy"}
    assert {response.headers["Retry-After"] for response in refused} == {"1"}
    assert afterwards.status_code == 200
