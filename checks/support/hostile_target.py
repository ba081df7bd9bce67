"""A service between a hostile upstream and a SQLite file, and what its refreshes cost."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from benchmarks.base.process_figures import forget_peak, peak, resident
from checks.support.hostile import MIB
from checks.support.processes import sources
from tests.support.service import ServiceProcess
from tests.support.upstream import Answer, FakeUpstream

TIMEOUT: Final = 1.5
LIMIT: Final = 4 * MIB
MOST_MEMORY: Final = 50.0
"""MB more than after a normal refresh."""
LONGEST_WAIT: Final = 5.0
"""Seconds that other requests may wait, also on a busy machine."""


@dataclass
class Seen:
    """Number of cases and the worst figures."""

    cases: int = 0
    slowest: tuple[float, str] = (0, "")
    largest: tuple[float, str] = (0, "")
    longest_wait: tuple[float, str] = (0, "")
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {len(self.wrong)} wrong; slowest {self.slowest[0]:.1f} s ({self.slowest[1]}); "
            f"memory +{self.largest[0]:.0f} MB at most ({self.largest[1]}); "
            f"others waited {1000 * self.longest_wait[0]:.0f} ms at most"
        )


class Target:
    """A service process between the upstream and a database, refreshed once; restarted when its memory has grown."""

    def __init__(self, folder: Path, database_url: str, upstream: FakeUpstream, **settings: object) -> None:
        self.folder, self.upstream = folder, upstream
        self.file = database_url.removeprefix("sqlite:///")
        base = {"database_url": database_url, "upstream_timeout_seconds": TIMEOUT}
        self.settings = base | sources(upstream) | settings
        self.seen = Seen()

    async def start(self) -> None:
        self.process = await ServiceProcess(self.folder, **self.settings).__aenter__()
        self.client = httpx.AsyncClient(base_url=self.process.url, timeout=60)
        response = await self.client.post("/countries/refresh")
        assert response.status_code == 200, response.text
        self.usual = resident(self.process.process.pid)
        self.before = await self.settled()

    async def stop(self) -> None:
        await self.client.aclose()
        await self.process.__aexit__()
        assert "Traceback" not in self.process.log.read_text(), self.process.log.read_text()

    def stored(self) -> list[str]:
        """All rows of all tables except the lease, which every attempt takes."""
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            return [line for line in database.iterdump() if not line.startswith('INSERT INTO "lease"')]

    async def settled(self) -> list[str]:
        """What is stored once each entry of the audit trail is delivered, soon after its change."""
        query = "SELECT count(*) FROM audit WHERE delivered_at IS NULL"
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            async with asyncio.timeout(30):
                while database.execute(query).fetchone() != (0,):
                    await asyncio.sleep(0.05)
        return self.stored()

    async def refresh(self, case: str, answers: dict[str, Answer], *, force: bool = False) -> httpx.Response:
        """Refresh from an upstream with these answers, and measure it."""
        usual, pid = dict(self.upstream.answers), self.process.process.pid
        if resident(pid) > self.usual + 2:
            await self.stop()
            await self.start()
            pid = self.process.process.pid
        self.upstream.answers |= answers
        forget_peak(pid)
        asking = asyncio.create_task(self._ask_for_health(case))
        started = time.monotonic()
        response = await self.client.post("/countries/refresh", params={"force": "true"} if force else {})
        seconds = time.monotonic() - started
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        self.upstream.answers = usual
        seen = self.seen
        seen.cases += 1
        seen.slowest = max(seen.slowest, (seconds, case))
        seen.largest = max(seen.largest, (peak(pid) - self.usual, case))
        return response

    async def _ask_for_health(self, case: str) -> None:
        async with httpx.AsyncClient(base_url=self.process.url, timeout=30) as client:
            while True:
                started = time.monotonic()
                assert (await client.get("/health/live")).status_code == 200
                self.seen.longest_wait = max(self.seen.longest_wait, (time.monotonic() - started, case))
                await asyncio.sleep(0.01)

    async def must_fail(self, case: str, answers: dict[str, Answer], api: str, reason: str) -> None:
        """Refresh; expect the promised 503 and unchanged rows."""
        response = await self.refresh(case, answers)
        details = f"{api} (127.0.0.1: {reason.format(timeout=TIMEOUT, limit=LIMIT)})"
        self._compare(case, response, details, self.before)

    async def must_fail_from_the_start(self, case: str, api: str, reason: str) -> None:
        """Refresh through a new process; expect the promised 503 and unchanged rows."""
        process = ServiceProcess(self.folder, **self.settings)
        async with process, httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            before, started = self.stored(), time.monotonic()
            response = await client.post("/countries/refresh")
        self._compare(case, response, f"{api} ({reason})", before)
        assert "Traceback" not in process.log.read_text()
        self.seen.cases += 1
        self.seen.slowest = max(self.seen.slowest, (time.monotonic() - started, case))

    def _compare(self, case: str, response: httpx.Response, details: str, before: list[str]) -> None:
        expected = {"error": "External data source unavailable", "details": f"Could not fetch data from {details}"}
        got = response.status_code, response.headers.get("Retry-After"), response.json()
        if got != (503, "30", expected):
            self.seen.wrong.append(f"{case}: {got}")
        if self.stored() != before:
            self.seen.wrong.append(f"{case}: changed what is stored")

    def judge(self) -> str:
        """Check the promises; return the figure."""
        assert not self.seen.wrong, "\n".join(self.seen.wrong)
        assert self.seen.slowest[0] < TIMEOUT + 3, self.seen
        assert self.seen.largest[0] < MOST_MEMORY, self.seen
        assert self.seen.longest_wait[0] < LONGEST_WAIT, self.seen
        return str(self.seen)


@asynccontextmanager
async def started(target: Target) -> AsyncIterator[Target]:
    await target.start()
    try:
        yield target
    finally:
        await target.stop()
