"""Tables of exchange rates: the rates, the days of each source, and the first and last day of each currency."""

from datetime import date, datetime

from sqlalchemy import Double, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.core.db.types import TABLE_OPTIONS, UTCDateTime


class ExchangeRate(SQLModel, table=True):
    """Units of one currency for one unit of a source's base currency, on one day.

    The days of a currency are a range of the key, the currencies of a day one of the index.
    """

    __tablename__ = "exchange_rate"
    __table_args__ = (
        # With the rate, so that a day's rates are read from the index alone.
        Index("ix_exchange_rate_day", "source", "day", "quote", "rate"),
        {**TABLE_OPTIONS, "sqlite_with_rowid": False},
    )

    source: str = Field(primary_key=True, max_length=255)
    """Name or host of the source; rates of different sources are never mixed."""
    quote: str = Field(primary_key=True, max_length=3)
    """ISO 4217 code, or the three-letter code that the source gives a metal or a crypto currency."""
    day: date = Field(primary_key=True)
    """The day that the source gives for the rate."""
    rate: float = Field(sa_type=Double)
    """Units of the quoted currency for one of the base, whose rate is 1; finite, greater than zero."""


class RateDay(SQLModel, table=True):
    """One day of a source, written in one transaction with its rates."""

    __tablename__ = "rate_day"
    __table_args__ = (
        # Indexes for "the last day on or before" and "the last refresh"; made in the same statement as the table.
        UniqueConstraint("day", "recorded_at", "source", name="uq_rate_day_day"),
        UniqueConstraint("recorded_at", "day", "source", name="uq_rate_day_recorded_at"),
        TABLE_OPTIONS,
    )

    source: str = Field(primary_key=True, max_length=255)
    day: date = Field(primary_key=True)
    recorded_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    """When a refresh last had this as its newest day, UTC; None if it was imported, or only the day of older rates."""


class CurrencySpan(SQLModel, table=True):
    """First and last day on which a source quotes a currency; finding them among the rates would read all of these."""

    __tablename__ = "currency_span"
    __table_args__ = TABLE_OPTIONS

    quote: str = Field(primary_key=True, max_length=3)
    source: str = Field(primary_key=True, max_length=255)
    first_day: date
    last_day: date
