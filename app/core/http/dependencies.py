"""Dependencies of routes: the database, and sessions for reading it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.data_version import on_data_version
from app.core.db.database import Database


async def get_database(request: Request) -> Database:
    """The database that the application opened at startup."""
    database: Database = request.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def _session(database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    async with database.reading() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]
"""A session for reading; it is closed before the response is sent."""


@asynccontextmanager
async def open_snapshot(request: Request, database: Database) -> AsyncIterator[AsyncSession]:
    """Open a session whose first query reads the data version, which makes the response cacheable.

    The version is left in ``request.state.version_read``. All later queries
    see the same snapshot or, on engines without snapshots, data no older than
    the version.

    Raises:
        DatabaseUnavailable: No connection or no answer in time.
    """
    async with database.reading() as session:
        on_data_version(session, lambda version: setattr(request.state, "version_read", version))
        yield session


async def _snapshot(request: Request, database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    async with open_snapshot(request, database) as session:
        yield session


SnapshotDep = Annotated[AsyncSession, Depends(_snapshot, scope="function")]
"""A session for reading data; a 200 is cached by data version, unless the route sets another ``Cache-Control``."""
