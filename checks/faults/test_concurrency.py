"""Many at once, in one process and in several: the work is done once, and whoever fails or sleeps is stood in for."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pymysql
import pytest

from checks.support.processes import started
from checks.support.story import let_sources_say, read_story
from tests.conftest import COUNTRIES, RATES
from tests.support.service import ServedProcess, ServiceProcess

TAKEN_OVER_SECONDS = 10
FETCH_SECONDS = 2
"""In which all of those have asked who ask at the same time."""


async def refresh(url: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        return await client.post("/countries/refresh")


async def refresh_at(port: int) -> tuple[int, bytes]:
    """As ``refresh()``, on a bare connection: 200 clients of httpx take seconds to begin."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /countries/refresh HTTP/1.1\r\nHost: service\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


async def refresh_all_at_once(ports: list[int], upstream: Any, generations: int) -> float:
    """Ask every port at the same time, again for each generation; the seconds from the fetch to the last answer."""
    took = []
    for generation in range(1, generations + 1):
        upstream.hits.clear()
        let_sources_say(upstream, generation, seconds=FETCH_SECONDS)
        began = time.monotonic()
        answers = await asyncio.gather(*map(refresh_at, ports))
        took.append(time.monotonic() - began)
        assert Counter(status for status, _ in answers) == {200: len(ports)}
        assert len({body for _, body in answers}) == 1
        assert upstream.hits == {COUNTRIES: 1, RATES: 1}
    return max(took) - FETCH_SECONDS


@pytest.mark.slow
@pytest.mark.row("3.1 200 refreshes at once in one process")
async def test_refreshes_of_one_process_are_one(process_settings, upstream, service, tmp_path, figure, is_full):
    """Seen to fail with ``SingleFlight.run()`` that always starts a task of its own."""
    generations, callers = (3, 200) if is_full else (1, 50)
    process = ServiceProcess(tmp_path, **process_settings)
    async with started(process), service(cache_max_bytes=0) as onlooker:
        took = await refresh_all_at_once([process.port] * callers, upstream, generations)
        assert (await read_story(onlooker)).refreshes == generations

    figure(f"{generations} times one fetch and {callers} equal answers, the last {took:.1f} s after the fetch")


@pytest.mark.slow
@pytest.mark.row("3.2 50 refreshes at once in each of 4 processes")
async def test_refreshes_of_four_processes_are_one(process_settings, upstream, service, tmp_path, figure, is_full):
    """Seen to fail with ``_answer_of_another()`` that always returns None."""
    generations, callers = (3, 50) if is_full else (1, 10)
    processes = [ServiceProcess(tmp_path, **process_settings) for _ in range(4)]
    async with started(*processes), service(cache_max_bytes=0) as onlooker:
        ports = [process.port for process in processes] * callers
        took = await refresh_all_at_once(ports, upstream, generations)
        assert (await read_story(onlooker)).refreshes == generations

    figure(f"{generations} times one fetch and {len(ports)} equal answers, the last {took:.1f} s after the fetch")


@pytest.mark.slow
@pytest.mark.engines("mariadb")
@pytest.mark.row("3.3 200 refreshes at once of WEB_CONCURRENCY=4")
async def test_refreshes_of_four_workers_are_one(process_settings, upstream, service, tmp_path, figure, is_full):
    """The workers share a port, as in production. Seen to fail like that of four processes."""
    generations, callers = (3, 200) if is_full else (1, 40)
    process = ServedProcess(tmp_path, web_concurrency=4, **process_settings)
    async with started(process), service(cache_max_bytes=0) as onlooker:
        took = await refresh_all_at_once([process.port] * callers, upstream, generations)
        assert (await read_story(onlooker)).refreshes == generations

    figure(f"{generations} times one fetch and {callers} equal answers, the last {took:.1f} s after the fetch")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.row("3.4 holder of the lease killed or frozen while it fetches")
async def test_holder_that_stops_while_it_fetches_is_taken_over(
    process_settings, upstream, service, tmp_path, figure, how
):
    """A late holder answers what was stored meanwhile, and stores nothing.

    Seen to fail with a lease of 15 s; and that a late holder stores nothing, with ``release_in()`` that checks nothing.
    """
    holder, heir = (ServiceProcess(tmp_path, **process_settings) for _ in range(2))
    async with started(holder, heir), service(cache_max_bytes=0) as onlooker:
        let_sources_say(upstream, 1)
        assert (await refresh(holder.url)).status_code == 200
        upstream.hits.clear()
        let_sources_say(upstream, 2, seconds=1)
        late = asyncio.create_task(refresh(holder.url))
        await until(lambda: len(upstream.hits) == 2)
        let_sources_say(upstream, 3)
        stopped_at = time.monotonic()
        holder.kill() if how == "killed" else holder.freeze()
        answer = await refresh(heir.url)
        seconds = time.monotonic() - stopped_at
        stored = await read_story(onlooker)
        told = how
        if how == "frozen":
            holder.thaw()
            told += f", thawed: {await late_answer(late, answer)}"
        else:
            with contextlib.suppress(httpx.TransportError):
                await late
        assert (answer.status_code, stored.generation, stored.refreshes) == (200, 3, 2)
        assert await read_story(onlooker) == stored
        assert seconds < TAKEN_OVER_SECONDS

    figure(f"{told}, taken over after {seconds:.1f} s")


async def late_answer(late: asyncio.Task[httpx.Response], of_the_heir: httpx.Response) -> str:
    """What a holder says that was late: what the heir said, or that it failed."""
    response = await late
    assert response.status_code in (200, 503), response.text
    if response.status_code == 200:
        assert response.text == of_the_heir.text
        return "the heir's answer"
    return "503"


@pytest.mark.slow
@pytest.mark.engines("mariadb")  # on SQLite a frozen process keeps the file's lock, which nobody can take from it
@pytest.mark.row("3.5 holder of the lease frozen in its transaction")
async def test_holder_that_freezes_in_its_transaction_is_taken_over(
    process_settings, upstream, service, tmp_path, figure, request
):
    """It has locked the row of the lease and all countries, and the server must take them from it.

    Seen to fail without the bound of idle transactions in ``dialects.mysql``.
    """
    server = request.getfixturevalue("mariadb")
    holder, heir = (ServiceProcess(tmp_path, **process_settings) for _ in range(2))
    async with started(holder, heir), service(cache_max_bytes=0) as onlooker:
        let_sources_say(upstream, 1)
        assert (await refresh(holder.url)).status_code == 200
        let_sources_say(upstream, 2)
        with pymysql.connect(host="127.0.0.1", port=server.port, user="root", database="service") as blocker:
            # The summary is written after the countries: who waits for it has them written and not committed.
            blocker.cursor().execute("SELECT id FROM summarycache FOR UPDATE")
            late = asyncio.create_task(refresh(holder.url))
            while not server.execute("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"):
                await asyncio.sleep(0.2)  # asked more often, the server shows what it showed before
            holder.freeze()
        let_sources_say(upstream, 3)
        stopped_at = time.monotonic()
        answer = await refresh(heir.url)
        seconds = time.monotonic() - stopped_at
        assert answer.status_code == 200, answer.text
        stored = await read_story(onlooker)
        holder.thaw()
        told = await late_answer(late, answer)
        assert (stored.generation, stored.refreshes) == (3, 2)
        assert await read_story(onlooker) == stored
        assert seconds < TAKEN_OVER_SECONDS

    figure(f"taken over after {seconds:.1f} s, thawed: {told}")
