"""Accounts."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, RowId, UTCDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "user",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("fname", sa.String(100), nullable=False),
        sa.Column("lname", sa.String(100), nullable=False),
        sa.Column("name_key", sa.String(450), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(320), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", UTCDateTime, nullable=False),
        sa.Column("updated_at", UTCDateTime, nullable=False),
        sa.UniqueConstraint("email_key", name="uq_user_email_key"),
        if_not_exists=True,
        sqlite_autoincrement=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every account in it."""
    op.drop_table("user", if_exists=True)
