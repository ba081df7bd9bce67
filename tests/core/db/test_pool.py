"""The connection pool: its figures, and the four classical failures of pools, each provoked and overcome."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from functools import cache, partial
from itertools import count, repeat

import httpx
import pymysql
import pytest
from sqlmodel import text

from app.core.db.database import Database
from app.core.db.lease import acquire, renew_in
from app.core.errors import DatabaseUnavailable
from checks.pool.load import load
from checks.pool.test_pool import some_requests
from tests.conftest import (
    COUNTRIES,
    RATES,
    TABLES,
    Client,
    make_settings,
    migrate_in_thread,
    opened_database,
    serving,
    until_loaded,
)
from tests.support.engines import has
from tests.support.postgresql import Console
from tests.support.service import ServiceProcess

HISTORY = "/countries/ghana/history"
"""Always read from the database, unless exactly this was asked for before."""


def on_servers(*drivers: str, slow: tuple[str, ...] = ()):
    """Run a test with these drivers, on their servers."""
    marks = {driver: [needs(driver), *([pytest.mark.slow] if driver in slow else [])] for driver in drivers}
    return pytest.mark.parametrize("driver", [pytest.param(driver, marks=marks[driver]) for driver in drivers])


def needs(driver: str) -> pytest.MarkDecorator:
    engine = "postgresql" if driver == "postgresql" else "mariadb"
    return pytest.mark.skipif(not has(engine), reason=f"{engine} is not installed")


with_every_driver = on_servers("mysql", "mysql+asyncmy", "postgresql")
with_every_server = on_servers("mysql", "postgresql")


def idle(size: int, max_overflow: int = 0) -> dict[str, int]:
    return {"size": size, "in_use": 0, "waiting": 0, "overflow": 0, "max_overflow": max_overflow}


def figures(of) -> dict[str, int]:
    """Of a database, or of the one behind a client."""
    database: Database = of.state["database"] if isinstance(of, Client) else of
    return database.pool.figures().model_dump()


async def until_figures(of, **wanted: int) -> None:
    """Look until the figures are these; what was cancelled takes a moment to give its connection back."""
    async with asyncio.timeout(10):
        while not wanted.items() <= figures(of).items():
            await asyncio.sleep(0.01)


async def ask(session) -> None:
    """Take the connection: a session does so at its first statement."""
    await session.exec(text("SELECT 1"))


async def until_started(client) -> None:
    """The service looks once after its start whether a refresh is due, which takes a connection."""
    await client.get("/health/ready")
    await until_loaded(client)
    await until_figures(client, in_use=0)


# The figures


async def test_readiness_tells_the_pool_without_the_connection_of_the_check(service):
    async with service(db_pool_size=3, db_max_overflow=2) as client:
        await until_started(client)
        response = await client.get("/health/ready")

    assert (response.status_code, response.json()) == (200, {"status": "ok", "pool": idle(3, 2)})


async def test_figures_follow_units_of_work(database_url):
    async with opened_database(database_url, db_pool_size=2, db_max_overflow=2) as database:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await ask(await stack.enter_async_context(database.reading()))
            await stack.enter_async_context(database.reading())  # does not ask for anything yet
            at_work = figures(database)
        after = figures(database)

    assert at_work == {"size": 2, "in_use": 3, "waiting": 0, "overflow": 1, "max_overflow": 2}
    assert after == idle(2, 2)


# Limit exceeded


async def test_request_beyond_the_limit_is_seen_waiting_then_503_and_all_works_after_release(service):
    pool = {"db_pool_size": 1, "db_max_overflow": 1, "db_pool_timeout_seconds": 0.3}
    # Two seconds at each look at the clock: readiness is checked every time.
    async with service(monotonic=count(step=2).__next__, **pool) as client:
        await client.post("/countries/refresh")
        await until_started(client)
        database = client.state["database"]
        async with database.reading() as one, database.reading() as other:
            await asyncio.gather(ask(one), ask(other))
            requests = [asyncio.create_task(client.get(path)) for path in (HISTORY, "/health/ready")]
            await until_figures(client, waiting=2)
            metrics = (await client.get("/metrics")).text
            listed, ready = await asyncio.gather(*requests)
        await until_figures(client, **idle(1, 1))
        after = await client.get(HISTORY)

    details = "All database connections are in use"
    for figure in ("in_use 2.0", "waiting 2.0", "overflow 1.0"):
        assert f"countries_db_pool_{figure}\n" in metrics
    assert (listed.status_code, listed.headers["Retry-After"]) == (503, "2")
    assert listed.json() == {"error": "Database unavailable", "details": details}
    assert (ready.status_code, ready.json()) == (503, {"error": "Not ready", "details": {"database": details}})
    assert (after.status_code, after.headers["X-Total-Count"]) == (200, "1")


async def test_request_that_waits_gets_the_connection_that_comes_free(service):
    async with service(db_pool_size=1, db_max_overflow=0) as client:
        await until_started(client)
        async with client.state["database"].reading() as session:
            await ask(session)
            request = asyncio.create_task(client.get("/countries"))
            await until_figures(client, waiting=1)
        response = await request

        assert (response.status_code, response.json()) == (200, [])
        assert figures(client) == idle(1)


# Time-out


class PoolOnMariaDB:
    """The tests' MariaDB with one more database, whose connections can be distinguished from others."""

    be_impatient = "SET GLOBAL wait_timeout = 1"
    be_patient = "SET GLOBAL wait_timeout = DEFAULT"
    waiting_for_a_lock = "SELECT 1 FROM information_schema.processlist WHERE state = 'Updating'"

    def __init__(self, server) -> None:
        self.server = server
        self.execute = server.execute
        server.execute("CREATE DATABASE pool")

    def url(self, driver):
        return self.server.url("pool", driver)

    def empty(self):
        self.execute(*(f"DELETE FROM pool.{table}" for table in TABLES))

    def connections(self) -> list[int]:
        return [int(row[0]) for row in self.execute("SELECT id FROM information_schema.processlist WHERE db = 'pool'")]

    def end(self, connections: list[int]) -> None:
        self.execute(*(f"KILL {number}" for number in connections))

    @contextlib.contextmanager
    def locked_countries(self):
        """Somebody else who has locked every country, and does not let go before the end of the block."""
        with pymysql.connect(host="127.0.0.1", port=self.server.port, user="root") as holder:
            holder.cursor().execute("SELECT id FROM pool.country FOR UPDATE")
            yield


