"""Leases: work that must happen once runs in one process, and a dead process does not block the rest.

A lease is a row that its holder keeps renewing. A process that finds it expired takes it over and raises its fence
number, by which a transaction of the former holder is recognised as late. All times are the database's own. Its clock
may be put right: a lease that ends too far in the future counts as expired. Named locks of the server are not used:
clusters do not replicate them.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from loguru import logger
from sqlalchemy import BigInteger, insert, or_, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, SQLModel, col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.background import log_failure, repeat
from app.core.db.database import Database
from app.core.db.queries import execute, select_columns
from app.core.db.types import TABLE_OPTIONS, ServerNow, UTCDateTime
from app.core.errors import AppError

LEASE_SECONDS: Final = 5.0
RENEW_SECONDS: Final = 1.5
_GIVE_BACK_SECONDS: Final = 0.5


class LeaseRow(SQLModel, table=True):
    """The current holder of a lease, and until when."""

    __tablename__ = "lease"
    __table_args__ = TABLE_OPTIONS

    name: str = Field(primary_key=True, max_length=64)
    holder: str | None = Field(default=None, max_length=36)
    """A UUID made for one acquisition; None while nobody holds the lease."""
    fence: int = Field(default=0, sa_type=BigInteger)
    """Grows by one at each acquisition."""
    expires_at: datetime = Field(sa_type=UTCDateTime)
    """End of the lease by the database's clock."""


@dataclass(frozen=True)
class Lease:
    """A lease that this process acquired."""

    name: str
    holder: str
    fence: int


class LeaseLost(AppError):
    """Another process took the lease over before this one was done."""

    status_code = 503
    title = "Database unavailable"
    retry_after_seconds = 2


async def acquire(database: Database, name: str, *, seconds: float = LEASE_SECONDS) -> Lease | None:
    """Take a lease that is free or expired.

    Args:
        database: The database that holds the leases.
        name: What the lease is for.
        seconds: Length of the lease. All processes must give the same for one name, because a lease that ends more than
            twice as far from now counts as expired: it was taken before the clock was put back.

    Returns:
        The lease; None while another process holds it.

    Raises:
        DatabaseUnavailable: The database gave no answer.
    """
    holder = str(uuid.uuid4())

    async def take(session: AsyncSession) -> Lease | None:
        query = select_columns(LeaseRow.holder, LeaseRow.fence).where(col(LeaseRow.name) == name)
        row = (await execute(session, query.with_for_update())).first()
        if row is None:
            await execute(session, insert(LeaseRow).values(name=name, fence=0, expires_at=ServerNow()))
        elif row.holder == holder:
            return Lease(name, holder, row.fence)  # our commit did happen, only its answer was lost
        end = col(LeaseRow.expires_at)
        # Twice, because the clocks of a cluster's nodes may differ by seconds.
        has_expired = or_(end <= ServerNow(), end > ServerNow(2 * seconds))
        result = await execute(
            session,
            update(LeaseRow)
            .where(col(LeaseRow.name) == name)
            .where(or_(col(LeaseRow.holder).is_(None), has_expired))
            .values(holder=holder, fence=LeaseRow.fence + 1, expires_at=ServerNow(seconds)),
        )
        return Lease(name, holder, (row.fence if row else 0) + 1) if result.rowcount else None

    try:
        return await database.transaction(take, repeatable=True)
    except IntegrityError:
        return None  # another process created the row in the same moment, and holds it


async def read_fence(session: AsyncSession, name: str) -> int:
    """Number of the lease that was taken last; 0 if none was."""
    query = select_columns(LeaseRow.fence).where(col(LeaseRow.name) == name)
    return (await execute(session, query)).scalar() or 0


async def renew_in(session: AsyncSession, lease: Lease) -> None:
    """Move the end of a lease by LEASE_SECONDS in an open transaction; raise LeaseLost if another process has it."""
    await _change(session, lease, expires_at=ServerNow(LEASE_SECONDS))


async def release(database: Database, lease: Lease) -> None:
    """Give a lease back; one that was lost or given back already is left alone."""
    try:
        await database.transaction(partial(release_in, lease=lease), repeatable=True)
    except LeaseLost:
        logger.debug("Lease {} was given back already", lease.name)


async def release_in(session: AsyncSession, lease: Lease) -> None:
    """Give a lease back like ``renew_in()``; the row is locked until the commit, so nobody takes it in between."""
    await _change(session, lease, holder=None, expires_at=ServerNow())


async def _change(session: AsyncSession, lease: Lease, **values: object) -> None:
    result = await execute(
        session,
        update(LeaseRow)
        .where(col(LeaseRow.name) == lease.name, col(LeaseRow.holder) == lease.holder)
        .where(col(LeaseRow.fence) == lease.fence)
        .values(**values),
    )
    if result.rowcount == 0:
        raise LeaseLost("The work took too long and another process took it over")


@asynccontextmanager
async def held(database: Database, lease: Lease) -> AsyncIterator[None]:
    """Renew a lease while the block runs, and give it back if the block fails.

    A block that succeeds gives it back itself, best inside its own transaction.
    """
    heartbeat = asyncio.create_task(_renew_forever(database.plain, lease), name=f"lease {lease.name}")
    try:
        try:
            yield
        finally:
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)
    except BaseException:
        await _give_back(database.plain, lease)  # in a time of its own: the work may have used up all that it had
        raise


async def _give_back(database: Database, lease: Lease) -> None:
    # The error of the block matters more and has a client waiting; the lease ends by itself.
    try:
        async with asyncio.timeout(_GIVE_BACK_SECONDS):
            await release(database, lease)
    except TimeoutError:
        logger.warning("Lease {} could not be given back in time", lease.name)
    except Exception as error:
        log_failure(f"Lease {lease.name} could not be given back", error)


async def _renew_forever(database: Database, lease: Lease) -> None:
    async def renew() -> float | None:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await database.transaction(partial(renew_in, lease=lease), repeatable=True)
        except LeaseLost:
            return None  # it was given back inside the transaction, or the fence will stop that transaction
        return 0

    await repeat(renew, pause_after_failure=0, when_failed=f"Lease {lease.name} could not be renewed")
