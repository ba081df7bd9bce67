"""The import of the European Central Bank's file, compared with the driver's executemany."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from currency_converter import CURRENCY_FILE

from benchmarks.base.checkouts import HERE, Checkout
from benchmarks.base.comparison import Measured as Compared
from benchmarks.base.comparison import add, to_table
from benchmarks.base.processes import SERVER_CORES, Finished, measured_run, run_to_end
from benchmarks.base.run import Run
from benchmarks.base.spread import Spread, ratios, spread
from benchmarks.base.tables import Report, Table
from tests.support.service import environment

SPEED: Final = r"([0-9]+) rates/s"
"""In the output of the command."""
LARGEST_GROWTH: Final = 20.0
"""MiB."""
SHARE_OF_BARE: Final = {"sqlite": 0.25, "mariadb": 0.35}
"""The import also reads the file, and writes days, spans, version and audit trail."""


@dataclass
class Measured:
    """Results of the rounds on one engine."""

    speeds: list[float] = field(default_factory=list)
    """Rates per second, as the command prints."""
    bare: list[float] = field(default_factory=list)
    growths: list[float] = field(default_factory=list)
    """MiB of peak memory for the whole file above that for a tenth of it."""
    seconds_again: list[float] = field(default_factory=list)
    """Seconds of a second import, when everything is stored."""


def measure(run: Run) -> Report:
    """Import into a new database in each round; memory or a ratio out of bounds fails the run."""
    report, rows = Report(), []
    folder = run.new_folder()
    whole, tenth = folder / "eurofxref-hist.csv", folder / "tenth.csv"
    with ZipFile(CURRENCY_FILE) as archive:
        archive.extractall(folder)
    if len(run.checkouts) > 1:
        return _compare_versions(run, whole)
    lines = whole.read_text().splitlines(keepends=True)
    tenth.write_text("".join(lines[: len(lines) // 10]))
    for engine in run.plan.engines:
        measured = Measured()
        for number in range(run.plan.rounds):
            run.say(f"rates: {engine}, import, round {number + 1}")
            _measure_round(run, engine, whole, tenth, measured)
        rows.append(_row(engine, measured))
        report.failures += problems(engine, measured)
    columns = ("engine", "import, rates/s", "bare, rates/s", "import / bare", "growth of memory, MiB", "again, s")
    report.tables.append(Table(f"Import of {len(lines) - 1:,} days from 1999 on", columns, rows))
    return report


def _compare_versions(run: Run, file: Path) -> Report:
    """Import into a new database with each version, in turn."""
    speeds: Compared = {}
    costs: Compared = {}
    for engine in run.plan.engines:
        for number in range(run.plan.rounds):
            run.say(f"rates: {engine}, import, round {number + 1}")
            for checkout in run.checkouts:
                url = run.databases.new(engine, loaded=False, checkout=checkout)
                before = run.databases.processor_seconds()
                done = _import(run, url, file, checkout)
                database = run.databases.processor_seconds() - before
                run.databases.drop(url)
                add(speeds, engine, checkout.name, _figure(done.out, SPEED))
                add(costs, f"{engine}, command from its start", checkout.name, done.processor_seconds)
                if engine == "mariadb":
                    add(costs, f"{engine}, database", checkout.name, database)
    return Report(
        [
            to_table("Import of the European Central Bank's file: rates per second", speeds, pattern=",.0f"),
            to_table("The same rounds: processor seconds", costs),
        ]
    )


def _measure_round(run: Run, engine: str, whole: Path, tenth: Path, measured: Measured) -> None:
    peaks = []
    for file in (tenth, whole):
        url = run.databases.new(engine, loaded=False)
        done = _import(run, url, file)
        peaks.append(done.peak)
        if file == whole:
            measured.speeds.append(_figure(done.out, SPEED))
            measured.seconds_again.append(_figure(_import(run, url, file).out, r"Took +([0-9.]+) s"))
        run.databases.drop(url)
    measured.growths.append(peaks[1] - peaks[0])
    url = run.databases.new(engine, loaded=False)
    command = [sys.executable, "-m", "benchmarks.rates.bare", url, str(whole)]
    measured.bare.append(float(run_to_end(command, run.new_folder(), environment(), cores=SERVER_CORES)))
    run.databases.drop(url)


def _import(run: Run, url: str, file: Path, checkout: Checkout = HERE) -> Finished:
    """Run the command; MariaDB uses another core."""
    command = checkout.command("import-rates", "--file", str(file))
    return measured_run(command, run.new_folder(), checkout.environment(database_url=url), cores=SERVER_CORES)


def _figure(out: str, pattern: str) -> float:
    found = re.search(pattern, out)
    if found is None:
        raise ValueError(f"the import did not print {pattern}: {out}")
    return float(found[1])


def _share(measured: Measured) -> Spread:
    return ratios(measured.speeds, measured.bare)


def _row(engine: str, measured: Measured) -> tuple[str, ...]:
    absolute = (spread(values).text(",.0f") for values in (measured.speeds, measured.bare))
    again = spread(measured.seconds_again).text(".1f")
    return (engine, *absolute, _share(measured).text(), spread(measured.growths).text(".1f"), again)


def problems(engine: str, measured: Measured) -> list[str]:
    """Describe what is out of bounds."""
    problems = []
    share, growth = _share(measured).median, max(measured.growths)
    if share < SHARE_OF_BARE[engine]:
        problems.append(f"{engine}: import at {share:.2f} of the bare driver, not {SHARE_OF_BARE[engine]:g}")
    if growth >= LARGEST_GROWTH:
        problems.append(f"{engine}: memory of the import grew by {growth:.0f} MiB")
    return problems
