"""Deleting a country while others change the data: what waits, what is found, and what is counted."""

import pytest
from sqlmodel import func, select

from app.countries import crud
from app.countries.models import Country
from app.countries.store import lock_summary
from tests.conftest import until_loaded
from tests.core.http.test_cache import Monotonic


@pytest.fixture
async def processes(service):
    """Two services on one database; the first believes for as long as its clock stands that nothing changes."""
    async with service(monotonic=Monotonic()) as one, service(cache_revalidate_seconds=0) as other:
        await one.post("/countries/refresh")
        await until_loaded(one)
        yield one, other


async def test_unknown_country_is_not_found_without_waiting_for_who_changes_the_data(processes):
    one, other = processes

    async def change(session):
        await lock_summary(session)
        return await one.delete("/countries/atlantis")

    missing = await other.state["database"].transaction(change)

    assert (missing.status_code, missing.json()) == (404, {"error": "Country not found"})


async def test_country_that_only_the_database_knows_yet_is_deleted_at_once(processes):
    one, other = processes
    assert (await one.delete("/countries/togo")).status_code == 200
    assert (await one.get("/countries/togo")).status_code == 404
    await other.post("/countries/refresh")

    unseen = await one.get("/countries/togo?fields=name")
    deleted = await one.delete("/countries/togo")

    assert (unseen.status_code, deleted.status_code, deleted.json()["name"]) == (404, 200, "Togo")
    assert (await other.get("/countries/togo")).status_code == 404


@pytest.mark.engines("mariadb")  # on SQLite a transaction that will write begins alone
async def test_deletion_counts_what_was_deleted_after_its_transaction_began(processes):
    one, other = processes

    async def begin_then_delete_togo(session) -> None:
        await session.exec(select(func.count()).select_from(Country))  # from now on, reads show this moment
        await other.delete("/countries/togo")

    database = one.state["database"].guarded(begin_then_delete_togo)
    await crud.delete_country(database, one.state["snapshots"], "ghana")

    for client in (one, other):
        assert (await client.get("/status")).json()["total_countries"] == 248
        assert len((await client.get("/countries")).json()) == 248
