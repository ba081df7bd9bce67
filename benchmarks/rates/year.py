"""A year of one pair out of ten million rates: its time beyond that of a prepared response."""

import random
from collections.abc import Mapping
from statistics import median, quantiles
from typing import Final

from benchmarks.base.answers import capture
from benchmarks.base.latency import Asker
from benchmarks.base.run import Run
from benchmarks.base.servers import bare, service
from benchmarks.base.tables import Report, Table
from benchmarks.rates.rows import ROWS, fill, years

REQUESTS: Final = 500
WARM_UP: Final = 20
MOST_MILLISECONDS: Final = 10.0
REFUSED: Final = "/rates/2020-01-02..2020-01-01?base=AAA&symbols=AAB"
"""Reaches the route, which refuses it before it queries the database."""
BARE, FRAMEWORK, YEAR = "bare", "framework", "year"


def measure(run: Run) -> Report:
    """Measure on each engine; more than ten milliseconds fail the run."""
    report, rows = Report(), []
    for engine in run.plan.engines:
        url = run.databases.new(engine, loaded=False)
        run.say(f"rates: {engine}, writing {ROWS:,} rows")
        fill(url)
        run.say(f"rates: {engine}, {REQUESTS} years of a pair")
        measured = _measure_engine(run, url)
        run.databases.drop(url)
        rows.append(_row(engine, measured))
        report.failures += problems(engine, measured)
    columns = ("engine", "bare", "refused at once", "a year", "a year - bare", "of it the framework")
    title = f"Milliseconds of a year of one pair out of {ROWS:,} rates, another one each time: median (5 % - 95 %)"
    report.tables.append(Table(title, columns, rows))
    return report


def _measure_engine(run: Run, url: str) -> dict[str, list[float]]:
    """Milliseconds of the requests, all contenders in turn."""
    paths = years(random.Random(6))
    with service(run.new_folder(), database_url=url) as ours:
        answers = {"/year": capture(ours.url + next(paths), {})}
        with bare(run.new_folder(), answers) as least, Asker(ours.url) as asker, Asker(least.url) as bare_asker:
            for _ in range(WARM_UP):
                asker.ask(next(paths))
                bare_asker.ask("/year")
            measured: dict[str, list[float]] = {BARE: [], FRAMEWORK: [], YEAR: []}
            for _ in range(REQUESTS):
                measured[BARE].append(bare_asker.milliseconds("/year"))
                measured[FRAMEWORK].append(asker.milliseconds(REFUSED, status=400))
                measured[YEAR].append(asker.milliseconds(next(paths)))
    return measured


def _row(engine: str, measured: Mapping[str, list[float]]) -> tuple[str, ...]:
    beyond, framework = _beyond(measured, YEAR), _beyond(measured, FRAMEWORK)
    return (engine, *map(_text, measured.values()), _text(beyond), f"{median(framework):.2f}")


def _beyond(measured: Mapping[str, list[float]], name: str) -> list[float]:
    return [value - least for value, least in zip(measured[name], measured[BARE], strict=True)]


def _text(values: list[float]) -> str:
    cuts = quantiles(values, n=20)
    return f"{median(values):.2f} ({cuts[0]:.2f} - {cuts[-1]:.2f})"


def problems(engine: str, measured: Mapping[str, list[float]]) -> list[str]:
    """Describe what is out of bounds."""
    beyond = median(_beyond(measured, YEAR))
    if beyond < MOST_MILLISECONDS:
        return []
    return [f"{engine}: a year of a pair takes {beyond:.1f} ms beyond a bare answer, not {MOST_MILLISECONDS:g}"]
