"""Index for all rates of one day."""

import sqlalchemy as sa

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

INDEX = "ix_exchange_rate_day"


def upgrade() -> None:
    """Create the index unless a killed run already did: MySQL has no IF NOT EXISTS for indexes."""
    if op.get_context().as_sql or not _exists():
        op.create_index(INDEX, "exchange_rate", ["source", "day", "quote", "rate"])


def downgrade() -> None:
    """Drop the index."""
    if op.get_context().as_sql or _exists():
        op.drop_index(INDEX, "exchange_rate")


def _exists() -> bool:
    return any(index["name"] == INDEX for index in sa.inspect(op.get_bind()).get_indexes("exchange_rate"))
