"""Time from the start of the process to the first list of countries."""

import http.client
import sys
import time
from contextlib import suppress

from benchmarks.base.processes import SERVER_CORES, START_SECONDS, ProcessDied, running
from benchmarks.base.run import Run
from benchmarks.base.spread import spread
from benchmarks.base.tables import Report, Table
from tests.support.mariadb import free_port
from tests.support.service import environment

TIMES = 5


def measure(run: Run) -> Report:
    """Start the service on a loaded database of each engine, several times."""
    rows = []
    for engine in run.plan.engines:
        run.say(f"start: {engine}, {TIMES} times")
        url = run.databases.new(engine)
        _seconds_to_first_answer(run, url)  # now the files are in memory
        rows.append((engine, spread([_seconds_to_first_answer(run, url) for _ in range(TIMES)]).text()))
    title = f"From the start of uvicorn to the first 200 of /countries, files in memory, {TIMES} times"
    return Report([Table(title, ("engine", "seconds"), rows)])


def _seconds_to_first_answer(run: Run, database_url: str) -> float:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--no-access-log"]
    env = environment(database_url=database_url, refresh_on_start="never")
    started = time.perf_counter()
    with running(command, run.new_folder(), env, cores=SERVER_CORES) as process:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise ProcessDied("uvicorn app.main:app gave no answer")
            time.sleep(0.005)
        return time.perf_counter() - started


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    with suppress(ConnectionError):
        try:
            connection.request("GET", "/countries")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False
