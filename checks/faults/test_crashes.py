"""kill -9 of the service and of its database at random moments: one complete state, and no answered change is lost."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import col, select, update

from app.core.db.database import Database
from app.core.db.lease import LeaseRow
from app.core.db.types import ServerNow
from app.countries.models import SummaryCache
from app.refresh.crud import LEASE
from app.sources.countries import bundled_records
from checks.support.bodies import ADA, NDJSON, RIDGE, lines, transfer
from checks.support.processes import migrated_mariadb, sources
from checks.support.story import Story, read_story, set_generation
from tests.conftest import Client, make_settings, serving
from tests.support.service import ServiceProcess
from tests.support.upstream import FakeUpstream

FETCH_SECONDS = 0.1


@dataclass
class World:
    """A service that is killed repeatedly, its sources, and another service that reads the same database."""

    upstream: FakeUpstream
    observer: Client
    settings: dict[str, Any]
    folder: Path
    chance: random.Random
    generation: int = 0
    acknowledged: int = 0
    """The last generation answered with 200."""
    seconds: float = 0
    """Duration of the last answered refresh."""
    answers: Counter[int] = field(default_factory=Counter)

    @property
    def database(self) -> Database:
        database: Database = self.observer.state["database"]
        return database

    async def refresh(self, service: ServiceProcess, *, seconds: float = 0) -> None:
        """Refresh to the next generation; a service that is killed gives no answer."""
        self.generation += 1
        self.upstream.hits.clear()
        set_generation(self.upstream, self.generation, seconds=seconds)
        began = time.monotonic()
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
                response = await client.post("/countries/refresh")
            self.answers[response.status_code] += 1
            if response.status_code == 200:
                self.acknowledged, self.seconds = self.generation, time.monotonic() - began
            else:
                assert response.status_code == 503, response.text
                assert "Retry-After" in response.headers

    async def fence(self) -> int:
        """The number of the stored refresh."""
        async with self.database.reading() as session:
            return (await session.exec(select(SummaryCache.generation))).first() or 0

    async def look(self) -> Story:
        """Read what is stored, after ending the lease of the killed process: waiting for its end is checked by 3.4."""

        async def work(session: Any) -> None:
            await session.exec(update(LeaseRow).where(col(LeaseRow.name) == LEASE).values(expires_at=ServerNow()))

        # This also waits for a transaction whose COMMIT is still on its way in the server: it holds the lease's row.
        await self.database.transaction(work)
        story = await read_story(self.observer)
        assert story.generation in (self.acknowledged, self.generation), (story, self)
        return story


@asynccontextmanager
async def world_on(url: str, upstream: FakeUpstream, folder: Path) -> AsyncIterator[World]:
    settings = {"database_url": url, **sources(upstream), "upstream_timeout_seconds": 5}
    async with serving(make_settings(**settings, cache_max_bytes=0)) as observer:
        yield World(upstream, observer, settings, folder, random.Random(7))


@pytest.fixture
async def world(database_url, upstream, tmp_path) -> AsyncIterator[World]:
    async with world_on(database_url, upstream, tmp_path) as world:
        yield world


@pytest.mark.timeout(900)
@pytest.mark.row("2.1 service killed during refreshes")
async def test_killed_service_leaves_one_complete_state_and_loses_no_refresh(world, figure, is_full):
    """Killed while it fetches, while it stores, and between the commit and the answer.

    Seen to fail with a commit between countries and summary in ``refresh._write()``.
    """
    kills, moments = 100 if is_full else 4, Counter[str]()
    async with aclosing(prepared(world, kills)) as victims:
        async for victim in victims:
            await world.refresh(victim)
            moments[await kill_in_refresh(world, victim)] += 1

    assert sum(moments.values()) == kills
    for when in ("while fetching", "before the commit", "before the answer") if is_full else ():
        assert moments[when] >= kills // 33
    by_moment = ", ".join(f"{number} {moment}" for moment, number in sorted(moments.items()))
    figure(f"{kills} kills ({by_moment}): 0 torn states, 0 of {world.answers[200]} answered refreshes lost")


async def prepared(world: World, number: int) -> AsyncGenerator[ServiceProcess]:
    """Running processes, one after the other; the next one starts while one is used."""

    async def start() -> ServiceProcess:
        service = ServiceProcess(world.folder, **world.settings)
        await service.start()
        return service

    following = asyncio.create_task(start())
    for left in reversed(range(number)):
        service = await following
        if left:
            following = asyncio.create_task(start())
        try:
            yield service
        finally:
            await service.stop()


async def kill_in_refresh(world: World, victim: ServiceProcess) -> str:
    """Kill it at a random moment of a refresh; returns the moment."""
    aim = world.chance.choice(("fetching", "storing", "storing", "stored", "stored"))
    before = await world.fence()
    task = asyncio.create_task(world.refresh(victim, seconds=FETCH_SECONDS if aim == "fetching" else 0))
    while len(world.upstream.hits) < 2:
        await asyncio.sleep(0.001)
    if aim == "stored":
        while not task.done() and await world.fence() == before:
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(world.chance.uniform(0, FETCH_SECONDS if aim == "fetching" else world.seconds / 2))
    victim.kill()
    await task
    story = await world.look()
    if world.acknowledged == world.generation:
        return "after the answer"
    if story.generation == world.generation:
        return "before the answer"
    return "while fetching" if aim == "fetching" else "before the commit"


@pytest.mark.timeout(900)
@pytest.mark.row("2.2 database killed during refreshes")
async def test_killed_database_comes_back_with_one_complete_state_and_every_refresh(
    upstream, tmp_path, figure, is_full
):
    """Seen to fail with ``innodb-flush-log-at-trx-commit=0``, which loses answered refreshes."""
    kills, down = 30 if is_full else 2, list[float]()
    with migrated_mariadb("--innodb-flush-log-at-trx-commit=1") as server:
        async with (
            world_on(server.url("service"), upstream, tmp_path) as world,
            ServiceProcess(tmp_path, **world.settings) as service,
            httpx.AsyncClient(base_url=service.url) as client,
        ):
            for _ in range(kills):
                await world.refresh(service)
                task = asyncio.create_task(world.refresh(service))
                await asyncio.sleep(world.chance.uniform(0, world.seconds))
                server.kill()
                await asyncio.to_thread(server.start)
                began = time.monotonic()
                await task
                await world.look()
                while (await client.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.01)
                down.append(time.monotonic() - began)

    answers = f"{world.answers[200]} answered 200, {world.answers[503]} 503"
    figure(f"{kills} kills ({answers}): 0 torn states, 0 answered refreshes lost, ready again in {max(down):.1f} s")


@dataclass
class Writes:
    """Changes requested of one service until it is killed, and those that it answered."""

    client: httpx.AsyncClient
    round: int
    emails: set[str] = field(default_factory=set)
    addresses: int = 0
    deleted: set[str] = field(default_factory=set)

    @property
    def ubid(self) -> str:
        return f"0b7d1c52-3f7e-4e0c-9a55-{self.round:012}"

    async def accounts(self) -> None:
        for number in count():
            email = f"ada{number}@{self.round}.example.com"
            response = await self.client.post("/users", json={**ADA, "email": email, "addresses": [RIDGE] * 2})
            if response.status_code == 503:  # overloaded
                continue
            assert response.status_code == 201, response.text
            self.emails.add(email)
            response = await self.client.post(f"/users/{response.json()['id']}/addresses", json=RIDGE)
            self.addresses += response.status_code == 201

    async def deletions(self) -> None:
        for name in names_to_delete(self.round):
            response = await self.client.delete(f"/countries/{name}")
            if response.status_code == 503:
                continue
            assert response.status_code == 200, response.text
            self.deleted.add(name)

    async def stream(self) -> None:
        await self.client.post("/tracking/sms_transfers", json=transfer(self.ubid))
        path = f"/tracking/sms_documents/{self.ubid}/stream"
        await self.client.post(path, content=endless_documents(), headers=NDJSON)


def names_to_delete(round_: int) -> list[str]:
    """Other names in each round, never the first, whose history the story reads."""
    return [record["name"] for record in bundled_records()[1 + 20 * round_ : 21 + 20 * round_]]


async def endless_documents() -> AsyncIterator[bytes]:
    for first in count(0, 500):
        yield lines(first, 500)
        await asyncio.sleep(0.05)  # leave time for the other changes


@pytest.mark.row("2.3 service killed during writes")
async def test_service_killed_while_it_writes_leaves_complete_changes(world, figure, is_full):
    """Accounts with addresses, deletions of countries, a stream of documents; each with its audit entry.

    ``tests/rates/test_import.py`` kills an import of rates. Seen to fail with a commit and a pause between a deletion
    and its entry.
    """
    kills, done = 12 if is_full else 2, list[Writes]()
    async with aclosing(prepared(world, kills)) as victims:
        async for victim in victims:
            if not done:
                await world.refresh(victim)
            async with httpx.AsyncClient(base_url=victim.url, timeout=30) as client:
                writes = Writes(client, len(done))
                tasks = [asyncio.create_task(work()) for work in (writes.accounts, writes.deletions, writes.stream)]
                while not (writes.emails and writes.deleted) and not any(task.done() for task in tasks):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(world.chance.uniform(0, 1))
                victim.kill()
                for task in tasks:
                    with contextlib.suppress(httpx.TransportError):
                        await task
            done.append(writes)
            await asyncio.sleep(0.2)  # the server ends what is under way
            await world.look()
            await assert_changes_are_complete(world.observer, done)

    accounts, deletions = sum(len(each.emails) for each in done), sum(len(each.deleted) for each in done)
    answered = f"{accounts} accounts and {deletions} deletions answered"
    figure(f"{kills} kills ({answered}): 0 lost, 0 torn, streams stored in whole batches")


async def assert_changes_are_complete(client: Client, done: list[Writes]) -> None:
    users = (await client.get("/users?limit=1000")).json()
    added = sum(len(user["addresses"]) - 2 for user in users)
    assert {user["email"] for user in users} >= set().union(*(writes.emails for writes in done))
    assert {len(user["addresses"]) for user in users} <= {2, 3}
    assert added >= sum(writes.addresses for writes in done)
    names = {country["name"] for country in (await client.get("/countries")).json()}
    assert names.isdisjoint(set().union(*(writes.deleted for writes in done)))
    expected = {"CREATE_USER": len(users), "CREATE_ADDRESS": added, "DELETE_COUNTRY": 250 - len(names)}
    for action, number in expected.items():
        audit = await client.get(f"/audit?action={action}&limit=1")
        assert int(audit.headers["X-Total-Count"]) == number, action
    details = await client.get(f"/tracking/sms_transfers/{done[-1].ubid}")
    assert details.status_code == 404 or details.json()["states"]["INIT"] % 5000 == 0
