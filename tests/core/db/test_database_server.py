"""Faults and figures that need a database server which other tests do not use."""

import asyncio
import gc
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import aiomysql
import asyncmy.cursors
import pytest
from sqlalchemy.dialects import mysql
from sqlmodel import SQLModel, insert, literal, select, update

from app.core.db.dialects.mysql import upsert_statement
from app.core.errors import DatabaseUnavailable
from app.countries.models import Country
from app.rates.models import ExchangeRate
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
from tests.support import payloads
from tests.support.certificate import Authority
from tests.support.command import run
from tests.support.mariadb import PrivateMariaDB, is_installed
from tests.support.postgresql import PrivatePostgreSQL
from tests.support.upstream import document

pytestmark = pytest.mark.skipif(not is_installed(), reason="MariaDB is not installed")


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Files of a certificate, which is its own authority, and of its key."""
    authority = Authority(tmp_path_factory.mktemp("tls"), "server")
    return authority.file, authority.key_file


@pytest.fixture(scope="module")
def server(tls):
    """A server that offers TLS."""
    certificate, key = tls
    server = PrivateMariaDB(f"--ssl-cert={certificate}", f"--ssl-key={key}")
    server.execute("CREATE DATABASE service", "CREATE USER 'p@ss:user' IDENTIFIED BY 'p@ss/w:rd%41+#?'")
    server.execute("GRANT ALL ON service.* TO 'p@ss:user'")
    migrate_in_thread(server.url("service"))
    yield server
    server.stop()


async def query_one(url: str, sql: str) -> object:
    async with opened_database(url, db_timeout_seconds=2) as database, database.reading() as session:
        return tuple((await (await session.connection()).exec_driver_sql(sql)).one())[1]


async def test_reads_are_one_view_of_the_data_whatever_the_server_is_set_to(server):
    server.execute("SET GLOBAL tx_isolation = 'READ-COMMITTED'")
    try:
        level = await query_one(server.url("service"), "SHOW SESSION VARIABLES LIKE 'tx_isolation'")
    finally:
        server.execute("SET GLOBAL tx_isolation = 'REPEATABLE-READ'")

    assert level == "REPEATABLE-READ"


@pytest.mark.parametrize("number", [1047, 1180, 1290, 1836])
async def test_connection_to_a_node_that_takes_no_work_is_not_used_again(server, number):
    used = []

    async def work(session):
        connection = await session.connection()
        used.append((await connection.exec_driver_sql("SELECT CONNECTION_ID()")).scalar_one())
        if len(used) == 1:
            await connection.exec_driver_sql(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}")

    async with opened_database(server.url("service")) as database:
        await database.transaction(work)

    assert len(set(used)) == 2


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


async def read_and_freeze(database, server, *, and_read_again: bool):
    async with database.reading() as session:
        await session.exec(select(literal(1)))
        server.freeze()
        if and_read_again:
            await session.exec(select(literal(1)))


async def change_and_freeze(database, server, *, seconds_to_commit: float):
    async def work(session):
        await session.exec(update(Country).values(population=1))
        server.freeze()
        await asyncio.sleep(seconds_to_commit)

    await database.transaction(work)


FREEZING = (
    *(partial(read_and_freeze, and_read_again=again) for again in (False, True)),
    *(partial(change_and_freeze, seconds_to_commit=seconds) for seconds in (0, 60)),
)


async def assert_ends_in_time(url: str, server: PrivateMariaDB | PrivatePostgreSQL, work: Callable[..., Any]) -> None:
    async with opened_database(url, db_timeout_seconds=1) as database:
        async with database.reading() as session:  # connects
            await session.exec(select(literal(1)))
        try:
            async with asyncio.timeout(5):
                with pytest.raises(DatabaseUnavailable):
                    await work(database, server)
        finally:
            server.thaw()
        async with database.reading() as session:
            assert (await session.exec(select(literal(1)))).one() == 1


@pytest.mark.parametrize("driver", ["mysql", "mysql+asyncmy"])
@pytest.mark.parametrize("work", FREEZING)
async def test_work_ends_in_time_whenever_the_server_freezes(server, driver, work):
    await assert_ends_in_time(server.url("service", driver), server, work)


async def assert_restart_is_served(server: PrivateMariaDB | PrivatePostgreSQL) -> None:
    async with serving(make_settings(database_url=server.url("service"))) as client:
        assert (await client.get("/health/ready")).status_code == 200
        server.kill()
        down = await client.get("/countries")
        server.start()
        up = await client.get("/health/ready")

    assert (down.status_code, down.json()["error"]) == (503, "Database unavailable")
    assert up.status_code == 200


async def test_killed_server_is_503_and_a_restarted_one_serves_at_once(server):
    await assert_restart_is_served(server)


MODES = ["REQUIRED", "PREFERRED", "VERIFY_CA", "VERIFY_IDENTITY"]


@pytest.mark.parametrize("query", ["", "?sslmode=disable", *(f"?ssl-mode={mode}&ssl-ca=CERTIFICATE" for mode in MODES)])
async def test_connection_is_encrypted_if_a_mode_is_named(server, tls, query):
    url = server.url("service") + query.replace("CERTIFICATE", str(tls[0]))

    assert bool(await query_one(url, "SHOW STATUS LIKE 'Ssl_cipher'")) is ("ssl-ca" in query)


async def test_tls_handshake_that_is_given_up_leaves_no_connection_behind(server):
    """With aiomysql itself it does: a warning of the unclosed connection would fail this test."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    greeting = await reader.read(1000)
    writer.close()

    async def greet_and_say_no_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()  # until the client leaves
        writer.close()

    async with await asyncio.start_server(greet_and_say_no_more, "127.0.0.1", 0) as silent:
        url = f"mysql://root@127.0.0.1:{silent.sockets[0].getsockname()[1]}/service?ssl-mode=REQUIRED"
        async with serving(make_settings(database_url=url, db_timeout_seconds=0.3)) as client:
            response = await client.get("/health/ready")
    gc.collect()

    assert response.json()["details"] == {"database": "No answer from the database within 0.3 s"}


