"""Tells the outside of audit entries, in the background and from the table, so that a killed process loses none."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import httpx
from loguru import logger
from sqlmodel import and_, col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from app.audit.schemas import AuditEntryPublic
from app.audit.webhook import post_json
from app.core.config.settings import Settings
from app.core.db.database import Database
from app.core.db.lease import Lease, acquire, held, release, renew_in
from app.core.db.types import ServerNow
from app.core.errors import AppError
from app.core.telemetry.log import REQUEST_ID
from app.sources.chain import SourceFailed

GATHER_SECONDS: Final = 0.2
"""What comes close together is done together."""


BUSY_SECONDS: Final = 1.0
"""Pause while another process is at it."""


FAILED_SECONDS: Final = 5.0
"""Pause after a turn that failed, whatever comes meanwhile: most likely the database is away."""


class Turns:
    """Takes turns at a work of which one process of all does a part at a time: when there is news, and now and then."""

    def __init__(
        self,
        database: Database,
        lease: str,
        news: asyncio.Event,
        pause_before: Callable[[], Awaitable[float]],
        work: Callable[[Lease], Awaitable[None]],
    ) -> None:
        """Take the parts.

        Args:
            database: Has the lease.
            lease: Its name.
            news: Set where there may be work.
            pause_before: Looks for work; the seconds after which to look again, 0 where it is to be done now.
            work: Does a part of it, under the lease, which it holds against what it writes.
        """
        self._database = database
        self._lease = lease
        self._news = news
        self._pause_before = pause_before
        self._work = work
        self._one_at_a_time = asyncio.Lock()

    async def run(self) -> None:
        """Take turns until cancelled."""
        while True:
            self._news.clear()
            try:
                pause = await self._take()
            except Exception as error:  # whatever happens in one turn, the next must come
                log_failure(error)
                await asyncio.sleep(FAILED_SECONDS)
                continue
            if pause is None:
                await asyncio.sleep(BUSY_SECONDS)
                continue
            if pause:
                # Not wait_for(): Python 3.11's forgets to be cancelled where news come in the same moment.
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._news.wait()
            await asyncio.sleep(GATHER_SECONDS)

    async def drain(self) -> None:
        """Take turns until nothing is left that can be done now, after the one that runs."""
        while (pause := await self._take()) is None or pause == 0:  # noqa: ASYNC110  # nobody sends events
            await asyncio.sleep(GATHER_SECONDS)

    async def _take(self) -> float | None:
        """Take one turn.

        Returns:
            Seconds until the next; None where another process is at it.
        """
        async with self._one_at_a_time:
            pause = await self._pause_before()
            if pause:
                return pause
            lease = await acquire(self._database, self._lease)
            if lease is None:
                return None
            async with held(self._database, lease):
                await self._work(lease)
                await release(self._database, lease)
            return 0


LOG_LEASE: Final = "audit log"
WEBHOOK_LEASE: Final = "audit webhook"
POLL_SECONDS: Final = 10.0
"""How soon entries are found that another process wrote and did not live to deliver."""
DRAIN_SECONDS: Final = 2.0
"""Time for what is left at a stop; what is not delivered by then is delivered after the next start."""
WEBHOOK_SECONDS: Final = 10.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
"""Pauses after failures of the webhook: each is twice the one before, up to this."""
_BATCH: Final = 100


class Courier:
    """Delivers entries, each at least once and by their ids: the log line, then the webhook where there is one.

    Each of the two is done by one process of all at a time. A webhook that
    fails gets the same entry again, after pauses that grow to five minutes;
    log lines never wait for it.
    """

    def __init__(self, database: Database, http: httpx.AsyncClient, settings: Settings) -> None:
        self._database = database
        self._http = http
        url = settings.audit_webhook_url
        self._webhook_url = url.get_secret_value() if url else None
        self._failures = 0
        self._silent_until = 0.0
        self._logged = asyncio.Event()
        self._turns = [Turns(database, LOG_LEASE, database.audited, self._pause_before_log, self._log_batch)]
        if self._webhook_url:
            send = Turns(database, WEBHOOK_LEASE, self._logged, self._pause_before_webhook, self._send_batch)
            self._turns.append(send)

    async def run(self) -> None:
        """Deliver what is there and what comes, until cancelled."""
        async with asyncio.TaskGroup() as group:  # unlike gather() it waits for the end of those it cancels
            for number, turns in enumerate(self._turns):
                group.create_task(turns.run(), name=f"audit delivery {number}")

    async def drain(self) -> None:
        """Deliver what is left before a stop. What runs is not cut off, so that nothing is sent twice for it."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                for turns in self._turns:
                    await turns.drain()
        except Exception as error:  # it stays in the table, and the stop must go on
            log_failure(error)

    async def _pause_before_log(self) -> float:
        return 0 if await self._waiting(is_logged=False, limit=1) else POLL_SECONDS

    async def _log_batch(self, lease: Lease) -> None:
        entries = await self._waiting(is_logged=False)
        for entry in entries:
            _write_line(entry)
        done = ("logged_at",) if self._webhook_url else ("logged_at", "delivered_at")
        await self._mark(lease, [entry.id for entry in entries], *done)
        self._logged.set()

    async def _pause_before_webhook(self) -> float:
        silent = self._silent_until - asyncio.get_running_loop().time()
        if silent > 0:
            return silent
        return 0 if await self._waiting(is_logged=True, limit=1) else POLL_SECONDS

    async def _send_batch(self, lease: Lease) -> None:
        """Send entries until one fails, which keeps those behind it back."""
        for entry in await self._waiting(is_logged=True):
            content = entry.model_dump(mode="json")
            try:
                await post_json(self._http, str(self._webhook_url), content, timeout=WEBHOOK_SECONDS)
            except SourceFailed as error:
                self._be_silent(error)
                return
            self._failures = 0
            await self._mark(lease, [entry.id], "delivered_at")

    def _be_silent(self, error: SourceFailed) -> None:
        self._failures += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        self._silent_until = asyncio.get_running_loop().time() + pause
        logger.warning("The audit webhook {}; trying again in {:g} s", error, pause)

    async def _waiting(self, *, is_logged: bool, limit: int = _BATCH) -> list[AuditEntryPublic]:
        logged_at, delivered_at = col(AuditEntry.logged_at), col(AuditEntry.delivered_at)
        is_next = and_(delivered_at.is_(None), logged_at.is_not(None)) if is_logged else logged_at.is_(None)
        query = select(AuditEntry).where(is_next).order_by(col(AuditEntry.id))
        async with self._database.reading() as session:
            return [AuditEntryPublic.of(entry) for entry in await session.exec(query.limit(limit))]

    async def _mark(self, lease: Lease, ids: Sequence[int], *done: str) -> None:
        """Note what is done; whoever has lost the lease learns it here, and stops."""

        async def mark(session: AsyncSession) -> None:
            await renew_in(session, lease)
            statement = update(AuditEntry).where(col(AuditEntry.id).in_(ids))
            values = dict.fromkeys(done, ServerNow())
            await session.exec(statement.values(**values).execution_options(synchronize_session=False))

        await self._database.transaction(mark, repeatable=True)


def _write_line(entry: AuditEntryPublic) -> None:
    token = REQUEST_ID.set(entry.request_id)
    try:
        logger.info("[AUDIT] {} | {}", entry.action, entry.summary)
    finally:
        REQUEST_ID.reset(token)


def log_failure(error: Exception) -> None:
    """Say that entries wait, with a trace where nobody foresaw why."""
    if isinstance(error, AppError | TimeoutError):
        details = getattr(error, "details", None) or "it took too long"
        logger.warning("Audit entries wait for their delivery: {}", details)
    else:
        logger.opt(exception=error).error("Delivering audit entries failed")
