"""Tells the outside of audit entries, in the background and from the table, so that a killed process loses none."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import httpx
from loguru import logger
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from app.audit.schemas import AuditEntryPublic
from app.config import Settings
from app.database import Database
from app.dialects import ServerNow
from app.errors import AppError
from app.lease import acquire, held, release
from app.log import REQUEST_ID
from app.sources import SourceFailed
from app.upstream import post_json

LEASE: Final = "audit delivery"
POLL_SECONDS: Final = 10.0
"""How soon entries are found that another process wrote and did not live to deliver."""
GATHER_SECONDS: Final = 0.05
"""Entries that come close together are delivered together."""
BUSY_SECONDS: Final = 1.0
"""Pause while another process delivers."""
DRAIN_SECONDS: Final = 4.0
"""Time for what is left at a stop; what is not delivered by then is delivered after the next start."""
WEBHOOK_SECONDS: Final = 10.0
_BATCH: Final = 100
_LONGEST_PAUSE: Final = 300.0


class Courier:
    """Delivers entries, each at least once and in order: the log line, then the webhook where there is one.

    One process of all does it at a time. A webhook that fails gets the same
    entry again, after pauses that grow to five minutes; log lines do not wait for it.
    """

    def __init__(self, database: Database, http: httpx.AsyncClient, settings: Settings) -> None:
        self._database = database
        self._http = http
        url = settings.audit_webhook_url
        self._webhook_url = url.get_secret_value() if url else None
        self._failures = 0
        self._silent_until = 0.0

    async def run(self) -> None:
        """Deliver what is there and what comes, until cancelled."""
        while True:
            pause = POLL_SECONDS
            try:
                self._database.audited.clear()
                pause = await self._deliver()
            except Exception as error:  # whatever happens in one turn, the next must come
                _log_failure(error)
            # Not wait_for(): Python 3.11's forgets to be cancelled where an entry comes in the same moment.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._database.audited.wait()
                await asyncio.sleep(GATHER_SECONDS)

    async def drain(self) -> None:
        """Deliver what is left, once, before a stop."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._deliver()
        except Exception as error:  # it stays in the table, and the stop must go on
            _log_failure(error)

    async def _deliver(self) -> float:
        """Deliver all that waits; the seconds after which to look again."""
        if not await self._waiting(limit=1):
            return POLL_SECONDS
        lease = await acquire(self._database, LEASE)
        if lease is None:
            return BUSY_SECONDS
        async with held(self._database, lease):
            await self._log_all()
            pause = await self._send_all() if self._webhook_url else POLL_SECONDS
            await release(self._database, lease)
        return pause

    async def _log_all(self) -> None:
        while entries := await self._waiting(to_log=True):
            for entry in entries:
                _write_line(entry)
            done = (
                {"logged_at": ServerNow()}
                if self._webhook_url
                else {"logged_at": ServerNow(), "delivered_at": ServerNow()}
            )
            await self._mark([entry.id for entry in entries], done)

    async def _send_all(self) -> float:
        """Send to the webhook until nothing waits or it fails; the seconds after which to look again."""
        now = asyncio.get_running_loop().time()
        if now < self._silent_until:
            return min(POLL_SECONDS, self._silent_until - now)
        while entries := await self._waiting():
            for entry in entries:
                try:
                    await post_json(
                        self._http, str(self._webhook_url), entry.model_dump(mode="json"), timeout=WEBHOOK_SECONDS
                    )
                except SourceFailed as error:
                    return self._pause_after(error)
                self._failures = 0
                await self._mark([entry.id], {"delivered_at": ServerNow()})
        return POLL_SECONDS

    def _pause_after(self, error: SourceFailed) -> float:
        self._failures += 1
        pause = min(_LONGEST_PAUSE, 2.0 ** (self._failures - 1))
        self._silent_until = asyncio.get_running_loop().time() + pause
        logger.warning("The audit webhook {}; trying again in {:g} s", error, pause)
        return min(POLL_SECONDS, pause)

    async def _waiting(self, *, to_log: bool = False, limit: int = _BATCH) -> list[AuditEntryPublic]:
        query = select(AuditEntry).where(col(AuditEntry.delivered_at).is_(None)).order_by(col(AuditEntry.id))
        if to_log:
            query = query.where(col(AuditEntry.logged_at).is_(None))
        async with self._database.reading() as session:
            return [AuditEntryPublic.of(entry) for entry in await session.exec(query.limit(limit))]

    async def _mark(self, ids: Sequence[int], values: Mapping[str, Any]) -> None:
        async def mark(session: AsyncSession) -> None:
            statement = update(AuditEntry).where(col(AuditEntry.id).in_(ids)).values(**values)
            await session.exec(statement.execution_options(synchronize_session=False))

        await self._database.transaction(mark, repeatable=True)


def _write_line(entry: AuditEntryPublic) -> None:
    token = REQUEST_ID.set(entry.request_id)
    try:
        logger.info("[AUDIT] {} | {}", entry.action, entry.summary)
    finally:
        REQUEST_ID.reset(token)


def _log_failure(error: Exception) -> None:
    if isinstance(error, AppError | TimeoutError):
        details = getattr(error, "details", None) or "it took too long"
        logger.warning("Audit entries wait for their delivery: {}", details)
    else:
        logger.opt(exception=error).error("Delivering audit entries failed")
