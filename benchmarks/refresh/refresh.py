"""Time of a refresh and of a deletion: as a whole, without client and sources, and by part."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Final
from urllib.parse import quote

from app.sources.client import create_http_client
from benchmarks.base.answers import Answer
from benchmarks.base.checkouts import HERE, Checkout
from benchmarks.base.comparison import Measured, add, to_table
from benchmarks.base.latency import Asker
from benchmarks.base.process_figures import processor_seconds
from benchmarks.base.processes import SERVER_CORES, run_to_end
from benchmarks.base.run import Run
from benchmarks.base.servers import bare, service
from benchmarks.base.spread import spread
from benchmarks.base.tables import Report, Table
from benchmarks.base.upstream import COUNTRIES, RATES, Upstream, fake_upstream

TIMES: Final = 5
"""Refreshes, and deletions, of each version in a round."""
TIMED: Final = 20
"""Refreshes whose parts are timed."""
PAUSE: Final = 0.4
"""Seconds after each change, in which a version may load what it changed."""
REFRESH: Final = "/countries/refresh"
REST: Final = "everything else"
"""The time between the parts."""
LARGEST_REST: Final = 0.1
"""Share of the whole that the parts may leave unexplained."""
_ANSWER: Final = Answer(200, ((b"content-type", b"application/json"),), b"x" * 1000)
"""As long as the report of a refresh."""


@dataclass
class Figures:
    """Results of all rounds."""

    wall: Measured = field(default_factory=dict)
    """Milliseconds."""
    processor: Measured = field(default_factory=dict)
    """Milliseconds."""
    statements: Measured = field(default_factory=dict)
    client: list[float] = field(default_factory=list)
    """Milliseconds in which the client gets such an answer from a bare function."""
    sources: list[float] = field(default_factory=list)
    """Milliseconds in which both documents are fetched."""


def measure(run: Run) -> Report:
    """Refresh 250 stored countries and delete some, by all versions of the service on all engines."""
    figures, report = Figures(), Report()
    with fake_upstream(run.new_folder()) as upstream:
        for engine in run.plan.engines:
            _measure_engine(run, engine, upstream, figures)
        report.tables = _tables(figures)
        report.notes.append(
            f"Subtracted: {spread(figures.client).text()} ms for the client, which keeps one connection open, "
            f"and {spread(figures.sources).text()} ms in which the sources answer."
        )
        for engine in run.plan.engines:
            for checkout in run.checkouts:
                name = f"{checkout.name}, {engine}"
                run.say(f"refresh: parts of {name}")
                parts = _time_parts(run, engine, checkout, upstream)
                report.tables.append(_parts_table(name, parts))
                outside = median(figures.wall[f"{engine}, refresh"][checkout.name]) - median(figures.client)
                inside = 1000 * median(_wholes(parts))
                report.notes.append(f"{name}: the parts' whole is {inside / outside:.2f} of the whole over HTTP")
                report.failures += problems(name, parts) if checkout is HERE else []
    return report


@contextmanager
def _fetching(upstream: Upstream) -> Iterator[Callable[[], float]]:
    """A function that fetches both documents at the same time over kept connections, and returns the milliseconds."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        http = runner.run(stack.enter_async_context(create_http_client()))

        async def fetch() -> float:
            started = time.perf_counter()
            await asyncio.gather(*(http().get(f"{upstream.url}/{name}", timeout=30) for name in (COUNTRIES, RATES)))
            return 1000 * (time.perf_counter() - started)

        try:
            yield lambda: runner.run(fetch())
        finally:
            runner.run(stack.aclose())


def refresh_once(asker: Asker) -> float:
    """Refresh a service.

    Returns:
        Milliseconds from the request to the answer.

    Raises:
        LoadFailed: The service answered with an error.
    """
    return asker.milliseconds(REFRESH, method="POST")


def _measure_engine(run: Run, engine: str, upstream: Upstream, figures: Figures) -> None:
    with ExitStack() as stack:
        fetch_both = stack.enter_context(_fetching(upstream))
        client = stack.enter_context(Asker(stack.enter_context(bare(run.new_folder(), {REFRESH: _ANSWER})).url))
        services = {}
        for checkout in run.checkouts:
            settings = {"database_url": run.databases.new(engine, checkout=checkout), **upstream.settings}
            server = stack.enter_context(service(run.new_folder(), checkout=checkout, **settings))
            services[checkout.name] = (server.process.pid, stack.enter_context(Asker(server.url)))
            refresh_once(services[checkout.name][1])  # the first one compiles its statements
        names = [country["name"] for country in json.loads(next(iter(services.values()))[1].ask("/countries"))]
        for number in range(run.plan.rounds):
            run.say(f"refresh: {engine}, round {number + 1}")
            own = median([refresh_once(client) for _ in range(TIMES)])
            fetched = median([fetch_both() for _ in range(TIMES)])
            figures.client.append(own)
            figures.sources.append(fetched)
            for version, (pid, asker) in services.items():
                turn = _Turn(run, engine, version, pid, asker, figures)
                whole = turn.measure("refresh", [partial(refresh_once, asker)] * TIMES)
                add(figures.wall, f"{engine}, refresh without client and sources", version, whole - own - fetched)
                doomed = [quote(names[(TIMES * number + place) % len(names)], safe="") for place in range(TIMES)]
                deletions = [partial(asker.milliseconds, f"/countries/{name}", method="DELETE") for name in doomed]
                whole = turn.measure("deletion", deletions)
                add(figures.wall, f"{engine}, deletion without client", version, whole - own)
                refresh_once(asker)  # brings the deleted ones back