async def test_server_of_an_unknown_authority_or_without_tls_is_refused_by_the_mode(server, mysql_url):
    for url in (f"{server.url('service')}?ssl-mode=VERIFY_CA", f"{mysql_url}?ssl-mode=REQUIRED"):
        async with serving(make_settings(database_url=url)) as client:
            response = await client.get("/health/ready")

        assert (url, response.status_code, response.json()["error"]) == (url, 503, "Not ready")


async def test_password_reaches_the_server_character_by_character(server):
    user, password = "p%40ss%3Auser", "p%40ss%2Fw%3Ard%2541+%23%3F"
    url = f"mysql://{user}:{password}@127.0.0.1:{server.port}/service"

    assert await query_one(url, "SELECT 1, CURRENT_USER()") == "p@ss:user@%"


OF_A_REFRESH = [
    "SELECT summarycache",  # under lock: its version tells whether the countries have changed
    "INSERT country",
    "UPDATE summarycache",
    "INSERT country_history",
    "INSERT rate_day",
    "INSERT exchange_rate",
    "INSERT currency_span",
    "INSERT audit",
    # And what reads will need and is not known.
    "SELECT summarycache",
    "SELECT summarycache",
    "SELECT currency_span",
    "SELECT currency_span",  # the newest day of each source
    "SELECT exchange_rate",
    "SELECT currency_span",  # with the last rate of each currency
]


@pytest.mark.parametrize("driver", ["mysql", "mysql+asyncmy"])
@pytest.mark.parametrize("size", [250, 125])
async def test_refresh_sends_a_fixed_number_of_statements(server, upstream, driver, size):
    upstream.answers[COUNTRIES] = document(payloads.v3_1()[:size])
    settings = make_settings(
        database_url=server.url("service", driver),
        country_sources=upstream.url(COUNTRIES),
        rate_sources=upstream.url(RATES),
    )
    server.execute(*(f"DELETE FROM service.{name}" for name in ("country", "exchange_rate", "summarycache")))
    async with serving(settings, clock=ticking_clock()) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        await until_loaded(client)
        server.execute("SET GLOBAL log_output = 'TABLE'", "TRUNCATE mysql.general_log", "SET GLOBAL general_log = 1")
        assert (await client.post("/countries/refresh")).status_code == 200
        await until_loaded(client)
        server.execute("SET GLOBAL general_log = 0")
        image = await client.get("/countries/image")

    # As hexadecimal digits: one of the statements carries the bytes of a picture.
    logged = server.execute("SELECT HEX(LEFT(argument, 2000)) FROM mysql.general_log WHERE command_type = 'Query'")
    statements = [bytes.fromhex(str(row[0])).decode("utf-8", "replace") for row in logged]
    assert data_statements(statements) == OF_A_REFRESH
    assert image.content.startswith(b"\x89PNG")


_ABOUT_DATA = re.compile(r"(SELECT)\b.*?\bFROM (\w+)|(INSERT) INTO (\w+)|(UPDATE) (\w+)|(DELETE) FROM (\w+)", re.DOTALL)


def data_statements(statements: list[str]) -> list[str]:
    """Verb and table of each statement of a refresh: no lease, settings, ends, or delivery of the audit."""
    matches = [_ABOUT_DATA.match(statement.replace("`", "")) for statement in statements]
    about = [" ".join(filter(None, match.groups())) for match in matches if match]
    return [line for line in about if not line.endswith(" lease") and line not in ("SELECT audit", "UPDATE audit")]


@pytest.mark.parametrize(("model", "keys"), [(Country, ["id"]), (ExchangeRate, ["source", "quote", "day"])])
def test_drivers_send_the_upsert_for_mysql_8_4_as_one_statement(model: type[SQLModel], keys: list[str]):
    """No MySQL 8.4 runs here, so its SQL is held against the patterns by which the drivers recognise bulk inserts."""
    table = SQLModel.metadata.tables[str(model.__tablename__)]
    columns = [column.name for column in table.columns if column.name not in keys]
    dialect = mysql.dialect(paramstyle="pyformat")
    dialect.server_version_info = (8, 4, 0)
    dialect._requires_alias_for_on_duplicate_key = True  # what SQLAlchemy finds out when it connects

    plain_columns = [column.name for column in table.columns]
    sql = str(upsert_statement(table, columns, keys).compile(dialect=dialect, column_keys=plain_columns))
    plain = str(insert(table).compile(dialect=dialect, column_keys=plain_columns))

    assert f"{columns[0]} = VALUES({columns[0]})" in sql
    for pattern in (aiomysql.cursors.RE_INSERT_VALUES, asyncmy.cursors.RE_INSERT_VALUES):
        assert pattern.match(sql), sql
        assert pattern.match(plain), plain


async def test_certificate_that_is_not_trusted_ends_a_start_at_once(server, tmp_path):
    other = Authority(tmp_path, "other").file

    result = await run("migrate", DATABASE_URL=f"{server.url('service')}?ssl-mode=VERIFY_CA&ssl-ca={other}")

    assert (result.code, result.err.count("\n")) == (1, 1), result.err
    assert result.err.startswith("Database unavailable: TLS: ")
    assert result.err.endswith("; correct ssl-ca, ssl-mode or the host in DATABASE_URL\n")
