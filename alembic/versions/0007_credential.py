"""Sign-in tokens and API keys."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, RowId, UTCDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "credential",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("user_id", RowId, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(100)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False),
        sa.Column("expires_at", UTCDateTime, nullable=False),
        sa.Column("last_used_at", UTCDateTime),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_credential_user", ondelete="CASCADE"),
        sa.UniqueConstraint("user_id", "id", name="uq_credential_user_id"),
        sa.UniqueConstraint("digest", name="uq_credential_digest"),
        if_not_exists=True,
        sqlite_autoincrement=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table; every token and key ends."""
    op.drop_table("credential", if_exists=True)
