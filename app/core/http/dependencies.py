"""How routes read: the database, sessions, and the snapshot of the data."""

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database
from app.core.db.snapshots import Snapshot, Snapshots


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


async def get_data(request: Request) -> Snapshot:
    """The snapshot of the current data, for routes that list ``DOCUMENTED`` among their responses.

    A 200 of theirs is cached by the data version, unless the route sets another ``Cache-Control``. While the database
    is away the snapshot may be an older one, whose age is noted in the request's state. If the data change before the
    route has read all it needs, the request is begun again.

    Not a dependency, because those run for invalid requests too, which need no data.

    Raises:
        DatabaseUnavailable: The database does not answer, and what was read is too old to be shown.
    """
    state, snapshots = request.state, cast(Snapshots, request.state.snapshots)
    snapshot, state.stale_age = await snapshots.newest(state.database, admit=state.refuse_overload)
    state.version_read = snapshot.version
    return snapshot


async def get_today(request: Request) -> date:
    """The current day in UTC. What was computed from it is kept until midnight at most (``ResponseCache``)."""
    # Read once, so that the answer is kept for the day that it was computed for.
    if not hasattr(request.state, "today"):
        request.state.today = request.state.clock().date()
    today: date = request.state.today
    return today


TodayDep = Annotated[date, Depends(get_today)]
