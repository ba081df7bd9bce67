"""The command: ``python -m benchmarks``, or ``scripts/bench``."""

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from benchmarks.base.checkouts import HERE, NotACheckout, find_checkout
from benchmarks.base.databases import usable_engines
from benchmarks.base.document import PAGE, write_section
from benchmarks.base.interrupts import end_on_signals
from benchmarks.base.load import WRK, LoadFailed
from benchmarks.base.machine import describe, placement, processor
from benchmarks.base.processes import ProcessDied, keep_to_load_cores
from benchmarks.base.run import Plan, Run, opened_run
from benchmarks.base.tables import Report, show, to_markdown
from benchmarks.process import memory, start
from benchmarks.rates import rates
from benchmarks.reads import hits as reads
from benchmarks.reads import misses, workers
from benchmarks.reads.hits import WrongAnswer
from benchmarks.refresh import growth, refresh, waits
from benchmarks.tracking import tracking


class Part(StrEnum):
    """The parts of a run."""

    READS = "reads"
    MISSES = "misses"
    REFRESH = "refresh"
    GROWTH = "growth"
    WAITS = "waits"
    MEMORY = "memory"
    START = "start"
    WORKERS = "workers"
    TRACKING = "tracking"
    RATES = "rates"


MEASURES: dict[Part, Callable[[Run], Report]] = {
    Part.READS: reads.measure,
    Part.MISSES: misses.measure,
    Part.REFRESH: refresh.measure,
    Part.GROWTH: growth.measure,
    Part.WAITS: waits.measure,
    Part.MEMORY: memory.measure,
    Part.START: start.measure,
    Part.WORKERS: workers.measure,
    Part.TRACKING: tracking.measure,
    Part.RATES: rates.measure,
}
COMPARED = (Part.MISSES, Part.REFRESH, Part.WAITS, Part.MEMORY, Part.START, Part.TRACKING, Part.RATES)
"""Parts that can measure another version of the service beside this one."""
console = Console(markup=False, highlight=False)
if not console.is_terminal:
    console.width = 160  # wide enough not to wrap cells
cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def measure(
    parts: Annotated[list[Part] | None, typer.Argument(help="Parts to measure; all by default.")] = None,
    *,
    engine: Annotated[str | None, typer.Option(help="mariadb or sqlite; both by default.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns of each contender.")] = 5,
    seconds: Annotated[
        int | None, typer.Option(min=1, help="Length of a turn; 3 by default, 1 if all parts are measured.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="Length of the memory part; 5 by default, 1 if all parts are measured."),
    ] = None,
    documents: Annotated[int, typer.Option(min=1, help="Number of documents in a turn of tracking.")] = 412_343,
    against: Annotated[
        str | None, typer.Option(help="Folder or commit of another version, measured in turn with this one.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the results to docs/performance.md.")] = False,
) -> None:
    """Measure the service side by side with others and print ratios: median (smallest - largest)."""
    if WRK is None:
        raise SystemExit("benchmarks: wrk is not installed, which makes the load; on Debian: apt-get install wrk")
    try:
        engines = usable_engines(engine)
    except ValueError as error:
        raise SystemExit(f"benchmarks: {error}") from None
    if against is not None and not set(parts or []) <= set(COMPARED):
        raise SystemExit(f"benchmarks: --against compares {', '.join(COMPARED)} only")
    plan = Plan(engines, rounds, seconds or (3 if parts else 1), minutes or (5 if parts else 1), documents)
    try:
        kept_all = _run_all(plan, parts or list(COMPARED if against else Part), against, write=write)
    except (LoadFailed, ProcessDied, WrongAnswer, NotACheckout, httpx.HTTPError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
    if not kept_all:
        raise SystemExit(1)


def _run_all(plan: Plan, parts: list[Part], against: str | None, *, write: bool) -> bool:
    """Run the parts one after the other; False if a promise was broken."""
    end_on_signals()
    keep_to_load_cores()
    console.print(describe(), placement(), sep="\n", soft_wrap=True)
    if write:
        write_section(PAGE, "machine", f"{describe()}\n\n{placement()}")
    reports = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))
        # Temporary files of others, such as those of MariaDB, are removed with ours.
        tempfile.tempdir = str(folder)
        others = [find_checkout(against, folder / "against")] if against else []
        run = stack.enter_context(opened_run(plan, folder, (*others, HERE)))
        for part in parts:
            report = MEASURES[part](run)
            reports.append(report)
            show(report, console)
            if write:
                write_section(PAGE, f"{part} against" if against else part, f"{_origin(part)}\n\n{to_markdown(report)}")
    return not any(report.failures for report in reports)


def _origin(part: Part) -> str:
    command = " ".join(["scripts/bench", *sys.argv[1:]])
    return f"{part.capitalize()}, by `{command}` on {datetime.now(UTC):%Y-%m-%d}, {processor()}:"


if __name__ == "__main__":
    cli()
