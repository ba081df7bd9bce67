"""Response to a refresh."""

import re
from datetime import date, datetime
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from app.countries.schemas import (
    EXAMPLE_SOURCES,
    ImplausibleField,
    SourcesPublic,
    StaleField,
    WithoutRateField,
    example,
)

_CODES: Final = re.compile("[A-Z]{3}(,[A-Z]{3})*")
_BOOLEANS: Final = {"TRUE": True, "FALSE": False}
_NEARLY_BOOLEANS: Final = frozenset({"YES", "OFF"})
"""Not currencies, although they have three letters."""


def to_force(text: object) -> bool | str:
    """A boolean from ``true`` or ``false`` in any case, or currency codes in upper case, separated by commas.

    Raises:
        ValueError: It is neither.
    """
    word = str(text).replace(" ", "")
    codes = word.upper()
    if codes in _BOOLEANS:
        return _BOOLEANS[codes]
    # Only ASCII: in upper case the German sharp s would be SS.
    if not word.isascii() or not _CODES.fullmatch(codes) or codes in _NEARLY_BOOLEANS:
        raise ValueError("must be true, false, or currency codes separated by commas, such as SYP")
    return codes


Force = Annotated[
    bool | str,
    BeforeValidator(to_force),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "^[A-Za-z]{3}(,[A-Za-z]{3})*$"}]}),
]
"""Accept all rates that changed more than tenfold, none, or those of some currencies."""


class SkippedRecord(BaseModel):
    """A record from a source that could not be used."""

    name: str = Field(description="Name of the country or code of the currency.")
    reason: str


class KeptValue(BaseModel):
    """A value of a source that is known to be outdated, and what was stored in its place."""

    model_config = example(
        name="Palestine",
        field="currency_code",
        value="ILS",
        source_value="EGP, ILS, JOD",
        reason="of several currencies, the first in our list is stored",
    )

    name: str = Field(description="Name of the country, or how many countries, such as `250 countries`.")
    field: str = Field(description="`name`, `capital`, `currency_code` or `population`.")
    value: str | None = Field(description="The stored value; null if the entry is about many countries.")
    source_value: str | None = Field(description="What the source says; null if the entry is about many countries.")
    reason: str


class RefreshResult(BaseModel):
    """Outcome of a refresh; all callers that joined it get the same response."""

    model_config = example(
        message="Countries refreshed successfully",
        total_countries=250,
        inserted=0,
        updated=250,
        skipped=[],
        kept=[],
        sources=EXAMPLE_SOURCES,
        rates_date="2026-11-21",
        stale=False,
        countries_without_rate=0,
        implausible_rates=[],
        last_refreshed_at="2026-11-21T09:17:00.250000Z",
        duration_ms=812,
    )

    message: str = "Countries refreshed successfully"
    total_countries: int = Field(
        description="Number of countries stored after the refresh, including those the source no longer lists."
    )
    inserted: int
    updated: int
    skipped: list[SkippedRecord] = Field(description="Records left out and why; at most 100 entries.")
    kept: list[KeptValue] = Field(
        default=[],  # reports stored by earlier versions have none
        description="Values of the country source that are known to be outdated, and what was stored; at most 100.",
    )
    sources: SourcesPublic
    rates_date: date = Field(description="Day of the countries' exchange rates; never earlier than before.")
    stale: StaleField = False
    countries_without_rate: WithoutRateField = None
    implausible_rates: ImplausibleField = []
    last_refreshed_at: datetime = Field(description="End of the refresh, UTC.")
    duration_ms: int = Field(
        description="Duration in milliseconds, from the first request to a source until just before the commit."
    )
