"""Transfers: batches of SMS."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, UTCDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "sms_transfers",
        sa.Column("UBID", sa.String(36), primary_key=True),
        sa.Column("SMScount", sa.Integer, nullable=False),
        sa.Column("documents", sa.Integer, nullable=False),
        sa.Column("fileName", sa.String(55), nullable=False),
        sa.Column("origName", sa.String(50), nullable=False),
        sa.Column("fallbackCount", sa.Integer, nullable=False),
        sa.Column("when", UTCDateTime, nullable=False),
        sa.Column("state", sa.String(4), nullable=False),
        sa.UniqueConstraint("when", "UBID", name="uq_sms_transfers_when"),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every transfer in it."""
    op.drop_table("sms_transfers", if_exists=True)
