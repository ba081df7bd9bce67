"""Queries and changes of transfers and documents."""

from collections.abc import Sequence
from typing import Final

from sqlmodel import col, delete, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database
from app.core.db.queries import execute, select_columns
from app.core.db.types import ServerNow
from app.core.db.upsert import upsert
from app.core.errors import AppError
from app.tracking import schemas
from app.tracking.models import Document, State, Transfer

_MANY_DOCUMENTS_SECONDS: Final = 60.0
"""Time limit for a change of many documents. Advancing 412,343 of them takes MariaDB 4 s, and storing 5000 can take as
long while its disk is busy."""
_FEW_DOCUMENTS: Final = 100
"""Up to this many documents use ``DB_TIMEOUT_SECONDS``; larger batches get a minute."""
_DOCUMENTS_AT_ONCE: Final = 100
"""Documents per query of a page, so that it reads at most 6 MiB more than it shows."""
_MAX_PAGE: Final = 4 * 2**20
"""Characters of data after which a page ends. A page of 5000 documents of 64 KiB took 1.7 GB, and blocked all other
requests for 12 s."""
_EARLIER: Final = {state: [other.value for other in State if state.value in other.later] for state in State}


class TransferNotFound(AppError):
    """No transfer has this UBID."""

    status_code = 404
    title = "Transfer not found"


class TransferMissing(AppError):
    """The transfer of these documents does not exist."""

    status_code = 409
    title = "Transfer missing"

    def __init__(self, ubid: str) -> None:
        super().__init__(f"No transfer has the UBID '{ubid}'; create it first")


class StepBackwards(AppError):
    """A state can only go forward."""

    status_code = 409
    title = "Step backwards"

    def __init__(self, state: State, is_now: str) -> None:
        super().__init__(f"The state is already {is_now} and can't go back to {state}")