class PoolOnPostgreSQL:
    """The same with the tests' PostgreSQL."""

    be_impatient = "ALTER DATABASE pool SET idle_session_timeout = '1s'"
    be_patient = "ALTER DATABASE pool RESET idle_session_timeout"
    waiting_for_a_lock = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

    def __init__(self, server) -> None:
        self.server = server
        self.execute = server.execute
        server.create("pool")

    def url(self, _):
        return self.server.url("pool")

    def empty(self):
        self.server.execute(*(f'DELETE FROM "{table}"' for table in TABLES), "SELECT 1", database="pool")

    def connections(self) -> list[int]:
        ours = "datname = 'pool' AND application_name = 'countries'"
        return [pid for (pid,) in self.execute(f"SELECT pid FROM pg_stat_activity WHERE {ours}")]

    def end(self, connections: list[int]) -> None:
        for pid in connections:
            self.execute(f"SELECT pg_terminate_backend({pid}, 1000)")

    @contextlib.contextmanager
    def locked_countries(self):
        holder = Console(self.server.url("pool"))
        holder.execute("BEGIN", "SELECT id FROM country FOR UPDATE")
        yield
        holder.close()


@pytest.fixture(scope="module")
def pool_servers(request):
    """The servers with that database, by engine; each is prepared when it is first needed."""

    @cache
    def prepare(engine):
        kind = PoolOnPostgreSQL if engine == "postgresql" else PoolOnMariaDB
        server = kind(request.getfixturevalue(engine))
        migrate_in_thread(server.server.url("pool"))
        return server

    return prepare


