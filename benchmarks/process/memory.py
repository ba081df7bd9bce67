"""Resident memory of one worker under reads and a refresh every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.base.latency import Asker
from benchmarks.base.load import CONNECTIONS, WRK, parse_wrk
from benchmarks.base.process_figures import resident
from benchmarks.base.processes import LOAD_CORES, running
from benchmarks.base.run import Run
from benchmarks.base.servers import Server, service
from benchmarks.base.tables import Report, Table
from benchmarks.base.upstream import fake_upstream
from benchmarks.refresh.refresh import refresh_once
from tests.support.service import environment

PATHS = Path(__file__).with_name("paths.lua")
REFRESH_SECONDS = 5.0


def measure(run: Run) -> Report:
    """Watch one worker on the first engine of the plan."""
    engine, minutes = run.plan.engines[0], run.plan.minutes
    run.say(f"memory: {engine}, {minutes:g} min")
    url = run.databases.new(engine)
    with (
        fake_upstream(run.new_folder()) as upstream,
        service(run.new_folder(), database_url=url, **upstream.settings) as server,
        Asker(server.url) as asker,
        _load(run.new_folder(), server.url, minutes) as finish,
    ):
        samples = _watch(server, asker, time.monotonic() + 60 * minutes)
        speed = finish()
    return Report([_table(engine, samples, minutes)], [f"read at {speed:,.0f} requests per second"])


def _watch(server: Server, asker: Asker, until: float) -> list[float]:
    """Resident memory in MiB, sampled before, between and after refreshes, until a reading of the monotonic clock."""
    samples = [resident(server.process.pid, unit=2**20)]
    while time.monotonic() < until:
        time.sleep(REFRESH_SECONDS / 2)
        samples.append(resident(server.process.pid, unit=2**20))
        time.sleep(REFRESH_SECONDS / 2)
        refresh_once(asker)
        samples.append(resident(server.process.pid, unit=2**20))
    return samples


@contextmanager
def _load(folder: Path, url: str, minutes: float) -> Iterator[Callable[[], float]]:
    """Send reads; the function waits for their end and returns their number per second."""
    command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{round(60 * minutes)}s", "--timeout", "10s"]
    with running([*command, "-s", str(PATHS), url], folder, environment(), cores=LOAD_CORES) as process:

        def finish() -> float:
            process.wait(60)
            return parse_wrk(next(folder.glob("*.log")).read_text())

        yield finish


def _table(engine: str, samples: list[float], minutes: float) -> Table:
    half = len(samples) // 2
    values = (samples[0], max(samples[:half]), samples[-1], max(samples))
    columns = ("engine", "at the start", "largest in the first half", "last", "largest", "samples")
    row = (engine, *(f"{value:.1f}" for value in values), str(len(samples)))
    title = f"Resident memory of one worker in MiB, {minutes:g} min of reads and a refresh every {REFRESH_SECONDS:g} s"
    return Table(title, columns, [row])
