"""Clients that hold connections or flood them: others are answered at once, and memory stays as it is."""

import asyncio
import resource
import socket
import time
from collections.abc import Iterable

import pytest

from checks.security.wire import ask, is_error
from checks.support.others import noticing
from checks.support.rows import row
from tests.support.service import ServedProcess

KEY = "0123456789abcdef0123456789abcdef"
MOST_SECONDS = 0.1
MOST_MEBIBYTES = 30
CHUNKED = b"GET /health/live HTTP/1.1\r\nHost: service\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
GET = b"GET / HTTP/1.1\r\nHost: service\r\n\r\n"
BODY = b"POST /auth/token HTTP/1.1\r\nHost: service\r\nContent-Type: application/x-www-form-urlencoded\r\n"
BODY += b"Content-Length: 16000\r\n\r\nusername=a"
DESCRIPTORS = 1_024
BLOCKS = {"one field": b"a" * 65_536, "many fields": b"".join(b"x%07d: y\r\n" % number for number in range(4_096))}
CHARACTERS = (b".", b"..", b"%2e", b"%2F", b"a..", b"-", b"%", b"1.", b"%0A")
REFUSALS = {(400, True), (401, True), (405, True), (404, True), (414, True)}
PREFIXES = (b"/", b"/rates/", b"/rates/a..", b"/countries/", b"/users/", b"/tracking/sms_documents/", b"/docs/assets/")

pytestmark = [pytest.mark.engines("sqlite")]  # no request reaches the database


@pytest.fixture
async def service(database_url, tmp_path):
    settings = {"database_url": database_url, "environment": "production", "admin_api_key": KEY, "log_level": "WARNING"}
    settings["rate_limit_sign_in"] = "off"
    async with ServedProcess(tmp_path, **settings) as started:
        yield started


def flood(port: int, start: bytes, block: bytes, blocks: int) -> int:
    """Send until the service takes no more; returns the number of bytes."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            connection.sendall(start)
            for _ in range(blocks):
                connection.sendall(block)
                sent += len(block)
        except OSError:
            pass  # it has closed, or reads no more
    return sent


@pytest.mark.row("1.4 trailers of 60 MB")
@pytest.mark.parametrize(
    "block", [b"a" * 65_536, b"".join(b"x%07d: y\r\n" % n for n in range(4_096))], ids=["one", "many"]
)
async def test_trailers_end_at_the_bound_of_heads(service, block, is_full, figure):
    """Seen to fail: uvicorn's own protocol joined one field for 7 s, and kept 370 MB of small ones."""
    start = CHUNKED + (b"X-T: " if block.startswith(b"a") else b"")
    async with noticing(service) as others:
        sent = await asyncio.to_thread(flood, service.port, start, block, 900 if is_full else 30)
    figure(f"{sent / 2**20:.1f} MB taken; {others.text}")
    assert others.grown < MOST_MEBIBYTES
    assert not is_full or others.slowest < MOST_SECONDS
    reply = await asyncio.to_thread(ask, service.url, start, block, block)
    assert (reply.status, is_error(reply)) in {(431, True), (200, False)}


@pytest.mark.row("1.5 pipelines of 2.5 MB on 50 connections")
async def test_pipelines_wait_in_the_socket(service, is_full, figure):
    """Seen to fail: uvicorn's own protocol parsed them all, took 3.9 GB and was silent for 8.5 s."""
    connections = 50 if is_full else 5
    through_layers = GET.replace(b"\r\n\r\n", b"\r\nOrigin: https://a.example\r\n\r\n")
    both = GET + through_layers
    burst = both * (2_500 * 1024 // len(both))
    async with noticing(service) as others:
        floods = (asyncio.to_thread(flood, service.port, b"", burst, 1) for _ in range(connections))
        await asyncio.gather(*floods)
    figure(f"{connections} connections; {others.text}")
    assert others.grown < MOST_MEBIBYTES
    assert not is_full or others.slowest < MOST_SECONDS


@pytest.mark.parametrize(
    ("start", "most_seconds", "most_mebibytes"),
    [
        row("1.6 heads that never end, more than there are descriptors", GET[:-2], MOST_SECONDS, MOST_MEBIBYTES),
        # Each has a task and a scope, and all of them end at once.
        row("1.6 bodies that never end, more than there are descriptors", BODY, 1.0, 60),
    ],
)
async def test_unfinished_requests_keep_nobody_out(service, start, most_seconds, most_mebibytes, is_full, figure):
    """Seen to fail: uvicorn's own protocol kept heads forever, and 1,003 of them kept everybody else out."""
    number = DESCRIPTORS if is_full else 50
    if is_full:
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    started, connections = time.monotonic(), []
    try:
        async with noticing(service) as others:
            for count in range(number):
                connections.append(socket.create_connection(("127.0.0.1", service.port), timeout=5))
                connections[-1].sendall(start)
                if count % 10 == 0:
                    await asyncio.sleep(0)
            ended = await asyncio.to_thread(wait_for_ends, connections)
        longest = ended - started
    finally:
        for connection in connections:
            connection.close()
    figure(f"{number} requests, all closed after {longest:.0f} s; {others.text}")
    assert longest < 45
    assert others.grown < most_mebibytes
    assert not is_full or others.slowest < most_seconds
    assert not is_full or "file descriptors run out" in service.log.read_text()


def wait_for_ends(connections: Iterable[socket.socket]) -> float:
    """Read each connection to its end; returns the time of the last one."""
    for connection in connections:
        connection.settimeout(40)
        try:
            while connection.recv(65_536):
                pass
        except ConnectionError:
            continue
    return time.monotonic()


@pytest.mark.row("1.7 a wall of long paths")
async def test_long_paths_are_matched_in_linear_time(service, is_full, figure):
    """Seen to fail: one path of 64,000 dots below /rates/ kept the process from answering for a minute."""
    filled = [prefix + each * (64_000 // len(each)) for prefix in PREFIXES for each in CHARACTERS]
    paths = [path + end for path in filled for end in (b"", b"/x")]
    async with noticing(service) as others:
        for path in paths if is_full else paths[:4]:
            reply = await asyncio.to_thread(
                ask, service.url, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path
            )
            assert (reply.status, is_error(reply)) in REFUSALS, path[:30]
    figure(f"{len(paths)} paths of 64 kB; {others.text}")
    assert not is_full or others.slowest < MOST_SECONDS