@pytest.fixture
def pool_server(pool_servers, driver):
    return pool_servers("postgresql" if driver == "postgresql" else "mariadb")


@pytest.fixture
async def pool_settings(pool_server, upstream, driver):
    """Settings of a service on that database, which is empty and has no connections of former tests."""
    await until_connections(pool_server, at_most=0)
    pool_server.empty()
    return {
        "database_url": pool_server.url(driver),
        "country_sources": upstream.url(COUNTRIES),
        "rate_sources": upstream.url(RATES),
    }


@pytest.fixture
async def filled_settings(pool_settings):
    """The same after a refresh, which on a busy machine takes longer than the bounds of these tests."""
    async with serving(make_settings(**pool_settings)) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
    return pool_settings


async def until_connections(server, *, at_most: int) -> None:
    """The server takes a moment to notice that a connection was closed."""
    async with asyncio.timeout(10):
        while len(await asyncio.to_thread(server.connections)) > at_most:
            await asyncio.sleep(0.05)


@with_every_server
async def test_request_that_waits_for_a_locked_row_is_503_in_time_and_does_not_spoil_the_pool(
    pool_server, filled_settings
):
    settings = make_settings(**filled_settings, db_timeout_seconds=1, db_pool_size=2, db_max_overflow=0)
    async with serving(settings) as client:
        with pool_server.locked_countries():
            blocked = await asyncio.gather(*(client.delete("/countries/ghana") for _ in range(2)))
            await until_figures(client, **idle(2))
            read = await client.get("/countries/ghana")
        deleted = await client.delete("/countries/ghana")

    assert [(response.status_code, response.headers["Retry-After"]) for response in blocked] == [(503, "2")] * 2
    refusal = {"error": "Database unavailable", "details": "No answer from the database within 1 s"}
    assert [response.json() for response in blocked] == [refusal] * 2
    assert (read.status_code, deleted.status_code) == (200, 200)


@with_every_driver
async def test_wait_for_a_lock_that_was_given_up_ends_on_the_server_too(pool_server, filled_settings):
    """Or else requests for one locked row would fill the server with connections, one time-out after the other."""
    settings = make_settings(**filled_settings, db_timeout_seconds=1)
    async with serving(settings) as client:
        with pool_server.locked_countries():
            blocked = await asyncio.gather(*(client.delete("/countries/ghana") for _ in range(5)))
            # Those of the background stay open: audit entries are delivered, and a refresh may be due at the start.
            await until_connections(pool_server, at_most=2)

    assert [response.status_code for response in blocked] == [503] * 5


@with_every_driver
async def test_locks_of_who_fell_silent_in_a_transaction_are_free_soon_and_its_work_is_done_again(pool_server, driver):
    """As when a process is frozen, or its machine is gone, and its connection stays open."""
    ended: list[str] = []
    async with opened_database(pool_server.url(driver), db_timeout_seconds=1) as database:
        lease = await acquire(database, driver)
        assert lease is not None

        async def work(session, name: str, pauses: Iterator[float]) -> None:
            await renew_in(session, lease)
            await asyncio.sleep(next(pauses))
            await renew_in(session, lease)
            ended.append(name)

        async with asyncio.TaskGroup() as group:
            silent = partial(work, name="silent", pauses=iter((3, 0)))
            group.create_task(database.transaction(silent, seconds=20))
            await asyncio.sleep(0.2)
            waiting = partial(work, name="waiting", pauses=repeat(0))
            group.create_task(database.transaction(waiting, seconds=20))

    assert ended == ["waiting", "silent"]


# Not closed


