"""Units of work: bounded, retried, and honest about what they do not know."""

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col, select, text, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database, OutcomeUnknown
from app.core.db.dialects.sqlite import prepare
from app.core.db.migrations import head_revision
from app.core.errors import DatabaseUnavailable
from app.countries.models import Country
from tests.conftest import make_settings, opened_database, serving
from tests.support.engines import EVERY_ENGINE
from tests.support.mariadb import free_port

pytestmark = EVERY_ENGINE


@pytest.fixture
async def database(database_url):
    async with opened_database(database_url, db_pool_size=3, db_max_overflow=0) as opened:
        yield opened


async def population(database: Database) -> int:
    async with database.reading() as session:
        return (await session.exec(select(Country.population).where(Country.alpha2_code == "GH"))).one()


async def test_ten_concurrent_increments_end_as_if_one_after_another(database, loaded):
    before = await population(database)

    async def increment(session):
        query = select(Country).where(Country.alpha2_code == "GH").with_for_update()
        country = (await session.exec(query)).one()
        await asyncio.sleep(0.01)
        country.population += 1
        session.add(country)

    await asyncio.gather(*(database.transaction(increment) for _ in range(10)))

    assert await population(database) == before + 10


async def test_failed_work_leaves_nothing_behind(database, loaded):
    before = await population(database)

    async def fail(session):
        await session.exec(update(Country).values(population=1))
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        await database.transaction(fail)

    assert await population(database) == before


async def test_mistake_of_ours_is_no_outage(database, loaded):
    async def collide(session):
        await session.exec(update(Country).values(alpha2_code="GH"))

    with pytest.raises(IntegrityError):
        await database.transaction(collide)


def lost_connection() -> OperationalError:
    return OperationalError("COMMIT", None, Exception("gone"), connection_invalidated=True)


def passing_fault() -> OperationalError:
    """A deadlock to the servers, and a lock held by another writer to SQLite."""
    error: Any = Exception(1213, "Deadlock found")
    error.sqlite_errorcode, error.sqlstate = 5, "40P01"
    return OperationalError("UPDATE", None, error)


def lasting_fault() -> OperationalError:
    return OperationalError("INSERT", None, Exception(1264, "out of range"))


@pytest.mark.parametrize(("fault", "number"), [(lost_connection, 3), (passing_fault, 3), (lasting_fault, 1)])
async def test_only_fault_that_may_pass_is_tried_again(database, fault, number):
    tries = []

    async def work(session):
        tries.append(1)
        if len(tries) < 3:
            raise fault()
        return "done"

    with pytest.raises(DatabaseUnavailable) if number == 1 else nullcontext():
        assert await database.transaction(work) == "done"
    assert len(tries) == number


async def test_change_that_is_committed_is_never_told_as_not_done(database_url, monkeypatch):
    """Though time runs out while the connection goes back to the pool, as it did on a machine with too much to do."""
    close = AsyncSession.close

    async def close_late(session):
        await asyncio.sleep(1.1)
        await close(session)

    async def work(session):
        await session.exec(text("SELECT 1"))
        return "done"

    async with opened_database(database_url, db_timeout_seconds=1) as database:
        monkeypatch.setattr(AsyncSession, "close", close_late)
        assert await database.transaction(work) == "done"
        monkeypatch.undo()


@pytest.mark.parametrize("repeatable", [True, False])
async def test_connection_lost_at_commit_is_repeated_only_where_that_is_harmless(
    database, loaded, monkeypatch, repeatable
):
    commits = []
    commit = AsyncSession.commit

    async def lose_first_answer(session):
        if "audit delivery" in repr(asyncio.current_task()):
            return await commit(session)
        commits.append(1)
        await commit(session)
        if len(commits) == 1:
            raise lost_connection()
        return None

    monkeypatch.setattr(AsyncSession, "commit", lose_first_answer)

    async def change(session):
        await session.exec(update(Country).where(col(Country.alpha2_code) == "GH").values(population=7))

    if repeatable:
        await database.transaction(change, repeatable=True)
    else:
        with pytest.raises(OutcomeUnknown, match="look whether the change was made"):
            await database.transaction(change)
    assert await population(database) == 7
    assert len(commits) == (2 if repeatable else 1)


async def test_sqlite_keeps_what_it_acknowledged_through_a_power_cut(tmp_path):
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/x.db")
    prepare(engine, busy_seconds=2)
    async with engine.connect() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]
    await engine.dispose()

    assert found == ["wal", 2, 1, 2000], "2 is FULL; the other tests are in a hurry, see conftest"


async def test_database_that_is_not_there_is_503_and_liveness_does_not_care(tmp_path):
    url = f"mysql://root:hush@127.0.0.1:{free_port()}/service"
    async with serving(make_settings(database_url=url)) as client:
        listed, live, ready = [await client.get(path) for path in ("/countries", "/health/live", "/health/ready")]

    details = "The database can't be reached or refused the work"
    assert (listed.status_code, listed.headers["Retry-After"]) == (503, "2")
    assert listed.json() == {"error": "Database unavailable", "details": details}
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    assert ready.status_code == 503
    assert ready.json() == {"error": "Not ready", "details": {"database": details}}


async def test_database_without_tables_says_what_to_do(tmp_path):
    async with serving(make_settings(database_url=f"sqlite:///{tmp_path}/new.db")) as client:
        listed, ready = await client.get("/countries"), await client.get("/health/ready")

    advice = "The database schema is not up to date; run: python -m app migrate"
    assert (listed.status_code, listed.json()) == (503, {"error": "Database unavailable", "details": advice})
    assert ready.json() == {
        "error": "Not ready",
        "details": {"migrations": f"revision None, not {head_revision()}; run: python -m app migrate"},
    }


async def test_work_that_is_known_to_be_large_may_have_a_bound_of_its_own(database_url):
    async def sleep(session):
        await session.exec(text("SELECT 1"))
        await asyncio.sleep(0.5)
        return "done"

    async with opened_database(database_url, db_timeout_seconds=0.2) as database:
        assert await database.transaction(sleep, seconds=10) == "done"
        with pytest.raises(DatabaseUnavailable, match=r"within 0\.2 s"):
            await database.transaction(sleep)
        with pytest.raises(DatabaseUnavailable, match=r"within 0\.2 s"):
            await database.transaction(sleep, seconds=0.1)
