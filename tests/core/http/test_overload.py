"""What comes when more is under way than the database has connections for."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.conftest import Service, until_loaded

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
