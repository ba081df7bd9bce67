"""Time of a refresh: as a whole, without the sources, and by part."""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx

from app.sources.client import create_http_client
from benchmarks.base.processes import SERVER_CORES, run_to_end
from benchmarks.base.run import Run
from benchmarks.base.servers import Server, service
from benchmarks.base.spread import spread
from benchmarks.base.tables import Report, Table
from benchmarks.base.upstream import COUNTRIES, RATES, Upstream, fake_upstream
from tests.support.service import environment

REFRESHES = 20


def measure(run: Run) -> Report:
    """Refresh 250 stored countries repeatedly, on all engines in turn."""
    with ExitStack() as stack:
        upstream = stack.enter_context(fake_upstream(run.new_folder()))
        urls = {engine: run.databases.new(engine, loaded=False) for engine in run.plan.engines}
        services = {
            engine: stack.enter_context(service(run.new_folder(), database_url=url, **upstream.settings))
            for engine, url in urls.items()
        }
        run.say(f"refresh: {', '.join(services)}, {REFRESHES} times in turn")
        outside = _outside(services, upstream)
        parts = {}
        for engine, url in urls.items():
            run.say(f"refresh: parts on {engine}")
            parts[engine] = _time_parts(run.new_folder(), times=REFRESHES, database_url=url, **upstream.settings)
    return Report([outside, *(_parts_table(engine, timed) for engine, timed in parts.items())])


def refresh_once(url: str) -> float:
    """Refresh a service.

    Returns:
        Seconds from the request to the answer.

    Raises:
        httpx.HTTPStatusError: The service answered with an error.
    """
    started = time.perf_counter()
    httpx.post(f"{url}/countries/refresh", timeout=120, trust_env=False).raise_for_status()
    return time.perf_counter() - started


def _outside(services: Mapping[str, Server], upstream: Upstream) -> Table:
    whole: dict[str, list[float]] = {engine: [] for engine in services}
    share: list[float] = []
    for server in services.values():
        refresh_once(server.url)  # the first one inserts, and compiles its statements
    for _ in range(REFRESHES):
        share.append(asyncio.run(_fetch_both(upstream)))
        for engine, server in services.items():
            whole[engine].append(refresh_once(server.url))
    rows = []
    for engine, times in whole.items():
        ours = [seconds - fetch for seconds, fetch in zip(times, share, strict=True)]
        rows.append(
            (engine, *(spread([1000 * value for value in values]).text(".0f") for values in (times, share, ours)))
        )
    columns = ("engine", "whole, ms", "sources answer, ms", "difference, ms")
    return Table(f"POST /countries/refresh of 250 stored countries, {REFRESHES} times", columns, rows)


async def _fetch_both(upstream: Upstream) -> float:
    """Seconds to fetch both documents at the same time, without parsing them."""
    async with create_http_client() as http:
        started = time.perf_counter()
        await asyncio.gather(*(http.get(f"{upstream.url}/{name}", timeout=30) for name in (COUNTRIES, RATES)))
        return time.perf_counter() - started


def _time_parts(folder: Path, *, times: int, **settings: object) -> dict[str, list[float]]:
    """Refresh a loaded database in a process that measures itself.

    Returns:
        Seconds of each part, ordered by their end, one value per refresh.
    """
    command = [sys.executable, "-m", "benchmarks.refresh.parts", str(times)]
    env = environment(refresh_on_start="never", log_level="ERROR", **settings)
    timed: dict[str, list[float]] = json.loads(run_to_end(command, folder, env, cores=SERVER_CORES))
    return timed


def _parts_table(engine: str, timed: Mapping[str, list[float]]) -> Table:
    whole = sum(spread(values).median for values in timed.values())
    rows = [
        (name, spread([1000 * value for value in values]).text(".1f"), f"{100 * spread(values).median / whole:.0f} %")
        for name, values in timed.items()
    ]
    return Table(f"Parts of a refresh on {engine}, in the order of their end", ("part", "ms", "share"), rows)
