"""Dependencies of routes: the database, and sessions for reading it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
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
    """Open a session that notes its data version in the request's state, which makes the response cacheable.

    What is read later is of the same snapshot or, on engines without snapshots, no older than the version.
    """
    async with database.reading() as session:
        on_data_version(session, lambda version: setattr(request.state, "version_read", version))
        yield session


async def _snapshot(request: Request, database: DatabaseDep) -> AsyncIterator[AsyncSession]:
    async with open_snapshot(request, database) as session:
        yield session


SnapshotDep = Annotated[AsyncSession, Depends(_snapshot, scope="function")]
"""A session for reading data. Its route lists ``DOCUMENTED`` among its responses; a 200 is cached by data version,
unless the route sets another ``Cache-Control``."""


async def get_today(request: Request) -> date:
    """The current day in UTC. What was computed from it is kept until midnight at most (``ResponseCache``)."""
    # Read once, so that the answer is kept for the day that it was computed for.
    if not hasattr(request.state, "today"):
        request.state.today = request.state.clock().date()
    today: date = request.state.today
    return today


TodayDep = Annotated[date, Depends(get_today)]
