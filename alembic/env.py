"""Runs migrations: asynchronously, on every engine, in one process at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import stamina
from alembic.util import CommandError
from loguru import logger
from sqlalchemy import Connection, inspect
from sqlalchemy.schema import CreateTable

from alembic import context
from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings, load_settings
from app.core.db.database import Database
from app.core.db.dialects import dialect_for
from app.core.db.faults import Fault, may_come_up, reason_of
from app.core.db.lease import Lease, acquire, held, release
from app.core.db.migrations import current_revision, find_revision, head_revision, is_ahead, why_not_migrated
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.log import configure_logging
from app.models import metadata

T = TypeVar("T")

POLL_SECONDS = 0.5
DATABASE_START_SECONDS = 30.0
LOCKED_SECONDS = 60.0
"""How long to try to get the lock of a table that others read or write."""


def read_settings() -> Settings:
    """The caller's settings, or under the ``alembic`` command those of the environment."""
    given = context.config.attributes.get("settings")
    if isinstance(given, Settings):
        return given
    settings = load_settings()
    configure_logging(settings)
    return settings


def run_migrations(connection: Connection) -> None:
    """Run what the alembic command asks for, each revision in a transaction of its own.

    Raises:
        CommandError: This version of the service can't migrate the database.
    """
    dialect = dialect_for(connection.dialect)
    with connection.begin():  # Alembic commits nothing in a transaction that it finds open
        revision = find_revision(connection)
        dialect.before_revisions(connection)
    if problem := why_not_migrated(revision):
        raise CommandError(problem)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        transactional_ddl=dialect.transactional_ddl,
    )
    with context.begin_transaction():
        context.run_migrations()


def create_lease_table(connection: Connection) -> None:
    """The lease guards the migrations, so its own table can't be one of them."""
    if not inspect(connection).has_table("lease"):
        dialect_for(connection.dialect).before_first_table(connection)
        connection.execute(CreateTable(metadata.tables["lease"], if_not_exists=True))


async def once_there(database: Database, work: Callable[[], Awaitable[T]]) -> T:
    """Do work once the database is up; a fault that waiting does not cure ends it at once."""

    def may_pass(error: Exception) -> bool:
        if not isinstance(error, DatabaseUnavailable) or not may_come_up(error.__cause__, database.dialect.fault):
            return False
        logger.warning("Waiting for the database: {}", reason_of(error))
        return True

    async for attempt in stamina.retry_context(
        on=may_pass, attempts=None, timeout=DATABASE_START_SECONDS, wait_initial=0.5, wait_max=2
    ):
        with attempt:
            return await work()
    raise AssertionError("the last attempt returns or raises")


async def take_turn(database: Database) -> Lease:
    """Wait for other migrating processes to end."""

    async def prepare() -> None:
        async with database.writing() as connection:
            await connection.run_sync(create_lease_table)

    await once_there(database, prepare)
    while True:
        lease = await acquire(database, "migrations")
        if lease is not None:
            return lease
        logger.info("Another process is migrating the database; waiting for it")
        await asyncio.sleep(POLL_SECONDS)


async def again_while_locked(database: Database, work: Callable[[], Awaitable[None]]) -> None:
    """Run migrations, and again if one did not get the lock of a table; those before it are committed."""

    def is_locked(error: Exception) -> bool:
        if database.dialect.fault(error) is not Fault.AGAIN:
            return False
        logger.warning("Migrating again: {}", reason_of(error))
        return True

    async for attempt in stamina.retry_context(
        on=is_locked, attempts=None, timeout=LOCKED_SECONDS, wait_initial=0.5, wait_max=2
    ):
        with attempt:
            await work()


def wanted_revision() -> str | tuple[str, ...] | None:
    """The revision that the command leads to; empty for a command that leads to none."""
    try:
        return context.get_revision_argument()
    except KeyError:
        return ""


async def migrate_online(settings: Settings) -> None:
    """Migrate under the lease, so that processes which start together do it once.

    A database that needs nothing is only read, so that it may be read-only.
    """
    database = Database(settings)
    database.logs_faults = False  # the one that ends the command is its last line

    async def read_revision() -> str | None:
        async with database.reading() as session:
            return await current_revision(session)

    try:
        revision, wanted = await once_there(database, read_revision), wanted_revision()
        if revision == wanted:
            return
        if wanted == head_revision() and is_ahead(revision):
            newer = "The database is at revision {}, newer than this version of the service ({})"
            logger.warning(newer, revision, wanted)
            return
        lease = await take_turn(database)
        async with held(database, lease), database.engine.connect() as plain:
            connection = await plain.execution_options(**database.dialect.writing)
            await again_while_locked(database, partial(connection.run_sync, run_migrations))
        await release(database, lease)
    finally:
        await database.close()


def migrate_offline(settings: Settings) -> None:
    """Print the SQL instead of running it (``alembic upgrade head --sql``)."""
    url = normalize_database_url(settings.database_url.get_secret_value())
    dialect = dialect_for(url)  # before Alembic looks for SQLAlchemy's, which the module may replace
    context.configure(
        url=url, target_metadata=metadata, literal_binds=True, transactional_ddl=dialect.transactional_ddl
    )
    with context.begin_transaction():
        context.execute(CreateTable(metadata.tables["lease"], if_not_exists=True))
        context.run_migrations()


if context.is_offline_mode():
    migrate_offline(read_settings())
else:
    asyncio.run(migrate_online(read_settings()))
