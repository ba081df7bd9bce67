"""Growth of refresh and read times with the number of countries."""

import time
from itertools import pairwise

import httpx

from benchmarks.base.run import Run
from benchmarks.base.servers import service
from benchmarks.base.spread import spread
from benchmarks.base.synthetic import synthetic_countries
from benchmarks.base.tables import Report, Table
from benchmarks.base.upstream import COUNTRIES, Upstream, fake_upstream
from benchmarks.refresh.refresh import refresh_once

SIZES = (250, 2_500, 25_000)
PAGE = 100
FEWEST_READS = 5
WORK = ("first refresh", "later refresh", "first page", "last page", "full list")
LINEAR_WITHIN = 1.1
"""Ten times the countries may take eleven times as long, because measurements vary."""


def measure(run: Run) -> Report:
    """Measure every size on each engine, without the cache."""
    report = Report()
    with fake_upstream(run.new_folder()) as upstream:
        for engine in run.plan.engines:
            times: dict[int, list[float]] = {}
            for size in SIZES:
                run.say(f"growth: {engine}, {size:,} countries")
                upstream.tell(COUNTRIES, synthetic_countries(size))
                try:
                    times[size] = _measure_size(run, engine, upstream, size)
                except httpx.HTTPStatusError as error:
                    report.failures.append(f"{engine}, {size:,} countries: {error.response.text}")
                    break
            report.tables.append(_table(engine, times))
            report.notes += [f"{engine}: {line}" for line in judge(times)]
    return report


def _measure_size(run: Run, engine: str, upstream: Upstream, size: int) -> list[float]:
    """Milliseconds of each kind of work, in the order of ``WORK``."""
    url = run.databases.new(engine, loaded=False)
    with service(
        run.new_folder(), database_url=url, cache_max_bytes=0, upstream_max_bytes=64 * 2**20, **upstream.settings
    ) as server:
        first = refresh_once(server.url)
        later = spread([refresh_once(server.url) for _ in range(run.plan.rounds)]).median
        paths = (f"?limit={PAGE}", f"?limit={PAGE}&offset={size - PAGE}", "")
        reads = [_seconds_a_read(f"{server.url}/countries{path}", run.plan.seconds) for path in paths]
    return [1000 * seconds for seconds in (first, later, *reads)]


def _seconds_a_read(url: str, seconds: float) -> float:
    """Median time of sequential reads over one connection; not by wrk, which counts complete responses only."""
    times: list[float] = []
    with httpx.Client(timeout=60, trust_env=False) as client:
        client.get(url).raise_for_status()
        while sum(times) < seconds or len(times) < FEWEST_READS:
            started = time.perf_counter()
            client.get(url)
            times.append(time.perf_counter() - started)
    return spread(times).median


def _table(engine: str, times: dict[int, list[float]]) -> Table:
    columns = ("countries", *(f"{work}, ms" for work in WORK), "refresh, ms a country", "full list, ms a country")
    rows = [
        (f"{size:,}", *(f"{value:,.1f}" for value in values), f"{values[1] / size:.3f}", f"{values[4] / size:.4f}")
        for size, values in times.items()
    ]
    return Table(f"Growth on {engine}, cache off", columns, rows)


def judge(times: dict[int, list[float]]) -> list[str]:
    """Describe for each kind of work how much it grew from one size to the next."""
    sizes = list(times)
    lines = []
    for position, work in enumerate(WORK):
        steps = [(times[big][position] / times[small][position], big / small) for small, big in pairwise(sizes)]
        is_linear = all(grown <= LINEAR_WITHIN * more for grown, more in steps)
        factors = ", then ".join(f"x {grown:.1f}" for grown, _ in steps)
        lines.append(f"{work}: {factors} for each x 10; {'no worse' if is_linear else 'WORSE'} than linear")
    return lines if len(sizes) > 1 else []
