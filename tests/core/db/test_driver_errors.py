"""The seam between driver and service: what a driver raises is a fault of the database, what our code raises is not."""

import asyncio
import gc
import io
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import literal
from sqlmodel import col, select, update

from app.core.db.database import Database, OutcomeUnknown
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.log import configure_logging
from app.countries.models import Country
from checks.support.injection import UNFORESEEN, InjectedFault, failing_driver
from tests.conftest import make_settings, opened_database
from tests.support.engines import EVERY_ENGINE

pytestmark = EVERY_ENGINE

OURS: list[Callable[[], Exception]] = [
    *(make for name, make in UNFORESEEN.items() if name != "StopAsyncIteration"),  # Python turns that one into another
    lambda: OverflowError("on purpose"),
    lambda: UnicodeEncodeError("utf-8", "", 0, 1, "on purpose"),
]


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(make_settings(log_level="WARNING"), stream)
    return stream


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def read(database: Database) -> int:
    async with database.reading() as session:
        return (await session.exec(select(Country.population).where(col(Country.alpha2_code) == "GH"))).one()


async def increment(session) -> None:
    ghana = col(Country.alpha2_code) == "GH"
    await session.exec(update(Country).where(ghana).values(population=Country.population + 1))


async def read_and_increment(session) -> None:
    await session.exec(select(Country.population).limit(1))
    await increment(session)


def failing_at(number: int, turn: int) -> InjectedFault:
    """A fault at one driver call; each turn has other kinds, in every second one the call is made before it fails."""
    kinds = list(UNFORESEEN.values())
    kind = kinds[(number + 7 * turn) % len(kinds)]
    return InjectedFault(fails=lambda call: call == number, make=kind, after=lambda _: bool(turn % 2))


async def number_of_calls(url: str, work) -> int:
    """Driver calls of a unit of work, from opening the connection on."""
    counted = InjectedFault(fails=lambda _: False, make=Exception)
    async with opened_database(url) as database:
        with failing_driver(counted):
            await work(database)
    return counted.calls


@pytest.mark.parametrize("turn", range(4))
async def test_whatever_the_driver_raises_at_any_call_of_a_read_is_one_line_and_unavailable(
    database_url, loaded, log, turn
):
    calls = await number_of_calls(database_url, read)
    assert calls > 5
    for number in range(calls):
        fault = failing_at(number, turn)
        async with opened_database(database_url) as database:
            log.seek(log.truncate(0))
            with failing_driver(fault), suppress(DatabaseUnavailable):
                await read(database)  # which succeeds if only closing failed
                continue
            assert log.getvalue().count("Database: ") == log.getvalue().count("\n") == 1, log.getvalue()
            assert await read(database) > 0


@pytest.mark.parametrize("turn", range(4))
async def test_change_is_made_once_or_its_outcome_is_unknown_whatever_the_driver_raises(database_url, loaded, turn):
    calls = await number_of_calls(database_url, lambda database: database.transaction(increment))
    for number in range(calls):
        fault = failing_at(number, turn)
        async with opened_database(database_url) as database:
            before, expected = await read(database), {1}
            await database.engine.dispose()
            with failing_driver(fault):
                try:
                    await database.transaction(increment)
                except OutcomeUnknown:
                    expected = {0, 1}
            assert await read(database) - before in expected


@pytest.mark.usefixtures("no_garbage_collection")
async def test_change_that_is_cancelled_at_any_call_of_the_driver_holds_no_lock(database_url, loaded):
    def change(database: Database) -> Awaitable[None]:
        return database.transaction(read_and_increment, repeatable=True)

    for number in range(await number_of_calls(database_url, change)):
        cancelled = InjectedFault(fails=number.__eq__, make=asyncio.CancelledError, after=lambda _: False)
        async with opened_database(database_url) as database:
            with failing_driver(cancelled), suppress(asyncio.CancelledError):
                await change(database)
            await change(database)


async def test_same_exceptions_of_our_own_code_stay_what_they_are(database_url, loaded):
    async def change(session) -> None:
        await increment(session)
        raise mistake

    async def read_on() -> None:
        async with database.reading() as session:
            await session.exec(select(Country.population).limit(1))
            raise mistake

    async with opened_database(database_url) as database:
        before = await read(database)
        for make in OURS:
            mistake = make()
            with pytest.raises(type(mistake)) as changing:
                await database.transaction(change)
            with pytest.raises(type(mistake)) as reading:
                await read_on()
            assert changing.value is reading.value is mistake
        assert await read(database) == before


@pytest.mark.parametrize("value", ["\ud800", {"a": 1}])
async def test_value_that_a_driver_cannot_send_is_a_mistake_of_ours(database_url, value):
    async def work(session) -> None:
        await (await session.connection()).execute(select(literal(value, Country.name.type)))  # type: ignore[attr-defined]

    async with opened_database(database_url) as database:
        with pytest.raises(Exception, match=r"surrogates|can't be sent|not supported") as raised:
            await database.transaction(work)
    assert not isinstance(raised.value, DatabaseUnavailable)
