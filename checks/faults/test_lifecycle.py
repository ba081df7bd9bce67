"""Start and stop: requests that can end do, nothing hangs, and the health endpoints report the true state."""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import AsyncIterator
from datetime import date, timedelta

import httpx
import pytest

from app.core.db.migrations import head_revision
from checks.support.bodies import NDJSON, UBID, lines, transfer
from tests.conftest import RATES, everything
from tests.rates.conftest import add_history
from tests.support.mariadb import PrivateMariaDB, free_port
from tests.support.service import ServedProcess
from tests.support.upstream import after, hang

STOP_SECONDS = 10
STREAM = f"/tracking/sms_documents/{UBID}/stream"
DAYS = 1_200
LAST = date(2026, 10, 1)
SHORT_DAYS = 300
SERIES, SHORT_SERIES = (
    f"/rates/{LAST - timedelta(days=days - 1)}..{LAST}?source=long&base=USD&format=csv" for days in (DAYS, SHORT_DAYS)
)
CODES = [f"{one}{two}{three}" for one in "ABCDE" for two in "ABCDE" for three in "VWXYZ"]


@pytest.fixture
async def stored_series(service) -> None:
    """More rates than fit into the buffers of a connection."""
    rates = {"USD": 1.0, **{code: 1.23456789 + number for number, code in enumerate(CODES)}}
    async with service() as client:
        for start in range(0, DAYS, 100):
            await add_history(client, "long", {LAST - timedelta(days=start + n): rates for n in range(100)})


@pytest.fixture
def served(tmp_path, process_settings, engine):
    """Two workers on MariaDB, one on SQLite."""
    return ServedProcess(tmp_path, web_concurrency=2 if engine == "mariadb" else 1, **process_settings)


