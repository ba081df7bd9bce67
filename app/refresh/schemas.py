"""What clients see of a refresh."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field

from app.countries.schemas import _EXAMPLE_SOURCES, SourcesPublic


class SkippedRecord(BaseModel):
    """Something in a source's answer that could not be used."""

    name: str = Field(description="Name of the country or code of the currency.")
    reason: str


class RefreshResult(BaseModel):
    """What a refresh did. Callers who joined the same refresh get the same answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "message": "Countries refreshed successfully",
                    "total_countries": 250,
                    "inserted": 0,
                    "updated": 250,
                    "skipped": [],
                    "sources": _EXAMPLE_SOURCES,
                    "rates_date": "2026-11-21",
                    "last_refreshed_at": "2026-11-21T09:17:00.250000Z",
                    "duration_ms": 812,
                }
            ]
        }
    )

    message: str = "Countries refreshed successfully"
    total_countries: int = Field(description="Stored after the refresh; rows that no source lists any more stay.")
    inserted: int
    updated: int
    skipped: list[SkippedRecord] = Field(description="What was left out and why; at most 100 entries.")
    sources: SourcesPublic
    rates_date: date = Field(description="The day to which the exchange rates belong.")
    last_refreshed_at: datetime = Field(description="UTC.")
    duration_ms: int = Field(description="From the first request to a source to the end of the work before the commit.")
