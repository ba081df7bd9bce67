"""What can be asked and changed about accounts, one use case a function."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload
from sqlmodel import col, delete, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.database import Database
from app.core.db.keys import name_key
from app.core.errors import AppError
from app.core.http.access import Forbidden, Principal, Role
from app.users.credentials import check_still_held, revoke_all
from app.users.models import Address, User
from app.users.passwords import Passwords
from app.users.schemas import UserCreate, UserFilters, UserPublic, UserReplace, UserSort, UserUpdate, email_key

_FOR_ADMINS: Final = ("role", "is_active")
_LONGEST_NAME_KEY: Final = 450
_ALL_AT_ONCE: Final = selectinload(User.addresses, chunksize=1000)  # type: ignore[arg-type]  # SQLModel types it as a list


class UserNotFound(AppError):
    """There is no account with this id."""

    status_code = 404
    title = "User not found"


class EmailTaken(AppError):
    """Another account has this e-mail address."""

    status_code = 409
    title = "E-mail taken"

    def __init__(self) -> None:
        super().__init__({"email": "is taken by another account"})


async def list_users(session: AsyncSession, filters: UserFilters) -> tuple[list[UserPublic], int]:
    """Find accounts with their addresses, and how many there are on all pages together."""
    conditions = _conditions(filters)
    query = select(User).where(*conditions).order_by(*_order(filters.sort)).options(_ALL_AT_ONCE)
    users = (await session.exec(query.limit(filters.limit).offset(filters.offset))).all()
    total = (await session.exec(select(func.count()).select_from(User).where(*conditions))).one()
    return [UserPublic.of(user) for user in users], total


def _conditions(filters: UserFilters) -> Sequence[Any]:
    if filters.q is None:
        return ()
    # Not LIKE: SQLite's ends at a NUL, so that such a search would find everything.
    by_name = func.instr(User.name_key, name_key(filters.q)) > 0
    return (or_(by_name, func.instr(User.email_key, email_key(filters.q)) > 0),)


def _order(sort: UserSort) -> Sequence[Any]:
    by, _, direction = sort.value.rpartition("_")
    columns = {"name": User.name_key, "email": User.email_key, "created": User.created_at}
    ordered = [col(columns[by]), col(User.id)]
    return [column.desc() for column in ordered] if direction == "desc" else ordered


async def get_user(session: AsyncSession, user_id: int) -> UserPublic:
    """Read one account with its addresses.

    Raises:
        UserNotFound: There is none.
    """
    return UserPublic.of(await _read(session, user_id))


async def _read(session: AsyncSession, user_id: int, *, lock: bool = False) -> User:
    query = select(User).where(User.id == user_id).options(_ALL_AT_ONCE).execution_options(populate_existing=True)
    user = (await session.exec(query.with_for_update() if lock else query)).first()
    if user is None:
        raise UserNotFound
    return user


async def create_user(database: Database, passwords: Passwords, given: UserCreate) -> UserPublic:
    """Add an account, with its addresses.

    Raises:
        EmailTaken: Another account has the e-mail address, whatever its case.
    """
    password_hash = await passwords.hash(given.password.get_secret_value())

    async def store(session: AsyncSession) -> UserPublic:
        await check_still_held(session)
        fields = given.model_dump(exclude={"password", "addresses"})
        addresses = [Address(**address.model_dump()) for address in given.addresses]
        user = User(**fields, **_keys(fields), password_hash=password_hash, addresses=addresses)
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
    given: UserReplace | UserUpdate,
    *,
    by: Principal,
    if_match: str | None,
) -> UserPublic:
    """Change an account. A new password or role ends its tokens and keys, and so does deactivating it.

    Args:
        database: Where.
        passwords: Hashes a new password.
        user_id: Which account.
        given: Fields that were not set stay.
        by: Who asks; only admins change role and activity.
        if_match: Change it only if it still has one of these entity tags; None in any case.

    Raises:
        UserNotFound: There is none.
        PreconditionFailed: It has changed.
        CredentialEnded: What the asking account showed has ended meanwhile.
        Forbidden: Only an admin may change this.
        EmailTaken: Another account has the new e-mail address.
    """
    fields = given.model_dump(exclude_unset=True, exclude={"password"})
    is_new_password = "password" in given.model_fields_set
    if is_new_password:
        fields["password_hash"] = await passwords.hash(given.password.get_secret_value())

    async def store(session: AsyncSession) -> UserPublic:
        user = await _read(session, user_id, lock=True)
        before = UserPublic.of(user)
        await check_still_held(session)
        _check(before, fields, by, if_match)
        user.sqlmodel_update(fields | _keys({**before.model_dump(), **fields}))
        await _flush(session)
        after = await get_user(session, user_id)
        if is_new_password or after.role != before.role or not after.is_active:
            await revoke_all(session, user_id)
        hidden = {"password": "changed"} if is_new_password else {}
        if after != before or hidden:
            await record(session, "UPDATE_USER", "User", user_id, before=_shown(before), after=_shown(after) | hidden)
        return after

    return await database.transaction(store)


def _check(before: UserPublic, fields: Mapping[str, Any], by: Principal, if_match: str | None) -> None:
    """Hold a change against the entity tag and against what the asking account may change."""
    before.require_match(if_match)
    if by.role is not Role.ADMIN:
        wrong = [name for name in _FOR_ADMINS if fields.get(name, getattr(before, name)) != getattr(before, name)]
        if wrong:
            raise Forbidden(dict.fromkeys(wrong, "only an admin may change this"))


async def delete_user(database: Database, user_id: int, *, if_match: str | None) -> None:
    """Remove an account with its addresses, tokens and keys.

    Raises:
        UserNotFound: There is none.
        PreconditionFailed: It has changed; see ``update_user()``.
    """

    async def remove(session: AsyncSession) -> None:
        user = UserPublic.of(await _read(session, user_id, lock=True))
        await check_still_held(session)
        user.require_match(if_match)
        await session.exec(delete(User).where(col(User.id) == user_id))
        await record(session, "DELETE_USER", "User", user_id, before=_shown(user))

    await database.transaction(remove)


def _shown(user: UserPublic) -> dict[str, Any]:
    """What the audit trail tells of an account."""
    return user.model_dump(mode="json", exclude={"id", "created_at", "updated_at"})


def _keys(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The folded columns that belong to a name and an e-mail address."""
    return {
        # Folding makes up to eighteen characters of one, and MySQL refuses what is longer than the column.
        "name_key": name_key(f"{fields['fname']} {fields['lname']}")[:_LONGEST_NAME_KEY],
        "email_key": email_key(fields["email"]),
    }


async def _flush(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:  # the only constraint that values of a client can break
        raise EmailTaken from error
