"""Where the data come from: source, version, licence and credit of each field."""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, Field
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.config.sources import BUNDLED, UNDATED_POPULATIONS
from app.core.db.queries import execute, select_columns
from app.countries.schemas import example
from app.countries.store import read_summary
from app.rates.models import CurrencySpan
from app.sources import reference

_LIVE_FIELDS: Final = (
    "name",
    "alpha2_code",
    "alpha3_code",
    "capital",
    "region",
    "population",
    "currency_code",
    "flag_url",
)
"""Fields of a country that a live source of countries has."""


class DataSourcePublic(BaseModel):
    """A field and one of its sources."""

    model_config = example(
        field="population",
        source="UN World Population Prospects",
        version="2024, medium variant",
        licence="CC-BY-3.0-IGO",
        licence_url="https://creativecommons.org/licenses/by/3.0/igo/",
        attribution="United Nations, World Population Prospects 2024, https://population.un.org/wpp/",
    )

    field: str = Field(description="Field of a country, or of a currency (`currencies.`...).")
    source: str = Field(description="Name of the source; of a URL in `COUNTRY_SOURCES` or `RATE_SOURCES`, its host.")
    version: str | None = Field(description="Null if the source has none, or a new one each day.")
    licence: str | None = Field(description="SPDX identifier or `public domain`; null if the source states none.")
    licence_url: str | None = Field(description="Licence or terms.")
    attribution: str | None = Field(description="Credit to show with the data.")


async def list_data_sources(session: AsyncSession) -> list[DataSourcePublic]:
    """The sources of the bundled data, then those that the stored countries and rates came from."""
    summary = await read_summary(session)
    rates = (await execute(session, select_columns(CurrencySpan.source).distinct())).scalars()
    return [
        DataSourcePublic(field=field, **source._asdict())
        for field, source in _sources(summary.country_source if summary else None, sorted(rates))
    ]


def _sources(countries: str | None, rates: list[str]) -> Iterator[tuple[str, reference.DataSource]]:
    known = reference.data_sources()
    yield from known.curated
    if countries not in (None, BUNDLED):
        for field in _LIVE_FIELDS:
            if field == "population" and countries in UNDATED_POPULATIONS:
                continue  # not read
            yield field, known.countries.get(countries, _unknown(countries))
    for name in rates:
        yield "exchange_rate", known.rates.get(name, _unknown(name))


def _unknown(name: str) -> reference.DataSource:
    """A source that the operator has named by its URL, whose terms only they know."""
    return reference.DataSource(name, version=None, licence=None, licence_url=None, attribution=None)
