"""The days of the rates that are stored already."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add each day once; when it was recorded is known of the last refresh only."""
    op.execute(
        "INSERT INTO rate_day (source, day, recorded_at) "
        "SELECT rates.source, rates.day, summary.last_refreshed_at FROM exchange_rate AS rates "
        "LEFT JOIN summarycache AS summary ON summary.rate_source = rates.source AND summary.rates_date = rates.day "
        "WHERE NOT EXISTS (SELECT 1 FROM rate_day AS known "
        "WHERE known.source = rates.source AND known.day = rates.day) "
        "GROUP BY rates.source, rates.day, summary.last_refreshed_at"
    )


def downgrade() -> None:
    """Nothing: the rows go with their table."""