class Readers:
    """Clients that read until the service is gone, and count the results."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.whole = self.broken = self.unanswered_before = 0
        self.others: list[int] = []
        self.stopped_at = float("inf")

    async def read(self, path: str) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            while True:
                started, has_begun = time.monotonic(), False
                try:
                    async with client.stream("GET", path) as response:
                        has_begun = True
                        await response.aread()
                    self.whole += 1
                    if response.status_code != 200:
                        self.others.append(response.status_code)
                except httpx.TransportError:
                    self.broken += has_begun
                    self.unanswered_before += started < self.stopped_at
                    if self.stopped_at < started:
                        return
                await asyncio.sleep(0.002)


async def slow_lines(seconds: float) -> AsyncIterator[bytes]:
    for start in range(0, 12_000, 1_000):
        yield lines(start, 1_000)
        await asyncio.sleep(seconds / 12)


async def read_slowly(client: httpx.AsyncClient, seconds: float) -> int:
    rows = 0
    async with client.stream("GET", SHORT_SERIES) as response:
        assert response.status_code == 200
        started = time.monotonic()
        async for piece in response.aiter_bytes(65_536):
            rows += piece.count(b"\n")
            if time.monotonic() - started < seconds:
                await asyncio.sleep(0.1)
    return rows


async def stop(service: ServedProcess) -> float:
    """Stop with SIGTERM; returns the seconds until the process has ended."""
    started = time.monotonic()
    service.process.terminate()
    await asyncio.to_thread(service.process.wait, 30)
    return time.monotonic() - started


async def fill(client: httpx.AsyncClient) -> None:
    assert (await client.post("/countries/refresh")).status_code == 200
    assert (await client.post("/tracking/sms_transfers", json=transfer())).status_code == 201


async def is_consistent(service) -> bool:
    async with service() as client:
        status, countries = (await client.get("/status")).json(), (await client.get("/countries")).json()
        times = {country["last_refreshed_at"] for country in countries}
        return times == {status["last_refreshed_at"]} and len(countries) == status["total_countries"] == 250


@pytest.mark.row("6.1 SIGTERM under load")
@pytest.mark.usefixtures("stored_series")
async def test_stop_under_load_breaks_no_request_that_can_end(served, service, upstream, figure):
    """Seen to fail with ``timeout_graceful_shutdown`` of 1 second: the upload broke."""
    async with served, httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        await fill(client)
        upstream.answers[RATES] = after(2, upstream.answers[RATES])
        readers = Readers(served.url)
        paths = ("/countries", "/countries?sort=gdp_desc&limit=5", "/rates", "/countries/ghana", "/countries/image")
        reading = [asyncio.create_task(readers.read(path)) for path in paths]
        refreshing = asyncio.create_task(client.post("/countries/refresh"))
        uploading = asyncio.create_task(client.post(STREAM, content=slow_lines(3), headers=NDJSON))
        downloading = asyncio.create_task(read_slowly(client, 3))
        await asyncio.sleep(1)
        readers.stopped_at = time.monotonic()
        seconds = await stop(served)
        ended = await asyncio.gather(refreshing, uploading, downloading, return_exceptions=True)
        await asyncio.gather(*reading)
    log = served.log.read_text()
    assert not [one for one in ended if isinstance(one, BaseException)], (ended, log[-3000:])
    refreshed, uploaded, rows = refreshing.result(), uploading.result(), downloading.result()
    assert (refreshed.status_code, uploaded.status_code, uploaded.json()["lines"]) == (200, 201, 12_000)
    assert rows == SHORT_DAYS * (len(CODES) + 1) + 1
    assert (readers.broken, readers.unanswered_before, readers.others) == (0, 0, [])
    assert seconds < STOP_SECONDS
    assert "Traceback" not in log, log
    assert await is_consistent(service)
    async with service() as survivor:
        assert (await survivor.get("/status")).json()["last_refreshed_at"] == refreshed.json()["last_refreshed_at"]
    figure(
        f"gone after {seconds:.1f} s of 10: refresh, upload of 12,000 lines, {rows:,} rows of a series and "
        f"{readers.whole:,} reads whole, 0 broken"
    )


@pytest.mark.row("6.2 SIGTERM with requests that never end")
@pytest.mark.usefixtures("stored_series")
async def test_stop_answers_requests_that_never_end_and_stores_no_partial_refresh(served, service, upstream, figure):
    """Seen to fail without the answer to cancelled requests: plain text with 500, and three tracebacks in the log."""
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield lines(0, 6_000)
        await stalled.wait()

    async with served, httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        await fill(client)
        before = await everything(client)
        upstream.answers[RATES] = hang
        upload = asyncio.create_task(client.post(STREAM, content=stalling(), headers=NDJSON))
        with deaf_reader(served.port) as reader:
            await asyncio.sleep(2)
            refresh = asyncio.create_task(client.post("/countries/refresh"))
            await asyncio.sleep(0.5)
            seconds = await stop(served)
            stalled.set()
            received = reader.recv(1000)
        answers = await asyncio.gather(refresh, upload)
    log = served.log.read_text()
    expected = {"error": "Service stopping", "details": "It did not end in time; send the request again"}
    refusals = [(answer.status_code, answer.headers["Retry-After"], answer.json()) for answer in answers]
    assert refusals == [(503, "2", expected)] * 2
    assert received.startswith(b"HTTP/1.1 200")
    assert seconds < STOP_SECONDS
    assert "Traceback" not in log, log
    async with service() as survivor:
        assert await everything(survivor) == before
        count = (await survivor.get(f"/tracking/sms_documents/{UBID}")).json()["result"]
    assert count.startswith("Found 5000 ")
    figure(f"gone after {seconds:.1f} s of 10: stalled upload and hanging refresh 503, nothing of it half stored")


@contextlib.contextmanager
def deaf_reader(port: int):
    """A client that requests the long series and reads none of it."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET {SERIES} HTTP/1.1\r\nHost: service\r\n\r\n".encode())
        yield connection