@dataclass(frozen=True)
class _Turn:
    """One version's turn in a round."""

    run: Run
    engine: str
    version: str
    pid: int
    asker: Asker
    figures: Figures

    def measure(self, name: str, changes: Sequence[Callable[[], float]]) -> float:
        """Run changes that return their milliseconds, each long after the last one; returns their median.

        What comes after each is measured apart: the first read, and what the service does by itself before the next.
        """
        milliseconds, reads, costs, later = [], [], [], []
        for change in changes:
            before = self._totals()
            milliseconds.append(change())
            after = self._totals()
            reads.append(self.asker.milliseconds("/countries"))
            time.sleep(PAUSE)
            costs.append([end - start for start, end in zip(before, after, strict=True)])
            later.append(self._totals()[0] - after[0])
        service_cost, database_cost, writes = (sum(cost) / len(costs) for cost in zip(*costs, strict=True))
        add(self.figures.wall, f"{self.engine}, {name}", self.version, median(milliseconds))
        add(self.figures.wall, f"{self.engine}, first list after a {name}", self.version, median(reads))
        add(self.figures.processor, f"{self.engine}, {name}: service", self.version, 1000 * service_cost)
        afterwards = f"{self.engine}, after a {name}, with the list: service"
        add(self.figures.processor, afterwards, self.version, 1000 * sum(later) / len(later))
        if self.engine == "mariadb":
            add(self.figures.processor, f"{self.engine}, {name}: database", self.version, 1000 * database_cost)
            add(self.figures.statements, f"{self.engine}, {name}", self.version, writes)
        return median(milliseconds)

    def _totals(self) -> tuple[float, float, float]:
        """Processor seconds of the service and of the database, and writing statements, until now."""
        databases = self.run.databases
        return processor_seconds(self.pid), databases.processor_seconds(), databases.writes()


def _tables(figures: Figures) -> list[Table]:
    each = f"of 250 stored countries, {TIMES} in a round"
    tables = [
        to_table(f"POST /countries/refresh and DELETE /countries/{{name}} {each}, ms", figures.wall, pattern=".1f"),
        to_table("The same turns: processor time of each, ms", figures.processor, pattern=".1f"),
    ]
    if figures.statements:
        title = "The same turns: INSERT, UPDATE, DELETE and REPLACE statements at the server"
        tables.append(to_table(title, figures.statements, pattern=".1f"))
    return tables


def _time_parts(run: Run, engine: str, checkout: Checkout, upstream: Upstream) -> dict[str, list[float]]:
    """Refresh a loaded database in a process that measures itself, by the checkout's own list of parts.

    Returns:
        Seconds of each part, ordered by their end, one value per refresh; they add up to the whole.
    """
    settings = {"database_url": run.databases.new(engine, checkout=checkout), **upstream.settings}
    env = checkout.environment(refresh_on_start="never", log_level="ERROR", **settings)
    command = [sys.executable, "-m", "benchmarks.refresh.parts", str(TIMED)]
    timed: dict[str, list[float]] = json.loads(run_to_end(command, run.new_folder(), env, cores=SERVER_CORES))
    return timed


def _wholes(parts: Mapping[str, list[float]]) -> list[float]:
    return [sum(values) for values in zip(*parts.values(), strict=True)]


def _parts_table(name: str, parts: Mapping[str, list[float]]) -> Table:
    whole = _wholes(parts)
    rows = [_part_row(part, values, median(whole)) for part, values in {**parts, "whole": whole}.items()]
    return Table(f"Parts of a refresh: {name}, in the order of their end", ("part", "ms", "share"), rows)


def _part_row(part: str, seconds: list[float], whole: float) -> tuple[str, ...]:
    text = spread([1000 * value for value in seconds]).text(".1f")
    return (part, text, f"{100 * median(seconds) / whole:.0f} %")


def problems(name: str, parts: Mapping[str, list[float]]) -> list[str]:
    """Describe parts that do not add up to the whole."""
    share = median([rest / whole for rest, whole in zip(parts[REST], _wholes(parts), strict=True)])
    if abs(share) <= LARGEST_REST:
        return []
    return [f"{name}: the parts of a refresh add up to {1 - share:.0%} of the whole"]
