"""Tables of countries and of what is said about all of them together."""

from datetime import date, datetime
from typing import Final

from sqlalchemy import BigInteger, Double, ForeignKeyConstraint, Index, UniqueConstraint
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
    """ISO 3166-1 alpha-2 code; None where neither the source nor our table of names knows one."""
    alpha3_code: str | None = Field(default=None, max_length=3)
    capital: str | None = Field(default=None, max_length=200)
    region: str | None = Field(default=None, max_length=100)
    region_key: str | None = Field(default=None, max_length=100)
    """The region folded by ``name_key()``."""
    population: int = Field(sa_type=BigInteger)
    """People, as the source reports them."""
    currency_code: str | None = Field(default=None, max_length=8)
    """Code of the first currency; mostly ISO 4217, but some sources have four letters. None where there is none."""
    exchange_rate: float | None = Field(default=None, sa_type=Double)
    """Units of ``currency_code`` that one US dollar buys; None where the day's rates do not quote it."""
    estimated_gdp: float | None = Field(default=None, sa_type=Double)
    """US dollars; None without a rate, 0 without a currency."""
    flag_url: str | None = Field(default=None, max_length=500)
    last_refreshed_at: datetime = Field(sa_type=UTCDateTime)
    """When the refresh that last wrote this row ended; UTC."""


class CountryHistory(SQLModel, table=True):
    """What one refresh said about one country; it goes with its country.

    The key makes the history of a country a range, in the order of time.
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
    """Units of ``currency_code`` that one US dollar bought; None where it was not quoted."""
    estimated_gdp: float | None = Field(default=None, sa_type=Double)
    """US dollars; None without a rate, 0 without a currency."""
    rate_source: str = Field(max_length=255)
    rates_date: date
    """The day to which the rate belongs."""


class SummaryCache(SQLModel, table=True):
    """The one row about the last refresh; it changes in the same transaction as the countries."""

    __tablename__ = "summarycache"
    __table_args__ = TABLE_OPTIONS

    id: int = Field(default=SUMMARY_ID, primary_key=True, sa_type=RowId, sa_column_kwargs={"autoincrement": False})
    data_version: int = Field(sa_type=BigInteger)
    """Grows with every change of countries or rates; see ``least_version()``."""
    generation: int = Field(sa_type=BigInteger)
    """Fence number of the lease under which the last refresh ran: which refresh this is."""
    total_countries: int
    last_refreshed_at: datetime = Field(sa_type=UTCDateTime)
    country_source: str = Field(max_length=255)
    rate_source: str = Field(max_length=255)
    rates_date: date
    """The day to which the exchange rates belong."""
    top_countries: str = Field(sa_type=LongText)
    """JSON list of up to five objects with ``name`` and ``estimated_gdp`` in US dollars."""
    report: str = Field(sa_type=LongText)
    """The answer of the last refresh as JSON, so that every process can give the same one."""
    request_digest: str = Field(max_length=64)
    """SHA-256 of what was asked of that refresh: only equal requests may share its answer."""
    image: bytes = Field(sa_type=LongBlob)
    """The summary picture, PNG."""
