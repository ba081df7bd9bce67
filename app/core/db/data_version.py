"""The current data version, cached for CACHE_REVALIDATE_SECONDS."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection, column, event, select, table, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.settings import Settings
from app.core.db.database import Database, announce_new_version
from app.core.db.queries import execute
from app.core.errors import DatabaseUnavailable

# The model belongs to countries; only this column of its one row matters here.
_SUMMARY: Final = table("summarycache", column("id"), column("data_version"))
_QUERY: Final = select(_SUMMARY.c.data_version).where(_SUMMARY.c.id == 1)
_ASK_AGAIN_SECONDS: Final = 1.0
"""Pause between two queries to a database that does not answer."""


def on_data_version(session: AsyncSession, note: Callable[[int], None]) -> None:
    """Have a new session read its data version before anything else, if it reads at all, and pass it to ``note``."""

    def read_first(_: object, __: object, connection: Connection) -> None:
        note(connection.execute(_QUERY).scalar() or 0)

    event.listen(session.sync_session, "after_begin", read_first)


class Moment(NamedTuple):
    """When something was read: a point in time, and the number of writes by this process until then."""

    time: float
    """Monotonic seconds."""
    changes: int
    """``Database.changes``: a value read before this process's own write is stale after it."""


class DataVersion:
    """The data version as this process knows it.

    A known version is valid for ``CACHE_REVALIDATE_SECONDS``, and until this process itself changes data. Callers that
    need a newer one at the same time share one query for one row.
    """

    def __init__(
        self, database: Database, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database.plain
        self._revalidate_seconds = settings.cache_revalidate_seconds
        self._max_stale_seconds = settings.cache_max_stale_seconds
        self._monotonic = monotonic
        self._known = -1
        self._known_at = Moment(float("-inf"), -1)
        self._query: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._open: set[asyncio.Task[None]] = set()
        self._failure: DatabaseUnavailable | None = None
        self._failed_at = 0.0

    def now(self) -> Moment:
        """The moment to note before reading."""
        return Moment(self._monotonic(), self._database.changes)

    @property
    def known(self) -> int:
        """The version that was read last; -1 before the first time, 0 without data."""
        return self._known

    def is_known(self, version: int) -> bool:
        """Whether this version is current, without asking the database."""
        known_at, changes = self._known_at
        return (
            version == self._known
            and self._monotonic() - known_at < self._revalidate_seconds
            and changes == self._database.changes
        )

    async def is_in_force(self, version: int) -> bool:
        """Whether this version is current; asks the database if the known one is too old, which may be unavailable."""
        now = self.now()
        while self._known_at.time < now.time - self._revalidate_seconds or self._known_at.changes < now.changes:
            if self._failure is not None and self.stale_age(version) is not None:
                # The database was away a moment ago, and there is an answer to show: do not wait for it again.
                silence = self._monotonic() - self._failed_at
                if silence >= _ASK_AGAIN_SECONDS:
                    self._ask()
                if silence < _ASK_AGAIN_SECONDS + self._database.timeout:
                    raise self._failure.with_traceback(None)  # which would grow with each request
            await asyncio.shield(self._ask())
        return version == self._known

    def learn(self, version: int, read_at: Moment) -> None:
        """Note a version that was read after this moment."""
        if read_at >= self._known_at:
            self._known, self._known_at, self._failure = version, read_at, None

    def stale_age(self, version: int) -> int | None:
        """Seconds since this version was known to be current, for use while the database is away.

        None if it must not be shown: this process knows of a later change, or it is too long ago.
        """
        known_at, changes = self._known_at
        age = self._monotonic() - known_at
        if version != self._known or changes != self._database.changes or age >= self._max_stale_seconds:
            return None
        return int(age)

    async def close(self) -> None:
        """Cancel the queries that are still running."""
        for query in self._open:
            query.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _ask(self) -> asyncio.Task[None]:
        """Start a query, or join the running one, unless it is late: it may never end where the database was away."""
        asked_ago = self._monotonic() - self._asked_at
        is_late = self._failure is not None and asked_ago >= _ASK_AGAIN_SECONDS
        if self._query is None or self._query.done() or is_late:
            self._query = asyncio.create_task(self._read(), name="data version")
            self._asked_at = self._monotonic()
            self._open.add(self._query)
            self._query.add_done_callback(self._forget)
        return self._query

    def _forget(self, query: asyncio.Task[None]) -> None:
        self._open.discard(query)
        if not query.cancelled():
            query.exception()  # nobody may be waiting for it; the failure is kept and logged

    async def _read(self) -> None:
        now = self.now()
        try:
            async with self._database.reading() as session:
                version = (await execute(session, _QUERY)).scalar() or 0
        except DatabaseUnavailable as error:
            if now.time >= self._known_at.time:  # else a later query has succeeded
                self._failure, self._failed_at = error, self._monotonic()
            raise
        self.learn(version, now)


async def raise_version(session: AsyncSession) -> None:
    """Bump the data version in the open transaction; cached answers expire on commit."""
    announce_new_version(session)
    await execute(session, update(_SUMMARY).where(_SUMMARY.c.id == 1).values(data_version=_SUMMARY.c.data_version + 1))
