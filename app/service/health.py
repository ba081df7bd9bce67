"""Health of the process and its database."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.core.db.database import Database
from app.core.db.migrations import current_revision, head_revision, is_behind
from app.core.db.pool import PoolFigures
from app.core.errors import AppError, DatabaseUnavailable


class Health(BaseModel):
    """The process is running."""

    status: Literal["ok"] = "ok"


class Readiness(Health):
    """The service is ready to handle requests."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ok", "pool": PoolFigures.model_json_schema()["examples"][0]}]}
    )

    pool: PoolFigures = Field(description="Connections of the responding process, without the one of this check.")


class NotReady(AppError):
    """The database is unavailable or its schema is outdated."""

    status_code = 503
    title = "Not ready"
    retry_after_seconds = 2


async def check_readiness(database: Database) -> Readiness:
    """Raise NotReady unless the database responds and its schema is up to date."""
    try:
        async with database.reading() as session:
            revision = await current_revision(session)
    except DatabaseUnavailable as error:
        raise NotReady({"database": str(error.details)}) from error
    if is_behind(revision):
        raise NotReady({"migrations": f"revision {revision}, not {head_revision()}; run: python -m app migrate"})
    return Readiness(pool=database.pool.figures())
