"""Errors that only some servers give, raised in the driver, under readers and writers."""

from contextlib import asynccontextmanager
from typing import Any

import aiomysql
import pymysql
import pytest

from checks.support.processes import migrated_mariadb
from checks.support.scene import Scene, settings
from checks.support.traffic import KEY
from tests.conftest import make_settings, serving
from tests.core.db.test_pool import until_started


@pytest.fixture
async def scene(is_full):
    """The service in this process, where the driver can be patched."""
    with migrated_mariadb() as server:
        async with serving(make_settings(**settings(server.url("service")))) as client:
            assert (await client.post("/countries/refresh", headers=KEY)).status_code == 200
            await until_started(client)
            yield Scene(client, 7 if is_full else 1.5, server=server)


def failing(query: Any):
    """A fault in which this function sends statements instead of the driver's."""

    @asynccontextmanager
    async def fault(_: Scene):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aiomysql.Connection, "query", query)
            yield

    return fault


@pytest.mark.row("4.08 cluster node without quorum (1047)")
async def test_node_without_quorum_is_503_until_it_has_one(scene, figure):
    """Broken on purpose: with operational errors treated as bugs of the service nearly all answers were 500."""

    async def refuse(*_):
        raise pymysql.err.OperationalError(1047, "WSREP has not yet prepared node for application use")

    figure((await scene.suffer(failing(refuse), is_away=True)).figure())


@pytest.mark.row("4.08 records changed since they were read (1020)")
async def test_transactions_with_changed_records_are_repeated(scene, figure):
    """Broken on purpose: with 1020 not retried there were more refusals than half of these errors."""
    send, changes, refused = aiomysql.Connection.query, 0, 0

    async def refuse_some(connection, sql, unbuffered=False):
        nonlocal changes, refused
        text = bytes(sql).decode("latin-1") if isinstance(sql, (bytes, bytearray)) else sql
        if text.startswith(("UPDATE", "INSERT")) or "FOR UPDATE" in text:
            changes += 1
            if changes % 7 == 0:
                refused += 1
                await send(connection, "ROLLBACK")  # as the server does
                raise pymysql.err.OperationalError(1020, "Record has changed since last read in table 'country'")
        return await send(connection, sql, unbuffered)

    outage = await scene.suffer(failing(refuse_some), is_away=False)
    assert refused >= 3
    assert outage.refusals < refused / 2, "most retries succeed"
    figure(f"{refused} times; {outage.figure()}")