@with_every_driver
async def test_connections_that_the_server_has_closed_are_replaced_unnoticed(pool_server, pool_settings):
    settings = make_settings(**pool_settings, cache_max_bytes=0, db_pool_size=3)
    async with serving(settings) as client:
        await until_started(client)
        await asyncio.gather(*(client.get("/countries") for _ in range(3)))
        before = pool_server.connections()
        pool_server.end(before)
        responses = await asyncio.gather(*(client.get("/countries") for _ in range(3)))
        after = pool_server.connections()

    assert before
    assert [response.status_code for response in responses] == [200] * 3
    assert set(before).isdisjoint(after)


@pytest.fixture
def impatient_server(pool_server):
    """The same server, which closes new connections after a second without a query."""
    pool_server.execute(pool_server.be_impatient)
    yield pool_server
    pool_server.execute(pool_server.be_patient)


@with_every_server
async def test_connections_that_were_idle_for_too_long_are_replaced_and_closed_unnoticed(
    impatient_server, pool_settings, capfd
):
    """One of them is asked for again, the others are only closed at the stop."""
    async with serving(make_settings(**pool_settings, cache_max_bytes=0)) as client:
        await asyncio.gather(*(client.get("/countries") for _ in range(3)))
        await until_connections(impatient_server, at_most=0)
        response = await client.get("/countries")
    gc.collect()  # a connection that was not closed warns when it is collected

    assert response.status_code == 200
    assert capfd.readouterr().err == ""


@on_servers("mysql", "mysql+asyncmy", "postgresql", slow=("mysql+asyncmy", "postgresql"))
async def test_server_that_has_hung_up_is_no_error_in_the_event_loop_of_production(
    impatient_server, pool_settings, tmp_path
):
    """uvloop refuses to write to a closed connection in words of its own, which are no error of the database."""
    process = ServiceProcess(tmp_path, **pool_settings, cache_max_bytes=0)
    async with process, httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        await asyncio.gather(*(client.get("/countries") for _ in range(3)))
        await until_connections(impatient_server, at_most=0)
        responses = [await client.get("/countries"), await client.delete("/countries/ghana")]

    assert [response.status_code for response in responses] == [200, 404]
    assert "Traceback" not in process.log.read_text()


@on_servers("mysql", "postgresql", slow=("postgresql",))
async def test_stop_leaves_no_connection_on_the_server(pool_server, pool_settings, tmp_path):
    process = ServiceProcess(tmp_path, **pool_settings, cache_max_bytes=0)
    async with process, httpx.AsyncClient(base_url=process.url) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        await asyncio.gather(*(client.get("/countries") for _ in range(10)))
        at_work = len(pool_server.connections())
    await until_connections(pool_server, at_most=0)

    assert 1 <= at_work <= 20
    assert "Traceback" not in process.log.read_text()


@with_every_server
async def test_stop_in_the_middle_of_requests_leaves_no_connection_on_the_server(
    pool_server, filled_settings, tmp_path
):
    process = ServiceProcess(tmp_path, **filled_settings, cache_max_bytes=0, db_timeout_seconds=2)
    async with process, httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        with pool_server.locked_countries():
            paths = [("DELETE", "/countries/ghana"), ("GET", "/countries"), ("POST", "/countries/refresh")] * 5
            requests = [asyncio.create_task(client.request(*path)) for path in paths]
            while not pool_server.execute(pool_server.waiting_for_a_lock):
                await asyncio.sleep(0.2)
            process.process.terminate()
            await asyncio.gather(*requests, asyncio.to_thread(process.process.wait, 15), return_exceptions=True)
            await until_connections(pool_server, at_most=0)

    assert process.process.returncode in (0, -15)


# Not released


async def work_reading(database: Database, then) -> None:
    async with database.reading() as session:
        await ask(session)
        await then()


async def work_writing(database: Database, then) -> None:
    async with database.writing() as connection:
        await connection.execute(text("SELECT 1"))
        await then()


