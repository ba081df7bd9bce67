"""Every table, imported once: for Alembic and for the test that compares both."""

from sqlmodel import SQLModel

from app.countries.models import Country, SummaryCache
from app.lease import LeaseRow
from app.rates.models import ExchangeRate

metadata = SQLModel.metadata

__all__ = ["Country", "ExchangeRate", "LeaseRow", "SummaryCache", "metadata"]
