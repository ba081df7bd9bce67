"""Responses about currencies."""

import datetime

from pydantic import BaseModel, Field

from app.countries.schemas import example


class CurrencyPublic(BaseModel):
    """One currency; every field is always present, null if unknown."""

    model_config = example(
        code="NGN",
        name="Nigerian Naira",
        symbol="₦",
        minor_units=2,
        countries=["NG"],
        first_day="2026-11-20",
        last_day="2026-11-21",
    )

    code: str = Field(description="ISO 4217 code, or a source's code for a metal or cryptocurrency.")
    name: str | None = Field(description="English name; null if CLDR does not have the code.")
    symbol: str = Field(
        description="English symbol, or else the local one, or else the code. Several currencies may share a symbol."
    )
    minor_units: int | None = Field(
        description="Decimal places of its smallest unit; null if CLDR does not have the code."
    )
    countries: list[str] = Field(
        description="Alpha-2 codes of the stored countries whose first currency it is; the name for one without a code."
    )
    first_day: datetime.date | None = Field(description="First day with a stored rate; null if there is none.")
    last_day: datetime.date | None = Field(description="Last day with a stored rate; null if there is none.")
