"""Year of each country's population; unknown until the next refresh."""

from sqlalchemy import Column, SmallInteger

from alembic import op
from app.core.db.migrations import add_column

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    add_column("country", Column("population_year", SmallInteger))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("country", "population_year")
