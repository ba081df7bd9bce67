"""A run of the whole service in which driver and sources fail at random."""

import asyncio
import io
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from app.audit import delivery
from app.core.config.settings import Settings
from app.core.db import lease
from app.core.telemetry.log import configure_logging
from app.refresh import schedule
from checks.support.injection import FailingTransport, RandomFaults, failing_driver
from tests.conftest import COUNTRIES, RATES, make_settings, serving
from tests.support.upstream import FakeUpstream, status

_HOOK: Final = "/hook"
_TASKS: Final = frozenset({"keep fresh", "audit delivery"})
_SHORT: Final = (
    (schedule, {"START_RETRY_SECONDS": 0.01}),
    (lease, {"RENEW_SECONDS": 0.02}),
    (delivery, {"GATHER_SECONDS": 0.01, "BUSY_SECONDS": 0.02, "FAILED_SECONDS": 0.02, "FIRST_PAUSE": 0.01}),
    (delivery, {"POLL_SECONDS": 0.05, "LONGEST_PAUSE": 0.05}),
)
"""Pauses of the background tasks, made short so that they meet many faults."""


@dataclass
class FaultyRun:
    """What a run gave."""

    faults: RandomFaults
    answers: Counter[int] = field(default_factory=Counter)
    """Number of responses by status."""
    wrong: list[str] = field(default_factory=list)
    """Responses that are neither right nor a 503 with a reason."""
    skipped: list[str] = field(default_factory=list)
    """Refreshes that gave up although a source was left."""
    ended: set[str] = field(default_factory=set)
    """Background tasks that ended."""
    log: str = ""

    def assert_nothing_was_wrong(self) -> None:
        assert not self.wrong, "\n".join([*self.wrong, self.log])
        assert not self.skipped
        assert not self.ended
        assert self.faults.is_over

    def figure(self) -> str:
        statuses = ", ".join(f"{number} {code}" for code, number in sorted(self.answers.items()))
        return (
            f"{self.faults.kinds.total()} faults of {len(self.faults.kinds)} kinds; {statuses}; {self.answers[500]} "
            f"answers 500, {len(self.skipped)} skipped sources, {len(self.ended)} ended tasks"
        )


async def run_with_faults(
    settings: Settings, upstream: FakeUpstream, patch: Any, *, total: int, seed: int
) -> FaultyRun:
    """Ask for reads, changes and refreshes until ``total`` faults were injected, then see that all works again."""
    faults = RandomFaults(total, random.Random(seed))
    run, log = FaultyRun(faults), io.StringIO()
    upstream.answers[_HOOK] = status(204, "")
    changes = {
        "country_sources": f"{upstream.url(COUNTRIES)} bundled",
        "rate_sources": f"{upstream.url(RATES)} bundled",
        "refresh_interval_minutes": 0.001,
        "audit_webhook_url": upstream.url(_HOOK),
        "cache_max_bytes": 0,
        "log_level": "WARNING",
    }
    settings = make_settings(**{**settings.model_dump(), **changes})
    for module, pauses in _SHORT:
        for name, seconds in pauses.items():
            patch.setattr(module, name, seconds)
    http = httpx.AsyncClient(transport=FailingTransport(faults.fault(0.5)))
    async with http, serving(settings, http=lambda: http, lines=configure_logging(settings, log)) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        with failing_driver(faults.fault(0.06)):
            await asyncio.gather(*(_ask(client, run, worker) for worker in range(4)))
        run.ended = set(_TASKS - {task.get_name() for task in asyncio.all_tasks()})
        await _until_all_works(client, upstream)
    run.log = log.getvalue()
    return run


async def _ask(client: httpx.AsyncClient, run: FaultyRun, worker: int) -> None:
    for number in itertools.count():
        if run.faults.is_over:
            return
        email = f"{worker}-{number}@example.com"
        person = {"fname": "Ada", "lname": "X", "email": email, "password": "correct horse battery"}
        requests: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("GET", "/countries?limit=3", {}),
            ("GET", "/rates", {}),
            ("GET", "/health/ready", {}),
            ("POST", "/users", {"json": person}),
            ("GET", "/status", {}),
            ("POST", "/countries/refresh", {}),  # takes much longer, so that one worker is enough
        )
        for method, path, more in requests if worker == 0 else requests[:-1]:
            response = await client.request(method, path, **more)
            run.answers[response.status_code] += 1
            title = response.json()["error"] if response.is_error else ""
            if title == "External data source unavailable":
                run.skipped.append(response.text)
            elif response.is_error and (response.status_code != 503 or "Retry-After" not in response.headers):
                # A change whose outcome is unknown may have been made: then the account exists.
                run.wrong.append(f"{method} {path}: {response.status_code} {response.text}")


async def _until_all_works(client: httpx.AsyncClient, upstream: FakeUpstream) -> None:
    """The service mends itself: a refresh succeeds, the audit trail is delivered, no connection is in use."""
    async with asyncio.timeout(60):
        while (await client.post("/countries/refresh")).status_code != 200:
            await asyncio.sleep(0.05)
        hits = upstream.hits[_HOOK]
        assert (await client.delete("/countries/ghana")).is_success
        while upstream.hits[_HOOK] == hits:
            await asyncio.sleep(0.05)
        # For up to a second it shows what was so before.
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)
        while (await client.get("/health/ready")).json()["pool"]["in_use"] > 1:
            await asyncio.sleep(0.05)
