"""What each refresh said about each country."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, RowId, UTCDateTime

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its foreign key in one statement, which a killed run can repeat."""
    op.create_table(
        "country_history",
        sa.Column("country_id", RowId, primary_key=True),
        sa.Column("refreshed_at", UTCDateTime, primary_key=True),
        sa.Column("currency_code", sa.String(8), nullable=True),
        sa.Column("exchange_rate", sa.Double, nullable=True),
        sa.Column("estimated_gdp", sa.Double, nullable=True),
        sa.Column("rate_source", sa.String(255), nullable=False),
        sa.Column("rates_date", sa.Date, nullable=False),
        sa.ForeignKeyConstraint(["country_id"], ["country.id"], name="fk_country_history_country", ondelete="CASCADE"),
        if_not_exists=True,
        sqlite_with_rowid=False,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and all history in it."""
    op.drop_table("country_history", if_exists=True)
