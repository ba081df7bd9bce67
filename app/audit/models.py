"""The table of the audit trail."""

from datetime import datetime

from sqlalchemy import BigInteger, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.core.db.types import TABLE_OPTIONS, LongText, RowId, UTCDateTime


class AuditEntry(SQLModel, table=True):
    """One change: what, by whom, when."""

    __tablename__ = "audit"
    __table_args__ = (
        # Constraints, because an Index() would be created by a separate statement after the table.
        UniqueConstraint("object_type", "object_id", "id", name="uq_audit_object"),
        UniqueConstraint("request_id", "id", name="uq_audit_request_id"),
        UniqueConstraint("action", "id", name="uq_audit_action"),
        UniqueConstraint("actor", "id", name="uq_audit_actor"),
        UniqueConstraint("at", "id", name="uq_audit_at"),
        UniqueConstraint("logged_at", "id", name="uq_audit_logged_at"),
        UniqueConstraint("delivered_at", "id", name="uq_audit_delivered_at"),
        TABLE_OPTIONS,
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    at: datetime = Field(sa_type=UTCDateTime)
    """Time of the change by the database's clock, UTC."""
    action: str = Field(max_length=64)
    """Verb and object, such as ``CREATE_USER``."""
    object_type: str = Field(max_length=32)
    object_id: str | None = Field(default=None, max_length=200)
    """Id or name; None if the change is about all objects of the type."""
    actor: str = Field(max_length=320)
    """E-mail address at that time, or ``ADMIN_API_KEY``, ``anybody``, ``service`` or ``command line``."""
    actor_id: int | None = Field(default=None, sa_type=BigInteger)
    """Id of the account; None if the actor has none. Not a foreign key, because entries outlive accounts."""
    request_id: str | None = Field(default=None, max_length=64)
    """``X-Request-ID``; None outside a request."""
    changes: str = Field(sa_type=LongText)
    """JSON object: changed field to ``{"before": ..., "after": ...}``."""
    logged_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """Unused. Earlier versions filled it; it stays because revisions only add columns."""
    delivered_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When the webhook accepted the entry; the time of the insert if no webhook was set. None: still to be sent."""
