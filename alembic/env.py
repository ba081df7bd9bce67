"""Runs migrations: asynchronously, on every engine, in one process at a time."""

import asyncio

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
from app.core.db.faults import Fault
from app.core.db.lease import Lease, acquire, held, release
from app.core.db.migrations import find_revision, why_not_migrated
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.log import configure_logging
from app.models import metadata

POLL_SECONDS = 0.5
DATABASE_START_SECONDS = 30.0


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
        CommandError: The database is older than the first revision, or newer than the last.
    """
    with connection.begin():  # Alembic commits nothing in a transaction that it finds open
        revision = find_revision(connection)
    if problem := why_not_migrated(revision):
        raise CommandError(problem)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        transactional_ddl=dialect_for(connection.dialect).transactional_ddl,
    )
    with context.begin_transaction():
        context.run_migrations()


def create_lease_table(connection: Connection) -> None:
    """The lease guards the migrations, so its own table can't be one of them."""
    if not inspect(connection).has_table("lease"):
        connection.execute(CreateTable(metadata.tables["lease"], if_not_exists=True))


async def take_turn(database: Database) -> Lease:
    """Wait for the database to be up, and for other migrating processes to end."""

    def may_pass(error: Exception) -> bool:
        fault = database.dialect.fault(error.__cause__ or error)
        return isinstance(error, DatabaseUnavailable) and fault is not Fault.DAMAGED

    async for attempt in stamina.retry_context(
        on=may_pass, attempts=None, timeout=DATABASE_START_SECONDS, wait_initial=0.5, wait_max=2
    ):
        with attempt:
            async with database.writing() as connection:
                await connection.run_sync(create_lease_table)
    while True:
        lease = await acquire(database, "migrations")
        if lease is not None:
            return lease
        logger.info("Another process is migrating the database; waiting for it")
        await asyncio.sleep(POLL_SECONDS)


async def migrate_online(settings: Settings) -> None:
    """Migrate under the lease, so that processes which start together do it once."""
    database = Database(settings)
    try:
        lease = await take_turn(database)
        async with held(database, lease), database.engine.connect() as plain:
            connection = await plain.execution_options(**database.dialect.writing)
            await connection.run_sync(run_migrations)
        await release(database, lease)
    finally:
        await database.close()


def migrate_offline(settings: Settings) -> None:
    """Print the SQL instead of running it (``alembic upgrade head --sql``)."""
    url = normalize_database_url(settings.database_url.get_secret_value())
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.execute(CreateTable(metadata.tables["lease"], if_not_exists=True))
        context.run_migrations()


if context.is_offline_mode():
    migrate_offline(read_settings())
else:
    asyncio.run(migrate_online(read_settings()))
