"""Queries and changes of the addresses of an account.

Changes raise UserNotFound if no account has the id. If the account has no address with the id, AddressNotFound is
raised, and if it does not match ``if_match``, PreconditionFailed; see ``crud.update_user()``.
"""

from sqlmodel import col, delete, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.audit.schemas import Action
from app.core.db.database import Database
from app.core.db.queries import execute
from app.core.db.types import ServerNow
from app.core.errors import AppError
from app.users.crud import read_user
from app.users.models import Address, User
from app.users.schemas import MAX_ADDRESSES, AddressInput, AddressPublic


class AddressNotFound(AppError):
    """The account has no address with this id."""

    status_code = 404
    title = "Address not found"


class TooManyAddresses(AppError):
    """The account has the maximum number of addresses."""

    status_code = 409
    title = "Too many addresses"

    def __init__(self) -> None:
        super().__init__(f"An account can have at most {MAX_ADDRESSES} addresses; delete one first")


async def get_address(session: AsyncSession, user_id: int, address_id: int) -> AddressPublic:
    """Return one address."""
    query = select(Address).where(Address.id == address_id, Address.user_id == user_id)
    address = (await session.exec(query)).first()
    if address is None:
        raise AddressNotFound
    return AddressPublic.model_validate(address)


async def add_address(database: Database, user_id: int, new: AddressInput) -> AddressPublic:
    """Add an address to an account.

    Raises:
        TooManyAddresses: It has the maximum number.
    """

    async def store(session: AsyncSession) -> AddressPublic:
        if len((await read_user(session, user_id, lock=True)).addresses) >= MAX_ADDRESSES:
            raise TooManyAddresses
        address = Address(user_id=user_id, **new.model_dump())
        session.add(address)
        await session.flush()
        added = AddressPublic.model_validate(address)
        await _record(session, "CREATE_ADDRESS", added, after=added)
        return added

    return await database.transaction(store)


async def replace_address(
    database: Database, user_id: int, address_id: int, new: AddressInput, *, if_match: str | None
) -> AddressPublic:
    """Replace an address."""

    async def store(session: AsyncSession) -> AddressPublic:
        await read_user(session, user_id, lock=True)
        before = await get_address(session, user_id, address_id)
        before.require_match(if_match)
        after = before.model_copy(update=new.model_dump())
        if after != before:
            await execute(session, update(Address).where(col(Address.id) == address_id).values(**new.model_dump()))
            await _record(session, "UPDATE_ADDRESS", after, before=before, after=after)
        return after

    return await database.transaction(store)


async def delete_address(database: Database, user_id: int, address_id: int, *, if_match: str | None) -> None:
    """Delete an address."""

    async def remove(session: AsyncSession) -> None:
        await read_user(session, user_id, lock=True)
        address = await get_address(session, user_id, address_id)
        address.require_match(if_match)
        await session.exec(delete(Address).where(col(Address.id) == address_id))
        await _record(session, "DELETE_ADDRESS", address, before=address)

    await database.transaction(remove)


async def _record(session: AsyncSession, action: Action, address: AddressPublic, **states: AddressPublic) -> None:
    """Set the account's ``updated_at``, and add an entry to the audit trail."""
    await execute(session, update(User).where(col(User.id) == address.user_id).values(updated_at=ServerNow()))
    shown = {when: state.model_dump(exclude={"id", "user_id"}) for when, state in states.items()}
    await record(session, action, "Address", f"{address.user_id}/{address.id}", **shown)
