"""Resident memory of one worker: at its first answer, idle, and under reads of every route with refreshes."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import linear_regression
from typing import Any, Final

from benchmarks.base.checkouts import Checkout
from benchmarks.base.comparison import Measured, add, to_table
from benchmarks.base.latency import Asker
from benchmarks.base.load import WRK, LoadFailed, parse_wrk
from benchmarks.base.process_figures import peak, resident
from benchmarks.base.processes import LOAD_CORES, running
from benchmarks.base.run import Run
from benchmarks.base.servers import Server, service
from benchmarks.base.tables import Report
from benchmarks.base.upstream import fake_upstream
from benchmarks.refresh.refresh import refresh_once
from tests.support.service import environment

PATHS: Final = Path(__file__).with_name("paths.lua")
CLIENTS: Final = 32
REFRESH_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 5.0
"""From a refresh to the reading of the idle process."""


def measure(run: Run) -> Report:
    """Watch one worker of each version on each engine, one after the other."""
    measured: Measured = {}
    report, minutes = Report(), run.plan.minutes
    with fake_upstream(run.new_folder()) as upstream:
        for engine in run.plan.engines:
            for checkout in run.checkouts:
                run.say(f"memory: {checkout.name}, {engine}, {minutes:g} min")
                url = run.databases.new(engine, checkout=checkout)
                settings = {"database_url": url, **upstream.settings}
                load = _measure_worker(run, engine, checkout, settings, measured)
                report.notes.append(f"{checkout.name}, {engine}: {load}")
    title = f"Resident memory of one worker in MB: {CLIENTS} clients that read every route for {minutes:g} min"
    report.tables.append(to_table(f"{title}, and a refresh every {REFRESH_SECONDS:g} s", measured, pattern=".1f"))
    report.notes.append("Slope: of a straight line through the readings of the second half.")
    return report


def _measure_worker(run: Run, engine: str, checkout: Checkout, settings: dict[str, Any], measured: Measured) -> str:
    """Add the readings; returns a description of the load."""

    def note(name: str, value: float) -> None:
        add(measured, f"{engine}, {name}", checkout.name, value)

    minutes = run.plan.minutes
    with service(run.new_folder(), checkout=checkout, **settings) as server, Asker(server.url) as asker:
        pid = server.process.pid
        asker.ask("/countries")
        note("at the first 200", resident(pid))
        refresh_once(asker)
        time.sleep(IDLE_SECONDS)
        note("idle after a refresh", resident(pid))
        with _load(run.new_folder(), server.url, minutes) as finish:
            samples = _watch(server, asker, minutes)
            load = finish()
        note("end of the first half", samples[len(samples) // 2][1])
        note("end of the second half", samples[-1][1])
        note("peak", peak(pid))
        note("slope, MB in 10 min", slope(samples[len(samples) // 2 :]))
        time.sleep(IDLE_SECONDS)
        note("idle after the load", resident(pid))
    return load


def _watch(server: Server, asker: Asker, minutes: float) -> list[tuple[float, float]]:
    """Refresh now and then; returns the seconds and MB of readings before, between and after refreshes."""
    started, samples = time.monotonic(), []

    def read() -> None:
        samples.append((time.monotonic() - started, resident(server.process.pid)))

    read()
    while time.monotonic() < started + 60 * minutes:
        time.sleep(REFRESH_SECONDS / 2)
        read()
        time.sleep(REFRESH_SECONDS / 2)
        with suppress(LoadFailed):  # refused, like some of the reads
            refresh_once(asker)
        read()
    return samples


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Growth in MB in ten minutes, of readings as seconds and MB."""
    return 600 * linear_regression(*zip(*samples, strict=True)).slope


def read_load(text: str) -> str:
    """Describe the output of wrk, which may be refused with 503: more clients than the service admits.

    Raises:
        LoadFailed: Some answers had another status, or wrk failed.
    """
    wrong = re.search(r"^Unexpected.*$", text, re.MULTILINE)
    if wrong:
        raise LoadFailed(f"wrk: {wrong[0]}")
    refused = re.search(r"^ *Non-2xx or 3xx responses: (\d+)\n", text, re.MULTILINE)
    speed = parse_wrk(text.replace(refused[0], "") if refused else text)
    return f"{speed:,.0f} answers per second, {int(refused[1]) if refused else 0:,} in all were 503"


@contextmanager
def _load(folder: Path, url: str, minutes: float) -> Iterator[Callable[[], str]]:
    """Send reads; the function waits for their end and describes them."""
    command = [str(WRK), "-t1", f"-c{CLIENTS}", f"-d{round(60 * minutes)}s", "--timeout", "10s"]
    with running([*command, "-s", str(PATHS), url], folder, environment(), cores=LOAD_CORES) as process:

        def finish() -> str:
            process.wait(60)
            return read_load(next(folder.glob("*.log")).read_text())

        yield finish
