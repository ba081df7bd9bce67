"""Minutes of mixed load, in whose second half the service uses no more resources than in the first."""

import asyncio
import itertools
import time
from dataclasses import astuple, dataclass
from statistics import linear_regression
from typing import Final

import httpx
import pytest

from benchmarks.base.process_figures import open_files, resident, threads
from checks.support.bodies import NDJSON, UBID, lines, transfer
from checks.support.processes import migrated_mariadb, sources
from checks.support.watched import TASKS
from tests.conftest import RATES
from tests.support.mariadb import PrivateMariaDB
from tests.support.service import ServiceProcess
from tests.support.upstream import in_turn, status

MOST_GROWTH: Final = 2 * 1.048576
"""MB by which the regression line of the memory may rise over the second half."""
DOCUMENTS: Final = lines(0, 2_000)
READS: Final = (
    *("/countries", "/countries?sort=gdp_desc&limit=7", "/countries?region=europe", "/countries/ghana", "/status"),
    *("/countries/ghana/history?limit=20", "/countries/image", "/rates", "/convert?from=EUR&to=GHS&amount=5"),
    *("/currencies", "/metrics", "/audit?limit=5", "/nowhere", "/countries?limit=0", "/health/ready"),
)


@dataclass(frozen=True)
class Sample:
    """Resources of the idle service."""

    memory: float
    files: int
    threads: int
    tasks: int
    connections: int


class Watched(ServiceProcess):
    application = "checks.support.watched:app"


def rise(values: list[float]) -> float:
    """Rise of the regression line from the first value to the last."""
    return linear_regression(range(len(values)), values).slope * (len(values) - 1)


@pytest.mark.timeout(3600)
@pytest.mark.engines("mariadb")
@pytest.mark.row("6.5 soak")
async def test_mixed_load_leaks_no_memory_files_tasks_or_connections(
    tmp_path, upstream, pytestconfig, is_full, figure, engine
):
    """Seen to fail with a task, an open file and 1 kB leaked by each refresh."""
    seconds = 60 * pytestconfig.getoption("--soak", default=10) if is_full else 6
    upstream.answers[RATES] = in_turn(*([*[upstream.answers[RATES]] * 3, status(404)] * 10_000))
    with migrated_mariadb() as database:
        url = database.url("service")
        async with (
            Watched(tmp_path, database_url=url, log_requests="errors", **sources(upstream)) as service,
            httpx.AsyncClient(base_url=service.url, timeout=60) as client,
        ):
            load = Load(client, service.port)
            await load.begin()
            samples: list[Sample] = []
            until = time.monotonic() + seconds
            while time.monotonic() < until or len(samples) < 6:
                await load.work(seconds / 60)
                samples.append(await sample(service, database))
    log = service.log.read_text()
    assert "Traceback" not in log, log[-5000:]
    half = len(samples) // 2
    before, after = samples[:half], samples[half:]
    growth = rise([one.memory for one in after])
    # At a small size the caches and the thread pool still fill.
    for name in ("files", "tasks", "connections", *(["threads"] if is_full else [])):
        most = [max(getattr(one, name) for one in part) for part in (before, after)]
        assert most[1] <= most[0], (name, [astuple(one) for one in samples])
    assert growth < MOST_GROWTH or not is_full, [one.memory for one in samples]
    assert load.wrong == []
    last = samples[-1]
    figure(
        f"{load.done:,} requests and {load.refreshes:,} refreshes in {seconds / 60:g} min: "
        f"memory {last.memory:.0f} MB, {growth:+.1f} MB over the second half; {last.files} files, "
        f"{last.threads} threads, {last.tasks} tasks, {last.connections} database connections, as in the first"
    )


class Load:
    """Clients that read, refresh, write, stream and hang up, with pauses for the samples."""

    def __init__(self, client: httpx.AsyncClient, port: int) -> None:
        self.client, self.port = client, port
        self.done = self.refreshes = 0
        self.wrong: list[str] = []
        self.reads = itertools.cycle(READS)

    async def begin(self) -> None:
        """Fill what fills once: pools of threads and connections, and the cache."""
        assert (await self.client.post("/countries/refresh")).status_code == 200
        assert (await self.client.post("/tracking/sms_transfers", json=transfer())).status_code == 201
        async with httpx.AsyncClient(base_url=self.client.base_url, timeout=60) as crowd:
            for start in range(0, 240, 60):
                paths = [f"/countries?limit=1&offset={start + number}" for number in range(60)]
                await asyncio.gather(*(crowd.get(path) for path in paths))

    async def work(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        readers = [self._read(until) for _ in range(3)]
        await asyncio.gather(*readers, self._refresh(until), self._write(until), self._hang_up(until))

    def _note(self, response: httpx.Response, *expected: int) -> None:
        self.done += 1
        if response.status_code not in expected:
            self.wrong.append(f"{response.request.method} {response.request.url}: {response.status_code}")

    async def _read(self, until: float) -> None:
        while time.monotonic() < until:
            self._note(await self.client.get(next(self.reads)), 200, 400, 404)
            await asyncio.sleep(0.003)

    async def _refresh(self, until: float) -> None:
        while time.monotonic() < until:
            self._note(await self.client.post("/countries/refresh"), 200, 503)
            self.refreshes += 1
            await asyncio.sleep(0.3)

    async def _write(self, until: float) -> None:
        path = f"/tracking/sms_documents/{UBID}/stream"
        while time.monotonic() < until:
            self._note(await self.client.post(path, content=DOCUMENTS, headers=NDJSON), 201)
            self._note(await self.client.delete("/countries/ghana"), 200, 404)
            await asyncio.sleep(0.2)

    async def _hang_up(self, until: float) -> None:
        head = f"POST /tracking/sms_documents/{UBID}/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
        while time.monotonic() < until:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode() + DOCUMENTS[:4096])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
            self.done += 1


async def sample(service: ServiceProcess, database: PrivateMariaDB) -> Sample:
    """Resources of the service once its own work after the load has ended."""
    await asyncio.sleep(1)
    pid = service.process.pid
    async with httpx.AsyncClient(base_url=service.url) as client:
        tasks = int((await client.get(TASKS)).text)
    await asyncio.sleep(0.1)
    return Sample(resident(pid), open_files(pid), threads(pid), tasks, database.connections("service"))
