"""What was read from the database, kept in memory for one version of the data and shared by all requests."""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final, Self, TypeVar

from loguru import logger
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.data_version import DataVersion, on_data_version
from app.core.db.database import Database
from app.core.db.single_flight import SingleFlight
from app.core.errors import AppError, DatabaseUnavailable

T = TypeVar("T")
_SETTLE_SECONDS: Final = 0.25
"""Pause before data are loaded ahead: changes often come in a row, and the answer to a change goes first."""

Run = Callable[..., Coroutine[Any, Any, Any]]
_MOST: Final = 128
"""Results that depend on arguments, which clients choose, so that their number needs a bound."""


class Outdated(Exception):
    """The data have changed since the snapshot was begun: what else belongs to it can't be read any more."""


class Snapshot:
    """The results of functions that read the database, all of one version of the data; callers must not change them.

    Each function runs once for the same arguments, when it is first asked for, and its result is shared.
    """

    def __init__(self, version: int, run: Run, flights: SingleFlight[Any] | None = None) -> None:
        """Begin with nothing.

        Args:
            version: Of the data.
            run: Calls a function with a session that sees this version, and arguments; or raises Outdated.
            flights: Where tasks share what is being read; None if there is only one task.
        """
        self.version = version
        self._run = run
        self._flights = flights
        self._bounded: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
        self._lasting: dict[Hashable, Any] = {}
        self._recent: OrderedDict[Hashable, Any] = OrderedDict()

    def within(self, bounded: Callable[[], AbstractAsyncContextManager[object]]) -> Self:
        """The same snapshot for one request, which waits for what is not known only within its bound."""
        view = copy.copy(self)
        view._bounded = bounded
        return view

    def read_by(self, session: AsyncSession) -> Self:
        """The same snapshot, while an open session reads what is not known."""
        view = copy.copy(self)
        view._run, view._flights = _with(session), None
        return view

    def successor(self, empty: "Snapshot", changed: Mapping[Any, Any]) -> "Snapshot":
        """A later snapshot, filled with the results of this one and those that have changed."""
        empty._lasting = {**self._lasting, **changed}
        empty._recent = self._recent.copy()
        return empty

    async def read(self, load: Callable[..., Awaitable[T]], *arguments: Hashable) -> T:
        """The result of ``load(session, *arguments)``, kept: without arguments for good, with them those used last.

        Raises:
            Outdated: It is not known, and the data have changed.
            DatabaseUnavailable: It is not known, and the database does not answer.
        """
        if not arguments:
            if load not in self._lasting:
                self._lasting[load] = await self._load(load)
            result: T = self._lasting[load]
            return result
        key = (load, *arguments)
        result = self._recent[key] if key in self._recent else await self._load(*key)
        self._recent[key] = result
        self._recent.move_to_end(key)
        if len(self._recent) > _MOST:
            self._recent.popitem(last=False)
        return result

    async def read_once(self, load: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """The result of ``load(session)``, neither kept nor shared; raises like :meth:`read`."""
        async with self._bounded():
            result: T = await self._run(load)
        return result

    async def _load(self, *call: Any) -> Any:
        async with self._bounded():
            if self._flights is None:
                return await self._run(*call)
            return await self._flights.run((self.version, *call), partial(self._run, *call))


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
        self._flights: SingleFlight[Any] = SingleFlight()
        self._current = self._begin(-1)
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Load now and soon after each change by this process, so that few requests have to wait for it."""
        self._loading = asyncio.create_task(self._load_ahead(), name="load ahead")

    async def close(self) -> None:
        """Stop reading."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        await self._flights.close()

    async def newest(self, database: Database) -> tuple[Snapshot, int | None]:
        """The snapshot of the current data version, for the bound of ``database``.

        While the database is away it is the last one, as long as that may be shown.

        Returns:
            The snapshot, and for how many seconds it was not possible to check that it is current; None if it is.

        Raises:
            DatabaseUnavailable: The database does not answer, and there is no snapshot to show.
        """
        age = None
        try:
            while not await self._versions.is_in_force(self._current.version):
                version = self._versions.known
                if version <= 0:
                    return self._begin(version).within(database.bounded), None
                async with database.bounded():
                    await self._flights.run(version, partial(self._replace, version))
        except DatabaseUnavailable:
            age = self._versions.stale_age(self._current.version)
            if age is None:
                raise
        return self._current.within(database.bounded), age

    def succeed(self, before: Snapshot, version: int, changed: Mapping[Any, Any]) -> None:
        """Make the snapshot of the next version from the last one, after a change by this process.

        Args:
            before: The snapshot that the change was made to.
            version: Of the data after the change.
            changed: What is different, by the function without arguments that reads it.
        """
        if before.version == self._current.version:
            self._current = before.successor(self._begin(version), changed)

    def _begin(self, version: int) -> Snapshot:
        async def run(load: Run, *arguments: Hashable) -> Any:
            async with self._reading(version) as session:
                return await load(session, *arguments)

        # Before the first refresh the version does not change with the data, so that nothing may be shared.
        return Snapshot(version, run, self._flights if version > 0 else None)

    async def _replace(self, version: int) -> None:
        """Load the snapshot of a version, in one transaction; not if there is a newer one by now."""
        snapshot = self._begin(version)
        try:
            async with self._reading(version) as session:
                await self._load(snapshot.read_by(session))
        except Outdated:
            return
        self._current = snapshot

    @asynccontextmanager
    async def _reading(self, version: int) -> AsyncIterator[AsyncSession]:
        found: list[int] = []
        read_after = self._versions.now()
        async with self._database.reading() as session:
            on_data_version(session, found.append)
            await session.connection()
            self._versions.learn(found[0], read_after)
            if found[0] != version:
                raise Outdated
            yield session

    async def _load_ahead(self) -> None:
        while True:
            self._database.changed.clear()
            try:
                await self.newest(self._database)
            except AppError as error:
                logger.warning("Cannot read the data ahead: {}", error.details or error.title)
            await self._database.changed.wait()
            await asyncio.sleep(_SETTLE_SECONDS)
