"""The batch client: as a command against real service processes, and its parts where the service has to misbehave."""

import asyncio
import json
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import stamina

from app.cli.sms_batch.client import BatchClient, NotStored, Tally, as_json, sub_batches
from app.cli.sms_batch.messages import generate_messages
from app.tracking.schemas import DocumentInput, TransferCreate
from tests.support import command
from tests.support.mariadb import free_port
from tests.support.service import ServiceProcess
from tests.support.upstream import document, hang, in_turn, status, truncated

KEY = "key-of-the-operator"
WHEN = "2026-11-21T09:17:00Z"
UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
DOCUMENTS, TRANSFERS = "/tracking/sms_documents/", "/tracking/sms_transfers/"
TRANSFER = f"{TRANSFERS}{UBID}/"


async def run(*arguments: str, key: str = KEY) -> command.Run:
    return await command.run("sms-batch", *arguments, SMS_API_KEY=key, COLUMNS="200")


@pytest.fixture(autouse=True)
def hooks_of_retries() -> Iterator[None]:
    """The command silences them for its process, which is that of all tests here."""
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> AsyncIterator[ServiceProcess]:
    """One service for the tests that leave it running."""
    folder = tmp_path_factory.mktemp("service")
    async with service_on_sqlite(folder, sqlite_template) as process:
        yield process


def service_on_sqlite(folder: Path, template: Path) -> ServiceProcess:
    shutil.copy(template, folder / "tracking.db")
    return ServiceProcess(folder, database_url=f"sqlite:///{folder / 'tracking.db'}", admin_api_key=KEY)


async def read(service: ServiceProcess, path: str) -> Any:
    async with httpx.AsyncClient(base_url=service.url, headers={"X-API-Key": KEY}) as client:
        return (await client.get(f"/tracking/{path}")).json()


async def stored(service: ServiceProcess, ubid: str) -> int:
    return sum((await read(service, f"sms_transfers/{ubid}")).get("states", {}).values())


def table(out: str) -> dict[str, str]:
    return {line[:11].strip(): line[11:].strip() for line in out.splitlines()}


def announced(documents: int, ubid: str = UBID) -> TransferCreate:
    return TransferCreate(
        UBID=ubid, SMScount=documents, documents=documents, fileName="generated", origName="generated"
    )


def known(count: int, *, documents: int) -> dict[str, Any]:
    """A transfer as the service shows it, with this number of documents stored."""
    states = {"INIT": count, "SENT": 0, "DONE": 0}
    return {**announced(documents).model_dump(), "fallbackCount": 0, "when": WHEN, "state": "INIT", "states": states}


@pytest.mark.engines("mariadb")  # all other tests here store on SQLite
@pytest.mark.slow
async def test_generated_messages_are_all_stored(database_url, tmp_path):
    async with ServiceProcess(tmp_path, database_url=database_url, admin_api_key=KEY) as service:
        result = await run("--count", "12345", "--url", service.url)

        shown = table(result.out)
        ubid = shown["UBID"]
        transfer = await read(service, f"sms_transfers/{ubid}")
        last = await read(service, f"sms_documents/{ubid}/items?after=A000012344")

    assert (result.code, result.err) == (0, f"UBID {ubid}\n")
    assert list(shown) == ["Documents", "Took", "Retries", "UBID"]
    assert shown["Documents"] == "12345 (12345 sent, 0 already there)"
    assert shown["Took"].endswith(" documents/s")
    assert shown["Retries"] == "0"
    assert transfer == {**known(12345, documents=12345), "UBID": ubid, "when": transfer["when"]}
    (message,) = last
    assert (message["uniqueId"], message["SMScount"], message["state"]) == ("A000012345", 1, "INIT")
    assert message["data"] == {"to": "+233200012345", "text": "Your parcel 12345 is on its way."}


