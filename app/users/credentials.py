"""Sign-in tokens and API keys: random, shown once, kept as hashes."""

import asyncio
import hashlib
import hmac
import re
import secrets
from datetime import timedelta
from typing import Any, Final, Literal

from loguru import logger
from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy import select as select_columns  # takes any number of columns, which sqlmodel's does not
from sqlmodel import col, delete, insert, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database
from app.core.db.types import ServerNow
from app.core.errors import DatabaseUnavailable, Unauthorized
from app.core.http.access import ACTOR, Principal, Role
from app.users.models import Credential, User

Kind = Literal["token", "key"]

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="countries"'}

_FORM: Final = re.compile(rb"(token|key)_[A-Za-z0-9_-]{43}")
_USE_NOTED_SECONDS: Final = 60
"""So long one note of a key's use counts: a write for every request would be dear."""
_NOTE_SECONDS: Final = 0.5
"""For which a request waits until its use is noted."""


class CredentialEnded(Unauthorized):
    """The token or key that came with the request has ended while it was under way."""

    def __init__(self) -> None:
        super().__init__("The token or key has just ended; sign in again", headers=CHALLENGE)


def new_secret(kind: Kind) -> str:
    """256 random bits; the prefix tells people, and scanners for leaked secrets, what it is."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """What is stored of a secret. Random ones can't be guessed, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def issue(
    session: AsyncSession, user_id: int, kind: Kind, lifetime: timedelta, *, name: str | None = None
) -> str:
    """Give an account a new secret; its expired ones go.

    Runs inside the caller's transaction and does not commit.

    Returns:
        The secret, which is nowhere kept.
    """
    query = select(Credential.id).where(Credential.user_id == user_id, col(Credential.expires_at) <= ServerNow())
    # By id: a DELETE that finds nothing would lock the gap in the index, and the INSERTs of others with it.
    if expired := (await session.exec(query)).all():
        await session.exec(delete(Credential).where(col(Credential.id).in_(expired)))
    secret = new_secret(kind)
    values = {"user_id": user_id, "kind": kind, "name": name, "digest": digest(secret), "created_at": ServerNow()}
    await session.exec(insert(Credential).values(**values, expires_at=ServerNow(lifetime.total_seconds())))
    return secret


async def end_oldest_tokens(session: AsyncSession, user_id: int, *, keep: int) -> None:
    """End the sign-in tokens of an account but for its newest, inside the caller's transaction.

    Who signs in without end would otherwise fill the table, and forgotten tokens
    would live on unseen.
    """
    tokens = select(Credential.id).where(Credential.user_id == user_id, Credential.kind == "token")
    # By id, as above.
    if oldest := (await session.exec(tokens.order_by(col(Credential.id).desc()))).all()[keep:]:
        await session.exec(delete(Credential).where(col(Credential.id).in_(oldest)))


async def revoke_all(session: AsyncSession, user_id: int) -> None:
    """End every token and key of an account, inside the caller's transaction."""
    await session.exec(delete(Credential).where(col(Credential.user_id) == user_id))


async def check_still_held(session: AsyncSession) -> None:
    """Make sure that the token or key with which a request came has not ended while it was under way.

    A body may be held back for as long as somebody likes, so what a stolen token
    began could come after the new password that ended it. To be called behind
    the lock of the account that is changed, so that nothing comes in between
    where it is the own one.

    Raises:
        CredentialEnded: It is not there any more.
    """
    credential_id = ACTOR.get().credential_id
    if credential_id is None:
        return
    if (await session.exec(select(Credential.id).where(Credential.id == credential_id))).first() is None:
        raise CredentialEnded


async def find_principal(database: Database, kind: str, secret: bytes) -> Principal | None:
    """Whose token or key this is.

    Returns:
        None where it is unknown, expired or revoked, or its account is not active.

    Raises:
        DatabaseUnavailable: Nobody can be looked up.
    """
    if not _FORM.fullmatch(secret):
        return None
    hashed = digest(secret.decode())
    async with database.reading() as session:
        row = (await (await session.connection()).execute(_owner_of(kind, hashed))).first()
    if row is None or not hmac.compare_digest(row.digest, hashed):
        return None
    if row.is_use_to_be_noted:
        await _note_use(database, row.credential_id)
    return Principal(row.email, Role(row.role), row.user_id, row.credential_id)


def _owner_of(kind: str, hashed: str) -> Any:
    is_usable = (col(Credential.expires_at) > ServerNow(), col(User.is_active).is_(True))
    columns: tuple[Any, ...] = (
        Credential.digest,
        col(Credential.id).label("credential_id"),
        and_(col(Credential.kind) == "key", _use_is_old()).label("is_use_to_be_noted"),
        col(User.id).label("user_id"),
        User.email,
        User.role,
    )
    query = select_columns(*columns).join_from(Credential, User, col(Credential.user_id) == col(User.id))
    return query.where(col(Credential.digest) == hashed, col(Credential.kind) == kind, *is_usable)


def _use_is_old() -> ColumnElement[bool]:
    return or_(col(Credential.last_used_at).is_(None), col(Credential.last_used_at) <= ServerNow(-_USE_NOTED_SECONDS))


async def _note_use(database: Database, credential_id: int) -> None:
    """Note when a key was used; where that fails, as on a server that is read-only for a time, its use goes on."""

    async def note(session: AsyncSession) -> None:
        statement = update(Credential).where(col(Credential.id) == credential_id, _use_is_old())
        await session.exec(statement.values(last_used_at=ServerNow()).execution_options(synchronize_session=False))

    try:
        async with asyncio.timeout(_NOTE_SECONDS):
            await database.transaction(note, repeatable=True)
    except (DatabaseUnavailable, TimeoutError):
        logger.warning("The last use of API key {} could not be noted", credential_id)
