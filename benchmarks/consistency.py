"""Reads during refreshes from two processes on one database: every answer is whole, and as new as promised."""

import asyncio
from contextlib import ExitStack

from benchmarks.base.processes import CORES
from benchmarks.base.run import Run
from benchmarks.base.servers import service
from benchmarks.base.tables import Report, Table
from benchmarks.base.upstream import fake_upstream
from benchmarks.consistency_check import Ledger
from benchmarks.consistency_readers import Exchange

REVALIDATE_SECONDS = 1.0
"""CACHE_REVALIDATE_SECONDS of both processes."""
PROCESSES = 2
COLUMNS = (
    *("engine", "reads", "of them 304", "refreshes", "mixed", "too old, same process", "too old, other process"),
    *("wrong 304", "other errors"),
)


def measure(run: Run) -> Report:
    """Check each engine; a broken promise fails the run."""
    report, rows = Report(), []
    for engine in run.plan.engines:
        run.say(f"consistency: {engine}, {run.plan.reads:,} reads and {run.plan.refreshes} refreshes")
        ledger = _check_engine(run, engine)
        rows.append((engine, *ledger.row()))
        report.failures += [f"{engine}: {problem}" for problem in ledger.problems()]
        if not ledger.not_modified:
            report.notes.append(f"{engine}: no answer was a 304, so entity tags are not checked")
    title = f"Reads through {PROCESSES} processes during refreshes; all numbers from mixed on should be 0"
    report.tables.append(Table(title, COLUMNS, rows))
    return report


def _check_engine(run: Run, engine: str) -> Ledger:
    url = run.databases.new(engine, loaded=False)
    with ExitStack() as stack:
        upstream = stack.enter_context(fake_upstream(run.new_folder()))
        settings = {"database_url": url, "cache_revalidate_seconds": REVALIDATE_SECONDS, **upstream.settings}
        servers = [
            stack.enter_context(service(run.new_folder(), cores=set(CORES), **settings)) for _ in range(PROCESSES)
        ]
        ledger = Ledger(REVALIDATE_SECONDS)
        exchange = Exchange([server.url for server in servers], upstream, ledger)
        asyncio.run(exchange.run(reads=run.plan.reads, refreshes=run.plan.refreshes))
    return ledger
