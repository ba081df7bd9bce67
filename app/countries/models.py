"""Tables of countries, their history, and the summary of the last refresh."""

from datetime import date, datetime
from typing import Final

from sqlalchemy import BigInteger, Double, ForeignKeyConstraint, Index, SmallInteger, UniqueConstraint
from sqlmodel import Field, SQLModel

from app.core.db.types import TABLE_OPTIONS, LongBlob, LongText, RowId, UTCDateTime

SUMMARY_ID: Final = 1


class Country(SQLModel, table=True):
    """One country as the sources described it at the last refresh."""

    __tablename__ = "country"
    __table_args__ = (
        UniqueConstraint("alpha2_code", name="uq_country_alpha2_code"),
        Index("ix_country_name_key", "name_key"),
        TABLE_OPTIONS,
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=RowId)
    name: str = Field(max_length=200)
    name_key: str = Field(max_length=200)
    """The name folded by ``name_key()``: searched, sorted and compared by this."""
    alpha2_code: str | None = Field(default=None, max_length=2)
    """ISO 3166-1 alpha-2 code; None if neither the source nor our table of names has one."""
    alpha3_code: str | None = Field(default=None, max_length=3)
    capital: str | None = Field(default=None, max_length=200)
    region: str | None = Field(default=None, max_length=100)
    region_key: str | None = Field(default=None, max_length=100)
    """The region folded by ``name_key()``."""
    population: int = Field(sa_type=BigInteger)
    """People, as the source reports them."""
    population_year: int | None = Field(default=None, sa_type=SmallInteger)
    """Year of ``population``; None if its source gives none."""
    currency_code: str | None = Field(default=None, max_length=8)
    """Code of the first currency, mostly ISO 4217, though some sources have four letters; None without a currency."""
    exchange_rate: float | None = Field(default=None, sa_type=Double)
    """Units of ``currency_code`` that one US dollar buys; None if the day's rates do not quote it."""
    estimated_gdp: float | None = Field(default=None, sa_type=Double)
    """US dollars; None without a rate, 0 without a currency."""
    flag_url: str | None = Field(default=None, max_length=500)
    last_refreshed_at: datetime = Field(sa_type=UTCDateTime)
    """When the refresh that last wrote this row ended; UTC."""


class CountryHistory(SQLModel, table=True):
    """One country as one refresh stored it; deleted with the country.

    By the key, the history of a country is one range in the order of time.
    """

    __tablename__ = "country_history"
    __table_args__ = (
        ForeignKeyConstraint(["country_id"], ["country.id"], name="fk_country_history_country", ondelete="CASCADE"),
        {**TABLE_OPTIONS, "sqlite_with_rowid": False},
    )

    country_id: int = Field(primary_key=True, sa_type=RowId)
    refreshed_at: datetime = Field(primary_key=True, sa_type=UTCDateTime)
    """When the refresh ended; UTC."""
    currency_code: str | None = Field(default=None, max_length=8)
    exchange_rate: float | None = Field(default=None, sa_type=Double)
    """Units of ``currency_code`` that one US dollar bought; None if it was not quoted."""
    estimated_gdp: float | None = Field(default=None, sa_type=Double)
    """US dollars; None without a rate, 0 without a currency."""
    rate_source: str = Field(max_length=255)
    rates_date: date
    """The day to which the rate belongs."""


class SummaryCache(SQLModel, table=True):
    """One row about the last refresh, changed in the same transaction as the countries."""

    __tablename__ = "summarycache"
    __table_args__ = TABLE_OPTIONS

    id: int = Field(default=SUMMARY_ID, primary_key=True, sa_type=RowId, sa_column_kwargs={"autoincrement": False})
    data_version: int = Field(sa_type=BigInteger)
    """Grows with every change of countries or rates; see ``change_summary()``."""
    generation: int = Field(sa_type=BigInteger)
    """Fence number of the lease under which the last refresh ran; identifies the refresh."""
    total_countries: int
    last_refreshed_at: datetime = Field(sa_type=UTCDateTime)
    country_source: str = Field(max_length=255)
    rate_source: str = Field(max_length=255)
    rates_date: date
    """The day to which the exchange rates belong."""
    top_countries: str = Field(sa_type=LongText)
    """JSON list of up to five objects with ``name`` and ``estimated_gdp`` in US dollars."""
    report: str = Field(sa_type=LongText)
    """The result of the last refresh as JSON, so that every process can return it."""
    request_digest: str = Field(max_length=64)
    """SHA-256 of the order of that refresh: only equal orders share its result."""
    image: bytes = Field(sa_type=LongBlob)
    """The summary picture, PNG."""
