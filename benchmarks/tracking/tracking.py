"""Documents by the batch client and by stream, compared with one request each and the driver's executemany."""

import re
import sys
from dataclasses import dataclass, field
from typing import Final

from benchmarks.base.checkouts import HERE, Checkout
from benchmarks.base.comparison import Measured as Compared
from benchmarks.base.comparison import add, to_table
from benchmarks.base.process_figures import peak, processor_seconds
from benchmarks.base.processes import SERVER_CORES, Finished, measured_run, run_to_end
from benchmarks.base.run import Run
from benchmarks.base.servers import service
from benchmarks.base.spread import Spread, ratios, spread
from benchmarks.base.tables import Report, Table
from benchmarks.tracking.rows import BATCH
from tests.support.service import environment

SINGLES: Final = 5_000
"""Documents sent one per request."""
SETTLED: Final = 50_000
"""Documents before the first reading of memory."""
LARGEST_GROWTH: Final = 60.0
"""MiB."""
TIMES_SINGLE: Final = 20.0
SHARE_OF_BARE: Final = {"sqlite": 0.3, "mariadb": 0.5}
WAYS: Final = ("one each", "client", "stream")


@dataclass
class Measured:
    """Documents per second by way and round, and growth of the peak memory in MiB."""

    speeds: dict[str, list[float]] = field(default_factory=dict)
    growths: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def measure(run: Run) -> Report:
    """Compare all ways on each engine; a ratio or a memory out of bounds fails the run."""
    if len(run.checkouts) > 1:
        return _compare_versions(run)
    report, speeds, growths = Report(), [], []
    for engine in run.plan.engines:
        measured = _measure_engine(run, engine)
        speeds.append(_speeds(engine, measured))
        growths += _growths(engine, measured)
        report.failures += problems(engine, measured)
    number = f"{run.plan.documents:,} documents to one worker"
    columns = ("engine", *(f"{way}, docs/s" for way in (*WAYS, "bare")))
    shares = ("client / one each", "stream / one each", "client / bare", "stream / bare")
    report.tables.append(Table(f"{number}, {BATCH:,} in a transaction", columns + shares, speeds))
    title = f"Growth of the most memory from {SETTLED:,} to the last of {number}"
    report.tables.append(Table(title, ("engine", "way", "service, MiB", "client, MiB"), growths))
    return report


def _compare_versions(run: Run) -> Report:
    """Send all documents with the batch client of each version to its service, in turn."""
    speeds: Compared = {}
    costs: Compared = {}
    for engine in run.plan.engines:
        for number in range(run.plan.rounds):
            run.say(f"tracking: {engine}, {run.plan.documents:,} documents, round {number + 1}")
            for checkout in run.checkouts:
                url = run.databases.new(engine, loaded=False, checkout=checkout)
                with service(run.new_folder(), checkout=checkout, database_url=url) as server:
                    before = processor_seconds(server.process.pid), run.databases.processor_seconds()
                    done = _send(run, checkout, "client", server.url, run.plan.documents)
                    after = processor_seconds(server.process.pid), run.databases.processor_seconds()
                run.databases.drop(url)
                add(speeds, engine, checkout.name, run.plan.documents / _seconds(done.out))
                add(costs, f"{engine}, service", checkout.name, after[0] - before[0])
                add(costs, f"{engine}, client from its start", checkout.name, done.processor_seconds)
                if engine == "mariadb":
                    add(costs, f"{engine}, database", checkout.name, after[1] - before[1])
    title = f"{run.plan.documents:,} documents by the batch client"
    return Report(
        [
            to_table(f"{title}: documents per second", speeds, pattern=",.0f"),
            to_table("The same rounds: processor seconds", costs),
        ]
    )


