"""Every table, imported once: for Alembic and for the test that compares both."""

from sqlmodel import SQLModel

from app.audit.models import AuditEntry
from app.core.db.lease import LeaseRow
from app.countries.models import Country, CountryHistory, SummaryCache
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.tracking.models import Document, Transfer
from app.users.models import Address, Credential, User

metadata = SQLModel.metadata

__all__ = [
    "Address",
    "AuditEntry",
    "Country",
    "CountryHistory",
    "Credential",
    "CurrencySpan",
    "Document",
    "ExchangeRate",
    "LeaseRow",
    "RateDay",
    "SummaryCache",
    "Transfer",
    "User",
    "metadata",
]