class Tracking:
    """Transfers and documents in the database. Routes get it through a dependency, which tests override.

    Methods that read or change a transfer or its documents raise TransferNotFound if no transfer has the UBID;
    ``put_documents()`` raises TransferMissing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_transfer(self, new: schemas.TransferCreate) -> schemas.TransferPublic:
        """Store a transfer; an existing one is reset, and keeps its documents."""

        async def store(session: AsyncSession) -> schemas.TransferPublic:
            when = (await execute(session, select_columns(ServerNow()))).scalar_one()
            row = {**new.model_dump(), "fallbackCount": 0, "state": State.INIT, "when": when}
            await upsert(session, Transfer, [row], key="UBID")
            return schemas.TransferPublic(**row)

        return await self._database.transaction(store, repeatable=True)

    async def list_transfers(self, filters: schemas.TransferFilters) -> tuple[list[schemas.TransferPublic], int]:
        """Return a page of transfers, newest first, and the total number of matches."""
        conditions = [] if filters.state is None else [col(Transfer.state) == filters.state.value]
        query = select(Transfer).where(*conditions).order_by(col(Transfer.when).desc(), col(Transfer.UBID).desc())
        async with self._database.reading() as session:
            rows = await session.exec(query.limit(filters.limit).offset(filters.offset))
            transfers = [schemas.TransferPublic.model_validate(transfer) for transfer in rows]
            total = (await session.exec(select(func.count()).select_from(Transfer).where(*conditions))).one()
        return transfers, total

    async def get_transfer(self, ubid: str) -> schemas.TransferDetails:
        """Return one transfer, with the number of its documents by state."""
        async with self._database.reading() as session:
            transfer = schemas.TransferPublic.model_validate(await _read(session, ubid))
            return schemas.TransferDetails(**transfer.model_dump(), states=await _count(session, ubid))

    async def advance_transfer(self, ubid: str, state: State) -> schemas.TransferPublic:
        """Move a transfer forward to a state; its current state changes nothing.

        Raises:
            StepBackwards: The transfer is in a later state.
        """

        async def advance(session: AsyncSession) -> schemas.TransferPublic:
            transfer = await _read(session, ubid, lock=True)
            if transfer.state in state.later:
                raise StepBackwards(state, transfer.state)
            transfer.state = state.value
            return schemas.TransferPublic.model_validate(transfer)

        return await self._database.transaction(advance, repeatable=True)

    async def delete_transfer(self, ubid: str) -> None:
        """Delete a transfer with all its documents."""

        async def remove(session: AsyncSession) -> None:
            await _read(session, ubid, lock=True)
            await session.exec(delete(Transfer).where(col(Transfer.UBID) == ubid))

        await self._database.transaction(remove, seconds=_MANY_DOCUMENTS_SECONDS)

    async def put_documents(self, ubid: str, documents: Sequence[schemas.DocumentInput]) -> int:
        """Store documents of a transfer in one transaction, and return their number; existing ones are reset.

        If several have the same id, the last one is stored.
        """
        # Sorted by key, so that two requests with the same documents do not deadlock.
        unique = dict(sorted({document.uniqueId: document for document in documents}.items()))

        async def store(session: AsyncSession) -> int:
            # The lock keeps the transfer from being deleted until the commit.
            query = select_columns(ServerNow()).where(col(Transfer.UBID) == ubid).with_for_update(read=True)
            when = (await execute(session, query)).scalar()
            if when is None:
                raise TransferMissing(ubid)
            added = {"UBID": ubid, "state": State.INIT.value, "when": when}
            rows = [{**vars(document), **added} for document in unique.values()]
            await upsert(session, Document, rows, key="UBID,uniqueId")
            return len(rows)

        seconds = _MANY_DOCUMENTS_SECONDS if len(unique) > _FEW_DOCUMENTS else None
        return await self._database.transaction(store, repeatable=True, seconds=seconds)

    async def count_documents(self, ubid: str) -> int:
        """Return the number of stored documents of a transfer."""
        return sum((await self.get_transfer(ubid)).states.values())

    async def list_documents(
        self, ubid: str, filters: schemas.DocumentFilters
    ) -> tuple[list[schemas.DocumentPublic], bool]:
        """Return a page of documents, sorted by id.

        Returns:
            At most ``filters.limit`` documents, fewer if their data are large; and whether there may be more.
        """
        page: list[Document] = []
        query = select(Document).where(ubid == Document.UBID).order_by(col(Document.uniqueId))
        async with self._database.reading() as session:
            await _read(session, ubid)
            after, size, has_more = filters.after or "", 0, True
            while has_more and len(page) < filters.limit and size < _MAX_PAGE:
                wanted = min(_DOCUMENTS_AT_ONCE, filters.limit - len(page))
                found = (await session.exec(query.where(col(Document.uniqueId) > after).limit(wanted))).all()
                page += found
                size += sum(len(document.data) for document in found)
                after, has_more = found[-1].uniqueId if found else after, len(found) == wanted
            return [schemas.DocumentPublic.model_validate(document) for document in page], has_more

    async def advance_documents(self, ubid: str, state: State) -> int:
        """Move all documents of a transfer forward to a state.

        Returns:
            Number of documents that were in an earlier state.

        Raises:
            StepBackwards: A document is in a later state; none was changed.
        """

        async def advance(session: AsyncSession) -> int:
            await _read(session, ubid, lock=True)
            states = await _count(session, ubid)
            further = [later for later in state.later if states[State(later)]]
            if further:
                raise StepBackwards(state, further[0])
            is_earlier = (col(Document.UBID) == ubid, col(Document.state).in_(_EARLIER[state]))
            return (await execute(session, update(Document).where(*is_earlier).values(state=state.value))).rowcount

        return await self._database.transaction(advance, seconds=_MANY_DOCUMENTS_SECONDS)


async def _read(session: AsyncSession, ubid: str, *, lock: bool = False) -> Transfer:
    query = select(Transfer).where(ubid == Transfer.UBID)
    transfer = (await session.exec(query.with_for_update() if lock else query)).first()
    if transfer is None:
        raise TransferNotFound
    return transfer


async def _count(session: AsyncSession, ubid: str) -> dict[State, int]:
    query = select_columns(Document.state, func.count()).where(col(Document.UBID) == ubid).group_by(col(Document.state))
    found = {State(state): number for state, number in await execute(session, query)}
    return {state: found.get(state, 0) for state in State}
