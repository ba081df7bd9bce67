"""From when to when a source quotes a currency."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "currency_span",
        sa.Column("quote", sa.String(3), primary_key=True),
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("first_day", sa.Date, nullable=False),
        sa.Column("last_day", sa.Date, nullable=False),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("currency_span", if_exists=True)
