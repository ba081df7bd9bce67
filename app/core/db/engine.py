"""The engine of a database URL, with its pool."""

from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings
from app.core.db.dialects import dialect_for


def create_engine(settings: Settings) -> AsyncEngine:
    """Build the engine with its pool; nothing is connected yet.

    Raises:
        DatabaseUnavailable: The folder of a SQLite file can't be made.
    """
    url = normalize_database_url(settings.database_url.get_secret_value())
    return dialect_for(url).create_engine(
        url,
        settings,
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_max_overflow,
        pool_timeout=settings.db_pool_timeout_seconds,
        pool_recycle=settings.db_pool_recycle_seconds,
        pool_pre_ping=True,
        # A session and a connection end their transaction before they give it back; once more would be a round trip.
        pool_reset_on_return=None,
        # Errors quote the SQL; keep password hashes and personal data out of the log.
        hide_parameters=True,
    )
