"""Table of exchange rates."""

from datetime import date

from sqlalchemy import Double
from sqlmodel import Field, SQLModel

from app.dialects import TABLE_OPTIONS


class ExchangeRate(SQLModel, table=True):
    """What one US dollar bought of one currency on one day, as one source said."""

    __tablename__ = "exchange_rate"
    __table_args__ = TABLE_OPTIONS

    source: str = Field(primary_key=True, max_length=255)
    """Known name or host of the source; rates of different sources are never mixed."""
    quote: str = Field(primary_key=True, max_length=3)
    """ISO 4217 code, or the three-letter code that the source gives a metal or a crypto currency."""
    day: date = Field(primary_key=True)
    """The day to which the source says that the rate belongs."""
    rate: float = Field(sa_type=Double)
    """Units of the quoted currency for one US dollar; finite, greater than zero."""
