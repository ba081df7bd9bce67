"""The log line of an audit entry, and its delivery to the webhook whatever dies in between."""

import asyncio
import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from sqlite3 import SQLITE_BUSY
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import update

from app.audit import delivery
from app.audit.delivery import WEBHOOK_LEASE, AuditDelivery
from app.audit.record import record
from app.core.db.database import Database
from app.core.db.lease import LeaseLost, LeaseRow, acquire
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.log import configure_logging
from tests.conftest import make_settings, opened_database, serving
from tests.support.service import ServiceProcess
from tests.support.statements import recorded
from tests.support.upstream import hang, status
from tests.users.accounts import ADA

PATH = "/hook-with-a-secret"
URL = f"http://hook.test{PATH}"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Hook(httpx.MockTransport):
    """The webhook: keeps the ids of the entries that it receives, and answers with 204 after the given answers."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.sent: list[str] = []
        self.answers: list[Any] = []
        """Statuses, errors to raise, and functions to await first."""

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(json.loads(request.content)["object_id"])
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = await answer() or 204
        return httpx.Response(answer, headers={"Location": "/elsewhere"})


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
async def database(database_url):
    async with opened_database(database_url, audit_webhook_url=URL) as opened:
        yield opened


@pytest.fixture
async def sender(database, hook):
    """The delivery of one process; a test starts it, or takes its turns one by one."""
    async with httpx.AsyncClient(transport=hook) as http:
        yield AuditDelivery(database, lambda: http, make_settings(audit_webhook_url=URL))


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(make_settings(log_level="INFO", audit_webhook_url=URL), stream)
    return stream


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Pauses of seconds take a moment here; tests that need longer ones set them."""
    pauses = {"GATHER_SECONDS": 0.01, "BUSY_SECONDS": 0.02, "FAILED_SECONDS": 0.05, "POLL_SECONDS": 0.1}
    for name, seconds in {**pauses, "FIRST_PAUSE": 0.02, "LONGEST_PAUSE": 0.02, "DRAIN_SECONDS": 20}.items():
        monkeypatch.setattr(delivery, name, seconds)


async def add(database: Database, *ids: str) -> None:
    for object_id in ids:
        await database.transaction(partial(record, action="DELETE_COUNTRY", object_type="Country", object_id=object_id))


async def send_all(sender: AuditDelivery) -> None:
    while (pause := await sender.take_turn()) != delivery.POLL_SECONDS:
        await asyncio.sleep(pause or 0)


async def change(url: str, table: Any, **values: Any) -> None:
    async def write(session: Any) -> None:
        await session.exec(update(table).values(**values))

    async with opened_database(url) as database:
        await database.transaction(write)


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def audit_lines(log: str) -> list[str]:
    return [line.split(" | ", 2)[2] for line in log.splitlines() if "[AUDIT]" in line]


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_line_with_the_id_of_the_request_is_there_with_its_response(settings, log_format):
    log, changes = io.StringIO(), {"log_level": "INFO", "log_format": log_format}
    settings = make_settings(**{**settings.model_dump(), **changes})
    async with serving(settings, lines=configure_logging(settings, log)) as client:
        user = await client.post("/users", json=ADA, headers={"X-Request-ID": "r-1"})
        lines = [line for line in log.getvalue().splitlines() if "[AUDIT]" in line]

    message, (line,) = f"[AUDIT] CREATE_USER | User {user.json()['id']} created", lines
    if log_format == "json":
        expected = {"level": "INFO", "logger": "app.audit.record", "message": message, "request_id": "r-1"}
        assert json.loads(line) == {"time": json.loads(line)["time"], **expected}
    else:
        assert line.split(" | ", 1)[1] == f"INFO    | r-1 | {message}"


