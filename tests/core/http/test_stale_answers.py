"""While the database is away: the last good answers for a time, which say so, and then 503."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import Client, make_settings, migrate_in_thread, serving
from tests.core.db.test_pool import HISTORY
from tests.core.http.test_cache import Monotonic
from tests.core.http.test_ready import Moment
from tests.support.mariadb import PrivateMariaDB, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="MariaDB is not installed")
UNAVAILABLE = "Database unavailable"


@pytest.fixture(scope="module")
def server():
    server = PrivateMariaDB()
    server.execute("CREATE DATABASE service")
    migrate_in_thread(server.url("service"))
    yield server
    server.stop()


@pytest.fixture
def monotonic():
    return Monotonic()


@pytest.fixture
def clock():
    return Moment(datetime(2026, 11, 21, 23, 59, 50, tzinfo=UTC))


@pytest.fixture
async def client(server, monotonic, clock):
    """A service with one answer in memory; its database gives up after half a second."""
    settings = make_settings(
        database_url=server.url("service"), db_timeout_seconds=0.5, country_sources="bundled", rate_sources="bundled"
    )
    async with serving(settings, monotonic=monotonic, clock=clock) as client:
        async with asyncio.timeout(20):
            while (await client.post("/countries/refresh")).status_code != 200:
                await asyncio.sleep(0.1)  # the server may still be waking up
        assert (await client.get("/countries/ghana")).status_code == 200
        yield client


@pytest.fixture
def frozen(server, client):
    server.freeze()
    yield server
    server.thaw()


async def read_from_a_frozen_server(client: Client, server: PrivateMariaDB, monotonic: Monotonic) -> httpx.Response:
    server.freeze()
    try:
        monotonic.seconds += 30
        return await client.get("/countries/ghana")
    finally:
        server.thaw()


async def test_last_good_answer_is_shown_with_its_age(client, frozen, monotonic):
    fresh = await client.get("/countries/ghana")
    monotonic.seconds += 30
    stale = await client.get("/countries/ghana")
    known = await client.get("/countries/ghana", headers={"If-None-Match": stale.headers["ETag"]})

    assert (stale.status_code, stale.content) == (200, fresh.content)
    assert stale.headers["Age"] == known.headers["Age"] == "30"
    assert stale.headers["Cache-Status"] == "countries; hit; ttl=-30; detail=database-unavailable"
    assert known.status_code == 304
    assert "Age" not in fresh.headers
    assert "Cache-Status" not in fresh.headers


async def test_answer_of_yesterday_is_shown_while_the_database_is_away_at_midnight(client, server, monotonic, clock):
    paths = ("/rates", "/convert?from=USD&to=EUR")
    before = [await client.get(path) for path in paths]
    server.freeze()
    try:
        monotonic.seconds += 30
        clock.now += timedelta(seconds=30)
        stale = [await client.get(path) for path in paths]
    finally:
        server.thaw()
    monotonic.seconds += 30
    async with asyncio.timeout(10):
        while "Age" in (fresh := await client.get("/rates")).headers:
            await asyncio.sleep(0.02)

    assert [(answer.status_code, answer.headers.get("Age"), answer.content) for answer in stale] == [
        (200, "30", answer.content) for answer in before
    ]
    assert fresh.json()["age_days"] == before[0].json()["age_days"] + 1


async def test_only_the_first_waits_for_a_database_that_is_away(client, frozen, monotonic):
    monotonic.seconds += 30
    await client.get("/countries/ghana")

    async with asyncio.timeout(2):  # if each waited for the database's half a second, it would be longer
        answers = [await client.get("/countries/ghana") for _ in range(5)]

    assert {answer.headers["Age"] for answer in answers} == {"30"}


async def test_what_was_never_asked_for_is_answered_from_what_is_known(client, frozen, monotonic):
    monotonic.seconds += 30
    listed = await client.get("/countries?region=africa&fields=name&limit=2&sort=name_desc")
    missing = await client.get("/countries/atlantis")

    assert (listed.status_code, listed.json()) == (200, [{"name": "Zimbabwe"}, {"name": "Zambia"}])
    assert missing.status_code == 404
    for answer in (listed, missing):
        assert answer.headers["Age"] == "30"
        assert answer.headers["Cache-Status"] == "countries; hit; ttl=-30; detail=database-unavailable"


async def test_what_is_not_in_memory_or_too_old_is_503(client, frozen, monotonic):
    assert (await client.get(HISTORY)).status_code == 503
    monotonic.seconds += 299
    assert (await client.get("/countries/ghana")).headers["Age"] == "299"

    monotonic.seconds += 1
    for path in ("/countries/ghana", "/countries/togo", HISTORY):
        response = await client.get(path)

        assert (path, response.status_code, response.json()["error"]) == (path, 503, UNAVAILABLE)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Retry-After"] == "2"


async def test_503_has_no_age_although_the_snapshot_has_one(client, frozen, monotonic):
    monotonic.seconds += 30
    response = await client.get(HISTORY)
    older = await client.get("/countries/ghana?fields=name")

    assert (response.status_code, older.headers["Age"]) == (503, "30")
    assert "Age" not in response.headers
    assert "Cache-Status" not in response.headers


async def test_request_waits_for_a_silent_database_for_one_bound_in_total(client, frozen, monotonic, monkeypatch):
    plain = asyncio.timeout
    granted: list[float] = []

    def note(delay):
        if asyncio.current_task() is request:
            granted.append(delay)
        return plain(delay)

    request = asyncio.current_task()
    monkeypatch.setattr(asyncio, "timeout", note)
    for method, path in (("GET", HISTORY), ("DELETE", "/countries/ghana"), ("DELETE", "/countries/atlantis")):
        monotonic.seconds += 90  # long after the last failure, so that it waits for the version
        granted.clear()
        response = await client.request(method, path)
        first, second, *_ = granted  # the others are of the driver, within the second

        assert (method, path, response.status_code) == (method, path, 503)
        assert first == 0.5
        assert second <= 0.001  # what the first wait left
        # The next request is not to join this question for the version, which ends a little later.
        questions = [task for task in asyncio.all_tasks() if task.get_name() == "data version"]
        await asyncio.gather(*questions, return_exceptions=True)


async def test_no_old_answer_is_shown_after_an_own_change_that_nobody_could_read_yet(client, server, monotonic):
    assert (await client.delete("/countries/togo")).status_code == 200
    response = await read_from_a_frozen_server(client, server, monotonic)

    assert (response.status_code, response.json()["error"]) == (503, UNAVAILABLE)


async def test_after_a_quiet_time_an_old_failure_counts_for_nothing(client, server, monotonic):
    stale = await read_from_a_frozen_server(client, server, monotonic)
    monotonic.seconds += 100

    fresh = await client.get("/countries/ghana")

    assert "Age" in stale.headers
    assert (fresh.status_code, fresh.content) == (200, stale.content)
    assert "Age" not in fresh.headers


async def test_own_change_is_read_at_once_also_after_a_failure(client, server, monotonic):
    stale = await read_from_a_frozen_server(client, server, monotonic)

    assert (await client.post("/countries/refresh")).status_code == 200
    fresh = await client.get("/countries/ghana")

    assert "Age" not in fresh.headers
    assert (fresh.status_code, fresh.content != stale.content) == (200, True)


async def test_database_that_comes_back_is_noticed_within_a_second(client, server, monotonic):
    stale = await read_from_a_frozen_server(client, server, monotonic)
    monotonic.seconds += 1
    async with asyncio.timeout(10):
        while "Age" in (fresh := await client.get("/countries/ghana")).headers:
            await asyncio.sleep(0.02)
            monotonic.seconds += 1

    assert "Age" in stale.headers
    assert (fresh.status_code, fresh.content) == (200, stale.content)
