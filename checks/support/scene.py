"""A service with its database on a stage, where faults are played to it under traffic."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from checks.support.outage import AT_MOST, BACK_SECONDS, Outage
from checks.support.traffic import KEY, Traffic
from tests.support.service import ServiceProcess

POOL = {"size": 8, "in_use": 0, "waiting": 0, "overflow": 0, "max_overflow": 4}

Fault = Callable[["Scene"], AbstractAsyncContextManager[None]]
"""Begins with the block and has ended when the block has."""


@dataclass
class Scene:
    """A service, its database, and a client."""

    client: httpx.AsyncClient
    seconds: float
    """How long a fault lasts, where it does not say itself."""
    server: Any = None
    """A ``PrivateMariaDB``; None with SQLite."""
    proxy: Any = None
    """A ``FaultProxy``; None where nothing is between the two."""
    disk: Path = Path()
    """Of the database's files."""

    async def suffer(
        self, fault: Fault, *, is_away: bool, refused: Set[str] = frozenset(), seconds: float | None = None
    ) -> Outage:
        """Let the service live through a fault under traffic, and hold what was seen against what is promised.

        Args:
            fault: What happens.
            is_away: Nothing can be had from the database meanwhile.
            refused: Kinds of requests that can't succeed meanwhile, though the database is there.
            seconds: How long.
        """
        traffic, afterwards = Traffic(self.client), Traffic(self.client)
        try:
            await traffic.prepare()
            await afterwards.prepare()
            traffic.start()
            await asyncio.sleep(1)
            async with fault(self):
                began = time.monotonic()
                # Only now: after a change that nobody could read yet, no older answer may be shown.
                traffic.start_refreshes()
                await asyncio.sleep(seconds or self.seconds)
                still_on = time.monotonic()
            healed = time.monotonic()
            afterwards.start()
            afterwards.start_refreshes()
            await asyncio.sleep(BACK_SECONDS + 1)
            # Who asks for a refresh while one runs shares its failure.
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
        """No connection is in use, and the server has none but those of the pool."""
        async with asyncio.timeout(10):
            while (ready := (await self.client.get("/health/ready")).json()) != {"status": "ok", "pool": POOL}:
                await asyncio.sleep(0.1)
            while self.server and await asyncio.to_thread(self.server.connections, "service") > POOL["size"]:
                await asyncio.sleep(0.1)
        assert ready["pool"]["in_use"] == 0


@asynccontextmanager
async def staged(folder: Path, url: str, *, is_full: bool, **others: Any) -> AsyncIterator[Scene]:
    """A service as a process of its own, with data; one for many faults, and nobody restarts it."""
    process = ServiceProcess(folder, **settings(url))
    # Below the time after which the server closes what is idle.
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
    """Of the service on this database; its data come from within the package."""
    return {
        "database_url": url,
        "admin_api_key": KEY["X-API-Key"],
        "country_sources": "bundled",
        "rate_sources": "bundled",
        "db_pool_size": POOL["size"],
        "db_max_overflow": POOL["max_overflow"],
        "log_requests": "off",
    }
