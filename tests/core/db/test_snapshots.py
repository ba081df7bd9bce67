"""What is kept in memory for a version: for how long, how much, and what a failed or slow load leaves behind."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError
from sqlmodel.ext.asyncio.session import AsyncSession

from app import lifespan
from app.core.db.data_version import raise_version
from app.core.db.snapshots import snapshot_of
from app.core.errors import DatabaseUnavailable
from app.countries.crud import load_image
from tests.conftest import opened_database, until_loaded
from tests.core.http.test_cache import Monotonic

pytestmark = pytest.mark.engines("sqlite")  # nothing here depends on the engine
TASKS = ("read ahead", "data version", "single flight")


@pytest.fixture
def monotonic():
    return Monotonic()


@pytest.fixture
async def loaded(service, monotonic):
    async with service(monotonic=monotonic) as client:
        await client.post("/countries/refresh")
        await until_loaded(client)
        yield client


class Gate:
    """Holds the first load after ``shut()``, which counts loads from then on."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        self.loads = 0
        self._is_shut = False

    def shut(self) -> None:
        self.loads, self._is_shut = 0, True

    async def __call__(self, session: AsyncSession) -> bytes | None:
        self.loads += 1
        if self._is_shut:
            self._is_shut = False
            self.reached.set()
            await self.opened.wait()
        return await load_image(session)


@pytest.fixture
def gate(monkeypatch):
    """In front of the last query of what is read ahead from the summary."""
    gate = Gate()
    monkeypatch.setattr(lifespan, "load_image", gate)
    return gate


async def change(database, statement: str) -> None:
    async def work(session) -> None:
        await (await session.connection()).execute(text(statement))
        await raise_version(session)

    await database.transaction(work)


def running() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(TASKS)]


async def test_results_with_arguments_are_kept_for_the_32_used_last():
    asked_for: list[int] = []

    async def double(_session, number):
        asked_for.append(number)
        return 2 * number

    snapshot, wanted = snapshot_of(AsyncSession()), [*range(32), 0, 32, 0, *range(2, 33), 1]
    found = [await snapshot.read(double, number) for number in wanted]

    assert found == [2 * number for number in wanted]
    assert asked_for == [*range(33), 1]


async def test_slow_load_of_an_older_version_does_not_replace_the_newer_snapshot(loaded, gate, monotonic, database_url):
    gate.shut()
    async with opened_database(database_url) as elsewhere:
        await change(elsewhere, "UPDATE country SET population = 1 WHERE alpha2_code = 'ML'")
    monotonic.seconds += 2
    slow = asyncio.create_task(loaded.get("/countries/mali"))
    await gate.reached.wait()

    await change(loaded.state["database"], "UPDATE country SET population = 2 WHERE alpha2_code = 'ML'")
    own = (await loaded.get("/countries/mali?fields=population")).json()
    gate.opened.set()
    late = (await slow).json()

    assert own == {"population": 2}
    assert late["population"] == 2  # asked before the change, and answered after it
    assert gate.loads == 2  # one of each version


async def test_waiting_clients_that_leave_do_not_end_the_load_for_the_others(loaded, gate):
    gate.shut()
    await change(loaded.state["database"], "UPDATE country SET population = 1 WHERE alpha2_code = 'ML'")
    paths = [f"/countries/mali?fields=population,{field}" for field in ("name", "capital", "region")]
    waiting = [asyncio.create_task(loaded.get(path)) for path in paths]
    await gate.reached.wait()
    for gone in waiting[:2]:
        gone.cancel()
    left = await asyncio.gather(*waiting[:2], return_exceptions=True)
    gate.opened.set()

    assert [type(each) for each in left] == [asyncio.CancelledError] * 2
    assert (await waiting[2]).json()["population"] == 1
    assert gate.loads == 1


async def test_stop_during_a_load_leaves_no_task_behind(service, gate):
    before = running()
    async with service() as client:
        await client.post("/countries/refresh")
        await until_loaded(client)
        gate.shut()
        await change(client.state["database"], "UPDATE country SET population = 1")
        gone = asyncio.create_task(client.get("/countries"))
        await gate.reached.wait()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        during = running()

    assert len(during) > len(before)
    assert running() == before


async def test_what_cannot_be_understood_fails_only_where_it_is_needed(loaded, service, database_url):
    async with opened_database(database_url) as elsewhere:
        await change(elsewhere, "UPDATE summarycache SET report = 'unreadable'")
    async with service() as client:
        paths = ("/countries", "/countries/ghana", "/countries/ghana/history", "/countries/image", "/rates", "/status")
        statuses = {path: (await client.get(path)).status_code for path in paths}
        readers = running()
        repaired = await client.post("/countries/refresh")
        status = await client.get("/status")

    assert statuses == {**dict.fromkeys(paths, 200), "/status": 500}
    assert readers.count("read ahead") == 2  # one of each service
    assert (repaired.status_code, status.status_code) == (200, 200)


@pytest.mark.parametrize("failure", [DatabaseUnavailable("away"), InvalidRequestError("a defect")])
async def test_data_are_read_ahead_after_the_next_change_also_where_it_failed(loaded, service, monkeypatch, failure):
    tries, tried = 0, asyncio.Event()

    async def fail_at_first(session):
        nonlocal tries
        tries += 1
        tried.set()
        if tries == 1:
            raise failure
        return await load_image(session)

    monkeypatch.setattr("app.core.db.snapshots._SETTLE_SECONDS", 0)
    monkeypatch.setattr(lifespan, "load_image", fail_at_first)
    async with service() as client, asyncio.timeout(10):
        await tried.wait()
        tried.clear()
        await change(client.state["database"], "UPDATE country SET population = 1")
        await tried.wait()
