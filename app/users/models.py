"""Tables of accounts, their addresses and their credentials."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, Dialect, ForeignKeyConstraint, String, UniqueConstraint
from sqlalchemy.orm import relationship
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, Relationship, SQLModel

from app.core.db.types import TABLE_OPTIONS, RowId, ServerNow, UTCDateTime
from app.core.http.access import KeyScope

_OF_USER: Final[dict[str, Any]] = {"columns": ["user_id"], "refcolumns": ["user.id"], "ondelete": "CASCADE"}
_TABLE_OPTIONS: Final[dict[str, Any]] = {**TABLE_OPTIONS, "sqlite_autoincrement": True}
"""Otherwise SQLite gives the id of a deleted account to the next one."""
_CREATED: Final = {"default": ServerNow()}
_UPDATED: Final = {"default": ServerNow(), "onupdate": ServerNow()}


class KeyScopes(TypeDecorator[list[KeyScope]]):
    """Scopes of an API key, as words separated by spaces."""

    impl = String(64)
    cache_ok = True

    def process_bind_param(self, value: Collection[KeyScope] | None, dialect: Dialect) -> str | None:
        """Store each scope once."""
        return None if value is None else " ".join(scope for scope in KeyScope if scope in value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> list[KeyScope] | None:
        """Leave out scopes that only a newer version of the service knows."""
        return None if value is None else [scope for scope in KeyScope if scope in value.split()]


class User(SQLModel, table=True):
    """An account."""

    __tablename__ = "user"
    __table_args__ = (UniqueConstraint("email_key", name="uq_user_email_key"), _TABLE_OPTIONS)

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    fname: str = Field(max_length=100)
    lname: str = Field(max_length=100)
    name_key: str = Field(max_length=450)
    """Both names folded by ``name_key()``, for searching and sorting."""
    email: str = Field(max_length=254)
    """As the client sent it, normalized."""
    email_key: str = Field(max_length=320)
    """The address folded by ``email_key()``: unique, and compared at sign-in."""
    password_hash: str = Field(max_length=255)
    """argon2id with its parameters and salt."""
    role: str = Field(max_length=16)
    """A value of ``access.Role``."""
    is_active: bool = Field(sa_type=Boolean)
    """An inactive account can't sign in, and its keys do not work."""
    created_at: datetime | None = Field(default=None, nullable=False, sa_type=UTCDateTime, sa_column_kwargs=_CREATED)
    """By the database's clock, UTC; None only before the insert."""
    updated_at: datetime | None = Field(default=None, nullable=False, sa_type=UTCDateTime, sa_column_kwargs=_UPDATED)
    """Last change of the account or its addresses, by the database's clock, UTC; None only before the insert."""

    # Queries load them explicitly: asynchronous sessions refuse lazy loading.
    addresses: list["Address"] = Relationship(
        sa_relationship=relationship(back_populates="user", lazy="raise", passive_deletes=True, order_by="Address.id")
    )


class Address(SQLModel, table=True):
    """A postal address; deleted with its account."""

    __tablename__ = "address"
    __table_args__ = (
        ForeignKeyConstraint(**_OF_USER, name="fk_address_user"),
        # A constraint, because an Index() would be created by a separate statement after the table.
        UniqueConstraint("user_id", "id", name="uq_address_user_id"),
        _TABLE_OPTIONS,
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    user_id: int = Field(sa_type=RowId)
    street: str = Field(max_length=200)
    city: str = Field(max_length=100)
    postal_code: str | None = Field(default=None, max_length=20)
    """None if the country has no postal codes."""
    country: str = Field(max_length=2)
    """Alpha-2 code of the country."""

    user: User = Relationship(sa_relationship=relationship(back_populates="addresses", lazy="raise"))


class Credential(SQLModel, table=True):
    """A sign-in token or an API key; only the hash of the secret is stored."""

    __tablename__ = "credential"
    __table_args__ = (
        ForeignKeyConstraint(**_OF_USER, name="fk_credential_user"),
        UniqueConstraint("user_id", "id", name="uq_credential_user_id"),
        UniqueConstraint("digest", name="uq_credential_digest"),
        _TABLE_OPTIONS,
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    user_id: int = Field(sa_type=RowId)
    kind: str = Field(max_length=8)
    """``token`` or ``key``."""
    name: str | None = Field(default=None, max_length=100)
    """The owner's name for a key; None for tokens."""
    scopes: list[KeyScope] = Field(sa_type=KeyScopes, sa_column_kwargs={"server_default": "read refresh tracking"})
    """What a key may do; tokens ignore it. The default is for keys from before there were scopes."""
    digest: str = Field(max_length=64)
    """SHA-256 of the secret, in hexadecimal."""
    created_at: datetime = Field(sa_type=UTCDateTime)
    expires_at: datetime = Field(sa_type=UTCDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """Last use of a key, accurate to a minute; None before the first use, and for tokens."""
