"""Summary of the last refresh, with its picture."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, LongBlob, LongText, RowId, UTCDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table that holds one row."""
    op.create_table(
        "summarycache",
        sa.Column("id", RowId, primary_key=True, autoincrement=False),
        sa.Column("data_version", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("total_countries", sa.Integer, nullable=False),
        sa.Column("last_refreshed_at", UTCDateTime, nullable=False),
        sa.Column("country_source", sa.String(255), nullable=False),
        sa.Column("rate_source", sa.String(255), nullable=False),
        sa.Column("rates_date", sa.Date, nullable=False),
        sa.Column("top_countries", LongText, nullable=False),
        sa.Column("report", LongText, nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("image", LongBlob, nullable=False),
        if_not_exists=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the summary and the picture."""
    op.drop_table("summarycache", if_exists=True)
