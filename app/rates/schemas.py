"""What clients send and see about exchange rates."""

import datetime
import re
from decimal import Decimal
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)
from pydantic.config import JsonDict

from app.core.http.formats import FORMAT_DESCRIPTION, Format
from app.rates.exchange import Group


class CurrencyPublic(BaseModel):
    """One currency; every field is always there, null where unknown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "NGN",
                    "name": "Nigerian Naira",
                    "symbol": "₦",
                    "minor_units": 2,
                    "countries": ["NG"],
                    "first_day": "2026-11-20",
                    "last_day": "2026-11-21",
                }
            ]
        }
    )

    code: str = Field(description="ISO 4217 code, or what a source calls a metal or a crypto currency.")
    name: str | None = Field(description="In English; null where CLDR does not know the code.")
    symbol: str = Field(
        description="As English writes it; where that is the code, the sign at home. The code where there is no clear "
        "one. Several currencies may share a sign."
    )
    minor_units: int | None = Field(description="Decimals of the smallest amount that can be paid; null as the name.")
    countries: list[str] = Field(
        description="Alpha-2 codes of the stored countries whose first currency it is; the name of one without a code."
    )
    first_day: datetime.date | None = Field(
        description="Of stored rates, over all sources; null where it was never quoted."
    )
    last_day: datetime.date | None = Field(
        description="Of stored rates, over all sources; null where it was never quoted."
    )


_CODE: Final = re.compile("[A-Za-z]{3}")
_NUMBER: Final = re.compile("[+-]?[0-9]+([.][0-9]*)?([eE][+-]?[0-9]{1,4})?")
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CODE_WANTED: Final = "a currency code of three letters, such as EUR"
_SOURCE: Final = "open.er-api.com"
_ATTRIBUTION: Final = "Rates By Exchange Rate API, https://www.exchangerate-api.com"
_SHOWN: Final[JsonDict] = {"date": "2026-11-21", "source": _SOURCE, "attribution": _ATTRIBUTION}


def _code(text: str) -> str:
    # Before upper(), which makes codes of other letters: SSA of the German sharp s.
    if not _CODE.fullmatch(text.strip()):
        raise ValueError(f"must be {_CODE_WANTED}")
    return text.strip().upper()


def _day(text: object) -> object:
    # pydantic would take a number of seconds as well, and the time of a day.
    if isinstance(text, str) and (not _DAY.fullmatch(text) or text.startswith("0000")):
        raise ValueError("must be a day, such as 2026-11-21")
    return text


def _plain(text: object) -> object:
    # Decimal would take underscores, blanks, and the digits of other scripts as well.
    if isinstance(text, str) and not _NUMBER.fullmatch(text):
        raise ValueError("must be a number, such as 100 or 12.5")
    return text


def _bounded(amount: Decimal) -> Decimal:
    # A result has up to 17 digits, and may be converted again.
    if len(amount.normalize().as_tuple().digits) > 17 or 0 < amount < Decimal("1e-30"):
        raise ValueError("must have at most 17 digits, and not be below 1e-30")
    return abs(amount)  # there is a -0


Day = Annotated[datetime.date, BeforeValidator(_day)]
Code = Annotated[str, AfterValidator(_code), Field(json_schema_extra={"pattern": f"^{_CODE.pattern}$"})]
Amount = Annotated[
    Decimal,
    BeforeValidator(_plain),
    Field(ge=0, le=10**15, allow_inf_nan=False),
    AfterValidator(_bounded),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 10**15}),
]
SourceField = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True)] | None,  # MariaDB compares without blanks at the end
    Field(min_length=1, max_length=255, description="Only rates of this source, as `source` names it."),
]


class RatesQuery(BaseModel):
    """Which rates a client wants."""

    base: Code = Field(default="USD", description="Code of the currency of which one unit is priced.")
    symbols: str | None = Field(
        default=None,
        max_length=2000,
        description="Only these currencies, separated by commas; without it, all.",
        examples=["EUR,GBP,NGN"],
        json_schema_extra={"pattern": f"^{_CODE.pattern}(,{_CODE.pattern})*$"},
    )
    source: SourceField = None
    format: Format | None = Field(default=None, description=FORMAT_DESCRIPTION)

    @field_validator("symbols")
    @classmethod
    def _only_codes(cls, value: str | None) -> str | None:
        for text in value.split(",") if value is not None else ():
            if not _CODE.fullmatch(text.strip()):
                raise ValueError(f"{text.strip()[:20]!r} is not {_CODE_WANTED}")
        return value

    @property
    def wanted(self) -> list[str] | None:
        """The codes of ``symbols``, each once; None for all."""
        return sorted({text.strip().upper() for text in self.symbols.split(",")}) if self.symbols else None


class SeriesQuery(RatesQuery):
    """Which series a client wants."""

    group: Group | None = Field(
        default=None, description="Averages over weeks or months instead of days, under the first day of each."
    )


class RatesPublic(BaseModel):
    """The rates of one source on one day, against one base."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"base": "USD", **_SHOWN, "rates": {"EUR": 0.8668, "NGN": 1445.21, "USD": 1}}]}
    )

    base: str
    date: datetime.date = Field(description="The day to which the rates belong; not always the one asked for.")
    source: str
    attribution: str | None = Field(description="What the source wants to be shown beside its rates.")
    rates: dict[str, float] = Field(description="Units of each currency for one of the base, 12 significant digits.")


class SeriesPublic(BaseModel):
    """Rates over days, by currency."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "base": "USD",
                    "from": "2026-11-16",
                    "to": "2026-11-17",
                    "group": None,
                    "source": _SOURCE,
                    "attribution": _ATTRIBUTION,
                    "rates": {"EUR": {"2026-11-16": 0.8661, "2026-11-17": 0.8668}},
                }
            ]
        }
    )

    base: str
    first: datetime.date = Field(serialization_alias="from")
    last: datetime.date = Field(serialization_alias="to")
    group: Group | None
    source: str
    attribution: str | None = Field(description="What the source wants to be shown beside its rates.")
    rates: dict[str, dict[datetime.date, float]] = Field(
        description="By currency and day: units for one of the base. Days on which the source is silent are absent."
    )


class ConversionQuery(BaseModel):
    """What a client wants converted."""

    base: Code = Field(alias="from", description="Code of the currency of the amount.", examples=["NGN"])
    quote: Code = Field(alias="to", description="Code of the currency that is wanted.", examples=["EUR"])
    amount: Amount = Field(
        default_factory=lambda: Decimal(1), description="At most 17 digits; 1 without it.", examples=[100]
    )
    on: Day | None = Field(
        default=None, alias="date", description="By the rates in force that day; without it, the latest."
    )
    source: SourceField = None


class Conversion(BaseModel):
    """An amount in two currencies."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "from": "NGN",
                    "to": "EUR",
                    "amount": 100,
                    "result": 0.05997743995682289,
                    "rounded": 0.06,
                    "rate": 0.000599774399568,
                    **_SHOWN,
                }
            ]
        }
    )

    base: str = Field(serialization_alias="from")
    quote: str = Field(serialization_alias="to")
    amount: float
    result: float = Field(description="Exact: from the stored rates, not from the rounded `rate`.")
    rounded: float | None = Field(
        description="The result as it can be paid, in the target's minor unit, halves up; null where it has none."
    )
    rate: float = Field(description="Units of `to` for one of `from`, 12 significant digits.")
    date: datetime.date = Field(description="The day to which the rates belong; not always the one asked for.")
    source: str
    attribution: str | None = Field(description="What the source wants to be shown beside its rates.")
