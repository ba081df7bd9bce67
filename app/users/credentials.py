"""Sign-in tokens and API keys: random, shown once, stored as hashes."""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal

from loguru import logger
from sqlalchemy import and_, bindparam, or_
from sqlmodel import col, delete, insert, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database
from app.core.db.queries import execute, select_columns
from app.core.db.types import ServerNow
from app.core.errors import DatabaseUnavailable, Unauthorized
from app.core.http.access import Principal, Role
from app.core.http.middleware.credential_lookups import CredentialLookups, Recent
from app.users.models import Credential, User

Kind = Literal["token", "key"]

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="countries"'}

_SECRET: Final = re.compile(rb"(token|key)_[A-Za-z0-9_-]{43}")
REVOKE_SECONDS: Final = 60.0
"""Time limit of a transaction that revokes credentials: batches that are being stored with them must end first."""
_LAST_USE_SECONDS: Final = 60
"""``last_used_at`` of a key is written at most once in this time, and tried at most once in it after a failure."""
_WRITE_SECONDS: Final = 0.5
"""How long a request waits for that write."""
_USE_IS_OLD: Final = or_(
    col(Credential.last_used_at).is_(None), col(Credential.last_used_at) <= ServerNow(-_LAST_USE_SECONDS)
)
_OWNERS: Final = (
    select_columns(
        Credential.digest,
        col(Credential.id).label("credential_id"),
        and_(col(Credential.kind) == "key", _USE_IS_OLD).label("is_use_old"),
        col(User.id).label("user_id"),
        Credential.scopes,
        User.email,
        User.role,
    )
    .join_from(Credential, User, col(Credential.user_id) == col(User.id))
    .where(col(Credential.expires_at) > ServerNow(), col(User.is_active).is_(True))
)

_HELD: Final = (
    select_columns(Credential.id)
    .where(col(Credential.id) == bindparam("credential_id"), col(Credential.expires_at) > ServerNow())
    .with_for_update(read=True)
)


class CredentialEnded(Unauthorized):
    """The caller's token or key expired or was revoked while the request was running."""

    def __init__(self) -> None:
        super().__init__("The token or API key has just expired or been revoked; sign in again", headers=CHALLENGE)


def new_secret(kind: Kind) -> str:
    """Return 256 random bits as text, with a prefix for people and for scanners of leaked secrets."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """Return the hash of a secret. A random secret can't be guessed, so SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def issue(
    session: AsyncSession, lookups: CredentialLookups, user_id: int, kind: Kind, lifetime: timedelta, **columns: object
) -> str:
    """Create a token or key for an account, and return the secret, which is not stored. Deletes expired ones.

    ``lookups`` expect its first use; ``columns`` are further values of its row: a key's ``name`` and ``scopes``.
    Runs inside the caller's transaction and does not commit.
    """
    query = select(Credential.id).where(Credential.user_id == user_id, col(Credential.expires_at) <= ServerNow())
    # By id: a DELETE that finds nothing would lock a gap in the index, and block the INSERTs of others.
    if expired := (await session.exec(query)).all():
        await session.exec(delete(Credential).where(col(Credential.id).in_(expired)))
    secret = new_secret(kind)
    values = {"user_id": user_id, "kind": kind, "digest": digest(secret), "created_at": ServerNow(), **columns}
    await session.exec(insert(Credential).values(**values, expires_at=ServerNow(lifetime.total_seconds())))
    lookups.expect(kind, secret)  # harmless if the transaction fails: it is looked up all the same
    return secret


async def end_oldest_tokens(session: AsyncSession, user_id: int, *, keep: int) -> None:
    """Delete all but the newest ``keep`` sign-in tokens of an account, inside the caller's transaction.

    Otherwise a client that keeps signing in would fill the table.
    """
    tokens = select(Credential.id).where(Credential.user_id == user_id, Credential.kind == "token")
    # By id, as above.
    if oldest := (await session.exec(tokens.order_by(col(Credential.id).desc()))).all()[keep:]:
        await session.exec(delete(Credential).where(col(Credential.id).in_(oldest)))


async def revoke_all(session: AsyncSession, user_id: int) -> None:
    """Delete every token and key of an account, inside the caller's transaction."""
    await session.exec(delete(Credential).where(col(Credential.user_id) == user_id))


async def check_still_held(principal: Principal, session: AsyncSession) -> None:
    """Check that a token or key still exists, and keep it from being revoked until the end of the transaction.

    A client can send a body slowly, so a request could go on changing things after its account was deactivated. A
    change of role, password or activity deletes all credentials of the account: while this one exists, the principal
    has the role that it had when the request was admitted. The lock is shared, so that changes with the same
    credential do not wait for each other, and it is taken first and without a consistent read: on MySQL the snapshot
    of the transaction must not be older than the locks of its work.

    Raises:
        CredentialEnded: The token or key has expired or was revoked during the request.
    """
    if (await execute(session, _HELD, {"credential_id": principal.credential_id})).first() is None:
        raise CredentialEnded


class CredentialOwners:
    """Finds the owners of tokens and keys, and writes when a key was last used."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tried = Recent[int](_LAST_USE_SECONDS, monotonic)
        """Keys whose last use is being written, or could not be written."""

    async def find(self, database: Database, kind: str, secret: bytes) -> Principal | None:
        """Look up the owner of a token or key; None if unknown, expired or revoked, or the account is inactive."""
        if not _SECRET.fullmatch(secret):
            return None
        hashed = digest(secret.decode())
        async with database.reading() as session:
            query = _OWNERS.where(col(Credential.digest) == hashed, col(Credential.kind) == kind)
            row = (await execute(session, query)).first()
        if row is None or not hmac.compare_digest(row.digest, hashed):
            return None
        if row.is_use_old:
            await self._write_last_use(database, row.credential_id)
        scopes = frozenset(row.scopes) if kind == "key" else None
        return Principal(row.email, Role(row.role), row.user_id, row.credential_id, scopes)

    async def _write_last_use(self, database: Database, credential_id: int) -> None:
        """Write ``last_used_at`` of a key, unless that was tried lately and is not done.

        The write fails on a read-only server, and while a long change with the key holds its lock; the key works all
        the same, and one request a minute waits for the next try.
        """
        if credential_id in self._tried:
            return

        async def write(session: AsyncSession) -> None:
            is_due = (col(Credential.id) == credential_id, _USE_IS_OLD)
            await execute(session, update(Credential).where(*is_due).values(last_used_at=ServerNow()))

        self._tried.add(credential_id)
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await database.transaction(write, repeatable=True)
        except (DatabaseUnavailable, TimeoutError):
            logger.warning("Could not write the last use of API key {}", credential_id)
        else:
            self._tried.remove(credential_id)