async def test_both_kinds_of_file_are_stored_alike(started, tmp_path):
    lines = [{"uniqueId": f"M{n}", "SMScount": n, "data": {"to": f"+23320{n}", "text": "Akwaaba, “é”"}} for n in (1, 2)]
    (tmp_path / "messages.ndjson").write_text(
        "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8-sig"
    )
    rows = "".join(f'M{n},"+23320{n}",{n},"Akwaaba, “é”"\r\n' for n in (1, 2))
    (tmp_path / "messages.csv").write_text(f"uniqueId,to,SMScount,text\r\n{rows}", encoding="utf-8-sig")

    results = [
        await run("--file", str(tmp_path / "messages.ndjson"), "--url", started.url),
        await run("--file", str(tmp_path / "messages.csv"), "--url", started.url, "--name", "November"),
    ]

    for result, name in zip(results, ("messages.ndjson", "November"), strict=True):
        assert result.code == 0, result.err
        ubid = table(result.out)["UBID"]
        transfer = await read(started, f"sms_transfers/{ubid}")
        assert (transfer["documents"], transfer["SMScount"]) == (2, 3)
        assert (transfer["fileName"], transfer["origName"]) == (name, name)
        items = await read(started, f"sms_documents/{ubid}/items")
        assert [{name: item[name] for name in ("uniqueId", "SMScount", "data")} for item in items] == lines


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.ndjson", '{"uniqueId":"A","SMScount":1,"data":{}}\n{"uniqueId":"B"', "a.ndjson, line 2 is not valid JSON"),
        ("a.ndjson", '{"uniqueId":"A","SMScount":0,"data":{}}\n', "a.ndjson, line 1: SMScount must be more than 0"),
        ("a.jsonl", '{"uniqueId":"A","SMScount":1,"data":{}}\rB', "a.jsonl, line 1 is not valid JSON"),
        ("a.ndjson", "\n" + "x" * 131_073, "a.ndjson, line 2 must have at most 131072 bytes"),
        ("a.ndjson", "\udcff", "a.ndjson, line 1 is not valid JSON"),
        ("a.csv", "uniqueId,SMScount\nA,\udcff\n", "a.csv: is not UTF-8"),
        ("a.csv", "uniqueId,SMScount\nA,one\n", "a.csv, line 2: SMScount must be a whole number"),
        ("a.csv", "uniqueId,SMScount\nA,-1\n", "a.csv, line 2: SMScount must be more than 0"),
        ("a.csv", "uniqueId,SMScount\nA,1\nB\n", "a.csv, line 3: has 1 columns instead of 2"),
        ("a.csv", "id,SMScount\n", "a.csv, line 1: must name each column once, including uniqueId and SMScount"),
        ("a.csv", "uniqueId,SMScount\n", "a.csv: contains no messages"),
        ("a.csv", "uniqueId,SMScount\nA,2147483647\nB,1\n", "SMScount must be at most 2147483647"),  # their sum
    ],
)
async def test_unusable_file_is_one_line_before_anything_is_sent(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))

    result = await run("--file", str(tmp_path / name), "--ubid", UBID)

    assert (result.code, result.out) == (1, "")
    what = "file" if told.startswith(name) else "batch"
    assert result.err == f"Unusable {what}: {told}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give either --count or --file"),
        (["--count", "1", "--resume"], "--resume needs the --ubid of the run that was interrupted"),
        (["--count", "1", "--url", "127.0.0.1:8000"], "must be an http:// or https:// URL"),
        (["--file", "gone.csv"], "there is no such file"),
        (["--file", __file__], "must be a file whose name ends in .ndjson, .jsonl, .csv"),
        (["--count", "1", "--api-key", "two words"], "must be ASCII letters, digits and punctuation, without spaces"),
        (["--count", "1", "--in-flight", "17"], "17 is not in the range 1<=x<=16"),
    ],
)
async def test_wrong_options_are_refused(arguments, told):
    result = await run(*arguments)

    assert result.code == 2
    assert told in result.err
    assert "two words" not in result.err


