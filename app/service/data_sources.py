"""Where the data come from: source, version, licence and credit of each field."""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, Field

from app.core.config.sources import BUNDLED, UNDATED_POPULATIONS
from app.core.db.snapshots import Snapshot
from app.countries.crud import CountryNotFound, get_status
from app.countries.schemas import example
from app.rates.in_force import load_spans
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


async def list_data_sources(data: Snapshot) -> list[DataSourcePublic]:
    """The sources of the bundled data, then those that the stored countries and rates came from."""
    try:
        countries = (await get_status(data)).sources.countries
    except CountryNotFound:
        countries = None
    rates = sorted(await data.read(load_spans))
    return [DataSourcePublic(field=field, **source._asdict()) for field, source in _sources(countries, rates)]


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
