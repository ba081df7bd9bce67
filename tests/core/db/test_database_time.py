"""How long work on the database may take, and connections on which no answer or nonsense comes."""

import asyncio
import struct
from typing import Any

import pytest
from aiomysql import OperationalError
from aiomysql.connection import MySQLResult
from asyncpg import InterfaceError
from sqlmodel import literal, select, text

from app.core.db.database import Database
from app.core.db.dialects import mysql
from app.core.db.dialects.postgresql_connections import BoundedConnection
from app.core.db.lease import acquire, held
from app.core.errors import DatabaseUnavailable
from tests.conftest import opened_database
from tests.support.fault_proxy import FaultProxy

SYSTEM = {"mariadb": "mysql", "postgresql": "postgres"}
"""A database that every server has."""
on_every_server = pytest.mark.engines(*SYSTEM)


@pytest.fixture
def server(engine, request):
    return request.getfixturevalue(engine)


async def read_for(database: Database, seconds: float) -> None:
    async with database.reading() as session:
        await session.exec(select(literal(1)))
        await asyncio.sleep(seconds)


@pytest.mark.slow("sqlite")
async def test_units_of_one_request_share_one_bound(database_url):
    async with opened_database(database_url, db_timeout_seconds=1.5) as database:
        request = database.for_request()
        await read_for(request, 0.9)
        with pytest.raises(DatabaseUnavailable, match=r"within 1\.5 s"):
            await read_for(request, 0.9)
        await read_for(request.plain, 0.9)
        await read_for(database, 0.9)


@on_every_server
async def test_work_that_may_take_long_ends_soon_when_the_database_answers_nobody(server, engine):
    async def read(session):
        await session.exec(text("SELECT 1"))
        proxy.is_black_hole = True
        await session.exec(text("SELECT 2"))

    async with FaultProxy(server.port) as proxy:
        url = server.url(SYSTEM[engine], port=proxy.port)
        async with opened_database(url, db_timeout_seconds=0.4) as database:
            async with asyncio.timeout(10):
                with pytest.raises(DatabaseUnavailable, match=r"within 0\.4 s"):
                    await database.transaction(read, seconds=60)


@on_every_server
async def test_idle_connections_to_a_lost_server_cost_one_failed_ping_together(server, engine, monkeypatch):
    kind: Any = {"mariadb": mysql._Connection, "postgresql": BoundedConnection}[engine]
    lost, ping = [], kind.ping

    async def note_failure(connection, **options):
        try:
            await ping(connection, **options)
        except (OperationalError, InterfaceError):
            lost.append(connection)
            raise

    monkeypatch.setattr(kind, "ping", note_failure)
    async with FaultProxy(server.port) as proxy:
        url = server.url(SYSTEM[engine], port=proxy.port)
        async with opened_database(url, db_pool_size=3) as database:
            await asyncio.gather(*(read_for(database, 0.1) for _ in range(3)))
            proxy.lose()
            for _ in range(4):
                await read_for(database, 0)

    assert len(lost) == 1, "the other two are given away without a ping"


@on_every_server
async def test_work_that_may_take_long_does_not_wait_for_a_greeting_that_got_lost(server, engine):
    async def read(session):
        return (await session.exec(select(literal(1)))).one()

    async with FaultProxy(server.port, is_black_hole=True) as proxy:
        url = server.url(SYSTEM[engine], port=proxy.port)
        async with opened_database(url, db_timeout_seconds=1) as database:
            work = asyncio.create_task(database.transaction(read, seconds=60))
            while not proxy.open:
                await asyncio.sleep(0.01)
            proxy.lose()
            proxy.heal()
            async with asyncio.timeout(10):
                assert await work == 1


GREETINGS = [
    b"\x02\x00\x00\x00\x0a5",
    b"\x00\x00\x00\x00",
    b"\x05\x00\x00\x00\x0a5.5\x00",
    b"HTTP/1.1 400",
    b"R\0\0\0\x05\0",
]


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
@pytest.mark.parametrize("greeting", GREETINGS)
async def test_nonsense_for_a_greeting_is_an_outage_and_no_mistake(greeting, scheme):
    async def talk_nonsense(_, writer):
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(talk_nonsense, "127.0.0.1", 0) as server:
        url = f"{scheme}://root@127.0.0.1:{server.sockets[0].getsockname()[1]}/service"
        async with opened_database(url, db_timeout_seconds=1) as database:
            with pytest.raises(DatabaseUnavailable):
                await read_for(database, 0)


@pytest.mark.engines("mariadb")
async def test_answer_that_cannot_be_read_costs_its_connection(database_url, monkeypatch):
    async def fail(_):
        raise struct.error("unpack requires a buffer of 4 bytes")

    async with opened_database(database_url, db_pool_size=1, db_max_overflow=0) as database:
        await read_for(database, 0)
        with monkeypatch.context() as patch:
            patch.setattr(MySQLResult, "_get_descriptions", fail)
            with pytest.raises(DatabaseUnavailable):
                await read_for(database, 0)
        await read_for(database, 0)  # else it would read what was meant for the one before


async def test_lease_that_cannot_be_given_back_in_time_keeps_nobody_waiting(database_url, monkeypatch):
    async def hang(*_, **__):
        await asyncio.sleep(60)

    async with opened_database(database_url) as database:
        lease = await acquire(database, "work")
        assert lease is not None
        monkeypatch.setattr(database, "transaction", hang)
        async with asyncio.timeout(5):
            with pytest.raises(LookupError):
                async with held(database, lease):
                    raise LookupError
