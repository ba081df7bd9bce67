"""Telling the outside of audit entries: in the background, from the table, and whatever dies in between."""

import asyncio
import io
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
from sqlmodel import col, insert, select, update

from app.audit import delivery
from app.audit import delivery as turns
from app.audit.models import AuditEntry
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
        self.upstream = upstream
        self.log = io.StringIO()
        upstream.answers[HOOK] = status(204, "")

    @asynccontextmanager
    async def open(self, *, webhook: str | None = HOOK, **changes: Any) -> Any:
        url = self.upstream.url(webhook) if webhook == HOOK else webhook
        given = {**self.settings.model_dump(), "log_level": "INFO", "audit_webhook_url": url, **changes}
        settings = make_settings(**given)
        async with serving(settings, lines=configure_logging(settings, self.log)) as client:
            yield client

    @property
    def lines(self) -> list[str]:
        """Request id and message of each line of the audit trail."""
        return [line.split(" | ", 2)[2] for line in self.log.getvalue().splitlines() if "[AUDIT]" in line]

    @property
    def sent(self) -> list[Any]:
        """What the webhook got."""
        return [request.json() for request in self.upstream.requests if request.path == HOOK]

    @property
    def ids_sent(self) -> list[str]:
        return [entry["request_id"] for entry in self.sent]


