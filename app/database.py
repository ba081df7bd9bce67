"""The database: one engine, and units of work that are bounded in time and retried."""

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import stamina
from fastapi import Depends, Request
from loguru import logger
from sqlalchemy import event, literal, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.database_url import mysql_connect_arguments, normalize_database_url, requires_tls
from app.core.config.settings import Settings
from app.core.errors import DatabaseUnavailable
from app.database_faults import as_unavailable, is_lost_connection, is_worth_a_retry, mark_disconnects
from app.dialects import open_aiomysql, open_sqlite, prepare_mysql, prepare_sqlite
from app.pool import Pool

T = TypeVar("T")

_CHANGES_VERSION: Final = "changes the version of the data"
_ADDS_ENTRY: Final = "adds an entry to the audit trail"
_ANYTHING: Final = select(literal(1))
_SPENT: ContextVar[list[float] | None] = ContextVar("seconds of database work, by unit, of one request", default=None)


def create_engine(settings: Settings) -> AsyncEngine:
    """Build the engine with its pool; nothing is connected yet."""
    url = normalize_database_url(settings.database_url.get_secret_value())
    pool: dict[str, Any] = {
        "pool_size": settings.db_pool_size,
        "max_overflow": settings.db_max_overflow,
        "pool_timeout": settings.db_pool_timeout_seconds,
        "pool_recycle": settings.db_pool_recycle_seconds,
        "pool_pre_ping": True,
        # A session and a connection end their transaction before they give it back; once more would be a round trip.
        "pool_reset_on_return": None,
        # Errors quote the statement, and what is logged of them must show no hash of a password and no person.
        "hide_parameters": True,
    }
    if url.drivername.startswith("sqlite"):
        _make_folder(Path(str(url.database)).parent)
        engine = create_async_engine(url, connect_args={"async_creator_fn": open_sqlite}, **pool)
        prepare_sqlite(engine, busy_seconds=settings.db_timeout_seconds / 2)
        return engine
    # reading() promises one view of the data, whatever the server's default.
    pool["isolation_level"] = "REPEATABLE READ"
    bare_url, connect_args = mysql_connect_arguments(url)
    if bare_url.get_driver_name() == "aiomysql":
        connect_args = {"connect_timeout": settings.db_timeout_seconds, **connect_args}
        connect_args["async_creator_fn"] = open_aiomysql
    engine = create_async_engine(bare_url, connect_args=connect_args, **pool)
    event.listen(engine.sync_engine, "handle_error", mark_disconnects)
    prepare_mysql(engine, seconds=settings.db_timeout_seconds)
    # MySQL 8.4 tells at every upsert that VALUES() is deprecated, and aiomysql makes a Python warning of it.
    warnings.filterwarnings("ignore", message=".*VALUES function.* is deprecated")
    if requires_tls(url):
        event.listen(engine.sync_engine, "connect", _refuse_plain_text)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"The folder {folder} of the SQLite file can't be made: {error.strerror}") from error


