"""Index for the search by name."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEX = "ix_country_name_key"


def upgrade() -> None:
    """Create the index unless a killed run already did: MySQL has no IF NOT EXISTS for indexes."""
    if op.get_context().as_sql or not _exists():
        op.create_index(INDEX, "country", ["name_key"])


def downgrade() -> None:
    """Drop the index."""
    if op.get_context().as_sql or _exists():
        op.drop_index(INDEX, "country")


def _exists() -> bool:
    return any(index["name"] == INDEX for index in sa.inspect(op.get_bind()).get_indexes("country"))
