"""Addresses of accounts."""

import sqlalchemy as sa

from alembic import op
from app.core.db.types import TABLE_OPTIONS, RowId

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table with its constraints in one statement, which a killed run can repeat."""
    op.create_table(
        "address",
        sa.Column("id", RowId, primary_key=True),
        sa.Column("user_id", RowId, nullable=False),
        sa.Column("street", sa.String(200), nullable=False),
        sa.Column("city", sa.String(100), nullable=False),
        sa.Column("postal_code", sa.String(20)),
        sa.Column("country", sa.String(2), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_address_user", ondelete="CASCADE"),
        sa.UniqueConstraint("user_id", "id", name="uq_address_user_id"),
        if_not_exists=True,
        sqlite_autoincrement=True,
        **TABLE_OPTIONS,
    )


def downgrade() -> None:
    """Drop the table and every address in it."""
    op.drop_table("address", if_exists=True)
