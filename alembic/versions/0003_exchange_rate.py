"""Exchange rates."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; its key serves the search for the last rate of each currency."""
    op.create_table(
        "exchange_rate",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("quote", sa.String(3), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("rate", sa.Double, nullable=False),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every rate in it."""
    op.drop_table("exchange_rate", if_exists=True)
