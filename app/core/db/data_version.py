"""Which version of the data is in force: asked of the database seldom, known for sure in time."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection, column, event, select, table, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.settings import Settings
from app.core.db.budget import leave_request
from app.core.db.database import Database, announce_new_version
from app.core.db.queries import execute
from app.core.errors import DatabaseUnavailable

# The model belongs to the countries; here only this one column of its one row matters.
_SUMMARY: Final = table("summarycache", column("id"), column("data_version"))
_QUERY: Final = select(_SUMMARY.c.data_version).where(_SUMMARY.c.id == 1)
_ASK_AGAIN_SECONDS: Final = 1.0
"""Pause between two questions to a database that is away."""


async def read_data_version(session: AsyncSession) -> int:
    """The version that this session sees; 0 before the first refresh."""
    return (await execute(session, _QUERY)).scalar() or 0


def on_data_version(session: AsyncSession, note: Callable[[int], None]) -> None:
    """Have a new session read its data version before anything else, if it reads at all, and pass it to ``note``."""

    def read_first(_: object, __: object, connection: Connection) -> None:
        note(connection.execute(_QUERY).scalar() or 0)

    event.listen(session.sync_session, "after_begin", read_first)


class Moment(NamedTuple):
    """When something was read: a point in time, and how much this process had changed by then."""

    time: float
    """Monotonic seconds."""
    changes: int
    """``Database.changes``: what was read before an own change says nothing about the time after it."""


class DataVersion:
    """What this process knows about the version of the data.

    The knowledge counts for ``CACHE_REVALIDATE_SECONDS``, and ends at once when
    this process itself changes data. All who need newer knowledge at the same
    time share one query for one row.
    """

    def __init__(
        self, database: Database, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._revalidate_seconds = settings.cache_revalidate_seconds
        self._max_stale_seconds = settings.cache_max_stale_seconds
        self._monotonic = monotonic
        self._known = -1
        self._known_at = Moment(float("-inf"), -1)
        self._question: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._open: set[asyncio.Task[None]] = set()
        self._failure: DatabaseUnavailable | None = None
        self._failed_at = 0.0

    def now(self) -> Moment:
        """The moment to note before reading."""
        return Moment(self._monotonic(), self._database.changes)

    def is_known(self, version: int) -> bool:
        """Whether this version is in force, as far as that can be told without asking."""
        known_at, changes = self._known_at
        return (
            version == self._known
            and self._monotonic() - known_at < self._revalidate_seconds
            and changes == self._database.changes
        )

    async def is_in_force(self, version: int) -> bool:
        """Whether this version is in force, asking the database where the knowledge is too old.

        Raises:
            DatabaseUnavailable: It could not be asked.
        """
        now = self.now()
        while self._known_at.time < now.time - self._revalidate_seconds or self._known_at.changes < now.changes:
            if self._failure is not None and self.stale_age(version) is not None:
                # It was away a moment ago, and there is something to show: nobody waits for it again.
                silence = self._monotonic() - self._failed_at
                if silence >= _ASK_AGAIN_SECONDS:
                    self._ask()
                if silence < _ASK_AGAIN_SECONDS + self._database.timeout:
                    raise self._failure.with_traceback(None)  # which would grow with each request
            await asyncio.shield(self._ask())
        return version == self._known

    def learn(self, version: int, read_at: Moment) -> bool:
        """Take note of a version that was read after this moment; True where it is the one in force."""
        if read_at >= self._known_at:
            self._known, self._known_at, self._failure = version, read_at, None
        return version == self._known

    def stale_age(self, version: int) -> int | None:
        """Seconds since this version was known to be in force, for use while the database is away.

        None where it must not be shown: this process knows of a later change, or it is too long ago.
        """
        known_at, changes = self._known_at
        age = self._monotonic() - known_at
        if version != self._known or changes != self._database.changes or age >= self._max_stale_seconds:
            return None
        return int(age)

    async def close(self) -> None:
        """End the questions that are still open."""
        for question in self._open:
            question.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _ask(self) -> asyncio.Task[None]:
        """Ask, or join who asks already. Of a database that was away that one may wait for ever: the next may not."""
        asked_ago = self._monotonic() - self._asked_at
        is_late = self._failure is not None and asked_ago >= _ASK_AGAIN_SECONDS
        if self._question is None or self._question.done() or is_late:
            self._question = asyncio.create_task(self._read(), name="data version")
            self._asked_at = self._monotonic()
            self._open.add(self._question)
            self._question.add_done_callback(self._forget)
        return self._question

    def _forget(self, question: asyncio.Task[None]) -> None:
        self._open.discard(question)
        if not question.cancelled():
            question.exception()  # in the background nobody may wait for it; what went wrong is kept and logged

    async def _read(self) -> None:
        leave_request()
        now = self.now()
        try:
            async with self._database.reading() as session:
                version = await read_data_version(session)
        except DatabaseUnavailable as error:
            if now.time >= self._known_at.time:  # else another question had its answer meanwhile
                self._failure, self._failed_at = error, self._monotonic()
            raise
        self.learn(version, now)


async def raise_version(session: AsyncSession) -> None:
    """Say that the open transaction changes what is shown besides countries; answers of before end with the commit."""
    announce_new_version(session)
    change = update(_SUMMARY).where(_SUMMARY.c.id == 1).values(data_version=_SUMMARY.c.data_version + 1)
    await execute(session, change)
