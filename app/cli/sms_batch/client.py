"""The batch client: stores any number of messages through the API, a few thousand at a time."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from app.cli.sms_batch.api import Refused, call_api, create_api_client
from app.sources.chain import SourceFailed
from app.tracking.schemas import MAX_DOCUMENTS, DocumentInput, TransferCreate, TransferDetails
from app.tracking.stream import MAX_BATCH

MAX_IN_FLIGHT: Final = 16


class NotStored(Exception):
    """The service does not have all documents; the text says why."""

    def __init__(self, why: str, *, can_go_on: bool = True) -> None:
        """Say why, and whether another run with ``resume`` may help."""
        super().__init__(why)
        self.can_go_on = can_go_on


@dataclass
class Tally:
    """How far a batch is, for whoever watches it."""

    done: int = 0
    """Documents that the service has for certain."""
    skipped: int = 0
    """Those of them that an earlier run stored."""
    retries: int = 0
    has_begun: bool = False
    """Whether documents were sent; some may be stored that are not counted as done."""

    def count_retry(self) -> None:
        """One more request is sent again."""
        self.retries += 1


def sub_batches(messages: Iterable[DocumentInput]) -> Iterator[list[DocumentInput]]:
    """Cut messages into lists that one request can carry; only one list is held at a time."""
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
    """The body that stores a sub-batch; ``data`` of a message is JSON already."""
    documents = ",".join(
        f'{{"uniqueId":{json.dumps(message.uniqueId)},"SMScount":{message.SMScount},"data":{message.data}}}'
        for message in batch
    )
    return f'{{"UBID":"{ubid}","documents":[{documents}]}}'.encode()


class BatchClient:
    """Stores batches at one service; a context manager."""

    def __init__(self, url: str, key: str | None, *, in_flight: int = 4, patience: float = 60) -> None:
        """Prepare for a service.

        Args:
            url: Of the service.
            key: An API key of it; None where it needs none.
            in_flight: Requests at the same time, 1 to MAX_IN_FLIGHT.
            patience: Seconds for which a request that fails is tried again.
        """
        self._api = create_api_client(url, key)
        self._in_flight = in_flight
        self._patience = patience

    async def __aenter__(self) -> "BatchClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.aclose()

    async def store(
        self, transfer: TransferCreate, messages: Iterable[DocumentInput], tally: Tally, *, resume: bool = False
    ) -> None:
        """Create the transfer and store all its messages; the tally tells how far that is.

        Args:
            transfer: Says how many messages there are.
            messages: In the same order in each run.
            tally: A new one.
            resume: Leave out what an earlier run, which was interrupted, has certainly stored.

        Raises:
            NotStored: Something is missing. What was sent may be sent again.
        """
        tally.skipped = tally.done = await self._begin(transfer, tally, resume=resume)
        try:
            await self._send_all(transfer.UBID, islice(messages, tally.skipped, None), tally)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        found = await self._find(transfer.UBID, tally)
        stored = _count(found) if found else 0
        if stored != transfer.documents:
            raise NotStored(
                f"the service has {stored} documents for this UBID instead of {transfer.documents}: "
                "several have the same uniqueId, or others were stored or deleted besides",
                can_go_on=False,
            )

    async def _begin(self, transfer: TransferCreate, tally: Tally, *, resume: bool) -> int:
        """Create the transfer; how many messages need not be sent.

        A UBID that has documents is refused unless the run resumes: later, nobody
        could tell the documents of this run from those of another.

        No file keeps what was done: the service knows how many documents it
        has. They are sent in order, and a sub-batch only when the one in_flight
        places before it is stored. So nothing is stored that is further than
        MAX_IN_FLIGHT sub-batches behind the first gap: where there are N
        documents, the first N - 16 x 5000 are there. To send the few others
        again is harmless.
        """
        found = await self._find(transfer.UBID, tally)
        stored = _count(found) if found else 0
        if found is None or not stored:
            await self._call("POST", "/tracking/sms_transfers/", tally, transfer.model_dump_json().encode())
            return 0
        if not resume:
            raise NotStored(
                f"this UBID has {stored} documents already: go on with --resume, or delete that transfer first",
                can_go_on=False,
            )
        for name, value in transfer.model_dump().items():
            if (there := getattr(found, name)) != value:
                raise NotStored(
                    f"this UBID belongs to another batch: {name} is {there} there, {value} here", can_go_on=False
                )
        if stored >= transfer.documents:
            return transfer.documents
        return max(0, stored - MAX_IN_FLIGHT * MAX_DOCUMENTS)

    async def _send_all(self, ubid: str, messages: Iterable[DocumentInput], tally: Tally) -> None:
        window: deque[asyncio.Task[None]] = deque()
        # A group: whichever fails, and that is for good, ends the others at once.
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
            if isinstance(error.__cause__, Refused) and error.__cause__.status == 404:
                return None
            raise
        try:
            return TransferDetails.model_validate(found)
        except ValidationError as error:
            raise NotStored("what answers there is no such service", can_go_on=False) from error

    async def _call(self, method: str, path: str, tally: Tally, content: bytes | None = None) -> Any:
        try:
            return await call_api(self._api, method, path, content, patience=self._patience, on_retry=tally.count_retry)
        except SourceFailed as error:
            raise NotStored(f"the service {_told(error)}") from error


def _count(transfer: TransferDetails) -> int:
    return sum(transfer.states.values())


def _told(error: SourceFailed) -> str:
    return str(error) if str(error).startswith("answered") else f"can't be reached: {error}"
