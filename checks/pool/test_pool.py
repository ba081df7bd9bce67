"""A small connection pool under many clients, half of which hang up: every connection is returned and closed."""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from checks.pool.load import Request, load

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
"""Requests and their shares in percent; {n} becomes a unique number."""
CLIENTS: Final = 200
POOL_SIZE: Final = 5
REST_SECONDS: Final = 0.6
"""Longest pause of a client that hangs up, chosen so that both halves finish at about the same time."""
IDLE: Final = {"size": POOL_SIZE, "in_use": 0, "waiting": 0, "overflow": 0, "max_overflow": 0}
SETTLE_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.25


def some_requests(number: int) -> list[Request]:
    """Requests drawn by their shares, the same ones each time."""
    drawn = random.Random(number).choices(list(REQUESTS), weights=list(REQUESTS.values()), k=number)
    return [request._replace(body=request.body.replace("{n}", str(n))) for n, request in enumerate(drawn)]


@pytest.mark.engines("mariadb")
@pytest.mark.row("200 clients on 5 connections, half of them hang up")
async def test_every_connection_is_returned_and_closed(new_process, mariadb, figure, is_full):
    number, most = 10_000 if is_full else 1_000, {"in_use": 0.0, "threads": 0}
    process = new_process(db_pool_size=POOL_SIZE, db_max_overflow=0, cache_max_bytes=0)

    async def threads() -> int:
        return await asyncio.to_thread(mariadb.connections, "service")

    async with process, httpx.AsyncClient(base_url=process.url, timeout=60) as client:
        (await client.post("/countries/refresh")).raise_for_status()
        looking = asyncio.create_task(watch(client, threads, most))
        tally = await load(process.url, some_requests(number), clients=CLIENTS, rest_seconds=REST_SECONDS)
        looking.cancel()
        assert await settled(lambda: pool(client), lambda figures: figures == IDLE) == IDLE
        assert await settled(threads, lambda number: number <= POOL_SIZE) <= POOL_SIZE
    assert await settled(threads, lambda number: number == 0) == 0

    assert tally.problems == {}
    figure(
        f"{number:,} requests, {tally.hung_up:,} hung up, 0 wrong answers; at most {most['in_use']:.0f} in use and "
        f"{most['threads']} open on the server, none after the stop"
    )


async def watch(client: httpx.AsyncClient, threads: Callable[[], Awaitable[int]], most: dict[str, float]) -> None:
    """Keep the largest values of the pool's metric and of the server's connections, until cancelled."""
    while True:
        found = re.search(r"^countries_db_pool_in_use (\S+)$", (await client.get("/metrics")).text, re.MULTILINE)
        assert found
        most["in_use"] = max(most["in_use"], float(found[1]))
        most["threads"] = max(most["threads"], await threads())
        await asyncio.sleep(LOOK_SECONDS)


async def pool(client: httpx.AsyncClient) -> Any:
    return (await client.get("/health/ready")).json().get("pool")


async def settled(read: Callable[[], Awaitable[Any]], is_settled: Callable[[Any], bool]) -> Any:
    """Read a value until it is as wanted, or for 15 seconds: abandoned work must end first."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not is_settled(value := await read()) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
    return value
