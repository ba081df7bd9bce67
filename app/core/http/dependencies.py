"""What routes ask for: the database, a session."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.data_version import read_data_version
from app.core.db.database import Database


async def get_database(request: Request) -> Database:
    """The database that the application opened at its start."""
    database: Database = request.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def _session(database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    async with database.reading() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]
"""A session for reading; it is closed before the answer is sent."""


async def note_version(request: Request, session: AsyncSession) -> None:
    """Note which version the answer to this request will belong to; without that it is not kept.

    To be called before anything else is read: what follows is of the same
    snapshot, and where an engine has none, no older than the version.
    """
    request.state.version_read = await read_data_version(session)