@pytest.fixture
def office(settings, upstream) -> Office:
    return Office(settings, upstream)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Most of what takes seconds takes a moment here; a test that needs it longer says so."""
    for name, seconds in {"GATHER": 0.01, "BUSY": 0.05, "FAILED": 0.1}.items():
        monkeypatch.setattr(turns, f"{name}_SECONDS", seconds)
    for name, seconds in {"WEBHOOK": 5, "DRAIN": 2}.items():
        monkeypatch.setattr(delivery, f"{name}_SECONDS", seconds)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 0.05)


async def create(client, request_id: str) -> int:
    """Add an account; its id."""
    name = f"{request_id}-{next(NUMBERS)}"
    given = {"fname": "Ada", "lname": "M", "email": f"{name}@example.com", "password": "correct horse battery"}
    async with asyncio.timeout(3):  # what is delivered in the background may hang for as long as it likes
        response = await client.post("/users", json=given, headers={"X-Request-ID": request_id})
    assert response.status_code == 201, response.text
    number: int = response.json()["id"]
    return number


def line(request_id: str, user_id: int) -> str:
    return f"{request_id} | [AUDIT] CREATE_USER | User {user_id} created"


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def undelivered(database: Database) -> int:
    async with database.reading() as session:
        query = select(AuditEntry.id).where(col(AuditEntry.delivered_at).is_(None))
        return len((await session.exec(query)).all())


async def leave_entry(url: str, request_id: str, **values: Any) -> None:
    """Write an entry as a process would that dies right after its commit."""

    async def write(session: Any) -> None:
        known = {"action": "CREATE_USER", "object_type": "User", "object_id": "7", "actor": "service", "changes": "{}"}
        await session.exec(insert(AuditEntry).values({**known, "at": LONG_AGO, "request_id": request_id, **values}))

    async with opened_database(url) as database:
        await database.transaction(write)


async def hold_lease(url: str, name: str) -> None:
    """Take a lease as a process would that dies, or never comes to an end."""
    async with opened_database(url) as database:
        assert await acquire(database, name, seconds=3600)


async def let_lease_end(url: str, name: str) -> None:
    async def end(session: Any) -> None:
        await session.exec(update(LeaseRow).where(col(LeaseRow.name) == name).values(expires_at=LONG_AGO))

    async with opened_database(url) as database:
        await database.transaction(end)


# The log line


async def test_line_is_written_once_after_the_response_and_without_a_webhook(office, monkeypatch):
    monkeypatch.setattr(turns, "GATHER_SECONDS", 0.3)
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.3)
    async with office.open(webhook=None) as client:
        await asyncio.sleep(0.1)
        user_id = await create(client, "r-1")
        at_once = office.lines
        await until(lambda: office.lines)
        await asyncio.sleep(0.4)

        assert await undelivered(client.state["database"]) == 0
    assert at_once == []
    assert office.lines == [line("r-1", user_id)]
    assert office.sent == []


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_line_as_json_has_the_id_of_the_request(office):
    async with office.open(webhook=None, log_format="json") as client:
        user_id = await create(client, "r-1")
        await until(lambda: "[AUDIT]" in office.log.getvalue())

    (told,) = [json.loads(text) for text in office.log.getvalue().splitlines() if "[AUDIT]" in text]
    assert {**told, "time": None} == {
        "time": None,
        "level": "INFO",
        "logger": "app.audit.delivery",
        "message": f"[AUDIT] CREATE_USER | User {user_id} created",
        "request_id": "r-1",
    }


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_entry_can_forge_no_line(office, database_url):
    await leave_entry(database_url, "r-1", object_id="1\n2026-01-01 00:00:00.000 | INFO    | - | x {0}")
    async with office.open(webhook=None):
        await until(lambda: office.lines)

    forged = r"User 1\n2026-01-01 00:00:00.000 | INFO    | - | x {0} created"
    assert office.lines == [f"r-1 | [AUDIT] CREATE_USER | {forged}"]


# The webhook


async def test_webhook_gets_each_entry_once_and_in_order(office):
    async with office.open() as client:
        for number in range(3):
            await create(client, str(number))
        await until(lambda: len(office.sent) >= 3)
        told = (await client.get("/audit")).json()[::-1]

    assert office.ids_sent == ["0", "1", "2"]
    assert office.sent == told
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
            ids = [await create(client, str(number)) for number in range(3)]
            await until(lambda: len(office.lines) == 3)
            await until(lambda: f"The audit webhook {reason}; trying again in 0.05 s" in office.log.getvalue())
            if not answer:
                await hook.__aenter__()
            hook.answers[HOOK] = status(204, "")
            hook.requests.clear()
            await until(lambda: len(office.sent) >= 3)
            await until(lambda: office.ids_sent[-1] == "2")
            assert await undelivered_soon(client) == 0
    finally:
        await hook.__aexit__()

    assert list(dict.fromkeys(office.ids_sent)) == ["0", "1", "2"]
    assert office.lines == [line(str(number), user_id) for number, user_id in enumerate(ids)]
    assert hook.hits["/elsewhere"] == 0
    assert HOOK not in office.log.getvalue()


async def undelivered_soon(client) -> int:
    async with asyncio.timeout(10):
        while left := await undelivered(client.state["database"]):
            await asyncio.sleep(0.01)
    return left


async def test_lines_do_not_wait_for_a_webhook_that_is_slow(office, monkeypatch):
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.2)
    office.upstream.answers[HOOK] = hang
    async with office.open() as client:
        first = await create(client, "1")
        await until(lambda: office.sent)
        second = await create(client, "2")
        async with asyncio.timeout(4):  # the webhook has five seconds
            await until(lambda: len(office.lines) == 2)
        hung = office.ids_sent
        office.upstream.answers[HOOK] = status(204, "")

    assert hung == ["1"]
    assert office.lines == [line("1", first), line("2", second)]


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_webhook_that_fails_is_left_alone_for_a_while_whatever_comes(office, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 60)
    monkeypatch.setattr(delivery, "LONGEST_PAUSE", 300)
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.05)
    office.upstream.answers[HOOK] = status(500)
    async with office.open() as client:
        for number in range(5):
            await create(client, str(number))
        await until(lambda: len(office.lines) == 5)
        await until(lambda: office.sent)
        with recorded(client.state["database"]) as statements:
            await asyncio.sleep(0.4)

    assert office.ids_sent == ["0"]
    assert "trying again in 60 s" in office.log.getvalue()
    assert [statement.sql for statement in statements if statement.sql.startswith("SELECT lease")] == []


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_pauses_grow_up_to_the_longest(office, monkeypatch):
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.01)
    office.upstream.answers[HOOK] = status(500)
    async with office.open() as client:
        await create(client, "1")
        await until(lambda: len(office.sent) >= 5)

    pauses = [text.split("again in ")[1] for text in office.log.getvalue().splitlines() if "again in" in text]
    assert pauses[:5] == ["0.01 s", "0.02 s", "0.04 s", "0.05 s", "0.05 s"]


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_secret_of_the_webhook_is_in_no_line_even_of_an_unforeseen_error(office, monkeypatch):
    calls = []

    async def fail(_: object, url: str, *__: object, **___: object) -> None:
        calls.append(url)
        if len(calls) == 1:
            raise RuntimeError(f"can't ask {url}")

    monkeypatch.setattr(delivery, "post_json", fail)
    async with office.open(log_level="DEBUG") as client:
        user_id = await create(client, "1")
        await until(lambda: len(calls) == 2)

    assert "RuntimeError: can't ask ********" in office.log.getvalue()
    assert HOOK not in office.log.getvalue()
    assert office.lines == [line("1", user_id)]


async def test_entries_from_before_there_was_a_webhook_are_not_sent_to_it(office):
    async with office.open(webhook=None) as client:
        await create(client, "before")
    async with office.open() as client:
        await create(client, "after")
        await until(lambda: office.sent)

    assert office.ids_sent == ["after"]


async def test_what_a_webhook_missed_waits_for_one_and_costs_nothing_meanwhile(office, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.3)
    office.upstream.answers[HOOK] = status(500)
    async with office.open() as client:
        await create(client, "1")
        await until(lambda: office.sent)
    async with office.open(webhook=None) as client:
        with recorded(client.state["database"]) as statements:
            await asyncio.sleep(0.3)
    office.upstream.answers[HOOK] = status(204, "")
    office.upstream.requests.clear()
    async with office.open():
        await until(lambda: office.sent)

    assert [statement.sql for statement in statements if "lease" in statement.sql] == []
    assert office.ids_sent == ["1"]
    assert len(office.lines) == 1


# Several processes


async def test_two_services_deliver_each_entry_once(office, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.05)
    async with office.open() as one, office.open() as other:
        clients = [one, other] * 10
        ids = await asyncio.gather(*(create(client, str(number)) for number, client in enumerate(clients)))
        await until(lambda: len(office.lines) >= 20 and len(office.sent) >= 20)
        await asyncio.sleep(0.3)

    assert sorted(office.lines) == sorted(line(str(number), user_id) for number, user_id in enumerate(ids))
    assert sorted(office.ids_sent, key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize(("lease", "lines"), [(delivery.LOG_LEASE, 0), (delivery.WEBHOOK_LEASE, 1)])
async def test_lease_of_a_dead_process_is_waited_for_and_taken_over(office, database_url, lease, lines):
    await hold_lease(database_url, lease)
    async with office.open() as client:
        user_id = await create(client, "1")
        await until(lambda: len(office.lines) == lines)
        await asyncio.sleep(0.15)
        at_first = (office.lines, office.ids_sent)
        await let_lease_end(database_url, lease)
        await until(lambda: office.sent)

    assert at_first == ([line("1", user_id)] * lines, [])
    assert office.lines == [line("1", user_id)]
    assert office.ids_sent == ["1"]


async def test_entry_that_a_dead_process_left_is_found(office, database_url, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.1)
    await leave_entry(database_url, "before the start")
    async with office.open():
        await until(lambda: len(office.sent) == 1)
        await leave_entry(database_url, "after the start")
        await leave_entry(database_url, "after its line", logged_at=LONG_AGO)
        await until(lambda: len(office.sent) == 3)

    assert office.lines == [line("before the start", 7), line("after the start", 7)]
    # One that has its line already need not wait for the line of another.
    assert office.ids_sent[0] == "before the start"
    assert set(office.ids_sent[1:]) == {"after the start", "after its line"}


@pytest.mark.parametrize(
    ("step", "lease"), [("_write_line", delivery.LOG_LEASE), ("post_json", delivery.WEBHOOK_LEASE)]
)
async def test_lease_is_free_after_a_turn_that_fails(office, database_url, monkeypatch, step, lease):
    monkeypatch.setattr(turns, "FAILED_SECONDS", 60)
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.2)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(delivery, step, fail)
    async with office.open() as client, opened_database(database_url) as database:
        await create(client, "1")
        await until(lambda: "Delivering audit entries failed" in office.log.getvalue())

        assert await acquire(database, lease)


async def test_process_that_lost_its_lease_stops_where_it_is(office, database_url, monkeypatch):
    """It was suspended, say; what it did last is done again by whoever has the lease now."""
    posts: list[str] = []

    async def lose_lease_once(http, url, content, **options):
        await post_json(http, url, content, **options)
        posts.append(content["request_id"])
        if len(posts) == 1:
            async with opened_database(database_url) as other:
                await other.transaction(take_away)

    async def take_away(session):
        values = {"holder": "another process", "fence": LeaseRow.fence + 1, "expires_at": LONG_AGO}
        await session.exec(update(LeaseRow).where(col(LeaseRow.name) == delivery.WEBHOOK_LEASE).values(**values))

    await leave_entry(database_url, "1")
    await leave_entry(database_url, "2")
    monkeypatch.setattr(delivery, "post_json", lose_lease_once)
    async with office.open():
        await until(lambda: len(posts) == 3)

    assert posts == ["1", "1", "2"]
    assert "Audit entries wait for their delivery: " in office.log.getvalue()


# The database


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_idle_courier_asks_rarely_and_writes_nothing(office, monkeypatch):
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.2)
    async with office.open() as client:
        await create(client, "1")
        await until(lambda: office.sent)
        await asyncio.sleep(0.3)
        with recorded(client.state["database"], deliveries=True) as statements:
            await asyncio.sleep(0.6)

    assert {statement.sql.split(" ", 1)[0] for statement in statements} == {"SELECT"}
    assert len(statements) <= 2 * 4, "the log and the webhook, each three times"


@pytest.mark.engines("sqlite")  # the engine makes no difference
async def test_courier_does_not_spin_while_the_database_is_away_and_goes_on_afterwards(office, monkeypatch):
    tries: list[float] = []
    reading = Database.reading

    def fail(_: Database) -> Any:
        tries.append(time.monotonic())
        raise DatabaseUnavailable("The database can't be reached or refused the work")

    monkeypatch.setattr(delivery, "POLL_SECONDS", 60)
    monkeypatch.setattr(turns, "FAILED_SECONDS", 0.5)
    async with office.open() as client:
        database = client.state["database"]
        await asyncio.sleep(0.1)
        monkeypatch.setattr(Database, "reading", fail)
        for _ in range(60):
            database.audited.set()  # as commits do whose outcome nobody knows
            await asyncio.sleep(0.01)
        monkeypatch.setattr(Database, "reading", reading)
        user_id = await create(client, "1")
        await until(lambda: office.sent)

    assert 1 <= len(tries) <= 6
    assert office.log.getvalue().count("Audit entries wait for their delivery: The database can't be reached") >= 1
    assert office.lines == [line("1", user_id)]


@pytest.mark.engines("mariadb")
async def test_frozen_database_holds_delivery_up_and_no_longer(office, database_url, monkeypatch, request):
    """On MariaDB only: SQLite has no server that could freeze."""
    server = request.getfixturevalue("mariadb")
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.1)
    async with office.open(db_timeout_seconds=0.5):
        server.freeze()
        try:
            await until(lambda: "Audit entries wait for their delivery: No answer" in office.log.getvalue())
        finally:
            server.thaw()
        await leave_entry(database_url, "1")
        await until(lambda: office.sent)

    assert office.lines == [line("1", 7)]
    assert office.ids_sent == ["1"]


# The stop


async def test_stop_delivers_what_is_left(office, monkeypatch):
    monkeypatch.setattr(turns, "GATHER_SECONDS", 0.5)
    async with office.open() as client:
        await asyncio.sleep(0.1)
        user_id = await create(client, "1")
        at_once = office.lines

    assert at_once == []
    assert office.lines == [line("1", user_id)]
    assert office.ids_sent == ["1"]


async def test_stop_waits_for_the_webhook_that_is_being_told_and_does_not_tell_it_twice(office):
    office.upstream.answers[HOOK] = after(0.2, status(204, ""))
    async with office.open() as client:
        await create(client, "1")
        await create(client, "2")
        await until(lambda: office.sent)
    async with office.open():
        await asyncio.sleep(0.1)

    assert office.ids_sent == ["1", "2"]


async def test_stop_waits_for_another_process_that_is_at_it(office, database_url):
    """Both may be stopping, and the other may have looked before our entry came."""
    await hold_lease(database_url, delivery.LOG_LEASE)

    async def come_to_an_end() -> None:
        await asyncio.sleep(0.2)
        await let_lease_end(database_url, delivery.LOG_LEASE)

    async with office.open() as client:
        user_id = await create(client, "1")
        other = asyncio.create_task(come_to_an_end())
    await other

    assert office.lines == [line("1", user_id)]
    assert office.ids_sent == ["1"]


@pytest.mark.parametrize("lease", [None, delivery.LOG_LEASE])
async def test_stop_ends_in_time_and_keeps_no_lease(office, database_url, monkeypatch, lease):
    monkeypatch.setattr(delivery, "DRAIN_SECONDS", 0.3)
    monkeypatch.setattr(delivery, "WEBHOOK_SECONDS", 60)
    office.upstream.answers[HOOK] = hang
    if lease:
        await hold_lease(database_url, lease)
    async with asyncio.timeout(5), office.open() as client:
        await create(client, "1")
        if not lease:
            await until(lambda: office.sent)

    assert "Audit entries wait for their delivery: it took too long" in office.log.getvalue()
    async with opened_database(database_url) as database:
        assert await undelivered(database) == 1
        assert await acquire(database, delivery.WEBHOOK_LEASE)


# Real processes


@pytest.fixture
def process(tmp_path, database_url, upstream):
    upstream.answers[HOOK] = status(204, "")

    def start() -> ServiceProcess:
        return ServiceProcess(tmp_path, database_url=database_url, audit_webhook_url=upstream.url(HOOK))

    return start


def lines_of(*processes: ServiceProcess) -> list[str]:
    text = "".join(process.log.read_text() for process in processes)
    return [line.split(" | ", 2)[2] for line in text.splitlines() if "[AUDIT]" in line]


@pytest.mark.slow("sqlite")
async def test_terminated_process_delivers_before_it_ends(process, upstream):
    async with process() as service, httpx.AsyncClient(base_url=service.url) as client:
        user_id = await create(client, "1")
        service.process.terminate()
        await asyncio.to_thread(service.process.wait, 15)

    assert lines_of(service) == [line("1", user_id)]
    assert [request.json()["request_id"] for request in upstream.requests] == ["1"]
    assert "Traceback" not in service.log.read_text()


@pytest.mark.engines("sqlite")  # it takes its four seconds once
@pytest.mark.slow("sqlite")
async def test_terminated_process_ends_in_time_though_the_webhook_hangs(process, upstream):
    upstream.answers[HOOK] = hang
    async with process() as service, httpx.AsyncClient(base_url=service.url) as client:
        user_id = await create(client, "1")
        service.process.terminate()
        async with asyncio.timeout(10):
            await asyncio.to_thread(service.process.wait, 15)

    assert lines_of(service) == [line("1", user_id)]
    assert "Traceback" not in service.log.read_text()


@pytest.mark.slow("sqlite")
async def test_killed_process_loses_neither_line_nor_webhook(process, office, upstream, database_url):
    """Killed once before the line, and once between the line and the webhook's answer."""
    await hold_lease(database_url, delivery.LOG_LEASE)
    async with process() as first, httpx.AsyncClient(base_url=first.url) as client:
        user_id = await create(client, "1")
        first.kill()
    await let_lease_end(database_url, delivery.LOG_LEASE)
    before = lines_of(first)

    upstream.answers[HOOK] = hang
    async with process() as second:
        await until(lambda: upstream.hits[HOOK])
        second.kill()
    await let_lease_end(database_url, delivery.WEBHOOK_LEASE)

    upstream.answers[HOOK] = status(204, "")
    async with office.open() as client:
        await until(lambda: upstream.hits[HOOK] == 2)
        told = (await client.get("/audit")).json()

    assert before == []
    assert lines_of(second) + office.lines == [line("1", user_id)]
    assert office.sent == told * 2
