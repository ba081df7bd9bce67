"""The spans of the rates that are stored already."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add each source's currencies once."""
    op.execute(
        "INSERT INTO currency_span (quote, source, first_day, last_day) "
        "SELECT rates.quote, rates.source, MIN(rates.day), MAX(rates.day) FROM exchange_rate AS rates "
        "WHERE NOT EXISTS (SELECT 1 FROM currency_span AS known "
        "WHERE known.quote = rates.quote AND known.source = rates.source) "
        "GROUP BY rates.quote, rates.source"
    )


def downgrade() -> None:
    """Nothing: the rows go with their table."""
