"""Response to a refresh."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from app.countries.schemas import EXAMPLE_SOURCES, SourcesPublic, example


class SkippedRecord(BaseModel):
    """A record from a source that could not be used."""

    name: str = Field(description="Name of the country or code of the currency.")
    reason: str


class RefreshResult(BaseModel):
    """Outcome of a refresh; all callers that joined it get the same response."""

    model_config = example(
        message="Countries refreshed successfully",
        total_countries=250,
        inserted=0,
        updated=250,
        skipped=[],
        sources=EXAMPLE_SOURCES,
        rates_date="2026-11-21",
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
    sources: SourcesPublic
    rates_date: date = Field(description="Day of the exchange rates.")
    last_refreshed_at: datetime = Field(description="End of the refresh, UTC.")
    duration_ms: int = Field(
        description="Duration in milliseconds, from the first request to a source until just before the commit."
    )
