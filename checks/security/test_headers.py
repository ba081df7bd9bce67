"""Headers that every response of a real server has, and those that none has, whichever layer sends it."""

import asyncio
import re
import shutil
import sqlite3
from typing import Final

import pytest

from checks.security import wire
from checks.security.wire import Reply
from checks.support.processes import sources
from tests.conftest import RATES
from tests.core.http.test_access import KEY, PASSWORD
from tests.support.service import ServedProcess
from tests.support.upstream import status

ALWAYS: Final = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
PAGE, OTHER = "https://page.example", "https://other.example"
ADMIN: Final = f"x-api-key: {KEY}"
WRONG_SIGN_IN: Final = "username=a%40example.com&password=x"
FORM: Final = "content-type: application/x-www-form-urlencoded"
USER: Final = f'{{"fname":"A","lname":"B","email":"a@example.com","password":"{PASSWORD}"}}'
MALFORMED: Final = (
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n",
    b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
)
"""Requests that do not reach the application."""
NOT_HTTP: Final = b'{"error":"Validation failed","details":{"request":"is not valid HTTP"}}'


async def ask(port: int, line: str, *headers: str, body: str = "") -> Reply:
    lines = [f"{line} HTTP/1.1", "host: x", "connection: close", *headers]
    if body:
        lines.append(f"content-length: {len(body)}")
    if body.startswith("{"):
        lines.append("content-type: application/json")
    return await send(port, "\r\n".join([*lines, "", body]).encode())


async def send(port: int, request: bytes) -> Reply:
    return await asyncio.to_thread(wire.ask, f"http://127.0.0.1:{port}", request)


async def every_kind(port: int, *headers: str) -> list[tuple[int, Reply]]:
    """Responses of each layer with their expected status codes; the last but one is an unexpected error."""
    etag = f"if-none-match: {(await ask(port, 'GET /countries')).headers['etag']}"
    kinds: list[tuple[int, str, tuple[str, ...], str]] = [
        *((200, f"GET {path}", (), "") for path in ("/countries", "/countries", "/countries/image", "/openapi.json")),
        *((200, f"GET {path}", ("accept: text/html",), "") for path in ("/", "/docs", "/redoc", "/metrics")),
        *((200, f"GET /docs/assets/{name}", (), "") for name in ("swagger-ui.css", "redoc.standalone.js")),
        *((200, f"GET {path}", (), "") for path in ("/status/", "/countries/", "/health/live", "/rates?format=csv")),
        (200, "GET /rates", ("accept-encoding: br",), ""),
        (304, "GET /countries", (etag,), ""),
        (412, "GET /countries", ('if-match: "no"',), ""),
        *((400, f"GET /countries{query}", (), "") for query in ("?x=1", "?limit=x", "?q=", "?limit=1&limit=2")),
        *((404, f"GET {path}", (), "") for path in ("/nowhere", "/countries/x/", "/docs/assets/x", "//countries")),
        *((401, line, (), "") for line in ("GET /users", "POST /nowhere", "TRACE /", "DELETE /countries/ghana")),
        *((405, line, (ADMIN,), "") for line in ("PUT /countries", "OPTIONS /countries", "DELETE /docs", "TRACE /")),
        (403, "GET /users/me", (ADMIN,), ""),
        (201, "POST /users", (ADMIN,), USER),
        (409, "POST /users", (ADMIN,), USER),
        (204, "DELETE /users/{made}", (ADMIN,), ""),
        (400, "POST /users", (ADMIN,), "{"),
        (415, "POST /users", (ADMIN, "content-type: text/plain"), "x"),
        (413, "POST /users", (ADMIN, "content-type: application/json", "content-length: 9000000"), ""),
        (429, "POST /auth/token", (FORM,), WRONG_SIGN_IN),
        (503, "POST /countries/refresh", (ADMIN,), ""),
        (500, "GET /users/1", (ADMIN,), ""),
        (101, "GET /countries", ("connection: upgrade", "upgrade: websocket"), ""),
    ]
    answers, made = [], ""
    for wanted, line, own, body in kinds:
        answers.append((wanted, await ask(port, line.format(made=made), *own, *headers, body=body)))
        made = answers[-1][1].headers.get("location", made).rpartition("/")[2]
        if line.startswith("GET "):
            answers.append((wanted, await ask(port, line.replace("GET", "HEAD", 1), *own, *headers)))
            assert answers[-1][1].body == b"", line
    return answers


