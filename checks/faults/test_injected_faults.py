"""Faults that the service meets in its own process: random exceptions, a damaged file, a wrong clock."""

import asyncio
import itertools
import shutil
import time
from collections import Counter
from datetime import timedelta

import pytest

from app.core.db.lease import acquire
from app.refresh import crud, schedule
from checks.support.faulty_run import run_with_faults
from tests.cli.test_start import damage
from tests.conftest import START, make_settings, serving

FAULTS = 1000


@pytest.mark.row("4.19 random exceptions of driver and sources")
@pytest.mark.timeout(600)
async def test_random_faults_are_503_and_everything_goes_on(settings, upstream, monkeypatch, is_full, figure):
    """Broken on purpose: without the listener for errors of the driver most of them were 500."""
    run = await run_with_faults(settings, upstream, monkeypatch, total=FAULTS if is_full else 100, seed=19)
    run.assert_nothing_was_wrong()
    figure(run.figure())


@pytest.mark.row("4.20 damaged SQLite file, restored under a running service")
def test_damaged_file_is_503_until_it_is_restored(sqlite_template, tmp_path, figure):
    """Broken on purpose: while connections kept their pages, requests after the restore were still 503."""
    file = shutil.copy(sqlite_template, tmp_path / "countries.db")
    backup = shutil.copy(file, tmp_path / "backup.db")
    damage(file, "country")

    async def run() -> tuple[Counter[int], Counter[int]]:
        settings, seconds = make_settings(database_url=f"sqlite:///{file}", cache_max_bytes=0), itertools.count()
        # Each look at the clock is a second later, so that no result of the readiness check is shown again.
        async with serving(settings, monotonic=lambda: float(next(seconds))) as client:
            paths = ("/countries", "/countries?limit=3", "/health/ready")
            broken = Counter([(await client.get(path)).status_code for _ in range(50) for path in paths])
            shutil.copy(backup, file)
            restored = Counter([(await client.get(path)).status_code for _ in range(50) for path in paths])
            return broken, restored

    broken, restored = asyncio.run(run())

    assert broken == {503: 150}
    assert restored == {200: 150}
    figure("150 of 150 answers 503 while damaged, 0 of 150 once restored")


@pytest.mark.row("4.21 clock a day ahead, put back")
async def test_clock_that_is_put_back_stops_neither_schedule_nor_refreshes(settings, http, monkeypatch, figure):
    """Broken on purpose: with leases of any length believed, refreshes were 409 for a day."""
    monkeypatch.setattr(schedule, "RETRY", timedelta(seconds=0.1))
    monkeypatch.setattr(schedule, "LOOK_AGAIN", timedelta(seconds=0.05))
    now = START
    hourly = make_settings(**{**settings.model_dump(), "refresh_on_start": "if-empty", "refresh_interval_minutes": 60})
    async with serving(hourly, http=http, clock=lambda: now) as client:

        async def next_refresh(before: str) -> str:
            while (last := (await client.get("/status")).json().get("last_refreshed_at", before)) == before:
                await asyncio.sleep(0.02)
            return str(last)

        first = await next_refresh("")
        now += timedelta(days=1)
        ahead = await next_refresh(first)
        now, put_back = START, time.monotonic()
        await next_refresh(ahead)
        scheduled = time.monotonic() - put_back
        assert await acquire(client.state["database"], crud.LEASE, seconds=86_400)
        refreshed = await client.post("/countries/refresh")

    assert refreshed.status_code == 200
    figure(f"scheduled refresh {scheduled:.1f} s later, with pauses of 0.1 s; refresh under a lease of a day: 200")