@pytest.mark.row("6.3 start without a database")
async def test_start_without_a_database_ends_after_half_a_minute_with_one_line(tmp_path, is_full, figure):
    """Seen to fail with ``DATABASE_START_SECONDS`` of 5, and with a last line that did not say what to do."""
    service = ServedProcess(tmp_path, database_url=f"mysql://root@127.0.0.1:{free_port()}/service")
    started = time.monotonic()
    service.launch()
    try:
        if not is_full:
            await asyncio.sleep(4)
            assert service.process.poll() is None
            figure("still trying after 4 s")
            return
        async with httpx.AsyncClient(base_url=service.url) as client:
            while service.process.poll() is None:
                assert await health(client) is None  # it does not listen yet
                await asyncio.sleep(0.5)
        seconds = time.monotonic() - started
    finally:
        service.kill()
    *tries, last = service.log.read_text().splitlines()
    assert service.process.returncode == 1
    assert last == (
        "Database unavailable: Can't connect to MySQL server on '127.0.0.1'; start the database, or correct "
        "host and port in DATABASE_URL"
    )
    assert len(tries) >= 10
    assert all(re.search(r"WARNING .*Can't connect", line) for line in tries)
    assert 28 <= seconds <= 45
    figure(f"{len(tries)} tries, exit code 1 after {seconds:.0f} s with one line that says what to do")


@pytest.mark.engines("mariadb")
@pytest.mark.row("6.4 health in each phase")
async def test_health_reports_the_state_in_each_phase(tmp_path, engine, figure):
    """Seen to fail with a readiness check that ignores the revision of the schema."""
    server = PrivateMariaDB()
    server.execute("CREATE DATABASE service")
    server.kill()
    service = ServedProcess(tmp_path, database_url=server.url("service"))
    service.launch()
    phases = []
    try:
        async with httpx.AsyncClient(base_url=service.url, timeout=10) as client:
            await asyncio.sleep(3)
            phases.append(await health(client))
            await asyncio.to_thread(server.start)
            taken = await until(client, (200, 200), 20)
            phases.append(await health(client))
            server.freeze()
            phases.append(await health_now(client))
            server.thaw()
            await until(client, (200, 200), 10)
            server.kill()
            phases.append(await health_now(client))
            await asyncio.to_thread(server.start)
            back = await until(client, (200, 200), 10)
            server.execute("UPDATE service.alembic_version SET version_num = '0010'")
            phases.append(await health_now(client))
            reason = (await client.get("/health/ready")).json()
            server.execute("DROP DATABASE service")
            phases.append(await health_now(client))
            assert await stop(service) < STOP_SECONDS
            phases.append(await health(client))
    finally:
        service.kill()
        server.stop()
    assert phases == [None, (200, 200), (200, 503), (200, 503), (200, 503), (200, 503), None]
    assert reason["error"] == "Not ready"
    assert reason["details"]["migrations"].startswith(f"revision 0010, not {head_revision()}; run ")
    assert "Traceback" not in service.log.read_text()
    figure(
        f"refused before the start and after the end; live through absence, freeze, kill, old and missing schema, "
        f"ready only without; a database that came up taken after {taken:.1f} s, one that came back after {back:.1f} s"
    )


async def health(client: httpx.AsyncClient) -> tuple[int, int] | None:
    """Status codes of liveness and readiness; None if the connection is refused."""
    try:
        return (await client.get("/health/live")).status_code, (await client.get("/health/ready")).status_code
    except httpx.ConnectError:
        return None


async def health_now(client: httpx.AsyncClient) -> tuple[int, int] | None:
    """The same a second later: readiness may show for that long what was so before."""
    await asyncio.sleep(1.1)
    return await health(client)


async def until(client: httpx.AsyncClient, wanted: tuple[int, int], seconds: float) -> float:
    """Wait for these status codes; returns the seconds that it took."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while await health(client) != wanted:
            await asyncio.sleep(0.1)
    return time.monotonic() - started
