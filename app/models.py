"""Every table, imported once: for Alembic and for the test that compares both."""

from sqlmodel import SQLModel

import app.audit.models
import app.core.db.lease
import app.countries.models
import app.rates.models
import app.tracking.models
import app.users.models  # noqa: F401

metadata = SQLModel.metadata