async def test_wrong_key_and_absent_service_end_in_one_line(started):
    absent = f"http://127.0.0.1:{free_port()}"
    refused = await run("--count", "10", "--ubid", UBID, "--url", started.url, key="not-the-key")
    alone = await run("--count", "10", "--ubid", UBID, "--url", absent, "--patience", "0")

    assert (refused.code, refused.out) == (alone.code, alone.out) == (1, "")
    why = "the service answered 401: Unauthorized: This request needs a valid key in the header X-API-Key, "
    why += "or a valid token in Authorization: Bearer"
    for result, reason in ((refused, why), (alone, "the service could not be reached")):
        assert result.err == f"UBID {UBID}\nNot everything was stored: {reason}\n"


@pytest.mark.slow
async def test_interrupted_run_says_how_to_go_on_and_ends_with_all(started, tmp_path):
    count, ubid = 25_000, str(uuid4())
    options = ("--count", str(count), "--ubid", ubid, "--url", started.url)
    process = await command.start(tmp_path, "sms-batch", *options, "--in-flight", "1", SMS_API_KEY=KEY)
    while not await stored(started, ubid):
        await asyncio.sleep(0.01)
    started.process.send_signal(signal.SIGSTOP)  # so that the run can't end before the signal comes
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    started.process.send_signal(signal.SIGCONT)
    before = await stored(started, ubid)
    resumed = await run(*options, "--resume")
    after_all = await stored(started, ubid)

    assert (process.returncode, out) == (130, b""), err
    assert re.fullmatch(
        f"UBID {ubid}\nInterrupted\n[0-9]+ document\\(s\\) stored. Resume with: "
        f"python -m app sms-batch --count {count} --ubid {ubid} --resume --url {started.url}\n",
        err.decode(),
    )
    assert 0 < before < count
    assert (resumed.code, after_all) == (0, count), resumed.err


@pytest.mark.slow
async def test_service_that_is_killed_and_starts_again_gets_everything(sqlite_template, tmp_path):
    count, tally = 20_000, Tally()
    async with (
        service_on_sqlite(tmp_path, sqlite_template) as service,
        BatchClient(service.url, KEY, in_flight=2) as client,
    ):
        storing = asyncio.create_task(client.store(announced(count), generate_messages(count), tally))
        while not tally.done:
            await asyncio.sleep(0.01)
        service.kill()
        async with service:
            await storing
            assert await stored(service, UBID) == tally.done == count

    assert tally.retries > 0


async def test_busy_service_is_asked_again_when_it_wants(upstream):
    upstream.answers[TRANSFERS] = in_turn(status(503, Retry_After="0"), document({}))
    upstream.answers[DOCUMENTS] = in_turn(
        truncated({"result": "Inserted"}), status(429, Retry_After="0"), status(502, Retry_After="0"), document({})
    )
    upstream.answers[TRANSFER] = in_turn(*(document(known(n, documents=6000)) for n in (0, 6000)))
    tally = Tally()

    async with BatchClient(upstream.url(""), None, in_flight=1) as client:
        await client.store(announced(6000), generate_messages(6000), tally)

    assert upstream.hits == {TRANSFERS: 2, DOCUMENTS: 5, TRANSFER: 2}
    assert (tally.done, tally.retries) == (6000, 4)
    assert "x-api-key" not in upstream.requests[0].headers


async def failure(upstream: Any, count: int, *, resume: bool = False) -> str:
    async with BatchClient(upstream.url(""), None) as client:
        with pytest.raises(NotStored) as failed:
            await client.store(announced(count), generate_messages(count), Tally(), resume=resume)
    return str(failed.value)


async def test_pause_beyond_the_patience_is_not_waited_for(upstream):
    upstream.answers[TRANSFERS] = status(503, Retry_After="3600")

    assert await failure(upstream, 1) == "the service answered 503"
    assert upstream.hits == {TRANSFER: 1, TRANSFERS: 1}


