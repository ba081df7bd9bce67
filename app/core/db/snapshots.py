"""What was read from the database, kept in memory for one version of the data and shared by all requests."""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Self, TypeVar

from loguru import logger
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.data_version import DataVersion, on_data_version
from app.core.db.database import Database
from app.core.db.single_flight import SingleFlight
from app.core.errors import AppError, DatabaseUnavailable

T = TypeVar("T")
Run = Callable[..., Coroutine[Any, Any, Any]]
"""Calls a function with a session and with arguments."""
_MOST: Final = 32
"""Results that depend on arguments, which clients choose; each may take 200 kB."""
_SETTLE_SECONDS: Final = 0.25
"""Pause before data are read ahead: changes often come in a row, and the answer to a change goes first."""
_LONGEST_START: Final = 1.0
"""Seconds."""


class Outdated(Exception):
    """The data have changed since the snapshot was begun: what else belongs to it can't be read any more."""


class Snapshot:
    """The results of functions that read the database, all of one version of the data; callers must not change them.

    Each function is called when it is first asked for, and its result is shared.
    """

    def __init__(self, version: int, run: Run) -> None:
        """Begin with nothing; ``run`` gives a function a session that sees this version, or raises Outdated."""
        self.version = version
        self._run = run
        self._lasting: dict[Hashable, Any] = {}
        self._recent: OrderedDict[Hashable, Any] = OrderedDict()

    def read_by(self, run: Run) -> Self:
        """The same snapshot, with another way of reading what is not known."""
        view = copy.copy(self)
        view._run = run
        return view

    def successor(self, empty: "Snapshot", results: Mapping[Any, Any], *, keep: bool) -> "Snapshot":
        """A later snapshot with these results, and with ``keep`` all others of this one."""
        empty._lasting = {**(self._lasting if keep else {}), **results}
        empty._recent = self._recent.copy() if keep else OrderedDict()
        return empty

    async def read(self, load: Callable[..., Awaitable[T]], *arguments: Hashable) -> T:
        """The result of ``load(session, *arguments)``, kept: without arguments for good, with them those used last.

        Raises:
            Outdated: It is not known, and the data have changed.
            DatabaseUnavailable: It is not known, and the database does not answer.
        """
        if not arguments:
            if load not in self._lasting:
                self._lasting[load] = await self._run(load)
            result: T = self._lasting[load]
            return result
        key = (load, *arguments)
        result = self._recent[key] if key in self._recent else await self._run(*key)
        self._recent[key] = result
        self._recent.move_to_end(key)
        if len(self._recent) > _MOST:
            self._recent.popitem(last=False)
        return result

    async def read_once(self, load: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """The result of ``load(session)``, not kept; raises like :meth:`read`."""
        result: T = await self._run(load)
        return result


def _with(session: AsyncSession) -> Run:
    async def run(load: Run, *arguments: Hashable) -> Any:
        return await load(session, *arguments)

    return run


def snapshot_of(session: AsyncSession) -> Snapshot:
    """What an open session reads, as a snapshot that lasts as long."""
    return Snapshot(0, _with(session))


class Snapshots:
    """Keeps the snapshot of the current data version."""

    def __init__(
        self, database: Database, versions: DataVersion, load: Callable[[Snapshot], Awaitable[object]]
    ) -> None:
        """``load`` reads from a new snapshot what most requests will need, before it is used."""
        self._database = database.plain
        self._versions = versions
        self._load = load
        self._flights: SingleFlight[None] = SingleFlight()
        self._current = Snapshot(-1, self._run(database, -1))
        self._filled = -1
        """Version of the last snapshot for which ``load`` has run."""
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load now, and soon after each change by this process, so that few requests have to wait for it.

        A database that does not answer delays the start by a second at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_START):
                await self._try_to_fill()
        self._reader = asyncio.create_task(self._read_ahead(), name="read ahead")

    async def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._flights.close()

    async def newest(
        self, database: Database, *, admit: Callable[[], None] = lambda: None
    ) -> tuple[Snapshot, int | None]:
        """The snapshot of the current data version. While the database is away, the last one, if it may be shown.

        Args:
            database: Its bound is that of all waiting, here and when the snapshot is read.
            admit: Called before each unit of work for what is not known; raises an AppError to refuse it.

        Returns:
            The snapshot, and for how many seconds it was not possible to check that it is current; None if it is.

        Raises:
            DatabaseUnavailable: The database does not answer, and no snapshot may be shown.
        """
        while True:
            snapshot = self._current  # another one may take its place during the check
            try:
                async with database.bounded():
                    if await self._versions.is_in_force(snapshot.version):
                        age = None
                        break
                    version = self._versions.known
                    if version <= 0:  # before the first refresh, when it does not change with the data
                        snapshot, age = Snapshot(version, self._run(database, version)), None
                        break
                    await self._flights.run(version, partial(self._replace, version))
            except Outdated:
                continue
            except DatabaseUnavailable:
                age = self._versions.stale_age(snapshot.version)
                if age is None:
                    raise
                break
        return snapshot.read_by(self._run(database, snapshot.version, admit)), age

    async def fill(self) -> None:
        """Load what the newest snapshot still lacks of what most requests will need; raises like :meth:`newest`."""
        snapshot, _ = await self.newest(self._database)
        if snapshot.version > 0 and snapshot.version != self._filled:
            await self._flights.run(snapshot.version, partial(self._fill, snapshot))

    def succeed(self, before: Snapshot, version: int, results: Mapping[Any, Any], *, keep: bool) -> None:
        """Begin the snapshot of the next version, after the commit of a change by this process.

        Args:
            before: The snapshot that the change was made to.
            version: Of the data after the change.
            results: What is known of it, by the function without arguments that would read it.
            keep: Whether everything else is as before; if not, it is read when it is needed.
        """
        if before.version != self._current.version:
            return
        empty = Snapshot(version, self._run(self._database, version))
        self._current = before.successor(empty, results, keep=keep)
        if keep and self._filled == before.version:
            self._filled = version

    def _run(self, database: Database, version: int, admit: Callable[[], None] = lambda: None) -> Run:
        async def run(load: Run, *arguments: Hashable) -> Any:
            admit()
            async with self._reading(database, version) as session:
                return await load(session, *arguments)

        return run

    async def _replace(self, version: int) -> None:
        """Load the snapshot of a version, unless there is a newer one by now."""
        snapshot = Snapshot(version, self._run(self._database, version))
        await self._fill(snapshot)
        if version == self._versions.known:
            self._current = snapshot

    async def _fill(self, snapshot: Snapshot) -> None:
        """Load in one transaction. What can't be understood is left to the requests that need it."""
        async with self._reading(self._database, snapshot.version) as session:
            try:
                await self._load(snapshot.read_by(_with(session)))
            except (AppError, SQLAlchemyError):
                raise
            except Exception:
                logger.exception("Cannot read all data ahead")
        self._filled = snapshot.version

    @asynccontextmanager
    async def _reading(self, database: Database, version: int) -> AsyncIterator[AsyncSession]:
        found: list[int] = []
        read_after = self._versions.now()
        async with database.reading() as session:
            on_data_version(session, found.append)
            await session.connection()
            self._versions.learn(found[0], read_after)
            if found[0] != version:
                raise Outdated
            yield session

    async def _read_ahead(self) -> None:
        while True:
            await self._database.changed.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
            self._database.changed.clear()
            await self._try_to_fill()

    async def _try_to_fill(self) -> None:
        try:
            await self.fill()
        except Outdated:
            self._database.changed.set()
        except AppError as error:
            logger.debug("Cannot read the data ahead: {}", error.details or error.title)
        except Exception:
            logger.exception("Cannot read the data ahead")
