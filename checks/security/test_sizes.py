"""Heads, bodies and values of any size and depth are refused at once as proper errors, and delay no other client."""

import asyncio
import json
import time

import httpx
import pytest

from checks.security.wire import ask, is_error, request
from checks.support.bodies import UBID
from tests.support.service import ServedProcess

JSON = b"Content-Type: application/json"
FORM = b"Content-Type: application/x-www-form-urlencoded"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"
MEGABYTE = 1_000_000

pytestmark = [pytest.mark.engines("sqlite")]  # no request reaches the database


@pytest.fixture
async def service(database_url, tmp_path):
    async with ServedProcess(tmp_path, database_url=database_url) as started:
        yield started


def post(target: bytes, body: bytes, *fields: bytes) -> bytes:
    return request(target, *fields, b"Content-Length: %d" % len(body), method=b"POST", body=body)


def nested(depth: int) -> bytes:
    document = b'{"SMScount":1,"uniqueId":"A","data":{"x":' + b"[" * depth + b"]" * depth + b"}}"
    return post(b"/tracking/sms_documents", b'{"UBID":"%b","documents":[%b]}' % (UBID.encode(), document), JSON)


def of_documents(body: bytes) -> bytes:
    """The only body that may have more than 16 KiB."""
    return post(b"/tracking/sms_documents", body, JSON)


def of_json(body: bytes, *fields: bytes) -> bytes:
    return post(b"/users", body, JSON, *fields)


REFUSED = {
    "a field of 100 kB": (431, request(b"/status", b"X-A: " + b"a" * 100_000)),
    "10,000 fields": (431, request(b"/status", *[b"X-A: a"] * 10_000)),
    "a field without an end": (431, b"GET /status HTTP/1.1\r\nX-A: " + b"a" * MEGABYTE),
    "a name of 100 kB": (431, request(b"/status", b"X" * 100_000 + b": a")),
    "an address of 70 kB": (431, request(b"/status?q=" + b"a" * 70_000)),
    "an address of 60 kB": (400, request(b"/status?q=" + b"a" * 60_000)),
    "a zero byte in a field": (400, request(b"/status", b"X-A: a\0b")),
    "not HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300),
    "two lengths": (400, of_json(b"{}", b"Content-Length: 5")),
    "a length and chunks": (400, of_json(b"{}", CHUNKED)),
    "10,000 parameters": (400, request(b"/countries?" + b"&".join(b"a%d=1" % n for n in range(5000)))),
    "a parameter 1,000 times": (400, request(b"/countries?" + b"&".join([b"limit=1"] * 1000))),
    "a limit of 5,000 digits": (400, request(b"/countries?limit=" + b"9" * 5000)),
    "an announced terabyte": (413, request(b"/users", JSON, b"Content-Length: 1000000000000", method=b"POST")),
    "a length of 5,000 digits": (400, request(b"/users", JSON, b"Content-Length: " + b"9" * 5000, method=b"POST")),
    "chunks without an end": (413, request(b"/users", JSON, CHUNKED, method=b"POST") + CHUNK * 200),
    "a stranger's form of 20 kB": (413, post(b"/auth/token", b"username=" + b"a" * 20_000, FORM)),
    "an account of 20 kB": (413, of_json(b'{"fname":"' + b"a" * 20_000 + b'"}')),
    "a compressed body": (415, of_json(b"\x1f\x8b", b"Content-Encoding: gzip")),
    "no type": (415, post(b"/users", b"{}")),
    "100,000 open lists": (400, of_documents(b"[" * 100_000)),
    "100,000 open objects": (400, of_documents(b'{"a":' * 100_000)),
    "lists in lists in lists": (400, nested(1000)),
    "one level too much": (400, nested(100)),
    "a number of 5,000 digits": (400, of_json(b'{"fname":' + b"9" * 5000 + b"}")),
    "500,000 unknown fields": (413, of_documents(json.dumps({str(n): 0 for n in range(500_000)}).encode())),
    "a name of a megabyte": (400, of_documents(b'{"UBID":"' + b"a" * MEGABYTE + b'"}')),
    "NaN": (400, of_json(b'{"fname":NaN}')),
    "a key twice": (400, of_json(b'{"fname":"a","fname":"b"}')),
    "half of a character": (400, of_json(rb'{"fname":"\ud800"}')),
    "not UTF-8": (400, of_json(b'{"fname":"\xff"}')),
    "UTF-16": (400, of_json('{"fname":"a"}'.encode("utf-16"))),
    "a zero byte": (400, of_json(b'{"fname":"a"}\0')),
}


@pytest.mark.row("1.2 heads, bodies and values of any size")
async def test_too_large_or_broken_request_is_refused_as_a_proper_error(service, figure):
    """Seen to fail: with uvicorn's own protocol, which takes heads of any size and refuses in plain text."""
    asked = (asyncio.to_thread(ask, service.url, raw) for _, raw in REFUSED.values())
    replies = dict(zip(REFUSED, await asyncio.gather(*asked), strict=True))

    wrong = {
        name: reply
        for name, reply in replies.items()
        if reply.status != REFUSED[name][0] or not is_error(reply) or reply.answers != 1
    }
    figure(f"{len(REFUSED)} requests, {len(wrong)} not refused as they should be")
    assert wrong == {}
    assert (await asyncio.to_thread(ask, service.url, request(b"/", b"X-A: " + b"a" * 60_000))).status == 200
    assert "Traceback" not in service.log.read_text()


@pytest.mark.row("1.3 a header field of 200 MB beside other clients")
async def test_endless_header_delays_no_other_client(service, is_full, figure):
    """Seen to fail: with uvicorn's own protocol, 100 MB delayed all clients by more than 20 s."""
    megabytes = 200 if is_full else 20
    pieces = [b"GET /status HTTP/1.1\r\nHost: service\r\nX-A: ", *[b"a" * MEGABYTE] * megabytes]
    flood = asyncio.create_task(asyncio.to_thread(ask, service.url, *pieces, seconds=60))

    longest, others = 0.0, 0
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        while not flood.done():
            started = time.monotonic()
            assert (await client.get("/health/live")).status_code == 200
            longest, others = max(longest, time.monotonic() - started), others + 1
            await asyncio.sleep(0.01)

    reply = await flood
    figure(f"{reply.status}, others waited at most {longest * 1000:.0f} ms")
    assert (reply.status, is_error(reply)) == (431, True)
    assert others > 0
    assert longest < 5
