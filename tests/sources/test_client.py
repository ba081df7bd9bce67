"""The reader of JSON against a server that misbehaves."""

import asyncio
import gzip
import json
import math
import ssl
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest.mock import Mock

import pytest

from app.sources.chain import SourceFailed
from app.sources.client import create_http_client, get_json, parse_retry_after
from checks.support.hostile import bomb, repeat
from tests.support.mariadb import free_port
from tests.support.upstream import body, document, hang, html, in_turn, status, truncated


@pytest.fixture
def fetch(http, upstream):
    async def get(path: str = "/x", *, timeout: float = 60, max_bytes: int = 100_000, **headers: str):
        answer = await get_json(http, upstream.url(path), timeout=timeout, max_bytes=max_bytes, headers=headers)
        return answer.content

    return get


PAST_YEAR_9999 = "Fri, 31 Dec 9999 23:59:59 -0100"
NO_OFFSET = "Fri, 31 Dec 2027 23:59:59 +99999999999999999999"
OPENED, NOT_FOUND = b"HTTP/1.1 200 OK\r\n\r\n[", b"HTTP/1.1 404 Not Found\r\n\r\n["
LONG_GZIP, ELSEWHERE = gzip.compress(b"[1]") + b"x" * 90_000, "http://127.0.0.1:1/x"
HOSTILE = {
    "hang": (hang, "timed out after 0.5 s"),
    "one byte at a time": (repeat(OPENED, b" ", pause=0.1), "timed out after 0.5 s"),
    "endless": (repeat(OPENED, b"1," * 32_768), "answered with more than 100,000 bytes"),
    "200 MB in a small gzip": (bomb("gzip", megabytes=200), "answered with more than 100,000 bytes"),
    "HTML": (html(), "answered with XML or HTML that is not a known format"),
    "empty": (body(b" "), "answered with an empty body"),
    "cut": (body(b'[{"name": "Gha'), "answered with JSON that ends in the middle"),
    "wrong charset": (body('["é"]'.encode("latin-1")), "answered with something that is not JSON"),
    "deep nesting": (body(b"[" * 2_000 + b"x"), "answered with something that is not JSON"),
    "many values": (body(b"[" + b"0," * 2_083 + b"0]"), "answered with more values than fit into 100,000 bytes"),
    "truncated": (truncated([1] * 100), "the connection failed (RemoteProtocolError)"),
    "truncated gzip": (body(gzip.compress(b"[1]" * 99)[:-9], Content_Encoding="gzip"), "answered with truncated gzip"),
    "data after gzip": (body(LONG_GZIP, Content_Encoding="gzip"), "answered with data after the end of its gzip"),
    "not gzip": (body(b"[1]", Content_Encoding="gzip"), "answered with broken gzip"),
    "unknown encoding": (body(b"[1]", Content_Encoding="br"), "answered in the encoding 'br', which was not requested"),
    "no content": (status(204), "answered 204"),
    "partial content": (status(206), "answered 206"),
    "not found": (status(404), "answered 404"),
    "not found, then one byte at a time": (repeat(NOT_FOUND, b" ", pause=0.1), "answered 404"),
    "redirect to another port": (body(b"", code=301, Location=ELSEWHERE), "answered 301, a redirect to another host"),
    "redirect to an invalid name": (
        body(b"", code=302, Location="http://xn--/"),
        "the request failed (IDNAError)",
    ),
    "redirect in a circle": (body(b"", code=302, Location="/x"), "redirected more than 3 times"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_misbehaving_server_is_a_failed_source(fetch, upstream, case):
    upstream.answers["/x"], reason = HOSTILE[case]

    with pytest.raises(SourceFailed) as caught:
        await fetch(timeout=0.5 if "timed out" in reason else 60)

    assert str(caught.value) == reason


async def test_expanding_a_bomb_takes_no_more_memory_than_the_limit(fetch, upstream):
    upstream.answers["/x"] = bomb("gzip", megabytes=200)
    tracemalloc.start()
    try:
        with pytest.raises(SourceFailed):
            await fetch(max_bytes=2**20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8 * 2**20


async def test_timeout_after_a_retry_still_says_what_was_wrong_before(fetch, upstream):
    upstream.answers["/x"] = in_turn(status(503), hang)

    with pytest.raises(SourceFailed) as caught:
        await fetch(timeout=2)

    assert str(caught.value) == "answered 503, then timed out after 2 s"


async def test_refused_connection_is_a_failed_source(http):
    with pytest.raises(SourceFailed, match="could not connect"):
        await get_json(http, f"http://127.0.0.1:{free_port()}/", timeout=60, max_bytes=1000)


async def test_absurd_numbers_do_not_fail_the_document(fetch, upstream):
    upstream.answers["/x"] = body(b"[NaN, Infinity, 1e400, " + b"9" * 5000 + b", -" + b"9" * 5000 + b", 12]")

    numbers = await fetch()

    assert math.isnan(numbers[0])
    assert numbers[1:] == [math.inf, math.inf, math.inf, -math.inf, 12]


@pytest.mark.parametrize(
    ("code", "requests"), [*((c, 3) for c in (429, 500, 502, 503, 504)), *((c, 1) for c in (400, 401, 403, 404, 410))]
)
async def test_temporary_failure_is_retried_twice_and_a_refusal_is_not(fetch, upstream, code, requests):
    upstream.answers["/x"] = status(code)

    with pytest.raises(SourceFailed, match=f"answered {code}"):
        await fetch()
    assert upstream.hits["/x"] == requests


async def test_retry_after_is_obeyed_within_the_deadline_only(fetch, upstream):
    upstream.answers["/x"] = in_turn(status(429, Retry_After="0.7"), document([1]), status(429, Retry_After="1200"))
    started = asyncio.get_running_loop().time()

    assert await fetch() == [1]
    assert asyncio.get_running_loop().time() - started >= 0.7
    with pytest.raises(SourceFailed, match="answered 429"):
        await fetch()
    assert upstream.hits["/x"] == 3


@pytest.mark.parametrize(("retry_after", "least", "most"), [("7", 7, 7), ("0.5", 0.5, 0.5), (60, 30, 60), (-60, 0, 0)])
def test_retry_after_is_a_number_of_seconds_or_a_date(retry_after, least, most):
    if isinstance(retry_after, int):
        retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=retry_after), usegmt=True)

    seconds = parse_retry_after(retry_after)

    assert seconds is not None
    assert least <= seconds <= most


@pytest.mark.parametrize("retry_after", [None, "", "soon", "-1", "1e3", "9" * 5000, PAST_YEAR_9999, NO_OFFSET])
def test_invalid_retry_after_is_ignored(retry_after):
    assert parse_retry_after(retry_after) is None


async def test_request_names_the_service_and_carries_given_headers(fetch, upstream):
    upstream.answers["/x"] = document([1])
    await fetch(Authorization="Bearer k")

    headers = upstream.requests[0].headers
    assert headers["user-agent"].startswith("country-data-currency-exchange-api/")
    assert (headers["accept"], headers["authorization"]) == ("application/json", "bearer k")


async def test_proxy_settings_of_the_environment_are_ignored(upstream, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    upstream.answers["/x"] = document([1])

    async with create_http_client() as http:
        assert (await get_json(http, upstream.url("/x"), timeout=60, max_bytes=1000)).content == [1]


async def test_large_document_within_the_limit_is_read_also_from_gzip(fetch, upstream):
    rows = [{"name": f"Country {number}", "population": number} for number in range(25_000)]
    for answer in (document(rows), body(gzip.compress(json.dumps(rows).encode()), Content_Encoding="gzip")):
        upstream.answers["/x"] = answer

        assert await fetch(max_bytes=4 * 2**20) == rows


async def test_client_loads_the_certificates_at_its_first_request(monkeypatch, upstream):
    create = Mock(wraps=ssl.create_default_context)
    monkeypatch.setattr(ssl, "create_default_context", create)
    upstream.answers["/x"] = document([1])

    async with create_http_client():
        pass
    assert create.call_count == 0

    async with create_http_client() as http:
        for _ in range(2):
            await get_json(http, upstream.url("/x"), timeout=60, max_bytes=1000)
    assert create.call_count == 1
