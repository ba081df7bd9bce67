"""Reads that are not in the response cache: in process, over HTTP, and the full list beside a plain application."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.base import in_process
from benchmarks.base.answers import capture
from benchmarks.base.comparison import Measured, add, to_table
from benchmarks.base.load import Target, compare, costs, rates
from benchmarks.base.processes import SERVER_CORES, run_to_end
from benchmarks.base.run import Run
from benchmarks.base.servers import plain_orm, service
from benchmarks.base.spread import ratios, spread
from benchmarks.base.tables import Report, Table
from benchmarks.reads.hits import WrongAnswer

PATHS: Final = {
    "full list": "/countries",
    "filtered page": "/countries?region=Africa&sort=gdp_desc&limit=10&fields=name,population",
    "one country": "/countries/ghana",
    "conversion": "/convert?from=NGN&to=EUR&amount=100",
    "latest rates": "/rates",
    "currencies": "/currencies",
    "front page": "/?format=html",
}
LOADED: Final = tuple(PATHS)[:4]
"""The reads that are measured over HTTP, too."""
REQUESTS: Final = 100
"""Requests of each path in a round, in process."""
UNCACHED: Final[dict[str, Any]] = {"cache_max_bytes": 0}
COLUMNS = ("engine", "plain, req/s", "service, req/s", "service / plain")


def measure(run: Run) -> Report:
    """Measure all versions of the service, in turn."""
    wall: Measured = {}
    processor: Measured = {}
    for engine in run.plan.engines:
        _measure_in_process(run, engine, wall, processor)
    speeds: Measured = {}
    loads: Measured = {}
    plain = [_measure_over_http(run, engine, speeds, loads) for engine in run.plan.engines]
    each = f"{REQUESTS} requests in a round"
    return Report(
        [
            to_table(f"Misses in process: milliseconds a request, median of {each}", wall, pattern=".3f"),
            to_table(f"The same requests: milliseconds of processor time, mean of {each}", processor, pattern=".3f"),
            to_table("Misses over HTTP: requests per second", speeds, pattern=",.0f"),
            to_table("The same requests: microseconds of processor time in the server", loads, pattern=",.0f"),
            Table("Full list of 250, nothing cached", COLUMNS, plain),
        ],
        ["Do nothing: the cost of measuring in process, which the other rows include."],
    )


def _measure_in_process(run: Run, engine: str, wall: Measured, processor: Measured) -> None:
    urls = {checkout: run.databases.new(engine, checkout=checkout) for checkout in run.checkouts}
    script = [str(Path(in_process.__file__)), str(REQUESTS), *PATHS.values()]
    names = {"": "do nothing", **{path: name for name, path in PATHS.items()}}
    for number in range(run.plan.rounds):
        run.say(f"misses: {engine}, in process, round {number + 1}")
        for checkout, url in urls.items():
            env = checkout.environment(database_url=url, refresh_on_start="never", log_level="ERROR", **UNCACHED)
            # Without -P the folder of the script would hide modules of the checkout.
            out = run_to_end([sys.executable, "-P", *script], run.new_folder(), env, cores=SERVER_CORES)
            for path, (milliseconds, own) in json.loads(out).items():
                add(wall, f"{engine}, {names[path]}", checkout.name, milliseconds)
                add(processor, f"{engine}, {names[path]}", checkout.name, own)


def _measure_over_http(run: Run, engine: str, speeds: Measured, loads: Measured) -> tuple[str, ...]:
    """Load all versions of the service in turn, and a plain application with the full list.

    Returns:
        The row of the comparison with the plain application.
    """
    with ExitStack() as stack:
        servers, url = {}, ""
        for checkout in run.checkouts:
            url = run.databases.new(engine, checkout=checkout)
            server = service(run.new_folder(), checkout=checkout, database_url=url, **UNCACHED)
            servers[checkout.name] = stack.enter_context(server)
        plain = stack.enter_context(plain_orm(run.new_folder(), url))
        row: tuple[str, ...] = ()
        for name in LOADED:
            run.say(f"misses: {engine}, {name}")
            targets = {
                version: Target(server.url + PATHS[name], pid=server.process.pid) for version, server in servers.items()
            }
            if name == LOADED[0]:
                targets["plain"] = Target(f"{plain.url}/countries")
                _check(engine, targets)
            measured = compare(targets, rounds=run.plan.rounds, seconds=run.plan.seconds)
            for version in servers:
                speeds.setdefault(f"{engine}, {name}", {})[version] = rates(measured[version])
                loads.setdefault(f"{engine}, {name}", {})[version] = costs(measured[version])
            if name == LOADED[0]:
                row = _row(engine, rates(measured["plain"]), rates(measured[run.checkouts[-1].name]))
    return row


def _check(engine: str, targets: dict[str, Target]) -> None:
    *ours, plain = (json.loads(capture(target.url, {}).body) for target in targets.values())
    if plain != ours[-1] or len(plain) != 250:
        raise WrongAnswer(f"{engine}: the plain application sends another list than the service")


def _row(engine: str, plain: list[float], ours: list[float]) -> tuple[str, ...]:
    absolute = (f"{spread(values).median:,.0f}" for values in (plain, ours))
    return (engine, *absolute, ratios(ours, plain).text())
