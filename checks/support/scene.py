"""A service with its database, exposed to faults under traffic."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from checks.support.outage import AT_MOST, BACK_SECONDS, Outage
from checks.support.processes import BUNDLED
from checks.support.traffic import KEY, Traffic
from tests.support.service import ServiceProcess

POOL = {"size": 8, "in_use": 0, "waiting": 0, "overflow": 0, "max_overflow": 4}

Fault = Callable[["Scene"], AbstractAsyncContextManager[None]]
"""Lasts for the length of the block."""


@dataclass
class Scene:
    """A service, its database, and a client."""

    client: httpx.AsyncClient
    seconds: float
    """Default length of a fault."""
    server: Any = None
    """A ``PrivateMariaDB``; None with SQLite."""
    proxy: Any = None
    """A ``FaultProxy`` between the two; None without one."""
    disk: Path = Path()
    """Folder of the database's files."""

    async def suffer(
        self, fault: Fault, *, is_away: bool, refused: Set[str] = frozenset(), seconds: float | None = None
    ) -> Outage:
        """Cause a fault under traffic, and check every response against what is promised.

        ``refused`` are kinds of requests that cannot succeed during the fault although the database answers.
        """
        traffic, afterwards = Traffic(self.client), Traffic(self.client)
        try:
            await traffic.prepare()
            await afterwards.prepare()
            traffic.start()
            await asyncio.sleep(1)
            async with fault(self):
                began = time.monotonic()
                # Not before: after a change that was not read yet, an older answer must not be shown.
                traffic.start_refreshes()
                await asyncio.sleep(seconds or self.seconds)
                still_on = time.monotonic()
            healed = time.monotonic()
            afterwards.start()
            afterwards.start_refreshes()
            await asyncio.sleep(BACK_SECONDS + 1)
            # A refresh that joins a running one shares its failure.
            async with asyncio.timeout(2 * AT_MOST):
                while not any(one.kind == "refresh" and one.is_success for one in afterwards.answers):
                    await asyncio.sleep(0.1)
        finally:
            await asyncio.gather(traffic.stop(), afterwards.stop())
        await traffic.assert_nothing_was_lost()
        await afterwards.assert_nothing_was_lost()
        await self.assert_idle()
        outage = Outage([*traffic.answers, *afterwards.answers], afterwards.answers, began, still_on, healed)
        outage.check(is_away=is_away, refused=refused)
        return outage

    async def assert_idle(self) -> None:
        """No connection is in use, and the server has only those of the pool."""
        async with asyncio.timeout(10):
            while (ready := (await self.client.get("/health/ready")).json()) != {"status": "ok", "pool": POOL}:
                await asyncio.sleep(0.1)
            while self.server and await asyncio.to_thread(self.server.connections, "service") > POOL["size"]:
                await asyncio.sleep(0.1)
        assert ready["pool"]["in_use"] == 0


def fault(begin: Callable[[Scene], object], end: Callable[[Scene], object]) -> Fault:
    """A fault that these two functions begin and end."""

    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        await asyncio.to_thread(begin, scene)
        try:
            yield
        finally:
            await asyncio.to_thread(end, scene)

    return fault


@asynccontextmanager
async def staged(folder: Path, url: str, *, is_full: bool, **others: Any) -> AsyncIterator[Scene]:
    """A service as a separate process, with data; it lives through many faults and is never restarted."""
    process = ServiceProcess(folder, **settings(url))
    # Shorter than the server keeps idle connections.
    limits = httpx.Limits(keepalive_expiry=2)
    async with process, httpx.AsyncClient(base_url=process.url, timeout=30, limits=limits) as client:
        loaded = await client.post("/countries/refresh", headers=KEY)
        assert loaded.status_code == 200, loaded.text
        yield Scene(client, 7 if is_full else 1.5, **others)
        assert process.process.poll() is None, "the service has ended"
    assert "Traceback" not in process.log.read_text()
    if "server" in others:
        async with asyncio.timeout(10):
            while await asyncio.to_thread(others["server"].connections, "service"):
                await asyncio.sleep(0.1)


def settings(url: str) -> dict[str, Any]:
    """Settings of the service on this database, with the bundled data."""
    return {
        "database_url": url,
        "admin_api_key": KEY["X-API-Key"],
        **BUNDLED,
        "db_pool_size": POOL["size"],
        "db_max_overflow": POOL["max_overflow"],
        "log_requests": "off",
    }
