"""The full list from one worker process and from two, with and without the cache."""

from contextlib import ExitStack
from typing import Any

from benchmarks.base.load import Target, compare, rates
from benchmarks.base.processes import CORES
from benchmarks.base.run import Run
from benchmarks.base.servers import service
from benchmarks.base.spread import ratios, spread
from benchmarks.base.tables import Report, Table

SETTINGS: dict[str, dict[str, Any]] = {"cache on": {}, "cache off": {"cache_max_bytes": 0}}
COLUMNS = ("engine", "setting", "1 worker, req/s", "2 workers, req/s", "2 / 1")


def measure(run: Run) -> Report:
    """Compare one worker with two on each engine; they share all cores with the load."""
    rows = [row for engine in run.plan.engines for row in _rows(run, engine)]
    note = f"Workers share {len(CORES)} cores with wrk and the database; on two cores they cannot reach x 2."
    return Report([Table("Full list of 250 by number of workers", COLUMNS, rows)], [note])


def _rows(run: Run, engine: str) -> list[tuple[str, ...]]:
    run.say(f"workers: {engine}")
    url = run.databases.new(engine)
    with ExitStack() as stack:
        targets = {}
        for name, settings in SETTINGS.items():
            for number in (1, 2):
                more = {"database_url": url, "web_concurrency": number, **settings}
                server = stack.enter_context(service(run.new_folder(), cores=set(CORES), **more))
                targets[f"{name}, {number}"] = Target(f"{server.url}/countries")
        measured = compare(targets, rounds=run.plan.rounds, seconds=run.plan.seconds)
    rows = []
    for name in SETTINGS:
        one, two = rates(measured[f"{name}, 1"]), rates(measured[f"{name}, 2"])
        absolute = (f"{spread(values).median:,.0f}" for values in (one, two))
        rows.append((engine, name, *absolute, ratios(two, one).text()))
    return rows
