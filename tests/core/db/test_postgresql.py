"""Faults and figures that need a PostgreSQL which other tests do not use, and what only PostgreSQL does."""

import asyncio
import io
import re
import sys
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlmodel import literal, select, update

from app.core.db.database import Database
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.log import configure_logging
from app.countries.models import Country
from app.tracking.crud import Tracking
from app.tracking.schemas import DocumentInput, TransferCreate
from tests.conftest import (
    COUNTRIES,
    RATES,
    make_settings,
    migrate_in_thread,
    opened_database,
    serving,
    ticking_clock,
    until_loaded,
)
from tests.core.db.test_database_server import (
    FREEZING,
    OF_A_REFRESH,
    assert_ends_in_time,
    assert_restart_is_served,
    data_statements,
)
from tests.support.command import BUNDLED, run
from tests.support.engines import has
from tests.support.mariadb import free_port
from tests.support.postgresql import Console, PrivatePostgreSQL
from tests.support.service import ROOT, environment

pytestmark = pytest.mark.skipif(not has("postgresql"), reason="PostgreSQL is not installed")


@pytest.fixture(scope="module")
def server():
    server = PrivatePostgreSQL("-c", "log_statement=all")
    server.create("service")
    migrate_in_thread(server.url("service"))
    yield server
    server.stop()


def sent_to(server: PrivatePostgreSQL) -> list[str]:
    """Every statement that the server got, each in one line."""
    log = (server.folder / "log").read_text().replace("\n\t", " ")
    return [" ".join(sql.split()) for sql in re.findall(r"LOG:  (?:statement|execute \S+): (.*)", log)]


async def test_text_columns_compare_byte_by_byte_and_times_have_a_zone(server):
    types = server.execute(
        "SELECT DISTINCT data_type, collation_name FROM information_schema.columns WHERE table_schema = 'public'"
        " AND (collation_name IS NOT NULL OR data_type LIKE 'time%' OR data_type IN ('text', 'character varying'))",
        database="service",
    )

    assert sorted(types) == [("character varying", "C"), ("text", "C"), ("timestamp with time zone", None)]


async def test_unit_of_work_takes_no_round_trip_for_its_isolation(server):
    async def look(session: Any) -> list[str]:
        connection = await session.connection()
        names = ("transaction_isolation", "transaction_read_only")
        return [(await connection.exec_driver_sql(f"SHOW {name}")).scalar_one() for name in names]

    async with opened_database(server.url("service"), db_pool_size=1, db_max_overflow=0) as database:
        async with database.reading() as session:
            reading = await look(session)
        start = len(sent_to(server))
        writing = await database.transaction(look)
        sent = sent_to(server)[start:]

    assert (reading, writing) == (["repeatable read", "on"], ["read committed", "off"])
    assert sent == [
        "SELECT 1",
        "BEGIN ISOLATION LEVEL READ COMMITTED;",
        "SHOW transaction_isolation",
        "SHOW transaction_read_only",
        "COMMIT;",
    ]


async def test_frozen_server_is_503_within_the_timeout_and_then_serves_again(server):
    async with serving(make_settings(database_url=server.url("service"), db_timeout_seconds=1)) as client:
        assert (await client.get("/health/ready")).status_code == 200
        server.freeze()
        try:
            async with asyncio.timeout(5):
                frozen, live = await client.get("/countries"), await client.get("/health/live")
        finally:
            server.thaw()
        thawed = await client.get("/health/ready")

    assert frozen.json() == {"error": "Database unavailable", "details": "No answer from the database within 1 s"}
    assert (live.status_code, thawed.status_code) == (200, 200)


@pytest.mark.parametrize("work", FREEZING)
async def test_work_ends_in_time_whenever_the_server_freezes(server, work):
    await assert_ends_in_time(server.url("service"), server, work)


async def test_killed_server_is_503_and_a_restarted_one_serves_at_once(server):
    await assert_restart_is_served(server)


