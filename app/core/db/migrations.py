"""Runs migrations from code; ``alembic/env.py`` runs them on a database."""

import argparse
from functools import cache
from pathlib import Path
from typing import Final

from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from sqlmodel.ext.asyncio.session import AsyncSession

from alembic import command
from app.core.config.settings import Settings

_INI: Final = Path(__file__).resolve().parents[3] / "alembic.ini"


def alembic_config(settings: Settings | None = None) -> Config:
    """Alembic's configuration; ``alembic/env.py`` takes the settings from its attributes."""
    config = Config(_INI, cmd_opts=argparse.Namespace())
    config.attributes["settings"] = settings
    return config


def migrate(settings: Settings, *, revision: str = "head") -> None:
    """Bring the schema to a revision. Blocks, and starts an event loop of its own."""
    command.upgrade(alembic_config(settings), revision)


@cache
def head_revision() -> str:
    """The newest revision that this version of the service knows."""
    versions = Path(__file__).resolve().parents[3] / "alembic" / "versions"
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
