"""The stream of documents, through HTTP and on both engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.tracking.stream import MAX_BATCH, MAX_LINE
from tests.conftest import Client, opened_database
from tests.support.service import ServiceProcess

UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
STREAM = f"/tracking/sms_documents/{UBID}/stream"
ITEMS = f"/tracking/sms_documents/{UBID}/items"
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def ready(client: Client, data: Any) -> Client:
    """The client of a service with one transfer."""
    assert (await client.post("/tracking/sms_transfers", json=data["transfer"])).status_code == 201
    return client


def numbered(number: int, start: int = 0) -> list[bytes]:
    """Lines of documents with ids that count up."""
    return [
        b'{"SMScount":1,"uniqueId":"%010d","data":{"to":"+233%09d"}}\n' % (index, index)
        for index in range(start, start + number)
    ]


async def in_pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def send(client: httpx.AsyncClient, content: Any) -> tuple[int, Any]:
    response = await client.post(STREAM, content=content, headers=NDJSON)
    return response.status_code, response.json()


def stored(lines: int, batches: int) -> tuple[int, Any]:
    return 201, {"UBID": UBID, "lines": lines, "batches": batches}


def refused(details: dict[str, str], before: int = 0) -> tuple[int, Any]:
    told = {**details, "stored": f"{before} document(s) from earlier lines"}
    return 400, {"error": "Validation failed", "details": told}


async def found(client: httpx.AsyncClient) -> int:
    response = await client.get(f"/tracking/sms_documents/{UBID}")
    return int(response.json()["result"].split()[1])


async def test_stream_is_stored_in_batches_of_5000_also_when_sent_again(ready):
    assert await send(ready, b"".join(numbered(5000))) == stored(5000, 1)
    body = b"".join(numbered(12_345))

    for _ in range(2):
        assert await send(ready, in_pieces(body, 65_536)) == stored(12_345, 3)
        assert await found(ready) == 12_345
    last = (await ready.get(f"{ITEMS}?after=0000012343")).json()
    (shown,) = [(document["uniqueId"], document["state"], document["data"]) for document in last]
    assert shown == ("0000012344", "INIT", {"to": "+233000012344"})


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
async def test_chunks_may_end_anywhere(ready, data, newline):
    lines = [json.dumps(document, ensure_ascii=False).encode() for document in data["documents"]]
    body = newline.join(lines)

    for size in (1, 2, 3, 5, 7, 64, len(body)):
        assert await send(ready, in_pieces(body, size)) == stored(3, 1)
        items = (await ready.get(ITEMS)).json()
        read = [{name: item[name] for name in ("SMScount", "uniqueId", "data")} for item in items]
        assert sorted(read, key=lambda document: document["SMScount"]) == data["documents"]


async def test_blank_lines_and_the_last_newline_do_not_count(ready):
    for body in (b"", b"\n", b"\r\n \n"):
        assert await send(ready, body) == stored(0, 0)
    assert await found(ready) == 0
    one, two = numbered(2)
    for body in (one + two, one + two.rstrip(), b"\n \n" + one + b"\r\n\t\n" + two + b"\n\n  "):
        assert await send(ready, body) == stored(2, 1)
    assert await found(ready) == 2


@pytest.mark.engines("sqlite")
async def test_wrong_line_is_named_with_its_fields(ready, data):
    first, third = numbered(1)[0], numbered(1, 7)[0]
    for wrong in data["wrong_lines"]:
        answer = await send(ready, first + wrong["line"].encode() + b"\n" + third)

        expected = stored(2, 1) if wrong.get("blank") else refused(wrong["details"])
        assert (wrong["line"], *answer) == (wrong["line"], *expected)
    for line in (b"\xff", b'{"SMScount":1,"uniqueId":"\xc3","data":{}}', b"\xef\xbb\xbf" + third):
        assert await send(ready, first + line) == refused({"line 2": "is not valid JSON"})
    assert await send(ready, b"\xef\xbb\xbf" + first) == stored(1, 1)  # some programs put it in front of a text
    nested = b'{"SMScount":1,"uniqueId":"A","data":{"a":%b%b}}' % (b"[" * 100, b"]" * 100)
    assert await send(ready, nested) == refused({"line 1: data": "must be nested at most 100 levels deep"})


@pytest.mark.engines("sqlite")
async def test_stream_that_stops_in_the_middle_is_ended(ready, monkeypatch):
    monkeypatch.setattr("app.core.http.middleware.body_limit.LONGEST_PAUSE", 0.3)

    async def stopping() -> AsyncIterator[bytes]:
        for line in numbered(5001):
            yield line
        await asyncio.sleep(60)

    details = "The body stopped arriving, or took more than 0.3 s and one for each 16 KiB"
    assert await send(ready, stopping()) == (408, {"error": "Request timeout", "details": details})
    assert await found(ready) == 5000


@pytest.mark.engines("sqlite")
async def test_lines_that_are_valid_only_together_are_refused(ready, data):
    for lines in data["sense_only_together"]:
        status, body = await send(ready, "\n".join(lines).encode())

        assert (lines, status, list(body["details"])) == (lines, 400, ["line 1", "stored"])
    assert await found(ready) == 0


async def test_error_names_the_first_wrong_line_and_what_was_stored_before(ready):
    wrong = b"".join([*numbered(3), b"wrong\n", b"wrong too\n"])
    assert await send(ready, wrong) == refused({"line 4": "is not valid JSON"})
    assert await found(ready) == 0
    lines = numbered(12_000)
    lines[10_500] = b'{"SMScount":0,"uniqueId":"x","data":{}}\n'
    lines.insert(100, b"\n")  # a blank line counts as a line

    answer = await send(ready, b"".join(lines))

    assert answer == refused({"line 10502: SMScount": "must be more than 0"}, 10_000)
    assert await found(ready) == 10_000


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["without an end", "with its end"])
async def test_line_has_a_maximum_length(ready, end):
    body = numbered(1)[0] + b" " * (MAX_LINE + 1) + end
    for size in (60_000, len(body)):
        answer = await send(ready, in_pieces(body, size))

        assert answer == refused({"line 2": f"must have at most {MAX_LINE} bytes"})
    assert await found(ready) == 0
    line = numbered(1)[0].rstrip()
    assert await send(ready, line + b" " * (MAX_LINE - len(line)) + end) == stored(1, 1)


async def test_long_lines_make_smaller_batches(ready):
    lines = [b'{"SMScount":1,"uniqueId":"%d","data":{"a":"%s"}}\n' % (number, b"x" * 60_000) for number in range(100)]
    assert MAX_BATCH < sum(map(len, lines)) < 2 * MAX_BATCH

    assert await send(ready, in_pieces(b"".join(lines), 65_536)) == stored(100, 2)
    assert await found(ready) == 100


@pytest.mark.engines("sqlite")
async def test_stream_may_be_larger_than_other_bodies(service, data):
    async with service(max_body_bytes=1000) as client:
        await client.post("/tracking/sms_transfers", json=data["transfer"])
        body = b"".join(numbered(100))

        assert await send(client, body) == stored(100, 1)
        assert await send(client, in_pieces(body, 500)) == stored(100, 1)
        documents = [{"SMScount": 1, "uniqueId": str(number), "data": {}} for number in range(50)]
        batch = await client.post("/tracking/sms_documents", json={"UBID": UBID, "documents": documents})
        assert batch.status_code == 413


@pytest.mark.slow("sqlite")
async def test_lost_connection_leaves_whole_batches_and_sending_again_completes_them(database_url, data, tmp_path):
    lines = numbered(7500)
    head = f"POST {STREAM} HTTP/1.1\r\nHost: service\r\nContent-Type: application/x-ndjson\r\n"
    async with (
        ServiceProcess(tmp_path, database_url=database_url) as process,
        httpx.AsyncClient(base_url=process.url, timeout=30) as client,
    ):
        await client.post("/tracking/sms_transfers", json=data["transfer"])
        body = b"".join(lines)
        # The answer comes through although most of the body is still to be sent.
        assert await send(client, b"wrong\n" + body * 40) == refused({"line 1": "is not valid JSON"})
        _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + b"".join(lines[:6000]))
        await writer.drain()
        async with asyncio.timeout(20):
            while await found(client) < 5000:
                await asyncio.sleep(0.02)
        writer.transport.abort()

        assert await found(client) == 5000
        assert await send(client, body) == stored(7500, 2)
        assert await found(client) == 7500
    log = process.log.read_text()
    assert "Traceback" not in log, log
    assert f"POST {STREAM} -> 400" in log
    async with opened_database(database_url) as database, database.reading() as session:
        rows = await (await session.connection()).execute(text("SELECT count(*) FROM sms_documents"))
        assert rows.scalar_one() == 7500
