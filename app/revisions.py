"""Which revision of the schema this service wants, and which one a database has.

By the names of the files: Alembic, which runs them, takes a sixth of the time
in which the service starts, and is needed for nothing else here.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlmodel.ext.asyncio.session import AsyncSession


@cache
def head_revision() -> str:
    """The newest revision that this version of the service knows."""
    versions = Path(__file__).resolve().parent.parent / "alembic" / "versions"
    return max(path.name.partition("_")[0] for path in versions.glob("[0-9]*.py"))


def is_behind(revision: str | None) -> bool:
    """Whether a database at this revision lacks a migration; a newer service may have brought it further."""
    return revision is None or revision < head_revision()


async def current_revision(session: AsyncSession) -> str | None:
    """The revision of the database; None where no migration ever ran."""
    return await (await session.connection()).run_sync(_revision)


def _revision(connection: Connection) -> str | None:
    # Alembic's own way to ask writes two log lines, and readiness is asked every few seconds.
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
