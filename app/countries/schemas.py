"""Requests and responses about countries."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, RootModel, create_model, field_validator

from app.core.http.formats import FORMAT_DESCRIPTION, Format
from app.core.http.numbers import IN_TEXT, NO_UNDERSCORES, DecimalNumber, Decimals, DecimalsField
from app.core.http.paging import MAX_LIMIT, LimitField, OffsetField

EXAMPLE_SOURCES: Final[dict[str, JsonValue]] = {"countries": "countries.dev", "rates": "currency-api"}


def example(**fields: JsonValue) -> ConfigDict:
    """A model's configuration with one example for the API's documentation."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class CountryPublic(BaseModel):
    """One country; every field is always present, null if unknown."""

    model_config = example(
        id=81,
        name="Ghana",
        alpha2_code="GH",
        alpha3_code="GHA",
        capital="Accra",
        region="Africa",
        population=34589100,
        currency_code="GHS",
        exchange_rate=11.6406,
        estimated_gdp=4460112803.27,
        flag_url="https://flagcdn.com/gh.svg",
        last_refreshed_at="2026-11-21T09:17:00.250000Z",
    )

    id: int = Field(description="Id of the country; refreshes keep it.")
    name: str
    alpha2_code: str | None = Field(description="ISO 3166-1 alpha-2 code.")
    alpha3_code: str | None = Field(description="ISO 3166-1 alpha-3 code.")
    capital: str | None
    region: str | None
    population: int = Field(description="Number of people, as reported by the source.")
    currency_code: str | None = Field(description="Code of the country's first currency.")
    exchange_rate: DecimalNumber | None = Field(
        description="Units of local currency per US dollar; null if the source does not quote it."
    )
    estimated_gdp: DecimalNumber | None = Field(
        description="US dollars: population x random(1000..2000) / exchange rate. "
        "Null without a rate, 0 without a currency. An illustration, not a statistic."
    )
    flag_url: str | None
    last_refreshed_at: datetime = Field(description="Time of the last refresh that included this country, UTC.")


class OptionalFields(BaseModel):
    """Fields that are left out unless ``fields`` names them."""

    population_year: int | None = Field(description="Year of `population`; null if its source gives none.")
    reference_gdp: Annotated[int | str, IN_TEXT] | None = Field(
        description="Nominal GDP in US dollars at the official exchange rate, from the CIA World Factbook. Null for 28 "
        "countries, and where the alpha-2 code is unknown."
    )
    reference_gdp_year: int | None = Field(description="Year of `reference_gdp`; null without one.")


COUNTRY_FIELDS: Final = tuple(CountryPublic.model_fields)
"""Fields of a response by default."""
OPTIONAL_FIELDS: Final = tuple(OptionalFields.model_fields)
SELECTABLE_FIELDS: Final = (*COUNTRY_FIELDS, *OPTIONAL_FIELDS)
"""All that ``fields`` may name, in the order of a response."""
DECIMAL_FIELDS: Final = ("exchange_rate", "estimated_gdp", "reference_gdp")
"""Rates and amounts: text with ``decimals=string``."""

_MODEL_FIELDS: Final = CountryPublic.model_fields | OptionalFields.model_fields
CountrySelection = create_model(
    "CountrySelection",
    __doc__="One country with the requested fields.",
    __config__=example(name="Ghana", population=34589100),
    **{
        name: (_MODEL_FIELDS[name].annotation, Field(default=None, description=_MODEL_FIELDS[name].description))
        for name in SELECTABLE_FIELDS
    },  # type: ignore[call-overload]
)


class OneCountry(RootModel[CountryPublic | CountrySelection]):
    """The whole country or, with `fields`, the requested fields."""


class CountryList(RootModel[list[CountryPublic] | list[CountrySelection]]):
    """Whole countries or, with `fields`, the requested fields of each."""


def _known_fields(value: str | None) -> str | None:
    for name in value.split(",") if value is not None else ():
        if name.strip() not in SELECTABLE_FIELDS:
            raise ValueError(f"must be some of: {', '.join(SELECTABLE_FIELDS)}")
    return value


FieldsParam = Annotated[
    str | None,
    Field(
        max_length=300,
        description=f"Comma-separated fields to return. Without it: {', '.join(COUNTRY_FIELDS)}. Only if named: "
        f"{', '.join(OPTIONAL_FIELDS)}.",
        examples=["name,population"],
        json_schema_extra={"pattern": "^{0}(,{0})*$".format(f"({'|'.join(SELECTABLE_FIELDS)})")},
    ),
    AfterValidator(_known_fields),
]


def _columns(fields: str | None) -> tuple[str, ...]:
    """The requested fields, in the order of ``SELECTABLE_FIELDS``."""
    if fields is None:
        return COUNTRY_FIELDS
    wanted = {name.strip() for name in fields.split(",")}
    return tuple(name for name in SELECTABLE_FIELDS if name in wanted)


class CountryQuery(BaseModel):
    """Parameters of one country."""

    fields: FieldsParam = None
    decimals: DecimalsField = Decimals.NUMBER

    @property
    def columns(self) -> tuple[str, ...]:
        """The requested fields, in their documented order."""
        return _columns(self.fields)