def _refuse_plain_text(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
    row = cursor.fetchone()
    cursor.close()
    if not row or not row[1]:
        connection.close()  # the pool does not know it yet, and would leave it open
        message = "ssl-mode asks for TLS, but the server offers none"
        raise OperationalError("connect", None, ConnectionError(message))


class Database:
    """One engine and the bounds under which it is used.

    Reads take a session from :meth:`reading`; changes are functions that
    :meth:`transaction` runs. One session is never shared by two tasks.
    """

    def __init__(self, settings: Settings) -> None:
        self.engine = create_engine(settings)
        self.pool = Pool(self.engine, max_overflow=settings.db_max_overflow)
        """Tells how many connections there are, and how many are wanted."""
        self.timeout = settings.db_timeout_seconds
        self.changes = 0
        """How often this process has changed, or may have changed, the version of the data, or told of a change."""
        self.audited = asyncio.Event()
        """Set when this process may have added entries to the audit trail; whoever delivers them clears it."""

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """One consistent view of the data, for reading only.

        Raises:
            DatabaseUnavailable: No connection or no answer in time.
        """
        async with self._bounded(), self._session() as session:
            yield session
            # Within the bound: closing would send the ROLLBACK outside of it, and wait for the answer without end.
            await session.rollback()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One connection in a transaction that commits at the end, for schema changes.

        Raises:
            DatabaseUnavailable: No connection or no answer in time.
        """
        with self.pool.unit_of_work():
            async with self._bounded(), self.engine.connect() as plain:
                connection = await plain.execution_options(writes=True)
                try:
                    async with connection.begin():
                        yield connection
                except asyncio.CancelledError:
                    await connection.invalidate()
                    raise

    async def transaction(
        self, work: Callable[[AsyncSession], Awaitable[T]], *, repeatable: bool = False, seconds: float | None = None
    ) -> T:
        """Run a change as one transaction, again where a passing fault undid it.

        Args:
            work: Gets the session of the open transaction; never commits. It
                may run several times, so it must not change anything else.
            repeatable: Doing it twice leaves the same as doing it once. Only
                then is it repeated after a connection that broke at COMMIT.
            seconds: Its bound, where it has so much to do that the general one is not for it; never a shorter one.

        Raises:
            DatabaseUnavailable: No connection or no answer in time, or nobody
                knows whether the change was committed (the details say so).
        """
        async with self._bounded(seconds) as bound:
            async for attempt in stamina.retry_context(
                on=is_worth_a_retry, attempts=5, timeout=None, wait_initial=0.02, wait_max=0.5, wait_jitter=0.1
            ):
                with attempt:
                    return await self._once(work, bound, repeatable=repeatable)
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, work: Callable[[AsyncSession], Awaitable[T]], bound: asyncio.Timeout, *, repeatable: bool
    ) -> T:
        async with self._session(writes=True) as session:
            result = await work(session)
            try:
                await session.commit()
            except (DBAPIError, asyncio.CancelledError) as error:
                if not repeatable and (is_lost_connection(error) or isinstance(error, asyncio.CancelledError)):
                    raise OutcomeUnknown from error
                raise
            else:
                # It has happened. Out of time while the connection goes back, it would be told as not done.
                bound.reschedule(None)
            finally:
                if _CHANGES_VERSION in session.info:
                    self.note_change()
                if _ADDS_ENTRY in session.info:
                    self.audited.set()
        return result

    def note_change(self) -> None:
        """End what is known of the version of the data, so that whoever was told of a change can read it here."""
        self.changes += 1

    @asynccontextmanager
    async def _session(self, **options: bool) -> AsyncIterator[AsyncSession]:
        with self.pool.unit_of_work():
            async with AsyncSession(self.engine, expire_on_commit=False, execution_options=options) as session:
                try:
                    yield session
                except (asyncio.CancelledError, OutcomeUnknown):
                    # Out of time: a session that is only closed would wait for a server that may never answer.
                    await session.invalidate()
                    raise

    @asynccontextmanager
    async def _bounded(self, seconds: float | None = None) -> AsyncIterator[asyncio.Timeout]:
        """Bound a unit of work; a longer bound than the general one counts only while the database answers others."""
        started, spent = time.monotonic(), None if seconds else _SPENT.get()
        seconds = max(self.timeout, seconds or 0)
        watch: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(seconds - sum(spent or ())) as bound:
                if seconds > self.timeout:
                    watch = asyncio.create_task(self._end_at_silence(bound), name="watch of the database")
                yield bound
        except TimeoutError as error:
            seconds = self.timeout if watch is not None and watch.done() else seconds
            logger.error("Database work gave up after {:g} s", seconds)
            raise DatabaseUnavailable(f"No answer from the database within {seconds:g} s") from error
        except SQLAlchemyError as error:
            unavailable = as_unavailable(error)
            if unavailable is None:
                raise
            logger.error("Database: {}", _first_line(error))
            raise unavailable from error
        finally:
            if spent is not None:
                spent.append(time.monotonic() - started)
            if watch is not None:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    async def _end_at_silence(self, bound: asyncio.Timeout) -> None:
        """Keep asking the database something, and let the time of a unit of work be over when no answer comes.

        Other faults say nothing about the unit: it meets those itself, or has what the question could not get.
        """
        while True:
            await asyncio.sleep(self.timeout / 4)
            try:
                async with asyncio.timeout(self.timeout / 2), self._session() as session:
                    await (await session.connection()).execute(_ANYTHING)
                    await session.rollback()
            except TimeoutError:
                break
            except SQLAlchemyError:
                continue
        if bound.when() is not None:  # else it is committed, and has no bound any more
            bound.reschedule(0)


@contextmanager
def one_request() -> Iterator[None]:
    """Let all units of work in the block share the bound of one, so that their number does not prolong an answer."""
    token = _SPENT.set([])
    try:
        yield
    finally:
        _SPENT.reset(token)


def leave_request() -> None:
    """Let this task have its own time: what it does is for many requests, or follows the beginning of an answer."""
    _SPENT.set(None)


def announce_new_version(session: AsyncSession) -> None:
    """Say that the open transaction changes the version of the data: what was known of it ends with the commit."""
    session.info[_CHANGES_VERSION] = True


def announce_audit_entry(session: AsyncSession) -> None:
    """Say that the open transaction adds an entry to the audit trail, to be delivered after the commit."""
    session.info[_ADDS_ENTRY] = True


class OutcomeUnknown(DatabaseUnavailable):
    """The connection broke, or time ran out, while a change was being committed."""

    def __init__(self) -> None:
        super().__init__("No answer came to the commit; look whether the change was made before trying again")


def _first_line(error: SQLAlchemyError) -> str:
    # The rest of the text is the statement and its parameters.
    return str(error).splitlines()[0]


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