BUSY: Any = Exception(1213, "Deadlock found")  # MySQL's number, and those of SQLite and PostgreSQL
BUSY.sqlite_errorcode, BUSY.sqlstate = SQLITE_BUSY, "40P01"
PASSING = OperationalError("INSERT", None, BUSY)
FORGED = "1\n2026-01-01 00:00:00.000 | INFO    | - | x {0}"


@pytest.mark.parametrize(
    ("faults", "number"),
    [([None], 1), ([PASSING, None], 1), ([LookupError("on purpose")], 0)],
    ids=["committed", "repeated", "rolled back"],
)
async def test_what_is_committed_has_one_line_and_what_is_not_has_none(database, log, faults, number):
    ahead = faults[:]

    async def change(session: Any) -> None:
        await record(session, "DELETE_USER", "User", FORGED)
        if fault := ahead.pop(0):
            raise fault

    with suppress(LookupError):
        await database.transaction(change)

    assert ahead == []
    line = r"- | [AUDIT] DELETE_USER | User 1\n2026-01-01 00:00:00.000 | INFO    | - | x {0} deleted"
    assert audit_lines(log.getvalue()) == [line] * number


async def test_webhook_gets_the_entries_as_clients_see_them_once_and_in_order(service, upstream):
    upstream.answers[PATH] = status(204, "")
    async with service(audit_webhook_url=upstream.url(PATH)) as client:
        for name in ("ada", "grace", "jean"):
            await client.post("/users", json={**ADA, "email": f"{name}@example.com"})
        shown = (await client.get("/audit")).json()[::-1]

    requests = [request for request in upstream.requests if request.path == PATH]
    assert [request.json() for request in requests] == shown
    assert {(request.method, request.headers["content-type"]) for request in requests} == {("POST", "application/json")}


@pytest.mark.engines("sqlite")  # the engine makes no difference
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, "answered 500"),
        (307, "answered 307"),
        (asyncio.Event().wait, "timed out after 0.1 s"),
        (httpx.ConnectError("no"), "could not be reached (ConnectError)"),
    ],
)
async def test_webhook_that_fails_gets_every_entry_later_and_in_order(
    database, hook, sender, log, monkeypatch, answer, reason
):
    monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 0.1)
    await add(database, "1", "2", "3")
    hook.answers = [answer]
    await sender.take_turn()
    first = hook.sent[:]
    monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 20)
    await send_all(sender)

    assert first == ["1"]
    assert hook.sent == ["1", "1", "2", "3"]
    assert f"The audit webhook {reason}; trying again in 0.02 s" in log.getvalue()
    assert PATH not in log.getvalue()


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_webhook_that_fails_is_left_alone_for_a_while_despite_new_entries(database, hook, sender, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 60)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 300)
    hook.answers = [500]
    await add(database, "1")
    await sender.take_turn()
    await add(database, "2")
    with recorded(database) as statements:
        pause = await sender.take_turn()

    assert pause > 0
    assert statements == []
    assert hook.sent == ["1"]


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_pauses_grow_up_to_the_longest(database, hook, sender, log, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.005)
    hook.answers = [500] * 5
    await add(database, "1")
    await send_all(sender)

    pauses = [text.split("again in ")[1] for text in log.getvalue().splitlines() if "again in" in text]
    assert pauses == ["0.005 s", "0.01 s", "0.02 s", "0.02 s", "0.02 s"]


async def test_webhook_gets_what_was_written_while_one_was_set_and_nothing_else(database_url, database, hook, sender):
    async with opened_database(database_url) as without_webhook:
        await add(without_webhook, "before")
        await add(database, "missed")
        await add(without_webhook, "between")
        await add(database, "after")
    await send_all(sender)

    assert hook.sent == ["missed", "after"]


async def test_two_processes_send_each_entry_once(database_url, database, hook, sender):
    async with opened_database(database_url, audit_webhook_url=URL) as other, httpx.AsyncClient(transport=hook) as http:
        senders = [sender, AuditDelivery(other, lambda: http, make_settings(audit_webhook_url=URL))]
        for each in senders:
            each.start()
        await asyncio.gather(*(add((database, other)[number % 2], str(number)) for number in range(20)))
        await asyncio.gather(*(each.close() for each in senders))

    assert sorted(hook.sent, key=int) == [str(number) for number in range(20)]


