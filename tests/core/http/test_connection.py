"""What one connection may cost: bounds on bytes and time, and answers in order, whatever arrives in whatever pieces."""

import asyncio
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from unittest.mock import Mock

import pytest
import uvicorn

from app.core.http import connection
from app.core.http.connection import Connection
from app.core.http.pieces import MOST_BYTES, Pieces
from app.main import app as default_app
from app.main import create_app
from tests.conftest import make_settings, take_routes

KEY = "0123456789abcdef0123456789abcdef"
GHANA = b"GET /countries/GH HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NO_HOST = "must be a host name or an IP address, with or without a port"
NOT_HTTP = {"error": "Validation failed", "details": {"request": "is not valid HTTP"}}


class Wire:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.port = writer.get_extra_info("sockname")[1]

    async def send(self, *pieces: bytes) -> None:
        """Send pieces that arrive one by one."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.001)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response: status, header fields, body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:-2])
        return int(head[0].split()[1]), fields, await self.reader.readexactly(int(fields["content-length"]))

    async def rest(self) -> bytes:
        """Read until the service closes the connection."""
        return await self.reader.read()


class Service:
    """The application behind a real socket, in the event loop of the tests."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server, self.port = server, port

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.server.lifespan.state
        return state

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(20):
                yield Wire(reader, writer)
        finally:
            writer.transport.abort()

    def connection_of(self, wire: Wire) -> Any:
        """The service's end of a connection."""
        (found,) = [each for each in self.server.server_state.connections if each.client[1] == wire.port]  # type: ignore[union-attr,index]
        return found

    async def ask(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        async with self.wire() as wire:
            await wire.send(*pieces)
            return await wire.answer()


@asynccontextmanager
async def listening(
    folder: Any, template: Any, *, clock: Callable[[], datetime] | None = None, **settings: Any
) -> AsyncIterator[Service]:
    shutil.copy(template, folder / "x.db")
    bundled = {"country_sources": "bundled", "rate_sources": "bundled", "refresh_on_start": "always"}
    parts: dict[str, Any] = {"clock": clock} if clock else {}
    app = create_app(make_settings(database_url=f"sqlite:///{folder}/x.db", **{**bundled, **settings}), **parts)
    take_routes(app, default_app)
    options: dict[str, Any] = {"server_header": False, "access_log": False, "log_config": None}
    options["timeout_keep_alive"] = 65
    protocol = "app.core.http.connection:Connection"  # as people name it by hand
    config = uvicorn.Config(app, port=0, http=protocol, ws="none", **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    service = Service(server, server.servers[0].sockets[0].getsockname()[1])
    try:
        while (await service.ask(GHANA))[0] != 200:
            await asyncio.sleep(0.02)
        yield service
    finally:
        await server.shutdown()


@pytest.fixture(scope="module")
async def shared(tmp_path_factory, sqlite_template):
    async with listening(
        tmp_path_factory.mktemp("edge"),
        sqlite_template,
        admin_api_key=KEY,
        rate_limit_sign_in="3/day",
        trusted_proxies="127.0.0.1",
    ) as service:
        yield service


async def test_head_in_pieces_of_every_length_is_one_request(shared):
    whole = await shared.ask(GHANA)
    for cut in range(1, len(GHANA)):
        status, _, body = await shared.ask(GHANA[:cut], GHANA[cut:])
        assert (cut, status, body) == (cut, 200, whole[2])


async def test_pipeline_is_answered_in_order_however_it_arrives(shared):
    form = b"username=a%40b.co&password=x"
    requests = [
        GHANA,
        POST + b"Content-Length: %d\r\n\r\n%b" % (len(form), form),
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
        CHUNKED + b"2\r\nus\r\n0\r\nX-T: a\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n",
        GHANA,
    ]
    sent = b"".join(requests)
    for size in (1, 7, 40, 41, 150, len(sent)):
        async with shared.wire() as wire:
            await wire.send(*(sent[start : start + size] for start in range(0, len(sent), size)))
            statuses = [(await wire.answer())[0] for _ in requests]
        assert (size, statuses[0], statuses[2], *statuses[4:]) == (size, 200, 404, 200, 200)
        assert {statuses[1], statuses[3]} <= {400, 401, 429}


async def test_answer_before_broken_bytes_is_not_lost(shared):
    async with shared.wire() as wire:
        await wire.send(b"GET /countries?limit=7 HTTP/1.1\r\nHost: a\r\n\r\n" + b"no such thing\r\n\r\n")
        first, second = await wire.answer(), await wire.answer()

        assert first[0] == 200
        assert (second[0], json.loads(second[2]), second[1]["connection"]) == (400, NOT_HTTP, "close")
        assert await wire.rest() == b""


async def test_nothing_is_answered_after_a_refusal(shared):
    async with shared.wire() as wire:
        await wire.send(b"no such thing\r\n\r\n", GHANA, GHANA)

        assert (await wire.answer())[0] == 400
        assert await wire.rest() == b""


async def test_end_of_a_head_in_pieces_is_no_request_of_its_own(shared):
    start, end = GHANA[:30], GHANA[30:]
    async with shared.wire() as wire:
        for _ in range(3):
            await wire.send(start, end)
            assert (await wire.answer())[0] == 200
        await wire.send(end)
        assert (await wire.answer())[0] == 400


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"5\r\nuser", b"3\r\nabcdef\r\n0\r\n\r\n", b"3 ;\x00\r\n", b"-1\r\n"],
)
async def test_broken_chunks_are_answered_with_400(shared, body):
    status, fields, content = await shared.ask(CHUNKED + body + b"\r\nx\r\n")

    assert (status, json.loads(content)) == (400, NOT_HTTP)
    assert re.fullmatch(r"[0-9a-f]{16}", fields["x-request-id"])
    assert fields["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"GET /status HTTP/1.1\r\n\r\n", "is required"),
        (b"GET /status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "is given more than once"),
        (b"GET /status HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "is given more than once"),
        *((b"GET /status HTTP/1.1\r\nHost: %b\r\n\r\n" % host, NO_HOST) for host in (b"a b", b"a,b", b"u@a", b"[::1")),
    ],
)
async def test_host_that_is_missing_repeated_or_none_is_refused(shared, head, problem):
    assert (await shared.ask(b"GET /status HTTP/1.0\r\n\r\n"))[0] == 200, "HTTP/1.0 has no Host"
    status, _, content = await shared.ask(head)

    assert (status, json.loads(content)) == (400, {"error": "Validation failed", "details": {"Host": problem}})


async def test_trailers_are_not_header_fields(shared):
    form = b"username=nobody%%40b.co&password=%d"
    statuses = []
    for number in range(6):
        body = b"%x\r\n%b\r\n0\r\n" % (len(form % number), form % number)
        trailers = b"X-Forwarded-For: 198.51.100.%d\r\nX-Request-ID: from-a-trailer\r\n\r\n" % number
        status, fields, _ = await shared.ask(
            CHUNKED.replace(b"Host", b"X-Forwarded-For: 192.0.2.9\r\nHost"), body + trailers
        )
        statuses.append(status)
        assert fields["x-request-id"] != "from-a-trailer"

    assert statuses == [401, 401, 401, 429, 429, 429]


@pytest.mark.parametrize(
    "trailers",
    [b"X-T: " + b"a" * MOST_BYTES, b"".join(b"x%07d: y\r\n" % number for number in range(6_000))],
    ids=["one field", "many fields"],
)
async def test_trailers_have_the_bound_of_a_head(shared, trailers):
    async with shared.wire() as wire:
        await wire.send(CHUNKED + b"0\r\n", trailers)
        answers = await wire.rest()

    assert answers.count(b"HTTP/1.1 431 ") == 1


async def test_request_id_that_is_the_key_is_not_shown(shared):
    for given, is_shown in ((b"id-1.2_A", True), (KEY.encode(), False), (b"a" * 65, False), (b"a b", False)):
        _, fields, _ = await shared.ask(GHANA.replace(b"Host", b"X-Request-ID: " + given + b"\r\nHost"))
        assert (given, fields["x-request-id"] == given.decode().lower()) == (given, is_shown)


async def test_second_identical_request_makes_no_scope(shared, monkeypatch):
    await shared.ask(GHANA)
    monkeypatch.setattr(Connection, "_start_asgi_task", lambda *_: pytest.fail("ASGI began"))
    async with shared.wire() as wire:
        await wire.send(GHANA * 3)
        assert [(await wire.answer())[0] for _ in range(3)] == [200] * 3
        await wire.send(GHANA)
        assert (await wire.answer())[0] == 200


async def test_requests_that_wait_stay_in_the_socket(shared):
    """Seen to fail: uvicorn parses all that it has read, and keeps a scope of each request."""
    head = b"GET /countries?limit=9 HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n"
    largest = 0
    async with shared.wire() as wire:
        wire.writer.write(head * 40_000)
        held = shared.connection_of(wire)
        for _ in range(300):
            assert (await wire.answer())[0] == 200
            largest = max(largest, len(held._pieces))
            assert len(held.pipeline) == 0

    assert 0 < largest <= 2**19


# ---- Time; the constants are seconds, so each test makes its own service with shorter ones


@pytest.fixture
async def hasty(tmp_path, sqlite_template, monkeypatch):
    """A service whose patience is a moment."""
    for name in ("HEAD_SECONDS", "REST_SECONDS", "WRITE_SECONDS", "_LINGER_SECONDS"):
        monkeypatch.setattr(connection, name, 0.5)
    async with listening(tmp_path, sqlite_template, admin_api_key=KEY) as service:
        yield service


async def test_head_that_never_ends_is_answered_with_408(hasty):
    for pieces in ([b"GET / HT"], [GHANA[:-2]], [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 5]):
        async with hasty.wire() as wire:
            await wire.send(*pieces)
            status, fields, content = await wire.answer()

            assert (status, json.loads(content)["error"], fields["connection"]) == (408, "Request timeout", "close")
            assert await wire.rest() == b""


async def test_silent_connection_is_closed(hasty):
    async with hasty.wire() as wire:
        assert await wire.rest() == b""


async def test_connection_that_was_answered_stays_open_longer(hasty):
    async with hasty.wire() as wire:
        for _ in range(3):
            await wire.send(GHANA)
            assert (await wire.answer())[0] == 200
            await asyncio.sleep(0.6)


async def test_rest_of_a_body_that_was_refused_is_not_awaited(hasty):
    async with hasty.wire() as wire:
        await wire.send(b"POST /countries/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        assert (await wire.answer())[0] == 401
        await wire.send(b"x")
        assert await wire.rest() == b""


async def test_body_and_answer_may_take_longer_than_a_head(hasty, monkeypatch):
    """Seen to fail: the time for the head went on while its body arrived, and while the answer was made."""
    original = Connection._start_asgi_task

    def start_late(self: Connection, *arguments: Any) -> None:
        self.loop.call_later(0.8, lambda: original(self, *arguments))

    form = b"username=a%40b.co&password=x"
    head = POST + b"Content-Length: %d\r\n\r\n" % len(form)
    async with hasty.wire() as wire:
        await wire.send(head)
        for start in range(0, len(form), 7):
            await asyncio.sleep(0.2)
            await wire.send(form[start : start + 7])
        assert (await wire.answer())[0] == 401
        monkeypatch.setattr(Connection, "_start_asgi_task", start_late)
        await wire.send(head + form)
        assert (await wire.answer())[0] == 401


async def test_client_that_takes_its_answer_slowly_is_not_dropped(shared):
    """Seen to fail: only an emptied buffer counted as progress."""
    async with shared.wire() as wire:
        await wire.send(GHANA)
        await wire.answer()
        held = shared.connection_of(wire)
        real, held.transport = held.transport, Mock(is_closing=lambda: False)
        ended = []
        for unsent in (70_000, 69_000, 3_000, 3_000):
            held.transport.get_write_buffer_size = Mock(return_value=unsent)
            held._give_up()
            ended.append(held.transport.abort.called)
        held.transport = real

    assert ended == [False, False, False, True]


async def test_client_that_sends_no_more_gets_its_answer(shared):
    for head in (GHANA, GHANA.replace(b"Host", b"Origin: https://a.example\r\nHost")):
        async with shared.wire() as wire:
            wire.writer.write(head)
            wire.writer.write_eof()
            assert (await wire.answer())[0] == 200
            assert await wire.rest() == b""


async def test_line_ends_before_a_request_mean_nothing(shared):
    """Seen to fail: they began a head, which was given ten seconds and then answered with 408."""
    async with shared.wire() as wire:
        await wire.send(b"\r\n", b"\r\n" + GHANA)
        assert (await wire.answer())[0] == 200
        held = shared.connection_of(wire)
        until = held._deadline.at
        await wire.send(b"\r\n\r\n")
        assert held._deadline.at == until
        await wire.send(GHANA)
        assert (await wire.answer())[0] == 200


async def test_version_of_http_that_is_not_spoken_is_refused(shared):
    for version in (b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9"):
        status, _, content = await shared.ask(GHANA.replace(b"HTTP/1.1", version))
        assert (version, status, json.loads(content)) == (version, 400, NOT_HTTP)


@pytest.mark.parametrize("body", [b"Content-Length: 45\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n2D\r\n"])
async def test_body_of_an_upgrade_is_no_request(shared, body):
    upgrade = b"POST /auth/token HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    for pieces in ([upgrade + body + GHANA], [upgrade + body, GHANA]):
        async with shared.wire() as wire:
            await wire.send(*pieces)
            status, _, content = await wire.answer()

            details = {"Upgrade": "can't be sent with a body"}
            assert (status, json.loads(content)) == (400, {"error": "Validation failed", "details": details})
            assert await wire.rest() == b""
    async with shared.wire() as wire:
        await wire.send(upgrade.replace(b"POST /auth/token", b"GET /countries/GH") + b"\r\n" + GHANA)
        assert (await wire.answer())[0] == 200
        assert await wire.rest() == b""


async def test_two_hundred_header_fields_are_enough(shared):
    for number, status in ((199, 200), (200, 431), (10_000, 431)):
        fields = b"".join(b"x-%d: y\r\n" % each for each in range(number))
        assert (number, (await shared.ask(GHANA[:-2] + fields + b"\r\n"))[0]) == (number, status)


async def test_body_of_blank_lines_is_parsed_like_any_other(shared, monkeypatch):
    """Seen to fail: each blank line was parsed alone, with a copy of all that followed."""
    pieces = []
    original = Pieces.take

    def count(self: Pieces) -> bytes:
        pieces.append(original(self))
        return pieces[-1]

    monkeypatch.setattr(Pieces, "take", count)
    content = b"\r\n" * 5_000
    await shared.ask(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))

    assert len(pieces) < 10


async def test_body_that_nobody_read_is_not_kept(shared):
    async with shared.wire() as wire:
        await wire.send(b"POST /countries/refresh HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000)
        assert (await wire.answer())[0] == 401
        held = shared.connection_of(wire)
        assert held.cycle.body == b""


async def test_client_that_takes_nothing_is_dropped(hasty):
    """A client requests much and reads nothing: the buffers of both sides fill up, and the connection ends."""
    async with hasty.wire() as wire:
        wire.writer.transport.pause_reading()
        wire.writer.write(b"GET /countries HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000)
        while hasty.server.server_state.connections:
            await asyncio.sleep(0.02)


async def test_longest_waiting_connection_makes_room_when_descriptors_run_out(shared, monkeypatch):
    while shared.server.server_state.connections:
        await asyncio.sleep(0.01)
    monkeypatch.setattr(connection, "most_connections", lambda: 3)
    monkeypatch.setattr(Connection, "_warned_at", -1e9)
    warnings: list[str] = []
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "warning", lambda text, *_: warnings.append(text))
    async with shared.wire() as half, shared.wire() as idle, shared.wire() as third:
        await half.send(GHANA[:-2])
        await idle.send(GHANA)
        assert (await idle.answer())[0] == 200
        await third.send(GHANA)
        assert (await third.answer())[0] == 200
        assert (await shared.ask(GHANA))[0] == 200

        assert await half.rest() == b""
        await idle.send(GHANA)
        assert (await idle.answer())[0] == 200
    assert ["file descriptors run out" in warning for warning in warnings] == [True]
