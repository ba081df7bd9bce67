"""Simultaneous refreshes and reads over open connections."""

import asyncio
import random
import time

import httpx

from checks.consistency.ledger import BASE_POPULATION, Ledger, Read, Refreshed
from tests.conftest import COUNTRIES
from tests.support import payloads
from tests.support.upstream import FakeUpstream, document

READERS = 4
"""Readers of each process."""
LONGEST_PAUSE_SECONDS = 2.0
"""Pauses between refreshes are shorter and longer than CACHE_REVALIDATE_SECONDS."""
CODINGS = ("identity", "gzip", "br")


class Exchange:
    """A writer that refreshes through random processes, and readers of each process."""

    def __init__(self, urls: list[str], upstream: FakeUpstream, ledger: Ledger) -> None:
        self.urls = urls
        self.upstream = upstream
        self.ledger = ledger
        self.records = payloads.v3_1()
        self.is_refreshed = False

    async def run(self, *, reads: int, refreshes: int) -> None:
        """Refresh this number of times, and read until there are enough reads."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            await self._refresh(client, 1, process=0)
            async with asyncio.TaskGroup() as group:
                for process in range(len(self.urls)):
                    for _ in range(READERS):
                        group.create_task(self._read_on(process, reads))
                for generation in range(2, refreshes + 1):
                    await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))
                    await self._refresh(client, generation, process=random.randrange(len(self.urls)))
                self.is_refreshed = True

    async def _refresh(self, client: httpx.AsyncClient, generation: int, *, process: int) -> None:
        records = [{**record, "population": BASE_POPULATION + generation} for record in self.records]
        self.upstream.answers[COUNTRIES] = document(records)
        response = await client.post(f"{self.urls[process]}/countries/refresh")
        response.raise_for_status()
        self.ledger.refreshes.append(Refreshed(generation, process, time.monotonic()))

    async def _read_on(self, process: int, reads: int) -> None:
        async with httpx.AsyncClient(base_url=self.urls[process], timeout=60, trust_env=False) as client:
            while not self.is_refreshed or self.ledger.reads < reads:
                self.ledger.judge(await self._read(client, process))

    async def _read(self, client: httpx.AsyncClient, process: int) -> Read:
        headers = {"Accept-Encoding": random.choice(CODINGS)}
        tag = self._some_tag()
        if tag:
            headers["If-None-Match"] = tag
        begun = time.monotonic()
        response = await client.get("/countries", headers=headers)
        etag = tag if response.status_code == 304 else response.headers.get("etag")
        return Read(process, begun, response.status_code, response.content, etag)

    def _some_tag(self) -> str | None:
        """A tag for half of the reads, mostly a recent one."""
        tags = list(self.ledger.tags)
        if not tags or random.random() < 0.5:
            return None
        return random.choice(tags[-6:] if random.random() < 0.8 else tags)
