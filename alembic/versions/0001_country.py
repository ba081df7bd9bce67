"""Countries."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, RowId, UTCDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "country",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(200), nullable=False),
        sa.Column("alpha2_code", sa.String(2)),
        sa.Column("alpha3_code", sa.String(3)),
        sa.Column("capital", sa.String(200)),
        sa.Column("region", sa.String(100)),
        sa.Column("region_key", sa.String(100)),
        sa.Column("population", sa.BigInteger, nullable=False),
        sa.Column("currency_code", sa.String(8)),
        sa.Column("exchange_rate", sa.Double),
        sa.Column("estimated_gdp", sa.Double),
        sa.Column("flag_url", sa.String(500)),
        sa.Column("last_refreshed_at", UTCDateTime, nullable=False),
        sa.UniqueConstraint("alpha2_code", name="uq_country_alpha2_code"),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every country in it."""
    op.drop_table("country", if_exists=True)
