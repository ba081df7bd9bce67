"""Exchange rates in the order of their key, also on SQLite."""

import sqlalchemy as sa

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Write the table anew without row numbers, in one transaction; MySQL keeps rows in this order anyway."""
    _rewrite(with_rowid=False)


def downgrade() -> None:
    """Write it with row numbers."""
    _rewrite(with_rowid=True)


def _rewrite(*, with_rowid: bool) -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    op.rename_table("exchange_rate", "exchange_rate_before")
    op.create_table(
        "exchange_rate",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("quote", sa.String(3), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("rate", sa.Double, nullable=False),
        sqlite_with_rowid=with_rowid,
    )
    op.execute(
        "INSERT INTO exchange_rate (source, quote, day, rate) SELECT source, quote, day, rate FROM exchange_rate_before"
    )
    op.drop_table("exchange_rate_before")
