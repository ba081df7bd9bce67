"""Checks whether the database is reachable, migrated and writable, and how old its data is."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlalchemy import delete, false, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.cli.doctor.findings import Finding, Verdict, failed, ok, warn, worst
from app.cli.terminal import advice_for, open_database
from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED
from app.core.db.database import Database
from app.core.db.dialects import Dialect, dialect_for
from app.core.db.faults import reason_of
from app.core.db.lease import LeaseRow
from app.core.db.migrations import (
    EARLIER_FIRST,
    current_revision,
    head_revision,
    is_ahead,
    is_too_old,
    suits,
    why_not_migrated,
)
from app.core.db.snapshots import snapshot_of
from app.core.errors import AppError
from app.countries.crud import CountryNotFound, get_status
from app.countries.schemas import StatusPublic
from app.countries.stored import CountryRow, load_countries
from app.rates.store import last_known_rates
from app.sources.rate_checks import KnownRate
from app.sources.rates import source_name

_MIGRATE: Final = "run: python -m app migrate (serve does so automatically)"
_REFRESH: Final = "run: python -m app refresh"
_OLD_DATA: Final = timedelta(days=2)
"""Age for a warning if no refresh is scheduled."""


class StoredData(NamedTuple):
    """What a refresh compares new data with; empty if the database cannot be read."""

    countries: Sequence[CountryRow] = ()
    rates: Mapping[str, Mapping[str, KnownRate]] = MappingProxyType({})
    """The last rate of each currency, by source."""


async def check_storage(settings: Settings) -> tuple[list[Finding], StoredData]:
    """Check the database, its schema and its data; checks after a failed one are skipped."""
    url = normalize_database_url(settings.database_url.get_secret_value())
    dialect = dialect_for(url)
    where = dialect.place(url)
    if dialect.is_file and not await asyncio.to_thread(Path(where).exists):
        return [failed("database", f"{where} does not exist yet", _MIGRATE)], StoredData()
    async with open_database(settings) as database:
        found = await _check(database, where, settings, datetime.now(UTC))
        return found, StoredData() if worst(found) is Verdict.FAIL else await _read_stored(database, settings)


async def _check(database: Database, where: str, settings: Settings, now: datetime) -> list[Finding]:
    started = time.monotonic()
    try:
        async with database.reading() as session:
            server = await database.dialect.version(await session.connection())
            took = time.monotonic() - started
            revision = await current_revision(session)
            await database.verify(session)
    except (AppError, SQLAlchemyError) as error:
        return [_explained(database.dialect, where, error)]
    reached = ok("database", f"{server} at {where}, answered in {took * 1000:.0f} ms")
    if not suits(revision):
        return [reached, _unsuitable(revision)]
    migrated = ok("migrations", f"revision {revision}, the newest")
    if is_ahead(revision):
        says = f"revision {revision}, newer than {head_revision()}: made by a newer version of the service"
        migrated = warn("migrations", says, "run that version here too")
    return [await _writable(database, where) or reached, migrated, *await _data(database, where, settings, now)]


def _unsuitable(revision: str | None) -> Finding:
    if is_too_old(revision):
        return failed("migrations", f"revision {revision}, not {head_revision()}", EARLIER_FIRST)
    if problem := why_not_migrated(revision):
        says, _, advice = problem.partition("; ")
        return failed("migrations", says, advice)
    return failed("migrations", f"revision {revision}, not {head_revision()}", _MIGRATE)


async def _writable(database: Database, where: str) -> Finding | None:
    """Insert, update and delete no rows; a server that forbids writing refuses even that."""

    async def change_nothing(session: AsyncSession) -> None:
        connection = await session.connection()
        columns = LeaseRow.__table__.columns  # type: ignore[attr-defined]  # SQLModel does not declare it
        nothing = select(*columns).where(false())
        await connection.execute(insert(LeaseRow).from_select(list(columns.keys()), nothing))
        await connection.execute(update(LeaseRow).where(false()).values(holder=None))
        await connection.execute(delete(LeaseRow).where(false()))

    try:
        await database.transaction(change_nothing, repeatable=True)
    except (AppError, SQLAlchemyError) as error:
        return _explained(database.dialect, where, error)
    return None


def _explained(dialect: Dialect, where: str, error: Exception, *, check: str = "database") -> Finding:
    """The database's message, with advice."""
    return failed(check, f"{where}: {reason_of(error)}", advice_for(dialect, error))


async def _data(database: Database, where: str, settings: Settings, now: datetime) -> list[Finding]:
    try:
        async with database.reading() as session:
            status = await get_status(snapshot_of(session))
    except CountryNotFound:
        return [warn("data", "nothing is stored yet", _REFRESH)]
    except (AppError, SQLAlchemyError) as error:
        return [_explained(database.dialect, where, error, check="data")]
    return [judge_data(status, now, settings), *judge_rates(status)]


async def _read_stored(database: Database, settings: Settings) -> StoredData:
    names = [source_name(entry) for entry in settings.rate_sources]
    try:
        async with database.reading() as session:
            return StoredData((await load_countries(session)).by_name, await last_known_rates(session, *names))
    except (AppError, SQLAlchemyError):  # it went away after the checks
        return StoredData()


def judge_data(status: StatusPublic, now: datetime, settings: Settings) -> Finding:
    """Whether the stored data is as fresh as the settings promise."""
    age, rates_age = now - status.last_refreshed_at, now.date() - status.rates_date
    says = (
        f"{status.total_countries} countries from {status.sources.countries}, refreshed {_shown(age)} ago; "
        f"rates of {status.rates_date} from {status.sources.rates}"
    )
    interval = timedelta(minutes=settings.refresh_interval_minutes)  # 0 schedules no refresh
    if interval and age > 2 * interval:
        return warn("data", says, "scheduled refreshes fail, or the service is not running; see its log")
    if not interval and age > _OLD_DATA:
        return warn("data", says, f"{_REFRESH}, or set REFRESH_INTERVAL_MINUTES")
    if rates_age.days > settings.max_rate_age_days:
        is_offline = settings.rate_sources == (BUNDLED,)
        advice = "put a live source into RATE_SOURCES" if is_offline else f"{_REFRESH}, from a source with newer rates"
        return warn("data", f"{says}, {rates_age.days} days old", advice)
    return ok("data", says)


def judge_rates(status: StatusPublic) -> list[Finding]:
    """The rates of the last refresh that contradict a peg or a band."""
    shown = ", ".join(
        f"{found.code} is {found.rate:g} per {found.base} instead of {found.expected:g}"
        for found in status.implausible_rates
    )
    if not shown:
        return []
    source = status.implausible_rates[0].source
    advice = "compare them with another source; its rates are wrong, or the peg has ended"
    return [warn("pegged rates", f"{shown}, from {source}", advice)]


def _shown(age: timedelta) -> str:
    seconds = age.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