@pytest.mark.row("3.1 headers of every kind of answer")
@pytest.mark.parametrize("origins", ["*", PAGE])
async def test_every_kind_of_response_has_its_headers(tmp_path, sqlite_template, upstream, origins, figure):
    """Requests that are not HTTP are answered by the server, in the same shape.

    Broken on purpose: one of the three headers was missing in cached responses; uvicorn's banner.
    """
    shutil.copy(sqlite_template, database := tmp_path / "x.db")
    settings = {"admin_api_key": KEY, "cors_origins": origins, "rate_limit_sign_in": "1/day", **sources(upstream)}
    async with ServedProcess(tmp_path, database_url=f"sqlite:///{database}", **settings) as service:
        assert (await ask(service.port, "POST /countries/refresh", ADMIN)).status == 200
        upstream.answers[RATES] = status(500)
        await ask(service.port, "POST /users", ADMIN, body=USER.replace("a@", "b@"))
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE user SET role = 'nobody knows'")
        answers = [(401, await ask(service.port, "POST /auth/token", FORM, body=WRONG_SIGN_IN))]
        answers += await every_kind(service.port)
        by_origin = {origin: await every_kind(service.port, f"origin: {origin}") for origin in (PAGE, OTHER)}
        preflight = [await ask(service.port, "OPTIONS /users", *preflight_for(origin)) for origin in (PAGE, OTHER)]
        refused = [await send(service.port, request) for request in MALFORMED]
        log = service.log.read_text()

    for origin, pairs in [(None, answers), *by_origin.items()]:
        for wanted, answer in pairs:
            check(answer, wanted)
            check_cors(answer, origin, origins)
    for origin, answer in zip((PAGE, OTHER), preflight, strict=True):
        check(answer, 200 if origin == origins else 400)
    for answer in refused:
        assert (answer.status, answer.body) == (400, NOT_HTTP)
        assert ALWAYS.items() <= dict(answer.headers).items()
        own = {"content-type", "content-length", "cache-control", "connection", "date", "x-request-id"}
        assert set(answer.headers) <= {*ALWAYS, *own}
    assert log.count("Traceback") == log.count("/users/1 failed") == 6
    tried = len(answers) + sum(len(pairs) for pairs in by_origin.values()) + len(preflight)
    figure(f"{tried} answers, {len(refused)} of the server itself, failures 0")


def preflight_for(origin: str) -> tuple[str, ...]:
    return f"origin: {origin}", "access-control-request-method: POST", "access-control-request-headers: x-api-key"


def check(answer: Reply, wanted: int) -> None:
    assert answer.status == (200 if wanted == 101 else wanted)
    for name, value in ALWAYS.items():
        assert answer.headers.get_list(name) == [value], (name, answer)
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert not {"server", "x-powered-by", "location", "via"} & set(answer.headers) or answer.status == 201
    if answer.headers.get("content-type", "").startswith("text/html"):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert not re.search(r"https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline", policy)
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
    if answer.status == 500:
        assert answer.body in (b'{"error":"Internal server error"}', b"")


def check_cors(answer: Reply, origin: str | None, origins: str) -> None:
    headers = answer.headers
    allowed = headers.get_list("access-control-allow-origin")
    assert "access-control-allow-credentials" not in headers
    if origins == "*":
        assert allowed == ["*"] or (origin is None and answer.status == 405)  # OPTIONS without an origin
        return
    assert allowed == ([origin] if origin == origins else [])
    # A response cached for one page must not be used for another.
    assert "Origin" in headers.get("vary", "") or headers.get("cache-control") == "no-store"
