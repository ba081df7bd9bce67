"""Sign-in with e-mail address and password, sign-out, and API keys."""

import hashlib
from datetime import timedelta
from typing import Any, Final

from pydantic import SecretStr
from sqlmodel import col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.database import Database
from app.core.db.queries import execute, select_columns
from app.core.db.types import ServerNow
from app.core.errors import AppError, DatabaseUnavailable, Unauthorized
from app.core.http.access import Principal
from app.core.http.middleware.credential_lookups import CredentialLookups
from app.core.http.middleware.rate_limits import RateLimits
from app.users.credentials import CHALLENGE, REVOKE_SECONDS, CredentialEnded, digest, end_oldest_tokens, issue
from app.users.models import Credential, User
from app.users.passwords import Busy, Passwords
from app.users.schemas import ApiKeyCreate, ApiKeyCreated, ApiKeyPublic, SignInForm, TokenPublic, as_stored, email_key

FAILED_SIGN_INS: Final = "sign-in-email"
"""Name of the limit on failed sign-ins for one e-mail address, whether or not an account has it."""
LIMITS: Final = {FAILED_SIGN_INS: "5/5 minutes"}
"""Limits that no setting turns off."""
_MAX_KEYS: Final = 20
_MAX_TOKENS: Final = 20


class WrongCredentials(Unauthorized):
    """No active account has this e-mail address and password."""

    def __init__(self) -> None:
        super().__init__("Wrong email address or password", headers=CHALLENGE)


class ApiKeyNotFound(AppError):
    """The account has no API key with this id."""

    status_code = 404
    title = "API key not found"


class TooManyApiKeys(AppError):
    """The account has the maximum number of API keys."""

    status_code = 409
    title = "Too many API keys"

    def __init__(self) -> None:
        super().__init__(f"An account can have at most {_MAX_KEYS} API keys; revoke one first")


async def sign_in(
    database: Database,
    passwords: Passwords,
    limits: RateLimits,
    lookups: CredentialLookups,
    form: SignInForm,
    lifetime: timedelta,
) -> TokenPublic:
    """Exchange e-mail address and password for a token.

    Unknown addresses, wrong passwords and inactive accounts get the same
    response after the same work. Attempts count when they start, so sending
    many at once does not help.

    Raises:
        TooManyRequests: Sign-in failed too often for this address.
        WrongCredentials: No active account has this address and password.
        Busy: Too many passwords are waiting to be checked.
    """
    key = email_key(as_stored(form.username))
    # Hashed, so that a shared storage holds no addresses.
    client = hashlib.sha256(key.encode()).hexdigest()
    await limits.spend(FAILED_SIGN_INS, client)
    try:
        token = await _check_and_issue(database, passwords, lookups, key, form.password, lifetime)
    except (DatabaseUnavailable, Busy):
        await limits.give_back(FAILED_SIGN_INS, client)
        raise
    await limits.give_back(FAILED_SIGN_INS, client)
    return TokenPublic(access_token=token, expires_in=round(lifetime.total_seconds()))


async def _check_and_issue(
    database: Database,
    passwords: Passwords,
    lookups: CredentialLookups,
    key: str,
    password: SecretStr,
    lifetime: timedelta,
) -> str:
    async with database.reading() as session:
        account = await _account(session, key)
    hashed = account.password_hash if account else None
    if not await passwords.verify(password.get_secret_value(), hashed) or not account.is_active:
        raise WrongCredentials

    async def give_token(session: AsyncSession) -> str:
        # The account may have changed during the password check, and its tokens have been revoked.
        if await _account(session, key, lock=True) != account:
            raise WrongCredentials
        await end_oldest_tokens(session, account.id, keep=_MAX_TOKENS - 1)
        return await issue(session, lookups, account.id, "token", lifetime)

    return await database.transaction(give_token)


async def _account(session: AsyncSession, key: str, *, lock: bool = False) -> Any:
    query = select_columns(User.id, User.password_hash, User.is_active, User.role).where(col(User.email_key) == key)
    return (await execute(session, query.with_for_update() if lock else query)).first()


async def sign_out(database: Database, principal: Principal) -> None:
    """Delete the caller's token.

    Raises:
        CredentialEnded: It has been deleted during the request.
    """

    async def end(session: AsyncSession) -> None:
        deleted = await session.exec(delete(Credential).where(col(Credential.id) == principal.credential_id))
        if deleted.rowcount == 0:
            raise CredentialEnded

    # Not guarded: of several requests, each would share the lock that the others need for deleting.
    await database.guarded(None).transaction(end, seconds=REVOKE_SECONDS)


async def create_api_key(
    database: Database, lookups: CredentialLookups, user_id: int, new: ApiKeyCreate
) -> ApiKeyCreated:
    """Create an API key for an account.

    Raises:
        TooManyApiKeys: The account has the maximum number.
    """

    async def store(session: AsyncSession) -> ApiKeyCreated:
        await session.exec(select(User.id).where(User.id == user_id).with_for_update())
        lifetime = timedelta(days=new.expires_in_days)
        key = await issue(session, lookups, user_id, "key", lifetime, name=new.name, scopes=new.scopes)
        count = select(func.count()).select_from(Credential).where(*_keys_of(user_id))
        if (await session.exec(count)).one() > _MAX_KEYS:
            raise TooManyApiKeys
        stored = (await session.exec(select(Credential).where(Credential.digest == digest(key)))).one()
        created = ApiKeyCreated(**stored.model_dump(), key=key)
        after = created.model_dump(mode="json", include={"name", "scopes", "expires_at"})
        await record(session, "CREATE_API_KEY", "API key", created.id, after=after)
        return created

    return await database.transaction(store)


async def list_api_keys(session: AsyncSession, user_id: int) -> list[ApiKeyPublic]:
    """Return the API keys of an account that have not expired, without their secrets."""
    query = select(Credential).where(*_keys_of(user_id), col(Credential.expires_at) > ServerNow())
    keys = await session.exec(query.order_by(col(Credential.id)))
    return [ApiKeyPublic.model_validate(key) for key in keys]


async def revoke_api_key(database: Database, user_id: int, key_id: int) -> None:
    """Delete an API key.

    Raises:
        ApiKeyNotFound: The account has no key with this id.
    """

    async def revoke(session: AsyncSession) -> None:
        query = select(Credential).where(*_keys_of(user_id), Credential.id == key_id).with_for_update()
        key = (await session.exec(query)).first()
        if key is None:
            raise ApiKeyNotFound
        await session.exec(delete(Credential).where(col(Credential.id) == key_id))
        await record(session, "REVOKE_API_KEY", "API key", key_id, before={"name": key.name, "scopes": key.scopes})

    await database.transaction(revoke, seconds=REVOKE_SECONDS)


def _keys_of(user_id: int) -> tuple[Any, ...]:
    return col(Credential.user_id) == user_id, col(Credential.kind) == "key"