async def work_in_transaction(database: Database, then) -> None:
    async def work(session):
        await ask(session)
        await then()

    await database.transaction(work)


every_unit = pytest.mark.parametrize("work", [work_reading, work_writing, work_in_transaction])
sleep = partial(asyncio.sleep, 60)


async def fail() -> None:
    raise LookupError


@every_unit
async def test_work_that_raises_gives_its_connection_back(database_url, work):
    async with opened_database(database_url, db_pool_size=1, db_max_overflow=0) as database:
        for _ in range(3):
            with pytest.raises(LookupError):
                await work(database, fail)
            assert figures(database) == idle(1)


@every_unit
async def test_work_that_is_cancelled_or_takes_too_long_gives_its_connection_back(database_url, work):
    async with opened_database(database_url, db_pool_size=1, db_max_overflow=0, db_timeout_seconds=1.5) as database:
        cancelled = asyncio.create_task(work(database, sleep))
        await until_figures(database, in_use=1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await until_figures(database, **idle(1))
        while True:  # SQLite lets nobody in until the cancelled thread has closed its file
            with contextlib.suppress(DatabaseUnavailable):
                await work_writing(database, partial(asyncio.sleep, 0))
                break
        with pytest.raises(DatabaseUnavailable) as caught:
            await work(database, sleep)
        await until_figures(database, **idle(1))
        async with database.reading() as session:
            await ask(session)

    assert caught.value.details == "No answer from the database within 1.5 s"


@with_every_driver
async def test_work_that_is_cancelled_while_it_connects_leaves_nothing_open(pool_server, driver):
    for tenths_of_a_millisecond in range(0, 150, 3):
        async with opened_database(pool_server.url(driver), db_pool_size=1, db_max_overflow=0) as database:
            task = asyncio.create_task(work_reading(database, sleep))
            await asyncio.sleep(tenths_of_a_millisecond / 10_000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await until_figures(database, **idle(1))

    await until_connections(pool_server, at_most=0)


async def test_requests_cancelled_at_any_moment_give_their_connections_back(service):
    """At each turn of the event loop: before and while they wait for a connection, ask, and give it back."""
    async with service(db_pool_size=2, db_max_overflow=1, cache_max_bytes=0) as client:
        await client.post("/countries/refresh")
        requests = [("GET", "/countries"), ("GET", "/status"), ("DELETE", "/countries/ghana"), ("GET", "/health/ready")]
        for turns in range(60):
            tasks = [asyncio.create_task(client.request(*request)) for request in requests]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(10):  # the audit trail of the deletion is delivered meanwhile
            while (ready := await client.get("/health/ready")).json() != {"status": "ok", "pool": idle(2, 1)}:
                await asyncio.sleep(0.01)
        listed = await client.get("/countries")

    assert ready.status_code == 200
    assert (listed.status_code, len(listed.json()) in (249, 250)) == (200, True)


@with_every_server
@pytest.mark.slow
async def test_many_clients_of_which_half_hang_up_leave_an_idle_pool(pool_server, pool_settings, tmp_path):
    """The benchmark "pool" in small: 40 clients, a pool of 5."""
    process = ServiceProcess(tmp_path, **pool_settings, db_pool_size=5, db_max_overflow=0, cache_max_bytes=0)
    async with process, httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        tally = await load(process.url, some_requests(500), clients=40, rest_seconds=0.1)
        async with asyncio.timeout(15):
            while (await client.get("/health/ready")).json() != {"status": "ok", "pool": idle(5)}:
                await asyncio.sleep(0.1)
        await until_connections(pool_server, at_most=5)
    await until_connections(pool_server, at_most=0)

    assert (tally.problems, tally.statuses.total()) == ({}, 250)
    assert tally.hung_up > 50
    assert tally.statuses[200] > 50
    assert "Traceback" not in process.log.read_text()
