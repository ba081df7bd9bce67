"""Time, processor time and memory from the start of the process to the first list of countries."""

import http.client
import time
from contextlib import suppress
from typing import NamedTuple

from benchmarks.base.checkouts import Checkout
from benchmarks.base.comparison import Measured, add, to_table
from benchmarks.base.process_figures import processor_seconds, resident
from benchmarks.base.processes import SERVER_CORES, START_SECONDS, ProcessDied, running
from benchmarks.base.run import Run
from benchmarks.base.tables import Report
from tests.support.mariadb import free_port


class Start(NamedTuple):
    """Figures at the moment of the first answer."""

    seconds: float
    """Since the creation of the process."""
    processor_seconds: float
    resident: float
    """In MB."""


def measure(run: Run) -> Report:
    """Start all versions of the service in turn, on a loaded database of each engine."""
    measured: Measured = {}
    for engine in run.plan.engines:
        run.say(f"start: {engine}, {run.plan.rounds} times")
        urls = {checkout: run.databases.new(engine, checkout=checkout) for checkout in run.checkouts}
        for checkout, url in urls.items():
            _start(run, checkout, url)  # now the files are in memory
        for _ in range(run.plan.rounds):
            for checkout, url in urls.items():
                start = _start(run, checkout, url)
                add(measured, f"{engine}, seconds", checkout.name, start.seconds)
                add(measured, f"{engine}, processor seconds", checkout.name, start.processor_seconds)
                add(measured, f"{engine}, resident, MB", checkout.name, start.resident)
    title = "From the start of python -m app serve to the first 200 of /countries, files in memory"
    return Report([to_table(f"{title}, {run.plan.rounds} times", measured)])


def _start(run: Run, checkout: Checkout, database_url: str) -> Start:
    port = free_port()
    env = checkout.environment(database_url=database_url, refresh_on_start="never", port=port)
    started = time.perf_counter()
    with running(checkout.command("serve"), run.new_folder(), env, cores=SERVER_CORES) as process:
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
