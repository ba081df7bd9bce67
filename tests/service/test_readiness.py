"""Readiness: one check for all callers, at most a second old."""

import asyncio
from unittest.mock import Mock

import pytest

from app.core.db.database import Database
from app.core.errors import DatabaseUnavailable
from tests.support.statements import Statement, recorded

AWAY = {"error": "Not ready", "details": {"database": "The database can't be reached"}}


def number_of_checks(statements: list[Statement]) -> int:
    return sum("version_num" in statement.sql for statement in statements)


async def test_callers_of_one_second_share_one_check(service):
    now = [0.0]
    async with service(monotonic=lambda: now[0]) as client:
        with recorded(client.state["database"]) as statements:
            at_once = await asyncio.gather(*(client.get("/health/ready") for _ in range(60)))
            now[0] += 0.9
            later = await client.get("/health/ready")
            checks = [number_of_checks(statements)]
            now[0] += 0.1
            await client.get("/health/ready")
            checks.append(number_of_checks(statements))

    assert {response.status_code for response in (*at_once, later)} == {200}
    assert checks == [1, 2]


@pytest.mark.engines("sqlite")
async def test_failure_and_recovery_are_seen_after_a_second(service, monkeypatch):
    now, away = [0.0], Mock(side_effect=DatabaseUnavailable("The database can't be reached"))
    async with service(monotonic=lambda: now[0]) as client:
        before = await client.get("/health/ready")
        with monkeypatch.context() as patch:
            patch.setattr(Database, "reading", away)
            still = await client.get("/health/ready")
            now[0] += 1
            down = [await client.get("/health/ready") for _ in range(3)]
        still_down = await client.get("/health/ready")
        now[0] += 1
        up = await client.get("/health/ready")

    assert [response.status_code for response in (before, still, up)] == [200, 200, 200]
    assert [(response.status_code, response.json()) for response in (*down, still_down)] == [(503, AWAY)] * 4
    assert away.call_count == 1
