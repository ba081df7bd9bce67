"""A small connection pool under many clients, half of which hang up: every connection comes back, and is closed."""

import asyncio
import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from benchmarks.base.run import Run
from benchmarks.base.servers import service
from benchmarks.base.tables import Report, Table
from benchmarks.base.upstream import fake_upstream
from benchmarks.pool_load import Request, Tally, load

_USER: Final = (
    '{"fname": "Ada", "lname": "Mensah", "email": "ada{n}@example.com", "password": "correct horse battery",'
    ' "addresses": [{"street": "12 Ridge Road", "city": "Accra", "country": "GH"}]}'
)
REQUESTS: Final[dict[Request, float]] = {
    Request("GET", "/countries"): 10,
    Request("GET", "/countries?region=africa&sort=gdp_desc&limit=10"): 15,
    Request("GET", "/countries?q=land&fields=name,population"): 10,
    Request("GET", "/countries/ghana"): 15,
    Request("GET", "/countries/image"): 10,
    Request("GET", "/status"): 15,
    Request("DELETE", "/countries/ghana"): 3,
    Request("DELETE", "/countries/fr"): 2.8,
    Request("POST", "/countries/refresh"): 0.2,
    Request("POST", "/users", _USER): 2,
    Request("GET", "/users?limit=20&sort=name_asc"): 5,
    Request("GET", "/users/1"): 5,
    Request("PATCH", "/users/1", '{"lname": "Owusu {n}"}'): 4,
    Request("DELETE", "/users/2"): 1,
    Request("GET", "/audit?limit=20"): 2,
}
"""What is asked, and how often in a hundred; {n} is a number that no other request has."""
NUMBER: Final = 10_000
CLIENTS: Final = 200
POOL_SIZE: Final = 5
REST_SECONDS: Final = 0.6
"""The longest rest of a client that hangs up: with it both halves are done at about the same time."""
IDLE: Final = {"size": POOL_SIZE, "in_use": 0, "waiting": 0, "overflow": 0, "max_overflow": 0}
SETTINGS: Final[dict[str, Any]] = {"db_pool_size": POOL_SIZE, "db_max_overflow": 0, "cache_max_bytes": 0}
SETTLE_SECONDS: Final = 15.0
"""In which what nobody waits for any more has ended."""
LOOK_SECONDS: Final = 0.25


@dataclass
class Seen:
    """What an operator sees of the connections: the most during the load, and what is left of them afterwards."""

    in_use: float = 0
    waiting: float = 0
    threads: int = 0
    """Connections as the database counts them."""
    pool_after: dict[str, int] = field(default_factory=dict)
    """As `/health/ready` tells it when the load is over."""
    threads_after: int = 0
    threads_stopped: int = 0


def some_requests(number: int) -> list[Request]:
    """So many requests, drawn by their shares; the same ones each time."""
    drawn = random.Random(number).choices(list(REQUESTS), weights=list(REQUESTS.values()), k=number)
    return [request._replace(body=request.body.replace("{n}", str(n))) for n, request in enumerate(drawn)]


def measure(run: Run) -> Report:
    """Load a service on MariaDB; a wrong answer or a connection that does not come back fails the run."""
    if "mariadb" not in run.plan.engines:
        return Report(notes=["needs MariaDB"])
    run.say(f"pool: {NUMBER:,} requests from {CLIENTS} clients, {POOL_SIZE} connections")
    url, seen = run.databases.new("mariadb"), Seen()
    with (
        fake_upstream(run.new_folder()) as upstream,
        service(run.new_folder(), database_url=url, **SETTINGS, **upstream.settings) as server,
    ):
        started = time.monotonic()
        tally = asyncio.run(_load_and_look(server.url, lambda: run.databases.connections(url), seen))
        seconds = time.monotonic() - started
    seen.threads_stopped = _settled(lambda: run.databases.connections(url), at_most=0)
    return Report([_answers(tally, seconds), _connections(seen)], failures=_problems(tally, seen))


async def _load_and_look(url: str, count_threads: Callable[[], int], seen: Seen) -> Tally:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        looking = asyncio.create_task(_look_on(client, count_threads, seen))
        tally = await load(url, some_requests(NUMBER), clients=CLIENTS, rest_seconds=REST_SECONDS)
        looking.cancel()
        seen.pool_after = await _pool_after(client)
    seen.threads_after = await asyncio.to_thread(_settled, count_threads, at_most=POOL_SIZE)
    return tally


async def _look_on(client: httpx.AsyncClient, count_threads: Callable[[], int], seen: Seen) -> None:
    """Look at the figures as Prometheus would, until cancelled."""
    while True:
        text = (await client.get("/metrics")).text
        seen.in_use = max(seen.in_use, _gauge(text, "in_use"))
        seen.waiting = max(seen.waiting, _gauge(text, "waiting"))
        seen.threads = max(seen.threads, await asyncio.to_thread(count_threads))
        await asyncio.sleep(LOOK_SECONDS)


def _gauge(text: str, name: str) -> float:
    found = re.search(rf"^countries_db_pool_{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else math.nan


async def _pool_after(client: httpx.AsyncClient) -> dict[str, int]:
    """The pool's figures, once what nobody waits for any more has ended."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        response = await client.get("/health/ready")
        figures: dict[str, int] = response.json().get("pool", {})
        if figures == IDLE or time.monotonic() > deadline:
            return figures
        await asyncio.sleep(LOOK_SECONDS)


def _settled(count_threads: Callable[[], int], *, at_most: int) -> int:
    """The number of connections on the server, which takes a moment to notice that one was closed."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (threads := count_threads()) > at_most and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return threads


def _answers(tally: Tally, seconds: float) -> Table:
    statuses = sorted(tally.statuses)
    columns = ("requests", "seconds", "hung up", *(str(status) for status in statuses), "wrong")
    counts = [tally.hung_up, *(tally.statuses[status] for status in statuses), tally.problems.total()]
    row = (f"{NUMBER:,}", f"{seconds:.1f}", *(f"{count:,}" for count in counts))
    return Table(
        f"{CLIENTS} clients, {POOL_SIZE} connections, no overflow, cache off; answers by status", columns, [row]
    )


def _connections(seen: Seen) -> Table:
    after = [str(seen.pool_after.get(name, "unknown")) for name in ("in_use", "waiting")]
    rows = [
        ("the most under load", *(f"{number:,.0f}" for number in (seen.in_use, seen.waiting, seen.threads))),
        ("after the load", *after, str(seen.threads_after)),
        ("after the stop of the service", "-", "-", str(seen.threads_stopped)),
    ]
    return Table("Connections", ("when", "in use", "waiting", "open on the server"), rows)


def _problems(tally: Tally, seen: Seen) -> list[str]:
    problems = [f"{number:,} x {problem}" for problem, number in tally.problems.items()]
    if seen.pool_after != IDLE:
        problems.append(f"the pool is not idle after the load: {seen.pool_after}")
    if seen.threads_after > POOL_SIZE:
        problems.append(f"{seen.threads_after} connections on the server for a pool of {POOL_SIZE}")
    if seen.threads_stopped:
        problems.append(f"{seen.threads_stopped} connections on the server after the stop of the service")
    return problems
