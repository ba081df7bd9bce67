"""Time, processor time and memory from the start of the process to the first list of countries."""

import http.client
import sys
import time
from contextlib import suppress
from typing import NamedTuple

from benchmarks.base.process_figures import processor_seconds, resident
from benchmarks.base.processes import SERVER_CORES, START_SECONDS, ProcessDied, running
from benchmarks.base.run import Run
from benchmarks.base.spread import spread
from benchmarks.base.tables import Report, Table
from tests.support.mariadb import free_port
from tests.support.service import environment

TIMES = 7


class Start(NamedTuple):
    """Figures at the moment of the first answer."""

    seconds: float
    """Since the creation of the process."""
    processor_seconds: float
    resident: float
    """In MB."""


def measure(run: Run) -> Report:
    """Start the service on a loaded database of each engine, several times."""
    rows = []
    for engine in run.plan.engines:
        run.say(f"start: {engine}, {TIMES} times")
        url = run.databases.new(engine)
        _start(run, url)  # now the files are in memory
        seconds, processor_seconds, memory = map(spread, zip(*(_start(run, url) for _ in range(TIMES)), strict=True))
        rows.append((engine, seconds.text(), processor_seconds.text(), memory.text(".0f")))
    title = f"From the start of python -m app serve to the first 200 of /countries, files in memory, {TIMES} times"
    return Report([Table(title, ("engine", "seconds", "processor seconds", "resident, MB"), rows)])


def _start(run: Run, database_url: str) -> Start:
    port = free_port()
    env = environment(database_url=database_url, refresh_on_start="never", port=port)
    started = time.perf_counter()
    command = [sys.executable, "-m", "app", "serve"]
    with running(command, run.new_folder(), env, cores=SERVER_CORES) as process:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise ProcessDied("python -m app serve gave no answer")
            time.sleep(0.005)
        return Start(time.perf_counter() - started, processor_seconds(process.pid), resident(process.pid))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    with suppress(ConnectionError):
        try:
            connection.request("GET", "/countries")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False
