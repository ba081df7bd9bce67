"""Queries and changes of accounts; those with a ``user_id`` raise UserNotFound if no account has it."""

from collections.abc import Mapping
from typing import Any, Final, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload
from sqlmodel import col, delete, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.database import Database
from app.core.db.keys import name_key
from app.core.db.types import Contains
from app.core.errors import AppError
from app.core.http.access import Forbidden, Principal, Role
from app.users.credentials import REVOKE_SECONDS, revoke_all
from app.users.models import Address, User
from app.users.passwords import Passwords
from app.users.schemas import UserCreate, UserFilters, UserPublic, UserReplace, UserUpdate, email_key

_ADMIN_FIELDS: Final = ("role", "is_active")
_SORT_COLUMNS: Final[Mapping[str, Any]] = {"name": User.name_key, "email": User.email_key, "created": User.created_at}
_MAX_NAME_KEY: Final = 450
_WITH_ADDRESSES: Final = selectinload(User.addresses, chunksize=1000)  # type: ignore[arg-type]  # SQLModel types it as a list


class UserNotFound(AppError):
    """No account has this id."""

    status_code = 404
    title = "User not found"


class EmailTaken(AppError):
    """Another account uses this e-mail address."""

    status_code = 409
    title = "E-mail taken"

    def __init__(self) -> None:
        super().__init__({"email": "is taken by another account"})


async def list_users(session: AsyncSession, filters: UserFilters) -> tuple[list[UserPublic], int]:
    """Return a page of accounts with their addresses, and the total number of matches."""
    conditions = []
    if filters.q is not None:
        by_name = Contains(User.name_key, name_key(filters.q))
        conditions = [or_(by_name, Contains(User.email_key, email_key(filters.q)))]
    by, _, direction = filters.sort.value.rpartition("_")
    order: list[Any] = [col(_SORT_COLUMNS[by]), col(User.id)]
    if direction == "desc":
        order = [column.desc() for column in order]
    query = select(User).where(*conditions).order_by(*order).options(_WITH_ADDRESSES)
    users = (await session.exec(query.limit(filters.limit).offset(filters.offset))).all()
    total = (await session.exec(select(func.count()).select_from(User).where(*conditions))).one()
    return [UserPublic.model_validate(user) for user in users], total


async def get_user(session: AsyncSession, user_id: int) -> UserPublic:
    """Return one account with its addresses."""
    return UserPublic.model_validate(await read_user(session, user_id))


async def read_user(session: AsyncSession, user_id: int, *, lock: bool = False) -> User:
    """Return the row of an account with its addresses, locked until the commit if ``lock`` says so."""
    query = select(User).where(User.id == user_id).options(_WITH_ADDRESSES).execution_options(populate_existing=True)
    user = (await session.exec(query.with_for_update() if lock else query)).first()
    if user is None:
        raise UserNotFound
    return user


async def create_user(database: Database, passwords: Passwords, new: UserCreate) -> UserPublic:
    """Create an account with its addresses.

    Raises:
        EmailTaken: Another account uses the e-mail address, in any case.
    """
    password_hash = await passwords.hash(new.password.get_secret_value())

    async def store(session: AsyncSession) -> UserPublic:
        fields = new.model_dump(exclude={"password", "addresses"})
        addresses = [Address(**address.model_dump()) for address in new.addresses]
        user = User(**fields, **_keys(new), password_hash=password_hash, addresses=addresses)
        session.add(user)
        await _flush(session)
        created = await get_user(session, cast(int, user.id))
        await record(session, "CREATE_USER", "User", created.id, after=_shown(created))
        return created

    return await database.transaction(store)


async def update_user(
    database: Database,
    passwords: Passwords,
    user_id: int,
    changes: UserReplace | UserUpdate,
    *,
    by: Principal,
    if_match: str | None,
) -> UserPublic:
    """Change an account; unset fields keep their values.

    A new password, a new role or deactivation revokes its tokens and keys. With ``if_match``, an ``If-Match`` header,
    the account is changed only if it has one of these entity tags.

    Raises:
        PreconditionFailed: The account does not match ``if_match``.
        Forbidden: Only an admin may change these fields.
        EmailTaken: Another account uses the new e-mail address.
    """
    fields = changes.model_dump(exclude_unset=True, exclude={"password"})
    is_new_password = "password" in changes.model_fields_set
    if is_new_password:
        fields["password_hash"] = await passwords.hash(changes.password.get_secret_value())

    async def store(session: AsyncSession) -> UserPublic:
        user = await read_user(session, user_id, lock=True)
        before = UserPublic.model_validate(user)
        before.require_match(if_match)
        wanted = before.model_copy(update=fields)
        wrong = [name for name in _ADMIN_FIELDS if getattr(wanted, name) != getattr(before, name)]
        if wrong and by.role is not Role.ADMIN:
            raise Forbidden(dict.fromkeys(wrong, "only an admin may change this"))
        user.sqlmodel_update(fields | _keys(wanted))
        await _flush(session)
        after = await get_user(session, user_id)
        if is_new_password or after.role != before.role or not after.is_active:
            await revoke_all(session, user_id)
        hidden = {"password": "changed"} if is_new_password else {}
        if after != before or hidden:
            await record(session, "UPDATE_USER", "User", user_id, before=_shown(before), after=_shown(after) | hidden)
        return after

    return await database.transaction(store, seconds=REVOKE_SECONDS)


async def delete_user(database: Database, user_id: int, *, if_match: str | None) -> None:
    """Delete an account with its addresses, tokens and keys.

    Raises:
        PreconditionFailed: The account does not match ``if_match``; see ``update_user()``.
    """

    async def remove(session: AsyncSession) -> None:
        user = UserPublic.model_validate(await read_user(session, user_id, lock=True))
        user.require_match(if_match)
        await session.exec(delete(User).where(col(User.id) == user_id))
        await record(session, "DELETE_USER", "User", user_id, before=_shown(user))

    await database.transaction(remove, seconds=REVOKE_SECONDS)


def _shown(user: UserPublic) -> dict[str, Any]:
    """Return the fields of an account that the audit trail shows."""
    return user.model_dump(mode="json", exclude={"id", "created_at", "updated_at"})


def _keys(user: UserCreate | UserPublic) -> dict[str, Any]:
    """Return the columns by which names and e-mail addresses are searched and compared."""
    return {
        # Folding turns one character into up to 18, and MySQL refuses a value longer than the column.
        "name_key": name_key(f"{user.fname} {user.lname}")[:_MAX_NAME_KEY],
        "email_key": email_key(user.email),
    }


async def _flush(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:  # no other constraint can fail because of a client
        raise EmailTaken from error
