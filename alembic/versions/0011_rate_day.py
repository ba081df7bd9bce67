"""Days of which a source's rates are stored."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, UTCDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "rate_day",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("recorded_at", UTCDateTime, nullable=True),
        sa.UniqueConstraint("day", "recorded_at", "source", name="uq_rate_day_day"),
        sa.UniqueConstraint("recorded_at", "day", "source", name="uq_rate_day_recorded_at"),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("rate_day", if_exists=True)
