"""The batch client: stores any number of messages through the API, up to 5000 per request."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import stamina
from pydantic import ValidationError

from app import __version__
from app.core.errors import AppError, in_one_line
from app.sources.chain import SourceFailed
from app.sources.client import BadStatus, PassingFault, parse_json, parse_retry_after
from app.tracking.schemas import MAX_DOCUMENTS, DocumentInput, TransferCreate, TransferDetails
from app.tracking.stream import MAX_BATCH

MAX_IN_FLIGHT: Final = 16
_TIMEOUT_SECONDS: Final = 30
_RETRIED_STATUS: Final = frozenset({429, 502, 503, 504})
"""Not 500: the same request would fail again. A proxy answers 502 or 504 while the service restarts."""


class NotStored(AppError):
    """The service does not have all documents; the details say why."""

    title = "Not everything was stored"

    def __init__(self, why: str, *, can_resume: bool = True) -> None:
        """Say why, and whether another run with ``resume`` may help."""
        super().__init__(why)
        self.can_resume = can_resume


@dataclass
class Tally:
    """Progress of a batch."""

    done: int = 0
    """Documents that are certainly stored."""
    skipped: int = 0
    """Those of them that an earlier run stored; they were not sent."""
    retries: int = 0
    has_begun: bool = False
    """Whether documents were sent, so that more may be stored than ``done`` says."""


def sub_batches(messages: Iterable[DocumentInput]) -> Iterator[list[DocumentInput]]:
    """Split messages into lists that fit into one request; only one list is in memory at a time."""
    batch: list[DocumentInput] = []
    size = 0
    for message in messages:
        length = len(message.data) if message.data.isascii() else len(message.data.encode())
        if len(batch) == MAX_DOCUMENTS or (batch and size + length > MAX_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch


def as_json(ubid: str, batch: list[DocumentInput]) -> bytes:
    """The request body that stores a sub-batch; the ``data`` of a message is JSON text already."""
    documents = ",".join(
        f'{{"uniqueId":{json.dumps(message.uniqueId)},"SMScount":{message.SMScount},"data":{message.data}}}'
        for message in batch
    )
    return f'{{"UBID":"{ubid}","documents":[{documents}]}}'.encode()


class BatchClient:
    """Stores batches at one service. Use it as an async context manager."""

    def __init__(self, url: str, key: str | None, *, in_flight: int = 4, patience: float = 60) -> None:
        """Create a client; nothing is sent yet.

        Args:
            url: Address of the service.
            key: API key; None sends none.
            in_flight: Number of concurrent requests, 1 to MAX_IN_FLIGHT.
            patience: How many seconds to retry a failing request.
        """
        import httpx  # noqa: PLC0415  # 40 ms and 6 MB of a start of the service

        self._api = httpx.AsyncClient(
            base_url=url,
            headers={"User-Agent": f"country-data-currency-exchange-api/{__version__}", "Accept": "application/json"}
            | ({"X-API-Key": key} if key else {}),
            follow_redirects=False,
            trust_env=False,
            timeout=_TIMEOUT_SECONDS,
        )
        self._in_flight = in_flight
        self._patience = patience

    async def __aenter__(self) -> "BatchClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.aclose()

    async def store(
        self, transfer: TransferCreate, messages: Iterable[DocumentInput], tally: Tally, *, resume: bool = False
    ) -> None:
        """Create the transfer and store all its messages, counting them in the tally.

        Args:
            transfer: Contains the number of messages.
            messages: In the same order in every run.
            tally: A new one.
            resume: Skip what an earlier, interrupted run has certainly stored.

        Raises:
            NotStored: Documents are missing. Sending them again is safe.
        """
        tally.skipped = tally.done = await self._begin(transfer, tally, resume=resume)
        try:
            await self._send_all(transfer.UBID, islice(messages, tally.skipped, None), tally)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        found = await self._find(transfer.UBID, tally)
        stored = sum(found.states.values()) if found else 0
        if stored != transfer.documents:
            raise NotStored(
                f"the service has {stored} documents for this UBID instead of {transfer.documents}: "
                "several have the same uniqueId, or another client stored or deleted some",
                can_resume=False,
            )

    async def _begin(self, transfer: TransferCreate, tally: Tally, *, resume: bool) -> int:
        """Create the transfer, and return how many messages to skip.

        A UBID that has documents is refused unless the run resumes, because its
        documents would be mixed with those of another run.

        No file records the progress: the service knows how many documents it
        has. Sub-batches are sent in order, with at most MAX_IN_FLIGHT under way,
        so at most that many can be stored after the first gap. If the service
        has N documents, the first N - 16 x 5000 are certainly among them;
        sending the others again is harmless.
        """
        found = await self._find(transfer.UBID, tally)
        stored = sum(found.states.values()) if found else 0
        if found is None or not stored:
            await self._call("POST", "/tracking/sms_transfers/", tally, transfer.model_dump_json().encode())
            return 0
        if not resume:
            raise NotStored(
                f"this UBID already has {stored} documents: add --resume, or delete that transfer first",
                can_resume=False,
            )
        for name, value in transfer.model_dump().items():
            if (existing := getattr(found, name)) != value:
                raise NotStored(
                    f"this UBID belongs to another batch: {name} is {existing} there, {value} here", can_resume=False
                )
        if stored >= transfer.documents:
            return transfer.documents
        return max(0, stored - MAX_IN_FLIGHT * MAX_DOCUMENTS)

    async def _send_all(self, ubid: str, messages: Iterable[DocumentInput], tally: Tally) -> None:
        window: deque[asyncio.Task[None]] = deque()
        # A group, so that the first failure, which is final, cancels the other requests.
        async with asyncio.TaskGroup() as group:
            for batch in sub_batches(messages):
                if len(window) == self._in_flight:
                    await window.popleft()
                window.append(group.create_task(self._send(ubid, batch, tally)))

    async def _send(self, ubid: str, batch: list[DocumentInput], tally: Tally) -> None:
        tally.has_begun = True
        await self._call("POST", "/tracking/sms_documents/", tally, as_json(ubid, batch))
        tally.done += len(batch)

    async def _find(self, ubid: str, tally: Tally) -> TransferDetails | None:
        try:
            found = await self._call("GET", f"/tracking/sms_transfers/{ubid}/", tally)
        except NotStored as error:
            if isinstance(error.__cause__, BadStatus) and error.__cause__.status == 404:
                return None
            raise
        try:
            return TransferDetails.model_validate(found)
        except ValidationError as error:
            raise NotStored("the server at this address is not this service", can_resume=False) from error

    async def _call(self, method: str, path: str, tally: Tally, content: bytes | None = None) -> Any:
        """Send an idempotent request; temporary failures are retried with backoff, or after ``Retry-After``."""
        deadline = asyncio.get_running_loop().time() + self._patience

        def pause_before_retry(error: Exception) -> bool | float:
            pause = error.retry_after if isinstance(error, PassingFault) else None
            if not isinstance(error, PassingFault) or asyncio.get_running_loop().time() + (pause or 0) >= deadline:
                return False
            tally.retries += 1
            return True if pause is None else pause

        try:
            async for attempt in stamina.retry_context(
                on=pause_before_retry, attempts=None, timeout=None, wait_initial=0.2, wait_max=5, wait_jitter=0.2
            ):
                with attempt:
                    return await self._request(method, path, content)
        except SourceFailed as error:
            raise NotStored(f"the service {error}") from error
        raise AssertionError("the last attempt returns or raises")

    async def _request(self, method: str, path: str, content: bytes | None) -> Any:
        import httpx  # noqa: PLC0415

        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            response = await self._api.request(method, path, content=content, headers=headers)
        except httpx.TimeoutException as error:
            raise PassingFault(f"did not answer within {_TIMEOUT_SECONDS} s") from error
        except httpx.TransportError as error:
            is_down = isinstance(error, httpx.ConnectError)
            raise PassingFault("could not be reached" if is_down else "closed the connection") from error
        except httpx.HTTPError as error:
            raise SourceFailed(f"could not be asked ({type(error).__name__})") from error
        if response.status_code in _RETRIED_STATUS:
            retry_after = parse_retry_after(response.headers.get("Retry-After"))
            raise PassingFault(f"answered {response.status_code}", retry_after)
        if not response.is_success:
            raise BadStatus(response.status_code, _reason(response.content))
        return parse_json(response.content)


def _reason(body: bytes) -> str:
    """An error of the shape ``{"error", "details"}`` in one line; empty for any other body."""
    try:
        error = parse_json(body)
    except SourceFailed:
        return ""
    if not isinstance(error, dict):
        return ""
    details = error.get("details")
    text = str(error.get("error", "")) + (f": {in_one_line(details)}" if details else "")
    return " ".join(text.split())[:500]
