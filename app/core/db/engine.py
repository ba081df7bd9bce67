"""The engine of a database URL, with its pool and its bounds."""

import warnings
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings
from app.core.db.dialects.mysql import (
    mark_disconnects,
    mysql_connect_arguments,
    open_aiomysql,
    prepare_mysql,
    requires_tls,
)
from app.core.db.dialects.sqlite import open_sqlite, prepare_sqlite
from app.core.errors import DatabaseUnavailable


def create_engine(settings: Settings) -> AsyncEngine:
    """Build the engine with its pool; nothing is connected yet."""
    url = normalize_database_url(settings.database_url.get_secret_value())
    pool: dict[str, Any] = {
        "pool_size": settings.db_pool_size,
        "max_overflow": settings.db_max_overflow,
        "pool_timeout": settings.db_pool_timeout_seconds,
        "pool_recycle": settings.db_pool_recycle_seconds,
        "pool_pre_ping": True,
        # A session and a connection end their transaction before they give it back; once more would be a round trip.
        "pool_reset_on_return": None,
        # Errors quote the statement, and what is logged of them must show no hash of a password and no person.
        "hide_parameters": True,
    }
    if url.drivername.startswith("sqlite"):
        _make_folder(Path(str(url.database)).parent)
        engine = create_async_engine(url, connect_args={"async_creator_fn": open_sqlite}, **pool)
        prepare_sqlite(engine, busy_seconds=settings.db_timeout_seconds / 2)
        return engine
    # reading() promises one view of the data, whatever the server's default.
    pool["isolation_level"] = "REPEATABLE READ"
    bare_url, connect_args = mysql_connect_arguments(url)
    if bare_url.get_driver_name() == "aiomysql":
        connect_args = {"connect_timeout": settings.db_timeout_seconds, **connect_args}
        connect_args["async_creator_fn"] = open_aiomysql
    engine = create_async_engine(bare_url, connect_args=connect_args, **pool)
    event.listen(engine.sync_engine, "handle_error", mark_disconnects)
    prepare_mysql(engine, seconds=settings.db_timeout_seconds)
    # MySQL 8.4 tells at every upsert that VALUES() is deprecated, and aiomysql makes a Python warning of it.
    warnings.filterwarnings("ignore", message=".*VALUES function.* is deprecated")
    if requires_tls(url):
        event.listen(engine.sync_engine, "connect", _refuse_plain_text)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"The folder {folder} of the SQLite file can't be made: {error.strerror}") from error


def _refuse_plain_text(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
    row = cursor.fetchone()
    cursor.close()
    if not row or not row[1]:
        connection.close()  # the pool does not know it yet, and would leave it open
        message = "ssl-mode asks for TLS, but the server offers none"
        raise OperationalError("connect", None, ConnectionError(message))
