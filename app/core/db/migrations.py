"""Runs migrations from code, and makes the DDL of revisions safe to run again; Alembic calls ``alembic/env.py``.

Alembic is imported where it is needed: it takes 60 ms and 10 MB, and few starts migrate anything.
"""

import argparse
import asyncio
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, Connection, inspect, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.settings import Settings
from app.core.db.database import Database, database_of
from app.core.errors import AppError, DatabaseUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

EARLIER_FIRST: Final = "run the migrations of an earlier version of the service first, see CHANGELOG.md"
"""Advice for a database that is older than the first revision here."""

_ROOT: Final = Path(__file__).resolve().parents[3]


class MigrationFailed(AppError):
    """The revisions of the database and the code do not lead to each other."""

    title = "Migration failed"


def alembic_config(settings: Settings | None = None) -> "Config":
    """Alembic's configuration; ``alembic/env.py`` takes the settings from its attributes."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config(_ROOT / "alembic.ini", cmd_opts=argparse.Namespace())
    config.attributes["settings"] = settings
    return config


def migrate(settings: Settings, *, revision: str = "head") -> None:
    """Bring the schema to a revision. Blocks, and starts an event loop of its own.

    Raises:
        MigrationFailed: This version of the service can't migrate the database.
        DatabaseUnavailable: No answer from the database.
    """
    if revision == "head" and asyncio.run(_is_at_head(settings)):
        return
    from alembic.util import CommandError  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415

    try:
        command.upgrade(alembic_config(settings), revision)
    except CommandError as error:
        raise MigrationFailed(str(error)) from error


async def _is_at_head(settings: Settings) -> bool:
    """Whether nothing is to be migrated; False if the database does not answer, for which ``alembic/env.py`` waits."""
    database = Database(settings)
    database.logs_faults = False
    try:
        async with database.reading() as session:
            return await current_revision(session) == head_revision()
    except DatabaseUnavailable:
        return False
    finally:
        await database.close()


@cache
def _revisions() -> list[str]:
    """The revisions of this version of the service, the oldest first; their files start with their ids."""
    return sorted(path.name.partition("_")[0] for path in (_ROOT / "alembic" / "versions").glob("[0-9]*.py"))


def head_revision() -> str:
    """The newest revision that this version of the service knows."""
    return _revisions()[-1]


def suits(revision: str | None) -> bool:
    """Whether this version of the service can work with a database at this revision."""
    return revision == head_revision() or is_ahead(revision)


def is_too_old(revision: str | None) -> bool:
    """Whether only an earlier version of the service can migrate a database at this revision."""
    return revision is not None and revision < _revisions()[0]


def is_ahead(revision: str | None) -> bool:
    """Whether a newer version has migrated the database, in a way that this version can still work with.

    Revisions with the same first two digits only add tables, columns with a default, and indexes. One that takes
    something away gets the next number that ends in 00.
    """
    head = head_revision()
    return _is_ours(revision) and str(revision) > head and str(revision)[:2] == head[:2]


def why_not_migrated(revision: str | None) -> str | None:
    """Why this version of the service can neither migrate nor serve a database at this revision; None if it can."""
    if revision is not None and not _is_ours(revision):
        return f"the database is at revision {revision}, which is not of this service; correct DATABASE_URL"
    if is_too_old(revision):
        return f"the database is at revision {revision}, too old for this version; {EARLIER_FIRST}"
    if revision is not None and revision > head_revision() and not is_ahead(revision):
        newer = f"newer than this version of the service ({head_revision()})"
        return f"the database is at revision {revision}, {newer}; run the newer version"
    return None


def _is_ours(revision: str | None) -> bool:
    return re.fullmatch(r"\d{4}", str(revision), re.ASCII) is not None


async def current_revision(session: AsyncSession) -> str | None:
    """The revision of the database; None where no migration ever ran.

    Raises:
        DBAPIError: It can't be read, or this process has met damage elsewhere in the database, which is still there.
    """
    database = database_of(session)
    if database.is_damaged:
        await database.verify(session)
    return await (await session.connection()).run_sync(find_revision)


def find_revision(connection: Connection) -> str | None:
    """The same over a connection."""
    # Alembic's own way to ask writes two log lines, and readiness is asked every few seconds.
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def add_column(table: str, column: Column[Any]) -> None:
    """Add a column in ``upgrade()``, unless a run that was killed has added it: MySQL commits each DDL statement."""
    from alembic import op  # noqa: PLC0415

    if op.get_context().as_sql or column.name not in {c["name"] for c in inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def create_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Create an index in a revision, unless a run that was killed has created it: MySQL has no IF NOT EXISTS here."""
    from alembic import op  # noqa: PLC0415

    if op.get_context().as_sql or name not in {found["name"] for found in inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, columns)