async def test_refused_sub_batch_ends_all_others_at_once(upstream):
    upstream.answers[TRANSFERS] = document({})
    refusal = {"error": "Validation failed", "details": {"documents.0.data": "must be an object"}}
    upstream.answers[DOCUMENTS] = in_turn(hang, status(400, json.dumps(refusal)), hang)

    why = "the service answered 400: Validation failed: documents.0.data must be an object"
    assert await failure(upstream, 15_000) == why


async def test_resumed_run_leaves_out_what_is_certainly_there(upstream):
    upstream.answers[TRANSFER] = in_turn(*(document(known(n, documents=100_500)) for n in (100_000, 100_500)))
    upstream.answers[DOCUMENTS] = document({})
    tally = Tally()

    async with BatchClient(upstream.url(""), None, in_flight=1) as client:
        await client.store(announced(100_500), generate_messages(100_500), tally, resume=True)

    sent = [request.json()["documents"] for request in upstream.requests if request.method == "POST"]
    assert TRANSFERS not in upstream.hits  # it would be reset
    assert sent[0][0]["uniqueId"] == "A000020001"  # 16 requests of 5000 may have been under way
    assert [len(documents) for documents in sent] == [5000] * 16 + [500]
    assert (tally.skipped, tally.done) == (20_000, 100_500)


async def test_resuming_another_batch_or_at_another_service_is_refused(upstream):
    upstream.answers[TRANSFER] = in_turn(document(known(10, documents=20)), document({"states": None}))

    why = "this UBID belongs to another batch: SMScount is 20 there, 30 here"
    assert await failure(upstream, 30, resume=True) == why
    assert "the server at this address is not this service" in await failure(upstream, 30)


async def test_ubid_that_has_documents_is_refused_unless_the_run_resumes(upstream):
    upstream.answers[TRANSFER] = document(known(30, documents=30))
    tally = Tally()

    why = "this UBID already has 30 documents: add --resume, or delete that transfer first"
    assert await failure(upstream, 30) == why
    async with BatchClient(upstream.url(""), None) as client:
        await client.store(announced(30), generate_messages(30), tally, resume=True)

    assert [request.method for request in upstream.requests] == ["GET"] * 3
    assert (tally.skipped, tally.done) == (30, 30)


async def test_ids_that_repeat_are_told(started):
    ubid = str(uuid4())
    messages = [DocumentInput(uniqueId="same", SMScount=1, data={}) for _ in range(2)]

    async with BatchClient(started.url, KEY) as client:
        with pytest.raises(NotStored) as failed:
            await client.store(announced(2, ubid), messages, Tally())

    assert str(failed.value) == (
        "the service has 1 documents for this UBID instead of 2: "
        "several have the same uniqueId, or another client stored or deleted some"
    )


async def test_messages_are_made_only_one_sub_batch_ahead(upstream):
    upstream.answers[TRANSFERS] = document({})
    upstream.answers[DOCUMENTS] = hang
    made = 0

    def counted() -> Iterator[DocumentInput]:
        nonlocal made
        for message in generate_messages(50_000):
            made += 1
            yield message

    async with BatchClient(upstream.url(""), None, in_flight=2) as client:
        storing = asyncio.create_task(client.store(announced(50_000), counted(), Tally()))
        while upstream.hits[DOCUMENTS] < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        storing.cancel()
        await asyncio.wait([storing])

    assert upstream.hits[DOCUMENTS] == 2
    assert made == 3 * 5000 + 1  # the first of the next one tells that the third is full


def test_size_of_a_sub_batch_is_that_of_its_bytes():
    for text, sizes, most in (("x" * 60_000, [69, 31], 4.1), ("漢" * 21_000, [66, 34], 5)):
        messages = (DocumentInput(uniqueId=f"L{n}", SMScount=1, data={"text": text}) for n in range(100))
        batches = list(sub_batches(messages))

        assert [len(batch) for batch in batches] == sizes
        assert max(len(as_json(UBID, batch)) for batch in batches) < most * 2**20
