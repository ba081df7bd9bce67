"""The log line of an audit entry, and its delivery to the webhook whatever dies in between."""

import asyncio
import io
import json
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import col, insert, select, update

from app.audit import delivery
from app.audit.delivery import WEBHOOK_LEASE, AuditDelivery
from app.audit.models import AuditEntry
from app.audit.record import record
from app.audit.webhook import post_json
from app.core.db.database import Database
from app.core.db.lease import LeaseRow, acquire
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.log import configure_logging
from tests.conftest import make_settings, opened_database, serving
from tests.support.service import ServiceProcess
from tests.support.statements import recorded
from tests.support.upstream import FakeUpstream, after, hang, status

HOOK = "/hook-with-a-secret"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = count()


class Office:
    """Services over one database with one log, and a webhook."""

    def __init__(self, settings: Any, upstream: FakeUpstream) -> None:
        self.settings = settings
        self.url = settings.database_url
        self.upstream = upstream
        self.log = io.StringIO()
        upstream.answers[HOOK] = status(204, "")

    @asynccontextmanager
    async def open(self, *, webhook: bool = True, **changes: Any) -> Any:
        url = self.upstream.url(HOOK) if webhook else None
        values = {**self.settings.model_dump(), "log_level": "INFO", "audit_webhook_url": url, **changes}
        settings = make_settings(**values)
        async with serving(settings, lines=configure_logging(settings, self.log)) as client:
            yield client

    @property
    def lines(self) -> list[str]:
        """Request id and message of each line of the audit trail."""
        return audit_lines(self.log.getvalue())

    @property
    def sent(self) -> list[Any]:
        """The entries that the webhook received."""
        return [request.json() for request in self.upstream.requests if request.path == HOOK]

    @property
    def ids_sent(self) -> list[str]:
        return [entry["request_id"] for entry in self.sent]


def audit_lines(log: str) -> list[str]:
    return [line.split(" | ", 2)[2] for line in log.splitlines() if "[AUDIT]" in line]


