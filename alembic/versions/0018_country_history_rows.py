"""What the last refresh before this version said."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add an entry for each country of the last refresh; of earlier ones nobody knows the source any more."""
    op.execute(
        "INSERT INTO country_history (country_id, refreshed_at, currency_code, exchange_rate, estimated_gdp, "
        "rate_source, rates_date) "
        "SELECT country.id, country.last_refreshed_at, country.currency_code, country.exchange_rate, "
        "country.estimated_gdp, summary.rate_source, summary.rates_date FROM country "
        "JOIN summarycache AS summary ON summary.last_refreshed_at = country.last_refreshed_at "
        "WHERE NOT EXISTS (SELECT 1 FROM country_history AS known "
        "WHERE known.country_id = country.id AND known.refreshed_at = country.last_refreshed_at)"
    )


def downgrade() -> None:
    """Nothing: the rows go with their table."""