async def test_server_killed_under_writers_loses_nothing_that_was_acknowledged(server):
    acknowledged: list[str] = []

    async def write(database: Database) -> None:
        tracking = Tracking(database)
        while len(acknowledged) < 300:
            ubid = str(uuid4())
            transfer = TransferCreate(UBID=ubid, SMScount=1, documents=1, fileName="f", origName="o")
            try:
                await tracking.put_transfer(transfer)
                await tracking.put_documents(ubid, [DocumentInput(SMScount=1, uniqueId="a", data={})])
            except DatabaseUnavailable:
                await asyncio.sleep(0.01)
            else:
                acknowledged.append(ubid)

    async def kill() -> None:
        for number in (50, 150):
            while len(acknowledged) < number:
                await asyncio.sleep(0.001)
            server.kill()
            await asyncio.to_thread(server.start)

    async with opened_database(server.url("service")) as database:
        database.logs_faults = False
        await asyncio.gather(kill(), *(write(database) for _ in range(8)))
    stored = server.execute('SELECT "UBID" FROM sms_documents', database="service")

    assert set(acknowledged) <= {ubid for (ubid,) in stored}


@pytest.mark.parametrize("state", ["25006", "57P01", "08006"])
async def test_connection_to_a_server_that_takes_no_work_is_not_used_again(server, state):
    used = []

    async def work(session):
        connection = await session.connection()
        used.append((await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one())
        if len(used) == 1:
            await connection.exec_driver_sql(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$")

    async with opened_database(server.url("service")) as database:
        await database.transaction(work)

    assert len(set(used)) == 2


async def test_of_several_hosts_the_one_that_answers_is_taken_and_asked_first_from_then_on(server):
    knocks = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        knocks.append(1)
        await reader.read()
        await reader.read()
        writer.close()

    async def ask(session: Any) -> int:
        return int((await session.exec(select(literal(1)))).one())

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        hosts = f"127.0.0.1:{silent.sockets[0].getsockname()[1]},127.0.0.1:{free_port()},127.0.0.1:{server.port}"
        url = f"postgresql://postgres@{hosts}/service?sslmode=disable"
        async with opened_database(url) as database:
            for _ in range(2):
                assert await database.transaction(ask) == 1
                await database.engine.dispose()

    assert len(knocks) == 1


async def test_server_that_takes_no_writes_is_named_with_what_to_change(server):
    server.create("standby")
    server.execute("ALTER DATABASE standby SET default_transaction_read_only = on")

    result = await run("doctor", DATABASE_URL=f"{server.url('standby')}?target_session_attrs=read-write", **BUNDLED)

    where = f"127.0.0.1:{server.port}"
    advice = "the server is read-only: name the primary in DATABASE_URL"
    assert f"{where}/standby: {where} is read-only" in result.out
    assert advice in result.out


async def refuse_settings(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What PgBouncer does: it refuses a session that wants settings, and passes others on to the server."""
    start = await reader.readexactly(int.from_bytes(size := await reader.readexactly(4)) - 4)
    if b"lock_timeout" in start:
        refusal = b"SFATAL\0C08P01\0Munsupported startup parameter: lock_timeout\0\0"
        writer.write(b"E" + (len(refusal) + 4).to_bytes(4) + refusal)
        writer.close()
        return
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
    server_writer.write(size + start)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
        sink.close()

    await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))


@pytest.mark.parametrize("option", ["", "&pgbouncer=true"])
async def test_pooler_gets_no_settings_of_a_session_and_each_transaction_has_them(server, option):
    async def look(session: Any) -> str:
        return str((await (await session.connection()).exec_driver_sql("SHOW lock_timeout")).scalar_one())

    async with await asyncio.start_server(partial(refuse_settings, server.port), "127.0.0.1", 0) as pooler:
        url = server.url("service", port=pooler.sockets[0].getsockname()[1]) + f"?sslmode=disable{option}"
        async with opened_database(url, db_pool_size=1) as database:
            inside = await database.transaction(look)
            async with database.engine.connect() as connection:
                plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
                outside = (await plain.exec_driver_sql("SHOW lock_timeout")).scalar_one()

    assert (inside, outside) == ("4s", "0")


async def test_change_is_made_after_a_column_has_changed_its_type(server):
    """PostgreSQL refuses a statement that a connection has prepared before."""
    server.create("altered")
    server.execute("CREATE TABLE one (number INTEGER)", "INSERT INTO one VALUES (1)", "SELECT 1", database="altered")

    async def read(session: Any) -> object:
        return (await (await session.connection()).exec_driver_sql("SELECT number FROM one")).scalar_one()

    async with opened_database(server.url("altered"), db_pool_size=1, db_max_overflow=0) as database:
        before = await database.transaction(read)
        server.execute("ALTER TABLE one ALTER number TYPE TEXT", "SELECT 1", database="altered")
        after = await database.transaction(read)

    assert (before, after) == (1, "1")


async def test_value_that_can_not_be_sent_is_not_in_the_log(server):
    log = io.StringIO()
    configure_logging(make_settings(log_level="DEBUG"), log)

    async def work(session):
        await session.exec(update(Country).values(name=12345678))

    async with opened_database(server.url("service")) as database:
        with pytest.raises(Exception, match=r"query argument \$1: the value can't be sent") as raised:
            await database.transaction(work)
    error: BaseException | None = raised.value
    while error is not None:
        assert "12345678" not in str(error)
        error = error.__cause__


@pytest.mark.parametrize("size", [250, 125])
async def test_refresh_sends_a_fixed_number_of_statements(server, upstream, size):
    settings = make_settings(
        database_url=server.url("service"),
        country_sources=upstream.url(COUNTRIES),
        rate_sources=upstream.url(RATES),
    )
    server.execute(
        "DELETE FROM country", "DELETE FROM exchange_rate", "DELETE FROM summarycache", "SELECT 1", database="service"
    )
    async with serving(settings, clock=ticking_clock()) as client:
        for _ in range(2):
            start = len(sent_to(server))
            assert (await client.post("/countries/refresh")).status_code == 200
            sent = sent_to(server)[start:]
            await until_loaded(client)
    sent = sent[: sent.index("COMMIT;", next(i for i, sql in enumerate(sent) if sql.startswith("INSERT INTO audit")))]

    assert data_statements(sent) == OF_A_REFRESH[: len(data_statements(sent))]
    # The others are the lease, the ends of transactions, pings, and once for each connection its types of arrays.
    assert len(sent) <= 19


async def test_migration_waits_for_a_reader_without_holding_up_others(server):
    """Otherwise each reader of the table waits behind a revision that waits for the first one."""
    server.create("waiting")
    migrate_in_thread(server.url("waiting"), revision="0019")
    reader = Console(server.url("waiting"))
    reader.execute("BEGIN", "SELECT * FROM country")
    migration = asyncio.create_task(asyncio.to_thread(migrate_in_thread, server.url("waiting")))
    try:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not await asyncio.to_thread(server.execute, waiting):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(2):  # of the statement's wait, which ends after half a second
            await asyncio.to_thread(server.execute, "SELECT * FROM country", database="waiting")
    finally:
        reader.close()
    await migration

    found = server.execute("SELECT version_num FROM alembic_version", database="waiting")
    assert found == [("0020",)]


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(20))
async def test_three_processes_that_start_at_once_on_an_empty_database_migrate_it_once(server, tmp_path, turn):
    server.create("empty")
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "migrate"),
            cwd=tmp_path,
            env={**environment(database_url=server.url("empty")), "PYTHONPATH": str(ROOT)},
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    results = [((await process.communicate())[1].decode(), process.returncode) for process in started]

    assert [code for _, code in results] == [0] * 3, results
    assert "".join(log for log, _ in results).count("-> 0018, ") == 1