async def test_lease_of_another_process_is_waited_for_also_at_a_stop(database_url, database, hook, sender, monkeypatch):
    """Both may be stopping, and the other may have looked before our entry came."""
    monkeypatch.setattr(delivery, "acquire", tried := AsyncMock(wraps=acquire))
    monkeypatch.setattr(AuditDelivery, "_turn_or_wait", lambda _: asyncio.Event().wait())
    await add(database, "1")
    assert await acquire(database, WEBHOOK_LEASE, seconds=9)
    assert await sender.take_turn() is None
    sender.start()
    closing = asyncio.create_task(sender.close())
    await until(lambda: tried.await_count > 3)
    assert hook.sent == []
    await change(database_url, LeaseRow, expires_at=LONG_AGO)
    await closing

    assert hook.sent == ["1"]


async def test_entries_that_a_dead_process_left_are_found(database_url, hook, sender):
    sender.start()
    async with opened_database(database_url, audit_webhook_url=URL) as dead:
        await add(dead, "1")
        await until(lambda: hook.sent == ["1"])
        await add(dead, "2")
        await until(lambda: hook.sent == ["1", "2"])
    await sender.close()


async def test_unexpected_error_of_the_webhook_is_a_failed_call_and_shows_no_secret(database, hook, sender, log):
    hook.answers = [RuntimeError(f"can't ask {URL}"), OverflowError("of a header")]
    await add(database, "1")
    sender.start()
    await until(lambda: hook.sent == ["1"] * 3)
    await sender.close()

    assert "The audit webhook could not be reached (RuntimeError); trying again in " in log.getvalue()
    assert "The audit webhook could not be reached (OverflowError); trying again in " in log.getvalue()
    assert PATH not in log.getvalue()


async def test_unexpected_error_of_a_turn_keeps_no_lease_and_is_logged(database, hook, sender, log, monkeypatch):
    monkeypatch.setattr(sender, "_mark_delivered", AsyncMock(side_effect=RuntimeError(f"can't mark {URL}")))
    monkeypatch.setattr(delivery, "FAILED_SECONDS", 60)
    await add(database, "1")
    sender.start()
    await until(lambda: "Audit entries are waiting for delivery" in log.getvalue())

    assert await acquire(database, WEBHOOK_LEASE)
    assert "RuntimeError: can't mark ********" in log.getvalue()
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0)
    await sender.close()


async def test_process_that_lost_its_lease_stops_where_it_is(database_url, database, hook, sender):
    """It was suspended, say; the process that has the lease now sends its last entry again."""
    lost = {"holder": "another", "fence": LeaseRow.fence + 1, "expires_at": LONG_AGO}
    hook.answers = [partial(change, database_url, LeaseRow, **lost)]
    await add(database, "1", "2")
    with pytest.raises(LeaseLost):
        await sender.take_turn()
    await send_all(sender)

    assert hook.sent == ["1", "1", "2"]


async def test_turn_without_entries_is_one_query(database, sender):
    with recorded(database) as statements:
        assert await sender.take_turn() == delivery.POLL_SECONDS

    assert [statement.sql.split(" ", 1)[0] for statement in statements] == ["SELECT"]


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_delivery_does_not_spin_while_the_database_is_down(database, hook, sender, log, monkeypatch):
    take_turn = AsyncMock(side_effect=DatabaseUnavailable("The database can't be reached or refused the work"))
    monkeypatch.setattr(delivery, "FAILED_SECONDS", 60)
    with monkeypatch.context() as patch:
        patch.setattr(AuditDelivery, "take_turn", take_turn)
        sender.start()
        await until(lambda: take_turn.called)
        for _ in range(20):
            database.audited.set()
            await asyncio.sleep(0.001)
    await add(database, "1")
    await sender.close()

    assert take_turn.await_count == 1
    assert "Audit entries are waiting for delivery: The database can't be reached" in log.getvalue()
    assert hook.sent == ["1"]


