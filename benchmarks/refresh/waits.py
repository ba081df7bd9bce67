"""The longest wait of a read while 25,000 countries are loaded, refreshed or changed."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from statistics import median
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from benchmarks.base.answers import Answer
from benchmarks.base.checkouts import HERE
from benchmarks.base.comparison import Measured, add, to_table
from benchmarks.base.latency import Asker
from benchmarks.base.processes import LOAD_CORES
from benchmarks.base.run import Run
from benchmarks.base.servers import bare, service
from benchmarks.base.synthetic import synthetic_countries
from benchmarks.base.tables import Report
from benchmarks.base.upstream import COUNTRIES, fake_upstream
from benchmarks.refresh.refresh import refresh_once

SIZE: Final = 25_000
LIVENESS, DATA, CLIENT = "liveness", "reads of data", "client alone"
LIVE: Final = "/health/live"
"""Needs no data: waits only while the event loop is blocked."""
READS: Final = (
    "/countries/ghana",
    "/countries?region=africa&sort=gdp_desc&limit=10",
    "/countries?limit=10&offset={}",
    "/convert?from=NGN&to=EUR&amount=100",
    "/status",
)
"""Each is sent over a connection of its own; the braces become another number each time."""
PAUSE_SECONDS: Final = 0.01
"""Between the answer and the next request of a connection."""
AFTER_SECONDS: Final = 1.5
"""How long the reads go on after the start, a refresh or a deletion."""
LONGEST: Final = 100.0
"""Milliseconds that a read may wait while the changed data is loaded."""
START, REFRESH, AFTER, DELETION = "after the start", "during a refresh", "after a refresh", "deletion and after"


class Wait(NamedTuple):
    """One request."""

    kind: str
    started: float
    """Reading of the monotonic clock."""
    milliseconds: float


def measure(run: Run) -> Report:
    """Probe all versions of the service in turn; too long a wait for changed data fails the run."""
    waits: Measured = {}
    works: Measured = {}
    settings: dict[str, Any] = {"upstream_max_bytes": 64 * 2**20}
    with fake_upstream(run.new_folder()) as upstream:
        upstream.tell(COUNTRIES, synthetic_countries(SIZE))
        for engine in run.plan.engines:
            run.say(f"waits: {engine}, storing {SIZE:,} countries")
            urls = {checkout: run.databases.new(engine, loaded=False, checkout=checkout) for checkout in run.checkouts}
            for checkout, url in urls.items():
                settings |= {"database_url": url, **upstream.settings}
                with service(run.new_folder(), checkout=checkout, **settings) as server, Asker(server.url) as asker:
                    refresh_once(asker)
            for number in range(run.plan.rounds):
                for checkout, url in urls.items():
                    run.say(f"waits: {engine}, {checkout.name}, round {number + 1}")
                    settings |= {"database_url": url}
                    with service(run.new_folder(), checkout=checkout, **settings) as server:
                        found, work = _probe(run, server.url)
                    for (moment, kind), milliseconds in found.items():
                        add(waits, f"{engine}, {moment}: {kind}", checkout.name, milliseconds)
                    for name, value in work.items():
                        add(works, f"{engine}, {name}", checkout.name, value)
    title = f"Longest wait of a read among {SIZE:,} countries, ms"
    report = Report([to_table(title, waits, pattern=".0f"), to_table("The same rounds", works, pattern=",.0f")])
    report.failures += problems(waits)
    return report


def _probe(run: Run, url: str) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Read all the time while the service has just started, refreshes and deletes.

    Returns:
        The longest wait by moment and kind, and figures of the refresh and the deletion.
    """
    with ExitStack() as stack:
        asker = stack.enter_context(Asker(url))
        lone = stack.enter_context(bare(run.new_folder(), {LIVE: _NOTHING}, cores=LOAD_CORES))
        waits = stack.enter_context(_reading(url, lone.url))
        moments = [(START, time.monotonic())]
        time.sleep(AFTER_SECONDS)
        last = json.loads(asker.ask("/countries?limit=1&sort=name_desc"))[0]["name"]
        time.sleep(AFTER_SECONDS)

        writes = run.databases.writes()
        moments.append((REFRESH, time.monotonic()))
        work = {"refresh, ms": refresh_once(asker)}
        moments.append((AFTER, time.monotonic()))
        if run.databases.writes() > writes:
            work["refresh, writing statements"] = run.databases.writes() - writes
        time.sleep(AFTER_SECONDS)

        moments.append((DELETION, time.monotonic()))
        work["deletion, ms"] = asker.milliseconds(f"/countries/{quote(last, safe='')}", method="DELETE")
        time.sleep(AFTER_SECONDS)
    return longest_waits(waits, moments), work


_NOTHING: Final = Answer(200, ((b"content-type", b"text/plain"),), b"")


@contextmanager
def _reading(url: str, bare_url: str) -> Iterator[list[Wait]]:
    """Send all reads until the end of the block; the list has every answered request."""
    waits: list[Wait] = []
    done = threading.Event()
    errors: list[Exception] = []

    def read(kind: str, asker: Asker, path: Callable[[int], str]) -> None:
        try:
            with asker:
                for number in count(1):
                    if done.wait(PAUSE_SECONDS):
                        return
                    started = time.monotonic()
                    waits.append(Wait(kind, started, asker.milliseconds(path(number))))
        except Exception as error:
            errors.append(error)

    targets = [(LIVENESS, url, LIVE), (CLIENT, bare_url, LIVE), *((DATA, url, path) for path in READS)]
    threads = [threading.Thread(target=read, args=(kind, Asker(server), path.format)) for kind, server, path in targets]
    for thread in threads:
        thread.start()
    try:
        yield waits
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def longest_waits(waits: Sequence[Wait], moments: Sequence[tuple[str, float]]) -> dict[tuple[str, str], float]:
    """The longest wait of each kind in each moment, by when it was sent; moments are ordered by their start."""
    found = {(moment, kind): 0.0 for moment, _ in moments for kind in (LIVENESS, DATA, CLIENT)}
    for wait in waits:
        moment = next((name for name, started in reversed(moments) if started <= wait.started), moments[0][0])
        found[moment, wait.kind] = max(found[moment, wait.kind], wait.milliseconds)
    return found


def problems(waits: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Describe waits of this version for changed data that are too long.

    While a refresh runs, reads also wait for the parsing of the sources, so these waits are only shown.
    """
    return [
        f"{name}: waited {median(values[HERE.name]):.0f} ms, not {LONGEST:g}"
        for name, values in waits.items()
        if any(f", {moment}: {DATA}" in name for moment in (AFTER, DELETION)) and median(values[HERE.name]) > LONGEST
    ]