@pytest.fixture
def office(settings, upstream) -> Office:
    return Office(settings, upstream)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Pauses of seconds take a moment here; tests that need longer ones set them."""
    pauses = {"GATHER_SECONDS": 0.01, "BUSY_SECONDS": 0.05, "FAILED_SECONDS": 0.1, "POLL_SECONDS": 0.1}
    pauses |= {"FIRST_PAUSE": 0.05, "LONGEST_PAUSE": 0.05, "DRAIN_SECONDS": 20}
    for name, seconds in pauses.items():
        monkeypatch.setattr(delivery, name, seconds)


async def create(client, request_id: str) -> str:
    """Add an account; the log line of its entry."""
    name = f"{request_id}-{next(NUMBERS)}"
    values = {"fname": "Ada", "lname": "M", "email": f"{name}@example.com", "password": "correct horse battery"}
    response = await client.post("/users", json=values, headers={"X-Request-ID": request_id})
    assert response.status_code == 201, response.text
    return f"{request_id} | [AUDIT] CREATE_USER | User {response.json()['id']} created"


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def undelivered(url: str) -> list[str | None]:
    query = select(AuditEntry.request_id).where(col(AuditEntry.delivered_at).is_(None)).order_by(col(AuditEntry.id))
    async with opened_database(url) as database, database.reading() as session:
        return list((await session.exec(query)).all())


async def leave_entry(url: str, request_id: str, **values: Any) -> None:
    """Write an entry as a process would that dies right after its commit."""

    async def write(session: Any) -> None:
        entry = {"action": "CREATE_USER", "object_type": "User", "object_id": "7", "actor": "service", "changes": "{}"}
        await session.exec(insert(AuditEntry).values({**entry, "at": LONG_AGO, "request_id": request_id, **values}))

    async with opened_database(url) as database:
        await database.transaction(write)


async def hold_lease(url: str) -> None:
    """Take the lease as a process would that dies, or never comes to an end."""
    async with opened_database(url) as database:
        assert await acquire(database, WEBHOOK_LEASE, seconds=3600)


async def change_lease(url: str, **values: Any) -> None:
    async def change(session: Any) -> None:
        await session.exec(update(LeaseRow).where(col(LeaseRow.name) == WEBHOOK_LEASE).values(**values))

    async with opened_database(url) as database:
        await database.transaction(change)


# The log line


async def test_line_is_there_with_the_response_and_without_a_webhook_nothing_is_left_to_do(office):
    async with office.open(webhook=False) as client:
        line = await create(client, "r-1")
        assert office.lines == [line]
        assert await undelivered(office.url) == []

    assert office.lines == [line]
    assert office.sent == []


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_line_as_json_has_the_id_of_the_request(office):
    async with office.open(webhook=False, log_format="json") as client:
        message = (await create(client, "r-1")).removeprefix("r-1 | ")

    (shown,) = [json.loads(text) for text in office.log.getvalue().splitlines() if "[AUDIT]" in text]
    about = {"level": "INFO", "logger": "app.audit.record", "request_id": "r-1"}
    assert shown == {**about, "time": shown["time"], "message": message}


DEADLOCK = OperationalError("INSERT", None, Exception(1213, "Deadlock found"))


@pytest.mark.parametrize(
    ("faults", "shown"),
    {
        "committed": ([None], r"User 1\n2026-01-01 00:00:00.000 | INFO    | - | x {0} deleted"),
        "repeated": ([DEADLOCK, None], r"User 1\n2026-01-01 00:00:00.000 | INFO    | - | x {0} deleted"),
        "rolled back": ([LookupError("on purpose")], None),
    }.values(),
)
async def test_what_is_committed_has_one_line_and_what_is_not_has_none(database_url, faults, shown):
    log, ahead = io.StringIO(), iter(faults)
    configure_logging(make_settings(log_level="INFO"), log)

    async def change(session: Any) -> None:
        await record(session, "DELETE_USER", "User", "1\n2026-01-01 00:00:00.000 | INFO    | - | x {0}")
        if fault := next(ahead):
            raise fault

    async with opened_database(database_url) as database:
        with suppress(LookupError):
            await database.transaction(change)

    assert next(ahead, "all tried") == "all tried"
    assert audit_lines(log.getvalue()) == ([f"- | [AUDIT] DELETE_USER | {shown}"] if shown else [])


# The webhook


async def test_webhook_gets_each_entry_once_and_in_order(office):
    async with office.open() as client:
        for number in range(3):
            await create(client, str(number))
        await until(lambda: len(office.sent) >= 3)
        shown = (await client.get("/audit")).json()[::-1]

    assert office.ids_sent == ["0", "1", "2"]
    assert office.sent == shown
    request = next(request for request in office.upstream.requests if request.path == HOOK)
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")


FAULTS = {
    "error": (status(500), "answered 500"),
    "redirect": (status(307, Location="/elsewhere"), "answered 307"),
    "hang": (hang, "timed out after 0.3 s"),
    "nothing": (None, "could not be reached (ConnectError)"),
}


@pytest.mark.engines("sqlite")  # the engine makes no difference
@pytest.mark.parametrize("fault", FAULTS)
async def test_webhook_that_fails_gets_every_entry_later_and_in_order(office, monkeypatch, fault):
    monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 0.3)
    answer, reason = FAULTS[fault]
    async with FakeUpstream() as hook:
        pass  # its port is free, and nobody listens there
    hook.answers[HOOK] = answer or hang
    office.upstream = hook
    if answer:
        await hook.__aenter__()
    try:
        async with office.open() as client:
            lines = [await create(client, str(number)) for number in range(3)]
            await until(lambda: f"The audit webhook {reason}; trying again in 0.05 s" in office.log.getvalue())
            monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 20)
            if not answer:
                await hook.__aenter__()
            hook.answers[HOOK] = status(204, "")
            hook.requests.clear()
            await until(lambda: office.ids_sent[-1:] == ["2"])
    finally:
        await hook.__aexit__()

    assert list(dict.fromkeys(office.ids_sent)) == ["0", "1", "2"]
    assert office.lines == lines
    assert hook.hits["/elsewhere"] == 0
    assert HOOK not in office.log.getvalue()
    assert await undelivered(office.url) == []


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_webhook_that_fails_is_left_alone_for_a_while_despite_new_entries(office, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 60)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 300)
    office.upstream.answers[HOOK] = status(500)
    async with office.open() as client:
        database = client.state["database"]
        await create(client, "0")
        await until(lambda: "trying again in 60 s" in office.log.getvalue())
        with recorded(database, deliveries=True) as statements:
            for number in range(1, 4):
                await create(client, str(number))
                await until(lambda: not database.audited.is_set())

    assert office.ids_sent == ["0"]
    assert [statement.sql for statement in statements if "FROM lease" in statement.sql] == []


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_pauses_grow_up_to_the_longest(office, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.1)
    office.upstream.answers[HOOK] = status(500)
    async with office.open() as client:
        await create(client, "1")
        await until(lambda: office.log.getvalue().count("again in") >= 5)

    pauses = [text.split("again in ")[1] for text in office.log.getvalue().splitlines() if "again in" in text]
    assert pauses[:5] == ["0.01 s", "0.02 s", "0.04 s", "0.05 s", "0.05 s"]


async def test_webhook_gets_what_was_written_while_one_was_set_and_nothing_else(office, monkeypatch):
    office.upstream.answers[HOOK] = status(500)
    async with office.open(webhook=False) as client:
        await create(client, "before")
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "DRAIN_SECONDS", 0.1)
        async with office.open() as client:
            await create(client, "missed")
            await until(lambda: office.sent)
    async with office.open(webhook=False) as client:
        await create(client, "between")
        left = await undelivered(office.url)
    office.upstream.answers[HOOK] = status(204, "")
    office.upstream.requests.clear()
    async with office.open() as client:
        await create(client, "after")

    assert left == ["missed"]
    assert office.ids_sent == ["missed", "after"]


# Several processes


async def test_two_services_send_each_entry_once(office):
    async with office.open() as one, office.open() as other:
        clients = [one, other] * 10
        lines = await asyncio.gather(*(create(client, str(number)) for number, client in enumerate(clients)))

    assert sorted(office.lines) == sorted(lines)
    assert sorted(office.ids_sent, key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize("stops", [False, True])
async def test_lease_of_another_process_is_waited_for_also_at_a_stop(office, monkeypatch, stops):
    """At a stop both processes may be stopping, and the other may have looked before our entry came."""
    refusals: list[list[str]] = []

    async def acquire_and_note(database: Database, name: str) -> Any:
        if (lease := await acquire(database, name)) is None:
            refusals.append(office.ids_sent)
        return lease

    async def end_lease() -> None:
        await until(lambda: len(refusals) >= 2)
        await change_lease(office.url, expires_at=LONG_AGO)

    monkeypatch.setattr(delivery, "acquire", acquire_and_note)
    if stops:
        monkeypatch.setattr(AuditDelivery, "_run", never)
    await hold_lease(office.url)
    async with office.open() as client:
        await create(client, "1")
        ending = asyncio.create_task(end_lease())
        await until(lambda: office.sent or stops)
    await ending

    assert refusals[:2] == [[], []]
    assert office.ids_sent == ["1"]


async def test_entry_that_a_dead_process_left_is_sent(office):
    await leave_entry(office.url, "before the start", logged_at=LONG_AGO)
    async with office.open():
        await until(lambda: len(office.sent) == 1)
        await leave_entry(office.url, "after the start", logged_at=LONG_AGO)
        await leave_entry(office.url, "by an older version, without its line")
        await until(lambda: len(office.sent) == 3)

    assert office.ids_sent == ["before the start", "after the start", "by an older version, without its line"]


async def test_unexpected_error_keeps_no_lease_and_shows_no_secret(office, monkeypatch):
    async def fail(_: object, url: str, *__: object, **___: object) -> None:
        raise RuntimeError(f"can't ask {url}")

    monkeypatch.setattr(delivery, "FAILED_SECONDS", 60)
    monkeypatch.setattr(delivery, "post_json", fail)
    async with office.open(log_level="DEBUG") as client, opened_database(office.url) as database:
        await create(client, "1")
        await until(lambda: "Delivering audit entries failed" in office.log.getvalue())

        assert await acquire(database, WEBHOOK_LEASE)
        monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0)
    assert "RuntimeError: can't ask ********" in office.log.getvalue()
    assert HOOK not in office.log.getvalue()


async def test_process_that_lost_its_lease_stops_where_it_is(office, monkeypatch):
    """It was suspended, say; the process that has the lease now sends its last entry again."""
    posts: list[str] = []

    async def lose_lease_once(http, url, content, **options):
        await post_json(http, url, content, **options)
        posts.append(content["request_id"])
        if len(posts) == 1:
            taken = {"holder": "another process", "fence": LeaseRow.fence + 1, "expires_at": LONG_AGO}
            await change_lease(office.url, **taken)

    await leave_entry(office.url, "1")
    await leave_entry(office.url, "2")
    monkeypatch.setattr(delivery, "post_json", lose_lease_once)
    async with office.open():
        await until(lambda: len(posts) == 3)

    assert posts == ["1", "1", "2"]
    assert "Audit entries are waiting for delivery: " in office.log.getvalue()


# The database


async def test_idle_delivery_costs_one_query_a_turn(settings, http):
    async with opened_database(settings.database_url, audit_webhook_url="http://127.0.0.1:1") as database:
        idle = AuditDelivery(database, http, make_settings(audit_webhook_url="http://127.0.0.1:1"))
        with recorded(database, deliveries=True) as statements:
            assert await idle.take_turn() == delivery.POLL_SECONDS

    assert [statement.sql.split(" ", 1)[0] for statement in statements] == ["SELECT"]


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_delivery_does_not_spin_while_the_database_is_down_and_goes_on_afterwards(office, monkeypatch):
    turns: list[None] = []

    async def fail_turn(_: AuditDelivery) -> Any:
        turns.append(None)
        raise DatabaseUnavailable("The database can't be reached or refused the work")

    monkeypatch.setattr(delivery, "FAILED_SECONDS", 60)
    with monkeypatch.context() as patch:
        patch.setattr(AuditDelivery, "take_turn", fail_turn)
        async with office.open() as client:
            await create(client, "1")
            await until(lambda: turns)
            for _ in range(20):
                client.state["database"].audited.set()
                await asyncio.sleep(0.005)
            in_between = len(turns)
            patch.undo()

    assert in_between == 1
    assert office.log.getvalue().count("Audit entries are waiting for delivery: The database can't be reached") == 1
    assert office.ids_sent == ["1"]


@pytest.mark.engines("mariadb")
async def test_frozen_database_holds_delivery_up_and_no_longer(office, request):
    """On MariaDB only: SQLite has no server that could freeze."""
    server = request.getfixturevalue("mariadb")
    async with office.open(db_timeout_seconds=0.5):
        server.freeze()
        try:
            await until(lambda: "Audit entries are waiting for delivery: No answer" in office.log.getvalue())
        finally:
            server.thaw()
        await leave_entry(office.url, "1")
        await until(lambda: office.sent)

    assert office.ids_sent == ["1"]


# The stop


async def never(_: AuditDelivery) -> None:
    await asyncio.Event().wait()


async def test_stop_sends_what_is_left(office, monkeypatch):
    monkeypatch.setattr(AuditDelivery, "_run", never)
    async with office.open() as client:
        await create(client, "1")
        assert office.sent == []

    assert office.ids_sent == ["1"]


async def test_stop_waits_for_a_call_of_the_webhook_and_does_not_repeat_it(office):
    office.upstream.answers[HOOK] = after(0.2, status(204, ""))
    async with office.open() as client:
        await create(client, "1")
        await create(client, "2")
        await until(lambda: office.sent)
    async with office.open():
        pass

    assert office.ids_sent == ["1", "2"]


@pytest.mark.parametrize("is_held", [False, True])
async def test_neither_lines_nor_the_stop_wait_for_a_webhook_that_hangs(office, monkeypatch, is_held):
    """Nor for another process that keeps the lease."""
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.3)
    monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 60)
    office.upstream.answers[HOOK] = hang
    if is_held:
        await hold_lease(office.url)
    async with asyncio.timeout(50), office.open() as client:
        lines = [await create(client, "1")]
        await until(lambda: office.sent or is_held)
        lines.append(await create(client, "2"))
        assert office.lines == lines

    assert "Audit entries are waiting for delivery: it took too long" in office.log.getvalue()
    assert await undelivered(office.url) == ["1", "2"]
    async with opened_database(office.url) as database:
        assert is_held or await acquire(database, WEBHOOK_LEASE)


@pytest.mark.engines("sqlite")  # it is about the event loop
async def test_delivery_stops_when_an_entry_comes_in_the_moment_of_the_stop(settings, http):
    async with opened_database(settings.database_url) as database:
        for _ in range(3):
            running = asyncio.create_task(AuditDelivery(database, http, settings)._run())
            await until(lambda: database.audited._waiters)
            database.audited.set()
            running.cancel()

            done, _ = await asyncio.wait({running}, timeout=20)
            assert done == {running}
            assert running.cancelled()


@pytest.fixture
async def http():
    async with httpx.AsyncClient() as client:
        yield client


# Real processes


@pytest.fixture
def process(tmp_path, database_url, upstream):
    upstream.answers[HOOK] = status(204, "")
    return lambda: ServiceProcess(tmp_path, database_url=database_url, audit_webhook_url=upstream.url(HOOK))


@pytest.mark.slow("sqlite")
@pytest.mark.parametrize("answer", [status(204, ""), hang], ids=["answers", "hangs"])
async def test_terminated_process_sends_before_it_ends_and_ends_though_the_webhook_hangs(process, upstream, answer):
    upstream.answers[HOOK] = answer
    async with process() as service, httpx.AsyncClient(base_url=service.url) as client:
        line = await create(client, "1")
        service.process.terminate()
        await asyncio.to_thread(service.process.wait, 30)

    assert audit_lines(service.log.read_text()) == [line]
    assert [request.json()["request_id"] for request in upstream.requests] == ["1"]
    assert "Traceback" not in service.log.read_text()


@pytest.mark.slow("sqlite")
async def test_killed_process_loses_no_call_of_the_webhook(process, office, upstream):
    upstream.answers[HOOK] = hang
    async with process() as service, httpx.AsyncClient(base_url=service.url) as client:
        line = await create(client, "1")
        await until(lambda: upstream.hits[HOOK])
        service.kill()
    await change_lease(office.url, expires_at=LONG_AGO)

    upstream.answers[HOOK] = status(204, "")
    async with office.open() as client:
        await until(lambda: upstream.hits[HOOK] == 2)
        shown = (await client.get("/audit")).json()

    assert audit_lines(service.log.read_text()) == [line]
    assert office.lines == []
    assert office.sent == shown * 2
