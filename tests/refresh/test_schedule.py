"""Background refreshes: at the start, by schedule, and from bundled to live rates."""

import asyncio
from datetime import timedelta
from itertools import takewhile

import pytest

from app.core import background
from app.core.db.database import Database
from app.core.db.lease import Lease, acquire
from app.refresh import schedule
from tests.conftest import COUNTRIES, RATES, START, make_settings, serving
from tests.support import payloads
from tests.support.upstream import document, status

LIVE, BUNDLED = ({"countries": "127.0.0.1", "rates": rates} for rates in ("127.0.0.1", "bundled"))


async def loaded_status(client) -> dict[str, object]:
    while (response := await client.get("/status")).status_code != 200:
        await asyncio.sleep(0.02)
    return dict(response.json())


async def wait_for(condition) -> None:
    while not condition():
        await asyncio.sleep(0.02)


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses of the schedule, which are cut short."""
    seconds: list[float] = []

    async def note(pause: float) -> None:
        seconds.append(pause)
        await asyncio.sleep(0.01)

    monkeypatch.setattr(background, "sleep", note)
    return seconds


async def test_empty_database_is_loaded_in_the_background_after_the_start(service):
    async with service(refresh_on_start="if-empty") as client:
        status = await loaded_status(client)

    assert (status["total_countries"], status["sources"]) == (250, LIVE)


async def test_first_load_without_any_live_source_uses_bundled_data_and_says_so(service, upstream):
    upstream.answers.clear()
    async with service(refresh_on_start="if-empty", country_sources=f"{upstream.url(COUNTRIES)} bundled") as client:
        status = await loaded_status(client)
        refreshed = await client.post("/countries/refresh")
        afterwards = (await client.get("/status")).json()
        image = await client.get("/countries/image")

    assert status["sources"] == {"countries": "bundled", "rates": "bundled"}
    assert (status["rates_date"], status["stale"]) == ("2026-09-29", False)
    assert refreshed.status_code == 503, "a requested refresh never falls back to bundled rates"
    assert afterwards == status
    assert image.headers["Content-Type"] == "image/png"


async def test_live_rates_replace_bundled_ones_when_they_come_back(service, upstream, monkeypatch):
    monkeypatch.setattr(schedule, "RETRY", timedelta(seconds=0.3))
    upstream.answers[RATES] = status(404)
    async with service(refresh_on_start="if-empty") as client:
        assert (await loaded_status(client))["sources"] == BUNDLED
        upstream.answers[RATES] = document(payloads.er_api())
        while (await loaded_status(client))["sources"] != LIVE:
            await asyncio.sleep(0.05)


async def test_first_load_that_fails_is_retried(service, upstream, monkeypatch):
    monkeypatch.setattr(schedule, "RETRY", timedelta(seconds=0.3))
    upstream.answers[COUNTRIES] = status(404)
    async with service(refresh_on_start="if-empty") as client:
        await wait_for(lambda: upstream.hits[COUNTRIES] >= 2)
        upstream.answers[COUNTRIES] = document(payloads.v3_1())

        assert (await loaded_status(client))["total_countries"] == 250


async def test_unexpected_error_does_not_end_the_schedule(service, upstream, monkeypatch):
    monkeypatch.setattr(schedule, "RETRY", timedelta(seconds=0.1))
    calls = []

    async def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise RuntimeError("on purpose")

    monkeypatch.setattr(schedule, "read_summary", fail)
    monkeypatch.setattr(schedule, "START_RETRY_SECONDS", 0.01)
    async with service():
        await wait_for(lambda: len(calls) >= 2)


async def test_bundled_rates_count_as_empty_at_the_next_start(service, upstream):
    upstream.answers[RATES] = status(404)
    async with service(refresh_on_start="if-empty") as client:
        assert (await loaded_status(client))["sources"] == BUNDLED
    upstream.answers[RATES] = document(payloads.er_api())
    asked = upstream.hits[RATES]

    async with service(refresh_on_start="if-empty"):
        await wait_for(lambda: upstream.hits[RATES] > asked)


@pytest.mark.parametrize(("refresh_on_start", "fetches"), [("never", 1), ("if-empty", 1), ("always", 2)])
async def test_start_with_data_refreshes_only_if_set_to_always(service, upstream, pauses, refresh_on_start, fetches):
    async with service() as client:
        await client.post("/countries/refresh")

    pauses.clear()
    async with service(refresh_on_start=refresh_on_start):
        await wait_for(lambda: pauses)

    assert upstream.hits[RATES] == fetches


async def test_schedule_refreshes_once_an_interval_in_one_process_of_two(service, upstream, monkeypatch):
    # With the real clock, because the schedule compares the age of the data.
    changes = {"refresh_on_start": "if-empty", "refresh_interval_minutes": 0.01, "real_clock": True}
    turns: list[Lease] = []

    async def take_turn(database: Database, name: str, *, seconds: float) -> Lease | None:
        assert seconds == pytest.approx(0.6 * 0.9)
        if lease := await acquire(database, name, seconds=seconds):
            turns.append(lease)
        return lease

    monkeypatch.setattr(schedule, "acquire", take_turn)
    async with service(**changes), service(**changes):
        await wait_for(lambda: len(turns) >= 3)

    assert [turn.fence for turn in turns] == list(range(1, len(turns) + 1)), "each turn is taken once"
    assert upstream.hits[RATES] <= 1 + len(turns), "the first load, and one refresh in each turn"


async def test_pause_after_a_failed_refresh_is_ten_minutes_in_which_it_looks_each_minute(service, upstream, pauses):
    upstream.answers[RATES] = status(404)
    async with service(real_clock=True, rate_sources=f"{upstream.url(RATES)} bundled") as client:
        await client.post("/countries/refresh")
        pauses.clear()
        await wait_for(lambda: pauses.count(0) >= 2)

    assert pauses[0] >= 60
    rest = list(takewhile(bool, pauses[pauses.index(0) + 1 :]))
    assert len(rest) == 10, pauses
    assert all(60 <= pause <= 66 for pause in rest), pauses


async def test_schedule_goes_on_after_the_clock_was_put_a_day_ahead_and_back(settings, http, upstream, monkeypatch):
    monkeypatch.setattr(schedule, "RETRY", timedelta(seconds=0.1))
    monkeypatch.setattr(schedule, "LOOK_AGAIN", timedelta(seconds=0.05))
    now = START
    hourly = make_settings(**{**settings.model_dump(), "refresh_on_start": "if-empty", "refresh_interval_minutes": 60})
    async with serving(hourly, http=http, clock=lambda: now) as client:
        first = (await loaded_status(client))["last_refreshed_at"]
        now = START + timedelta(days=1)
        await wait_for(lambda: upstream.hits[RATES] >= 2)
        while (ahead := (await loaded_status(client))["last_refreshed_at"]) == first:
            await asyncio.sleep(0.02)
        now = START + timedelta(seconds=8)
        while (back := (await loaded_status(client))["last_refreshed_at"]) == ahead:
            await asyncio.sleep(0.02)

    assert [first, ahead, back] == ["2026-11-21T09:17:00Z", "2026-11-22T09:17:00Z", "2026-11-21T09:17:08Z"]
    assert upstream.hits[RATES] == 3, "and it is not due again"


async def test_failed_scheduled_refresh_is_retried_and_keeps_the_data(service, upstream):
    async with service() as client:
        await client.post("/countries/refresh")
    upstream.answers[RATES] = status(404)

    async with service(real_clock=True, refresh_interval_minutes=0.005) as client:
        await wait_for(lambda: upstream.hits[RATES] >= 3)
        assert (await client.get("/status")).json()["total_countries"] == 250
