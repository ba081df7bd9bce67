"""Documents of a transfer by batch and by stream, beside one request for each and the driver's bare executemany."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from benchmarks.memory import resident_mebibytes
from benchmarks.processes import SERVER_CORES, environment, run_to_end
from benchmarks.run import Run
from benchmarks.servers import service
from benchmarks.spread import Spread, ratios, spread
from benchmarks.tables import Report, Table
from benchmarks.tracking_bare import UBID
from benchmarks.tracking_load import IN_FLIGHT, Progress, create_transfer, send_batches, send_stream
from benchmarks.tracking_rows import BATCH

SINGLES: Final = 5_000
"""Documents that are sent one at a time."""
SETTLED: Final = 50_000
"""Documents after which memory is looked at for the first time."""
LARGEST_GROWTH: Final = 60.0
"""MiB."""
TIMES_SINGLE: Final = 20.0
SHARE_OF_BARE: Final = {"sqlite": 0.3, "mariadb": 0.5}

Send = Callable[[str, str, int, Progress], Awaitable[None]]


async def _send_singles(url: str, ubid: str, documents: int, progress: Progress) -> None:
    await send_batches(url, ubid, min(documents, SINGLES), progress, size=1)


WAYS: Final[dict[str, Send]] = {"one each": _send_singles, "batches": send_batches, "stream": send_stream}


@dataclass
class Growth:
    """Resident memory in MiB, between 50,000 documents and the last."""

    pids: dict[str, int]
    first: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def look(self, documents: int) -> None:
        """Note what it is now; before 50,000 documents it is not of interest."""
        if documents < SETTLED:
            return
        for name, pid in self.pids.items():
            now = resident_mebibytes(pid)
            self.first.setdefault(name, now)
            self.most[name] = max(self.most.get(name, now), now)

    def mebibytes(self) -> dict[str, float]:
        """By how much each has grown."""
        return {name: self.most[name] - self.first[name] for name in self.first}


@dataclass
class Measured:
    """Documents a second by way and round, and the growth of memory."""

    speeds: dict[str, list[float]] = field(default_factory=dict)
    growths: dict[str, list[dict[str, float]]] = field(default_factory=dict)


def measure(run: Run) -> Report:
    """Compare all ways on each engine; a ratio or a memory out of bounds fails the run."""
    report, speeds, growths = Report(), [], []
    for engine in run.plan.engines:
        measured = _measure_engine(run, engine)
        speeds.append(_speeds(engine, measured))
        growths += _growths(engine, measured)
        report.failures += problems(engine, measured)
    number = f"{run.plan.documents:,} documents to one worker"
    columns = ("engine", "one each, docs/s", "batches, docs/s", "stream, docs/s", "bare, docs/s")
    shares = ("batches / one each", "stream / one each", "batches / bare", "stream / bare")
    report.tables.append(
        Table(f"{number}, batches of {BATCH:,}, {IN_FLIGHT} requests at a time", columns + shares, speeds)
    )
    title = f"Growth of memory from {SETTLED:,} to the last of {number}"
    report.tables.append(Table(title, ("engine", "way", "service, MiB", "client, MiB"), growths))
    return report


def _measure_engine(run: Run, engine: str) -> Measured:
    measured = Measured()
    for number in range(run.plan.rounds):
        run.say(f"tracking: {engine}, {run.plan.documents:,} documents, round {number + 1}")
        for way, send in WAYS.items():
            url = run.databases.new(engine, loaded=False)
            speed, growth = asyncio.run(_through_service(run, url, send, SINGLES if way == "one each" else None))
            measured.speeds.setdefault(way, []).append(speed)
            if growth:
                measured.growths.setdefault(way, []).append(growth)
            run.databases.drop(url)
        url = run.databases.new(engine, loaded=False)
        measured.speeds.setdefault("bare", []).append(_bare(run, url))
        run.databases.drop(url)
    return measured


async def _through_service(run: Run, url: str, send: Send, at_most: int | None) -> tuple[float, dict[str, float]]:
    """Documents a second, and the growth of memory."""
    documents = min(run.plan.documents, at_most or run.plan.documents)
    with service(run.new_folder(), database_url=url) as server:
        growth = Growth({"service": server.process.pid, "client": os.getpid()})
        await create_transfer(server.url, UBID, documents)
        started = time.perf_counter()
        await send(server.url, UBID, documents, growth.look)
        seconds = time.perf_counter() - started
    return documents / seconds, growth.mebibytes()


def _bare(run: Run, url: str) -> float:
    command = [sys.executable, "-m", "benchmarks.tracking_bare", url, str(run.plan.documents)]
    seconds = run_to_end(command, run.new_folder(), environment(), cores=SERVER_CORES)
    return run.plan.documents / float(seconds)


def _ratio(measured: Measured, way: str, reference: str) -> Spread:
    return ratios(measured.speeds[way], measured.speeds[reference])


def _speeds(engine: str, measured: Measured) -> tuple[str, ...]:
    absolute = [f"{spread(measured.speeds[way]).median:,.0f}" for way in (*WAYS, "bare")]
    times = [_ratio(measured, way, "one each").text(".1f") for way in ("batches", "stream")]
    shares = [_ratio(measured, way, "bare").text() for way in ("batches", "stream")]
    return (engine, *absolute, *times, *shares)


def _growths(engine: str, measured: Measured) -> list[tuple[str, ...]]:
    rows = []
    for way, growths in measured.growths.items():
        cells = [spread([growth[name] for growth in growths]).text(".1f") for name in ("service", "client")]
        rows.append((engine, way, *cells))
    return rows


def problems(engine: str, measured: Measured) -> list[str]:
    """What is out of bounds; of batches and stream the better one counts."""
    problems = []
    times = max(_ratio(measured, way, "one each").median for way in ("batches", "stream"))
    share = max(_ratio(measured, way, "bare").median for way in ("batches", "stream"))
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
