"""Scopes of API keys; keys that exist already keep all."""

from sqlalchemy import Column, String

from alembic import op
from app.core.db.migrations import add_column

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, with a default for processes of the version before that still insert rows."""
    add_column("credential", Column("scopes", String(64), nullable=False, server_default="read refresh tracking"))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("credential", "scopes")