def _measure_engine(run: Run, engine: str) -> Measured:
    measured = Measured()
    for number in range(run.plan.rounds):
        run.say(f"tracking: {engine}, {run.plan.documents:,} documents, round {number + 1}")
        for way in WAYS:
            url = run.databases.new(engine, loaded=False)
            speed, growth = _through_service(run, url, way)
            measured.speeds.setdefault(way, []).append(speed)
            if growth:
                measured.growths.setdefault(way, []).append(growth)
            run.databases.drop(url)
        url = run.databases.new(engine, loaded=False)
        measured.speeds.setdefault("bare", []).append(_bare(run, url))
        run.databases.drop(url)
    return measured


def _through_service(run: Run, url: str, way: str) -> tuple[float, dict[str, float]]:
    """Documents per second, and the growth of memory; empty for single requests."""
    with service(run.new_folder(), database_url=url) as server:

        def send(documents: int) -> tuple[float, dict[str, float]]:
            done = _send(run, HERE, way, server.url, documents)
            return _seconds(done.out), {"service": peak(server.process.pid, unit=2**20), "client": done.peak}

        if way == "one each":
            return SINGLES / send(SINGLES)[0], {}
        settled = send(SETTLED)[1]
        seconds, most = send(run.plan.documents)
    return run.plan.documents / seconds, {name: most[name] - settled[name] for name in most}


def _send(run: Run, checkout: Checkout, way: str, url: str, documents: int) -> Finished:
    if way == "client":
        command = checkout.command("sms-batch", "--count", str(documents), "--url", url)
    else:
        kind = "stream" if way == "stream" else "singles"
        command = [sys.executable, "-m", "benchmarks.tracking.load", kind, url, str(documents)]
    return measured_run(command, run.new_folder(), checkout.environment())


def _seconds(out: str) -> float:
    """The seconds that a command prints: the client in its summary, the load as its only output."""
    found = re.search(r"^ *Took +([0-9.]+) s", out, re.MULTILINE)
    return float(found[1] if found else out)


def _bare(run: Run, url: str) -> float:
    command = [sys.executable, "-m", "benchmarks.tracking.bare", url, str(run.plan.documents)]
    seconds = run_to_end(command, run.new_folder(), environment(), cores=SERVER_CORES)
    return run.plan.documents / float(seconds)


def _ratio(measured: Measured, way: str, reference: str) -> Spread:
    return ratios(measured.speeds[way], measured.speeds[reference])


def _speeds(engine: str, measured: Measured) -> tuple[str, ...]:
    absolute = [f"{spread(measured.speeds[way]).median:,.0f}" for way in (*WAYS, "bare")]
    times = [_ratio(measured, way, "one each").text(".1f") for way in ("client", "stream")]
    shares = [_ratio(measured, way, "bare").text() for way in ("client", "stream")]
    return (engine, *absolute, *times, *shares)


def _growths(engine: str, measured: Measured) -> list[tuple[str, ...]]:
    rows = []
    for way, growths in measured.growths.items():
        cells = [spread([growth[name] for growth in growths]).text(".1f") for name in ("service", "client")]
        rows.append((engine, way, *cells))
    return rows


def problems(engine: str, measured: Measured) -> list[str]:
    """Describe what is out of bounds; the better of client and stream counts."""
    problems = []
    times = max(_ratio(measured, way, "one each").median for way in ("client", "stream"))
    share = max(_ratio(measured, way, "bare").median for way in ("client", "stream"))
    if times < TIMES_SINGLE:
        problems.append(f"{engine}: {times:.1f} times as fast as one request for each, not {TIMES_SINGLE:g}")
    if share < SHARE_OF_BARE[engine]:
        problems.append(f"{engine}: {share:.2f} of the bare driver, not {SHARE_OF_BARE[engine]:g}")
    for way, growths in measured.growths.items():
        for name in ("service", "client"):
            grown = max(growth[name] for growth in growths)
            if grown >= LARGEST_GROWTH:
                problems.append(f"{engine}: {way}: memory of the {name} grew by {grown:.0f} MiB")
    return problems
