"""Runs migrations from code; ``alembic/env.py`` runs them on a database."""

import argparse
from pathlib import Path
from typing import Final

from alembic.config import Config

from alembic import command
from app.core.config.settings import Settings

_INI: Final = Path(__file__).resolve().parent.parent / "alembic.ini"


def alembic_config(settings: Settings | None = None) -> Config:
    """Alembic's configuration; ``alembic/env.py`` takes the settings from its attributes."""
    config = Config(_INI, cmd_opts=argparse.Namespace())
    config.attributes["settings"] = settings
    return config


def migrate(settings: Settings, *, revision: str = "head") -> None:
    """Bring the schema to a revision. Blocks, and starts an event loop of its own."""
    command.upgrade(alembic_config(settings), revision)
