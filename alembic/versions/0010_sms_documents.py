"""Documents: messages of a transfer."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, LongText, UTCDateTime

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "sms_documents",
        sa.Column("UBID", sa.String(36), primary_key=True),
        sa.Column("uniqueId", sa.String(10), primary_key=True),
        sa.Column("SMScount", sa.Integer, nullable=False),
        sa.Column("state", sa.String(4), nullable=False),
        sa.Column("when", UTCDateTime, nullable=False),
        sa.Column("data", LongText, nullable=False),
        sa.ForeignKeyConstraint(["UBID"], ["sms_transfers.UBID"], name="fk_sms_documents_transfer", ondelete="CASCADE"),
        sa.UniqueConstraint("UBID", "state", "uniqueId", name="uq_sms_documents_state"),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every document in it."""
    op.drop_table("sms_documents", if_exists=True)
