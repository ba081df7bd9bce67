"""Leases: one holder, taken over when it dies, and a late one is fenced off."""

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlmodel import select

from app.core.db import lease as leases
from app.core.db.lease import Lease, LeaseLost, LeaseRow, acquire, held, release, release_in, renew_in
from tests.conftest import opened_database
from tests.support.engines import EVERY_ENGINE

pytestmark = EVERY_ENGINE


@pytest.fixture
async def database(database_url):
    async with opened_database(database_url) as opened:
        yield opened


@pytest.fixture
async def lease(database) -> Lease:
    acquired = await acquire(database, "work")
    assert acquired is not None
    return acquired


async def test_free_lease_is_acquired_once_for_each_name(database, lease):
    assert (lease.name, lease.fence) == ("work", 1)
    assert await acquire(database, "work") is None
    assert await acquire(database, "other") is not None


async def test_many_who_ask_at_once_get_one_lease(database):
    got = await asyncio.gather(*(acquire(database, "work") for _ in range(8)))

    assert len([lease for lease in got if lease]) == 1


async def test_released_lease_is_free_and_its_fence_grows(database, lease):
    await release(database, lease)

    second = await acquire(database, "work")

    assert second is not None
    assert second.fence == lease.fence + 1


async def test_expired_lease_is_taken_over_and_the_late_holder_is_fenced_off(database):
    late = await acquire(database, "work", seconds=0.2)
    assert late is not None
    await asyncio.sleep(0.3)
    heir = await acquire(database, "work")
    assert heir is not None
    assert heir.fence == late.fence + 1

    for change in (renew_in, release_in):
        with pytest.raises(LeaseLost):
            await database.transaction(partial(change, lease=late))
    await release(database, late)

    assert await acquire(database, "work") is None, "the heir still holds it"


@pytest.mark.parametrize(("seconds", "is_free"), [(86_400, True), (11, True), (9, False)])
async def test_lease_that_ends_too_far_in_the_future_counts_as_expired(database, seconds, is_free):
    """It was taken while the clock was ahead; the clocks of a cluster's nodes may differ by seconds."""
    ahead = await acquire(database, "work", seconds=seconds)
    assert ahead is not None

    assert (await acquire(database, "work") is not None) is is_free

    if is_free:
        with pytest.raises(LeaseLost):
            await database.transaction(partial(renew_in, lease=ahead))


async def test_block_keeps_its_own_error_and_its_lease_is_renewed_through_unforeseen_ones(database, lease, monkeypatch):
    calls = []

    async def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise RuntimeError("of a driver")

    async def work() -> None:
        async with held(database, lease):
            monkeypatch.setattr(type(database), "transaction", fail)
            while len(calls) < 3:
                await asyncio.sleep(0.01)
            raise LookupError

    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    with pytest.raises(LookupError):
        await work()


async def test_held_lease_is_renewed_while_the_block_runs(database, lease, monkeypatch):
    async def end() -> Any:
        async with database.reading() as session:
            row = (await session.exec(select(LeaseRow).where(LeaseRow.name == "work"))).one()
            return row.expires_at

    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    first_end = await end()

    async with held(database, lease):
        while await end() <= first_end:
            await asyncio.sleep(0.01)
        assert await acquire(database, "work") is None
        await release(database, lease)

    assert await acquire(database, "work") is not None


async def test_block_that_fails_gives_its_lease_back(database, lease):
    with pytest.raises(LookupError):
        async with held(database, lease):
            raise LookupError

    assert await acquire(database, "work") is not None


async def test_release_inside_a_transaction_that_fails_does_not_count(database, lease):
    async def fail(session):
        await release_in(session, lease)
        raise LookupError

    with pytest.raises(LookupError):
        await database.transaction(fail)

    assert await acquire(database, "work") is None
