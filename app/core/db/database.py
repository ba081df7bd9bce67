"""The database: one engine, and units of work that are bounded in time and retried."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

import stamina
from loguru import logger
from sqlalchemy import literal, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings
from app.core.db.dialects import dialect_for
from app.core.db.driver_errors import ConnectingPool, is_from_driver, lost_connection, report_driver_errors
from app.core.db.faults import RETRIED, Fault, as_unavailable
from app.core.db.pool import Pool
from app.core.db.queries import execute
from app.core.errors import DatabaseUnavailable

T = TypeVar("T")

Guard = Callable[[AsyncSession], Awaitable[None]]
"""Checks in an open transaction, before its work, that the work may still be done; raises an AppError if not."""

_CHANGES_VERSION: Final = "changes the version of the data"
_AFTER_COMMIT: Final = "called after the commit"
_DATABASE: Final = "database"


def create_engine(settings: Settings) -> AsyncEngine:
    """Build the engine with its pool; nothing is connected yet.

    Raises:
        DatabaseUnavailable: The folder of a SQLite file can't be made.
    """
    url = normalize_database_url(settings.database_url.get_secret_value())
    engine = dialect_for(url).create_engine(
        url,
        settings,
        poolclass=ConnectingPool,
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_max_overflow,
        pool_timeout=settings.db_pool_timeout_seconds,
        pool_recycle=settings.db_pool_recycle_seconds,
        pool_pre_ping=True,
        # A session and a connection end their transaction before they give it back; once more would be a round trip.
        pool_reset_on_return=None,
        # Errors quote the SQL; keep password hashes and personal data out of the log.
        hide_parameters=True,
    )
    report_driver_errors(engine)
    return engine


class Database:
    """One engine and the bounds under which it is used.

    Reads take a session from :meth:`reading`; changes are functions that :meth:`transaction` runs. One session is never
    shared by two tasks. Each unit of work has a bound in time. Units of one request share a bound, so that their number
    does not prolong its answer: they use the view of :meth:`for_request`. Background work uses the database itself.
    Changes in the name of an account use the view of :meth:`guarded`, which checks each one in its transaction.
    """

    def __init__(self, settings: Settings, engine: AsyncEngine | None = None) -> None:
        self.engine = engine or create_engine(settings)
        self.dialect = dialect_for(self.engine.dialect)
        self.pool = Pool(self.engine, max_overflow=settings.db_max_overflow)
        """Counts connections, and units of work that want one."""
        self.timeout = settings.db_timeout_seconds
        self.has_webhook = settings.audit_webhook_url is not None
        """Whether AUDIT_WEBHOOK_URL is set, so that audit entries must be sent to it."""
        self._changes = 0
        self.audited = asyncio.Event()
        """Set after each commit of an audit entry by this process; cleared by the delivery."""
        self.changed = asyncio.Event()
        """Set after each change of the data version by this process; cleared by who loads the data ahead."""
        self.plain = self
        """The database itself, also where this is the view of a request."""
        self.logs_faults = True
        """Whether each fault is logged; False where the caller reports them."""
        self.is_damaged = False
        """Whether damage was met since :meth:`verify` last found none."""
        self._spent: list[float] | None = None
        """Seconds of each unit of work, where they share a bound."""
        self.guard: Guard | None = None
        """Runs at the beginning of every transaction of this view; None if changes need no check."""

    def for_request(self) -> Self:
        """The same database for one request, whose units of work share the bound of one."""
        view = copy.copy(self)
        view._spent = []
        return view

    def guarded(self, guard: Guard | None) -> Self:
        """The same database with this guard, which runs in every transaction before its work."""
        view = copy.copy(self)
        view.guard = guard
        return view

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """One consistent view of the data, for reading only.

        Raises:
            DatabaseUnavailable: No connection or no answer in time.
        """
        async with self.bounded(), self._session(self.dialect.reading) as session:
            yield session
            # Within the bound: closing would send the ROLLBACK outside of it, and wait without limit for the answer.
            await session.rollback()

    async def verify(self, session: AsyncSession) -> None:
        """Check all stored data for damage, in a reading session; raise DBAPIError if there is any."""
        await self.dialect.verify(await session.connection())
        self.plain.is_damaged = False

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One connection in a transaction that commits at the end, for schema changes.

        Raises:
            DatabaseUnavailable: No connection or no answer in time.
        """
        with self.pool.unit_of_work():
            async with self.bounded(), self.engine.connect() as plain:
                connection = await plain.execution_options(**self.dialect.writing)
                try:
                    async with connection.begin():
                        yield connection
                except asyncio.CancelledError:
                    await connection.invalidate()
                    raise

    async def transaction(
        self, work: Callable[[AsyncSession], Awaitable[T]], *, repeatable: bool = False, seconds: float | None = None
    ) -> T:
        """Run a change as one transaction, and again if a passing fault undid it.

        Args:
            work: Gets the session of the open transaction; never commits. It
                may run several times, so it must not change anything else.
            repeatable: Doing it twice leaves the same as doing it once. Only
                then is it repeated after a connection that broke at COMMIT.
            seconds: A longer bound than DB_TIMEOUT_SECONDS, for work that is known to be large.

        Raises:
            DatabaseUnavailable: No connection or no answer in time, or the outcome
                of the commit is unknown (the details say so).
            AppError: The guard refuses the change; nothing was done.
        """
        async with self.bounded(seconds) as bound:
            async for attempt in stamina.retry_context(
                on=self._is_passing, attempts=5, timeout=None, wait_initial=0.02, wait_max=0.5, wait_jitter=0.1
            ):
                with attempt:
                    return await self._once(work, bound, repeatable=repeatable)
        raise AssertionError("the last attempt returns or raises")

    def _is_passing(self, error: Exception) -> bool:
        return self.dialect.fault(error) in RETRIED

    async def _once(
        self, work: Callable[[AsyncSession], Awaitable[T]], bound: asyncio.Timeout, *, repeatable: bool
    ) -> T:
        async with self._session(self.dialect.writing) as session:
            if self.guard is not None:
                await self.guard(session)
            result = await work(session)
            try:
                await session.commit()
            except (DBAPIError, asyncio.CancelledError) as error:
                is_unknown = isinstance(error, asyncio.CancelledError) or self.dialect.fault(error) is Fault.LOST
                if is_unknown and not repeatable:
                    details = "No answer came to the commit; look whether the change was made before trying again"
                    logger.error("Database: {}", details)
                    raise OutcomeUnknown(details) from error
                raise
            else:
                # Committed: lift the deadline, or a slow return to the pool would report a failure.
                bound.reschedule(None)
                for callback in session.info.get(_AFTER_COMMIT, ()):
                    callback()
            finally:
                if _CHANGES_VERSION in session.info:
                    self.note_change()
        return result

    @property
    def changes(self) -> int:
        """Number of writes by this process that may have changed the data version."""
        return self.plain._changes

    def note_change(self) -> None:
        """Invalidate the known data version, so that a caller reads its own write."""
        self.plain._changes += 1
        self.changed.set()

    @asynccontextmanager
    async def _session(self, options: Mapping[str, Any]) -> AsyncIterator[AsyncSession]:
        with self.pool.unit_of_work():
            async with AsyncSession(self.engine, expire_on_commit=False, execution_options=options) as session:
                session.info[_DATABASE] = self
                try:
                    yield session
                except (asyncio.CancelledError, OutcomeUnknown):
                    # Out of time: a session that is only closed would wait for a server that may never answer.
                    await session.invalidate()
                    raise
                except Exception as error:
                    if not is_from_driver(error):
                        raise
                    # Closing a cursor failed, which SQLAlchemy shows to no listener.
                    await session.invalidate()
                    raise lost_connection(None, error) from error

    @asynccontextmanager
    async def bounded(self, seconds: float | None = None) -> AsyncIterator[asyncio.Timeout]:
        """Bound a unit of work; one beyond DB_TIMEOUT_SECONDS holds only while the database answers other queries.

        Raises:
            DatabaseUnavailable: It did not end in time, or the database failed.
        """
        started, spent = time.monotonic(), None if seconds else self._spent
        seconds = max(self.timeout, seconds or 0)
        watch: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(seconds - sum(spent or ())) as bound:
                if seconds > self.timeout:
                    watch = asyncio.create_task(self._end_at_silence(bound), name="watch of the database")
                yield bound
        except TimeoutError as error:
            if not bound.expired():
                raise  # of the work itself
            seconds = self.timeout if watch is not None and watch.done() else seconds
            if self.logs_faults:
                logger.error("Database work gave up after {:g} s", seconds)
            raise DatabaseUnavailable(f"No answer from the database within {seconds:g} s") from error
        except SQLAlchemyError as error:
            fault = self.dialect.fault(error)
            self.plain.is_damaged |= fault is Fault.DAMAGED
            unavailable = as_unavailable(error, fault)
            if unavailable is None:
                raise
            if self.logs_faults:
                logger.error("Database: {}", str(error).splitlines()[0])  # the rest is the statement and its parameters
            raise unavailable from error
        finally:
            if spent is not None:
                spent.append(time.monotonic() - started)
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    async def _end_at_silence(self, bound: asyncio.Timeout) -> None:
        """End a unit of work once the database leaves a trivial query without an answer.

        Other errors prove nothing: the unit will hit them itself, or it holds the connection this query waits for.
        """
        while True:
            await asyncio.sleep(self.timeout / 4)
            try:
                async with asyncio.timeout(self.timeout / 2), self._session(self.dialect.reading) as session:
                    await execute(session, select(literal(1)))
                    await session.rollback()
            except TimeoutError:
                break
            except Exception:  # noqa: S112  # the unit must stay watched whatever happens here
                continue
        if bound.when() is not None:  # None: it is committed, and has no bound any more
            bound.reschedule(0)


def announce_new_version(session: AsyncSession) -> None:
    """Mark the open transaction as one that changes the data version: the known one is invalid after the commit."""
    session.info[_CHANGES_VERSION] = True


def call_after_commit(session: AsyncSession, callback: Callable[[], None]) -> None:
    """Call a function right after the commit of the open transaction; not if it fails or its outcome is unknown."""
    session.info.setdefault(_AFTER_COMMIT, []).append(callback)


def database_of(session: AsyncSession) -> Database:
    """The database that a session comes from."""
    database: Database = session.info[_DATABASE]
    return database


class OutcomeUnknown(DatabaseUnavailable):
    """The connection broke, or time ran out, while a change was being committed."""