@pytest.mark.engines("mariadb")  # SQLite has no server that could freeze
async def test_frozen_database_holds_delivery_up_and_no_longer(database, hook, sender, log, request):
    server, database.timeout = request.getfixturevalue("mariadb"), 0.5
    sender.start()
    server.freeze()
    try:
        await until(lambda: "Audit entries are waiting for delivery: No answer" in log.getvalue())
    finally:
        server.thaw()
    database.timeout = 10
    await add(database, "1")
    await until(lambda: hook.sent)
    await sender.close()

    assert hook.sent == ["1"]


async def test_stop_waits_for_a_call_of_the_webhook_and_does_not_repeat_it(database, hook, sender):
    called, answered = asyncio.Event(), asyncio.Event()

    async def answer_late() -> None:
        called.set()
        await answered.wait()

    hook.answers = [answer_late]
    sender.start()
    await add(database, "1", "2")
    await called.wait()
    closing = asyncio.create_task(sender.close())
    await asyncio.sleep(0)
    answered.set()
    await closing
    await send_all(sender)

    assert hook.sent == ["1", "2"]


@pytest.mark.parametrize("is_held", [False, True], ids=["webhook hangs", "lease is held"])
async def test_neither_changes_nor_the_stop_wait_for_the_webhook(database, hook, sender, log, monkeypatch, is_held):
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.2)
    monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 3600)
    hook.answers = [asyncio.Event().wait]
    if is_held:
        assert await acquire(database, WEBHOOK_LEASE, seconds=9)
    sender.start()
    await add(database, "1")
    await until(lambda: hook.sent or is_held)
    await add(database, "2")
    await sender.close()

    assert len(audit_lines(log.getvalue())) == 2
    assert "Audit entries are waiting for delivery: it took too long" in log.getvalue()
    assert is_held or await acquire(database, WEBHOOK_LEASE)


@pytest.mark.engines("sqlite")  # it is about the event loop
async def test_delivery_stops_when_an_entry_comes_in_the_moment_of_the_stop(database, sender):
    for _ in range(3):
        sender.start()
        running = sender._task
        assert running is not None
        await until(lambda: database.audited._waiters)
        database.audited.set()
        running.cancel()

        done, _ = await asyncio.wait({running}, timeout=20)
        assert done == {running}
        assert running.cancelled()


@pytest.mark.slow("sqlite")
@pytest.mark.parametrize(
    ("end", "answer", "calls"), [("terminate", status(204, ""), 1), ("terminate", hang, 2), ("kill", hang, 2)]
)
async def test_process_that_ends_loses_no_entry(tmp_path, database_url, upstream, end, answer, calls):
    """What it can't send before it ends, the next one sends."""
    upstream.answers[PATH] = answer
    url = upstream.url(PATH)
    process = ServiceProcess(tmp_path, database_url=database_url, audit_webhook_url=url)
    async with process, httpx.AsyncClient(base_url=process.url) as client:
        await client.post("/users", json=ADA)
        await until(lambda: upstream.hits[PATH])
        getattr(process.process, end)()
        await asyncio.to_thread(process.process.wait, 30)
    assert upstream.hits[PATH] == 1

    await change(database_url, LeaseRow, expires_at=LONG_AGO)
    upstream.answers[PATH] = status(204, "")
    async with opened_database(database_url) as database, httpx.AsyncClient() as http:
        await send_all(AuditDelivery(database, lambda: http, make_settings(audit_webhook_url=url)))
    assert upstream.hits[PATH] == calls
    assert len(audit_lines(process.log.read_text())) == 1
    assert "Traceback" not in process.log.read_text()
