"""Background delivery of audit entries to the webhook, from the table, so that a crash loses none."""

import asyncio
from contextlib import suppress
from typing import Final

from loguru import logger
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from app.audit.schemas import AuditEntryPublic
from app.core.background import log_failure, repeat
from app.core.config.settings import Settings
from app.core.db.database import Database
from app.core.db.lease import Lease, acquire, held, release, renew_in
from app.core.db.queries import execute
from app.core.db.types import ServerNow
from app.sources.chain import SourceFailed
from app.sources.client import BadStatus, HttpClient

WEBHOOK_LEASE: Final = "audit webhook"
GATHER_SECONDS: Final = 0.2
"""Pause before each turn, so that entries written close together are sent in one."""
BUSY_SECONDS: Final = 1.0
"""Pause while another process is sending."""
FAILED_SECONDS: Final = 5.0
"""Pause after a turn that failed, most likely because the database is down; new entries do not shorten it."""
POLL_SECONDS: Final = 10.0
"""How often to look for entries of processes that ended before sending them."""
DRAIN_SECONDS: Final = 2.0
"""Time limit for sending at a stop; the next start sends the rest."""
WEBHOOK_SECONDS: Final = 10.0
"""Time limit for one call of the webhook."""
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
"""Pauses after failures of the webhook, in seconds: each is twice the last one, up to this."""
_BATCH: Final = 100
_WAITING: Final = "Audit entries are waiting for delivery"


class AuditDelivery:
    """Sends entries to the webhook, each at least once and in the order of their ids.

    A lease ensures that one process sends at a time. If the webhook fails, the
    entry is sent again after a pause, and later entries wait.
    """

    def __init__(self, database: Database, http: HttpClient, settings: Settings) -> None:
        """Prepare the delivery; without ``AUDIT_WEBHOOK_URL`` it does nothing."""
        self._database = database
        self._http = http
        url = settings.audit_webhook_url
        self._url = url.get_secret_value() if url else ""
        self._failures = 0
        self._silent_until = 0.0
        self._one_turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sending in the background, beginning with entries of earlier processes."""
        if self._url:
            turns = repeat(self._turn_or_wait, pause_after_failure=FAILED_SECONDS, when_failed=_WAITING)
            self._task = asyncio.create_task(turns, name="audit delivery")

    async def close(self) -> None:
        """Send the remaining entries, for at most ``DRAIN_SECONDS``, and stop.

        A call that is running may finish in that time: if it were cancelled,
        the next start would send its entry again.
        """
        if self._task is None:
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while (pause := await self.take_turn()) is None or pause == 0:  # noqa: ASYNC110  # no event to wait for
                    await asyncio.sleep(GATHER_SECONDS)
        except TimeoutError:
            logger.warning("{}: it took too long", _WAITING)
        except Exception as error:  # the entries stay in the table, and the stop must go on
            log_failure(_WAITING, error)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _turn_or_wait(self) -> float:
        """Take a turn, and wait until the next one is due or there are new entries."""
        self._database.audited.clear()
        pause = await self.take_turn()
        if pause is None:
            return BUSY_SECONDS
        if pause:
            # Not wait_for(): Python 3.11's ignores a cancellation in the moment in which the event is set.
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._database.audited.wait()
        return GATHER_SECONDS

    async def take_turn(self) -> float | None:
        """Send a batch of entries, if there are any.

        Returns:
            Seconds until the next turn: 0 if there may be more to send. None while another process is sending.
        """
        async with self._one_turn:
            silent = self._silent_until - asyncio.get_running_loop().time()
            if silent > 0:
                return silent
            if not await self._undelivered(limit=1):
                return POLL_SECONDS
            lease = await acquire(self._database, WEBHOOK_LEASE)
            if lease is None:
                return None
            async with held(self._database, lease):
                await self._send_batch(lease)
                await release(self._database, lease)
            return 0

    async def _send_batch(self, lease: Lease) -> None:
        """Send entries until one fails; later ones must not overtake it."""
        for entry in await self._undelivered(limit=_BATCH):
            try:
                await self._post(entry)
            except SourceFailed as error:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 10))
                self._failures += 1
                self._silent_until = asyncio.get_running_loop().time() + pause
                logger.warning("The audit webhook {}; trying again in {:g} s", error, pause)
                return
            self._failures = 0
            await self._mark_delivered(lease, entry.id)

    async def _post(self, entry: AuditEntryPublic) -> None:
        """Call the webhook, without reading the body of its answer; raises SourceFailed."""
        content = entry.model_dump(mode="json")
        try:
            answer = self._http().stream("POST", self._url, json=content)
            async with asyncio.timeout(WEBHOOK_SECONDS), answer as response:
                if not response.is_success:
                    raise BadStatus(response.status_code)
        except SourceFailed:
            raise
        except TimeoutError as error:
            raise SourceFailed(f"timed out after {WEBHOOK_SECONDS:g} s") from error
        except Exception as error:  # whatever it does, a failed call is repeated after a pause that grows
            raise SourceFailed(f"could not be reached ({type(error).__name__})") from error

    async def _undelivered(self, *, limit: int) -> list[AuditEntryPublic]:
        query = select(AuditEntry).where(col(AuditEntry.delivered_at).is_(None)).order_by(col(AuditEntry.id))
        async with self._database.reading() as session:
            return [AuditEntryPublic.of(entry) for entry in await session.exec(query.limit(limit))]

    async def _mark_delivered(self, lease: Lease, entry_id: int) -> None:
        """Mark an entry as delivered; raises LeaseLost if another process has taken over."""

        async def mark(session: AsyncSession) -> None:
            await renew_in(session, lease)
            is_sent = col(AuditEntry.id) == entry_id
            await execute(session, update(AuditEntry).where(is_sent).values(delivered_at=ServerNow()))

        await self._database.transaction(mark, repeatable=True)