class CountrySort(StrEnum):
    """Sort orders; countries without the value come last, ties are sorted by name."""

    GDP_DESC = "gdp_desc"
    GDP_ASC = "gdp_asc"
    POPULATION_DESC = "population_desc"
    POPULATION_ASC = "population_asc"
    NAME_ASC = "name_asc"
    NAME_DESC = "name_desc"
    EXCHANGE_RATE_DESC = "exchange_rate_desc"
    EXCHANGE_RATE_ASC = "exchange_rate_asc"


def _not_blank(value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise ValueError("must not be blank")
    return value


SearchParam = Annotated[
    str | None,
    Field(
        max_length=200,
        description="Part of any known spelling of a name or of a capital, or a whole code (alpha-2, alpha-3, numeric, "
        "IOC). Case, accents and punctuation are ignored.",
    ),
    AfterValidator(_not_blank),
]


class CountryFilters(BaseModel):
    """Parameters of the list of countries."""

    region: str | None = Field(
        default=None, max_length=500, description="Regions, separated by commas; case is ignored.", examples=["Africa"]
    )
    currency: str | None = Field(
        default=None,
        max_length=200,
        description="Currency codes, separated by commas; case is ignored.",
        examples=["NGN"],
    )
    q: SearchParam = None
    sort: CountrySort | None = Field(
        default=None,
        description="Sort order. Without it by name or, if `q` is given, the best match first: that spelling or code, "
        "names that start with it, others.",
    )
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT), NO_UNDERSCORES] | None = Field(
        default=None, description="Maximum number of countries; all by default."
    )
    offset: OffsetField = 0
    fields: FieldsParam = None
    decimals: DecimalsField = Decimals.NUMBER
    format: Format | None = Field(default=None, description=FORMAT_DESCRIPTION)

    @field_validator("region", "currency")
    @classmethod
    def _no_blank_value(cls, value: str | None) -> str | None:
        _not_blank(value)
        if value is not None and not all(part.strip() for part in value.split(",")):
            raise ValueError("must not have an empty value before or after a comma")
        return value

    @property
    def columns(self) -> tuple[str, ...]:
        """The requested fields, in their documented order."""
        return _columns(self.fields)


class HistoryQuery(BaseModel):
    """Parameters of a country's history."""

    limit: LimitField = 100
    offset: OffsetField = 0
    decimals: DecimalsField = Decimals.NUMBER
    format: Format | None = Field(default=None, description=FORMAT_DESCRIPTION)


class HistoryEntryPublic(BaseModel):
    """Currency, rate and estimate of a country at one refresh; every field is always present."""

    model_config = example(
        refreshed_at="2026-11-21T09:17:00.250000Z",
        currency_code="GHS",
        exchange_rate=11.6406,
        estimated_gdp=4460112803.27,
        rate_source="currency-api",
        rates_date="2026-11-21",
    )

    refreshed_at: datetime = Field(description="End of the refresh, UTC.")
    currency_code: str | None = Field(description="Code of the country's first currency at that time.")
    exchange_rate: DecimalNumber | None = Field(
        description="Units of that currency per US dollar; null if the source did not quote it."
    )
    estimated_gdp: DecimalNumber | None = Field(
        description="US dollars. The random factor differs at each refresh, so changes say nothing about an economy. "
        "Null without a rate, 0 without a currency."
    )
    rate_source: str = Field(description="Source of the rate.")
    rates_date: date = Field(description="Day of the rate.")


class DeleteResult(BaseModel):
    """Confirmation with the name of the deleted country."""

    model_config = example(message="Country deleted successfully", name="Ghana")

    message: str = "Country deleted successfully"
    name: str


class SourcesPublic(BaseModel):
    """Sources of the stored data."""

    countries: str
    rates: str


class ImplausibleRate(BaseModel):
    """A rate that contradicts its currency's peg or band; it is stored as the source gave it."""

    model_config = example(code="AED", base="USD", rate=3.1, expected=3.6725, source="frankfurter")

    code: str = Field(description="Code of the pegged currency.")
    base: str = Field(description="Code of the currency to which it is pegged.")
    rate: float = Field(description="Units of `code` per unit of `base`, as the source quotes them.")
    expected: float = Field(description="Units of `code` per unit of `base` by the peg, or in the middle of the band.")
    source: str


StaleField = Annotated[
    bool,
    Field(description="Whether the countries' rates were more than `MAX_RATE_AGE_DAYS` days old at the last refresh."),
]
WithoutRateField = Annotated[
    int | None,
    Field(
        ge=0,
        description="How many countries have a currency, but no rate, since the last refresh; null if it was by an "
        "earlier version.",
    ),
]
ImplausibleField = Annotated[
    list[ImplausibleRate],
    Field(description="Rates of the last refresh that contradict a peg or a band; empty in most cases."),
]


class StatusPublic(BaseModel):
    """Number, age and sources of the stored data."""

    model_config = example(
        total_countries=250,
        last_refreshed_at="2026-11-21T09:17:00.250000Z",
        sources=EXAMPLE_SOURCES,
        rates_date="2026-11-21",
        stale=False,
        countries_without_rate=0,
        implausible_rates=[],
    )

    total_countries: int
    last_refreshed_at: datetime
    sources: SourcesPublic
    rates_date: date
    stale: StaleField = False
    countries_without_rate: WithoutRateField = None
    implausible_rates: ImplausibleField = []
