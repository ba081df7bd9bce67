"""${message}

Statements that are safe to run again: MySQL commits after each, so a run that is killed leaves the first ones done.
"""

import sqlalchemy as sa
from alembic import op
from app.core.db.migrations import add_column, create_index
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
