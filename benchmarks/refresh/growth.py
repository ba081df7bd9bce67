"""Growth of refresh and read times with the number of countries."""

import time
from itertools import pairwise
from statistics import median

from benchmarks.base.answers import capture
from benchmarks.base.latency import Asker
from benchmarks.base.load import LoadFailed
from benchmarks.base.run import Run
from benchmarks.base.servers import bare, service
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
                except LoadFailed as error:
                    report.failures.append(f"{engine}, {size:,} countries: {error}")
                    break
            report.tables.append(_table(engine, times))
            report.notes += [f"{engine}: {line}" for line in judge(times)]
    return report


def _measure_size(run: Run, engine: str, upstream: Upstream, size: int) -> list[float]:
    """Milliseconds of each kind of work, in the order of ``WORK``; reads without the client's own time."""
    url = run.databases.new(engine, loaded=False)
    paths = [f"/countries{query}" for query in (f"?limit={PAGE}", f"?limit={PAGE}&offset={size - PAGE}", "")]
    settings = {"cache_max_bytes": 0, "upstream_max_bytes": 64 * 2**20, **upstream.settings}
    with service(run.new_folder(), database_url=url, **settings) as server, Asker(server.url) as asker:
        first = refresh_once(asker)
        later = median([refresh_once(asker) for _ in range(run.plan.rounds)])
        answers = {path: capture(server.url + path, {}) for path in paths}
        with bare(run.new_folder(), answers) as least, Asker(least.url) as client:
            reads = [_beyond_client(asker, client, path, run.plan.seconds) for path in paths]
    return [first, later, *reads]


def _beyond_client(asker: Asker, client: Asker, path: str, seconds: float) -> float:
    """Median milliseconds of sequential reads, without those in which a bare function sends the same bytes.

    Not by wrk, which counts complete responses only.
    """
    times: list[tuple[float, float]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(times) < FEWEST_READS:
        times.append((asker.milliseconds(path), client.milliseconds(path)))
    return median([ours for ours, _ in times]) - median([own for _, own in times])


def _table(engine: str, times: dict[int, list[float]]) -> Table:
    columns = ("countries", *(f"{work}, ms" for work in WORK), "refresh, ms a country", "full list, ms a country")
    rows = [
        (f"{size:,}", *(f"{value:,.1f}" for value in values), f"{values[1] / size:.3f}", f"{values[4] / size:.4f}")
        for size, values in times.items()
    ]
    return Table(f"Growth on {engine}, cache off; reads without the time of the client", columns, rows)


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
