"""A store of transfers and documents in memory, for tests of the routes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count

from app.tracking import schemas
from app.tracking.crud import StepBackwards, TransferMissing, TransferNotFound
from app.tracking.models import State
from tests.conftest import START


class TrackingInMemory:
    """Has the methods of Tracking; each change moves its clock on by a microsecond."""

    def __init__(self) -> None:
        self.transfers: dict[str, schemas.TransferPublic] = {}
        self.documents: dict[str, dict[str, schemas.DocumentPublic]] = {}
        self._ticks = count(1)

    def _now(self) -> datetime:
        return START + timedelta(microseconds=next(self._ticks))

    def _find(self, ubid: str) -> schemas.TransferPublic:
        if ubid not in self.transfers:
            raise TransferNotFound
        return self.transfers[ubid]

    async def put_transfer(self, new: schemas.TransferCreate) -> schemas.TransferPublic:
        stored = schemas.TransferPublic(**new.model_dump(), fallbackCount=0, when=self._now(), state=State.INIT)
        self.documents.setdefault(new.UBID, {})
        self.transfers[new.UBID] = stored
        return stored

    async def list_transfers(self, filters: schemas.TransferFilters) -> tuple[list[schemas.TransferPublic], int]:
        newest = sorted(self.transfers.values(), key=lambda transfer: transfer.when, reverse=True)
        found = [transfer for transfer in newest if filters.state in (None, transfer.state)]
        return found[filters.offset : filters.offset + filters.limit], len(found)

    async def get_transfer(self, ubid: str) -> schemas.TransferDetails:
        transfer = self._find(ubid)
        states = [document.state for document in self.documents[ubid].values()]
        return schemas.TransferDetails(**transfer.model_dump(), states={state: states.count(state) for state in State})

    async def advance_transfer(self, ubid: str, state: State) -> schemas.TransferPublic:
        transfer = self._find(ubid)
        if transfer.state in state.later:
            raise StepBackwards(state, transfer.state)
        transfer.state = state
        return transfer

    async def delete_transfer(self, ubid: str) -> None:
        self._find(ubid)
        del self.transfers[ubid], self.documents[ubid]

    async def put_documents(self, ubid: str, documents: Sequence[schemas.DocumentInput]) -> int:
        if ubid not in self.transfers:
            raise TransferMissing(ubid)
        when = self._now()
        stored = {
            new.uniqueId: schemas.DocumentPublic(UBID=ubid, **vars(new), state=State.INIT, when=when)
            for new in documents
        }
        self.documents[ubid].update(stored)
        return len(stored)

    async def count_documents(self, ubid: str) -> int:
        self._find(ubid)
        return len(self.documents[ubid])

    async def list_documents(
        self, ubid: str, filters: schemas.DocumentFilters
    ) -> tuple[list[schemas.DocumentPublic], bool]:
        self._find(ubid)
        found = [document for key, document in sorted(self.documents[ubid].items()) if key > (filters.after or "")]
        return found[: filters.limit], len(found) >= filters.limit

    async def advance_documents(self, ubid: str, state: State) -> int:
        self._find(ubid)
        documents = self.documents[ubid].values()
        for document in documents:
            if document.state in state.later:
                raise StepBackwards(state, document.state)
        earlier = [document for document in documents if document.state != state]
        for document in earlier:
            document.state = state
        return len(earlier)
