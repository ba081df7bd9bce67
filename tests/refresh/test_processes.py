"""A process that is killed or stopped during a refresh leaves a consistent state."""

import asyncio
import contextlib
import re
from datetime import timedelta

import httpx
import pymysql
import pytest
from sqlmodel import col, select, update

from app.core.db.database import Database
from app.core.db.lease import LeaseRow
from app.core.db.types import ServerNow
from app.refresh.crud import LEASE
from tests.conftest import COUNTRIES, RATES, everything
from tests.support import payloads
from tests.support.service import ServiceProcess
from tests.support.upstream import after, document, hang


@pytest.fixture
def process(tmp_path, database_url, upstream):
    def start(**settings) -> ServiceProcess:
        sources = {"country_sources": upstream.url(COUNTRIES), "rate_sources": upstream.url(RATES)}
        return ServiceProcess(tmp_path, database_url=database_url, **sources, **settings)

    return start


async def refreshed_state(process: ServiceProcess) -> dict[str, object]:
    assert await refresh(process) == 200
    async with httpx.AsyncClient(base_url=process.url) as client:
        return await everything(client)


async def refresh(process: ServiceProcess) -> int:
    async with httpx.AsyncClient(base_url=process.url, timeout=60) as client:
        return (await client.post("/countries/refresh")).status_code


async def start_refresh(process: ServiceProcess, upstream) -> asyncio.Task[int]:
    """Start a refresh, and return when it has asked for rates."""
    seen, waiting = upstream.hits[RATES], asyncio.create_task(refresh(process))
    while upstream.hits[RATES] == seen:
        await asyncio.sleep(0.001)
    return waiting


async def killed(victim: ServiceProcess, waiting: asyncio.Task[int]) -> None:
    victim.kill()
    with contextlib.suppress(httpx.TransportError):
        await waiting


async def assert_is_consistent(client: httpx.AsyncClient) -> None:
    status, countries = (await client.get("/status")).json(), (await client.get("/countries")).json()
    assert {country["last_refreshed_at"] for country in countries} == {status["last_refreshed_at"]}
    assert status["total_countries"] == len(countries) == 250
    assert (await client.get("/countries/image")).status_code == 200


@pytest.mark.slow("sqlite")
async def test_kill_while_a_source_answers_changes_nothing(process, service, upstream):
    async with process() as victim:
        before = await refreshed_state(victim)
        upstream.answers[RATES] = hang
        await killed(victim, await start_refresh(victim, upstream))

    async with service() as survivor:
        assert await everything(survivor) == before


@pytest.mark.slow("sqlite")
@pytest.mark.parametrize(
    "delay", [0.0, pytest.param(0.03, marks=pytest.mark.slow), pytest.param(0.06, marks=pytest.mark.slow)]
)
async def test_kill_while_a_refresh_is_stored_leaves_one_whole_state(process, service, upstream, delay):
    async with process() as victim:
        assert await refresh(victim) == 200
        upstream.answers[RATES] = after(0.05, document(payloads.er_api()))
        waiting = await start_refresh(victim, upstream)
        await asyncio.sleep(0.05 + delay)
        await killed(victim, waiting)

    async with service() as survivor:
        await assert_is_consistent(survivor)


@pytest.mark.engines("mariadb")
async def test_kill_in_the_middle_of_the_transaction_leaves_the_old_state(process, service, upstream, request):
    """On MariaDB only: SQLite has no row locks by which a test could hold a transaction half way."""
    server = request.getfixturevalue("mariadb")
    async with process() as victim:
        before = await refreshed_state(victim)
        upstream.answers[COUNTRIES] = document([{**r, "population": 1} for r in payloads.v3_1()])
        # Rates are written after countries and summary: a process that waits for their lock has not committed these.
        with pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="service") as holder:
            holder.cursor().execute("SELECT day FROM rate_day FOR UPDATE")
            waiting = asyncio.create_task(refresh(victim))
            while not server.execute("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"):
                await asyncio.sleep(0.2)  # the server caches this table for 0.1 s
            await killed(victim, waiting)

    async with service() as survivor:
        assert await everything(survivor) == before


@pytest.mark.slow("sqlite")
async def test_lease_of_a_dead_process_is_taken_over_when_it_ends(process, service, upstream):
    async with process() as victim, service() as heir:
        upstream.answers[RATES] = hang
        waiting = await start_refresh(victim, upstream)
        upstream.answers[RATES] = document(payloads.er_api())
        await killed(victim, waiting)

        left = await let_the_lease_end_in(0.5, heir.state["database"])
        response = await heir.post("/countries/refresh")

        assert left <= timedelta(seconds=5)
        assert (response.status_code, upstream.hits[RATES]) == (200, 2)
        await assert_is_consistent(heir)


async def let_the_lease_end_in(seconds: float, database: Database) -> timedelta:
    """Shorten the lease, and return how long it would have lasted."""

    async def work(session):
        of_refresh = col(LeaseRow.name) == LEASE
        end, now = (await session.exec(select(LeaseRow.expires_at, ServerNow()).where(of_refresh))).one()
        await session.exec(update(LeaseRow).where(of_refresh).values(expires_at=ServerNow(seconds)))
        return end - now

    left: timedelta = await database.transaction(work)
    return left


@pytest.mark.slow("sqlite")
async def test_stop_in_the_middle_of_a_refresh_stores_nothing(process, service, upstream):
    upstream.answers[RATES] = hang
    async with process(upstream_timeout_seconds=1) as stopping:
        waiting = await start_refresh(stopping, upstream)
        stopping.process.terminate()
        await asyncio.gather(waiting, asyncio.to_thread(stopping.process.wait), return_exceptions=True)
    assert stopping.process.returncode in (0, -15)
    assert "Traceback" not in stopping.log.read_text()

    async with service() as survivor:
        assert (await survivor.get("/countries")).json() == []


@pytest.mark.engines("sqlite")  # no database takes part
@pytest.mark.parametrize("log_format", ["console", pytest.param("json", marks=pytest.mark.slow)])
async def test_clean_stop_loses_no_line_of_the_request_log(process, log_format):
    service = process(log_requests="all", log_format=log_format)
    async with service, httpx.AsyncClient(base_url=service.url) as client:
        for number in range(200):
            await client.get(f"/health/live/{number}")

    lines = [line for line in service.log.read_text().splitlines() if "GET /health/live/" in line]
    assert re.findall(r"GET /health/live/(\d+) -> 404 ", "".join(lines)) == [str(number) for number in range(200)]
