"""The full list from the database: the service without its cache compared with a plain application."""

import json
from contextlib import ExitStack

from benchmarks.base.answers import capture
from benchmarks.base.load import Target, compare, rates
from benchmarks.base.run import Run
from benchmarks.base.servers import plain_orm, service
from benchmarks.base.spread import ratios, spread
from benchmarks.base.tables import Report, Table
from benchmarks.reads.hits import WrongAnswer

COLUMNS = ("engine", "plain, req/s", "service, req/s", "service / plain")


def measure(run: Run) -> Report:
    """Compare both on each engine."""
    return Report(
        [Table("Full list of 250, nothing cached", COLUMNS, [_row(run, engine) for engine in run.plan.engines])]
    )


def _row(run: Run, engine: str) -> tuple[str, ...]:
    run.say(f"misses: {engine}")
    url = run.databases.new(engine)
    with ExitStack() as stack:
        servers = {
            "plain": stack.enter_context(plain_orm(run.new_folder(), url)),
            "service": stack.enter_context(service(run.new_folder(), database_url=url, cache_max_bytes=0)),
        }
        targets = {name: Target(f"{server.url}/countries") for name, server in servers.items()}
        plain, ours = (json.loads(capture(target.url, {}).body) for target in targets.values())
        if plain != ours or len(ours) != 250:
            raise WrongAnswer(f"{engine}: the plain application sends another list than the service")
        measured = compare(targets, rounds=run.plan.rounds, seconds=run.plan.seconds)
    plainly, by_us = rates(measured["plain"]), rates(measured["service"])
    absolute = (f"{spread(values).median:,.0f}" for values in (plainly, by_us))
    return (engine, *absolute, ratios(by_us, plainly).text())
