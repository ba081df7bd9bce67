"""Audit trail."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, LongText, RowId, UTCDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "audit",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("at", UTCDateTime, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object_type", sa.String(32), nullable=False),
        sa.Column("object_id", sa.String(200)),
        sa.Column("actor", sa.String(320), nullable=False),
        sa.Column("actor_id", sa.BigInteger),
        sa.Column("request_id", sa.String(64)),
        sa.Column("changes", LongText, nullable=False),
        sa.Column("logged_at", UTCDateTime),
        sa.Column("delivered_at", UTCDateTime),
        sa.UniqueConstraint("object_type", "object_id", "id", name="uq_audit_object"),
        sa.UniqueConstraint("request_id", "id", name="uq_audit_request_id"),
        sa.UniqueConstraint("action", "id", name="uq_audit_action"),
        sa.UniqueConstraint("actor", "id", name="uq_audit_actor"),
        sa.UniqueConstraint("at", "id", name="uq_audit_at"),
        sa.UniqueConstraint("logged_at", "id", name="uq_audit_logged_at"),
        sa.UniqueConstraint("delivered_at", "id", name="uq_audit_delivered_at"),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every entry in it."""
    op.drop_table("audit", if_exists=True)
