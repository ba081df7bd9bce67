"""Requests and responses about exchange rates."""

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
    RootModel,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from app.core.http.formats import FORMAT_DESCRIPTION, Format
from app.core.http.numbers import DecimalNumber, Decimals, DecimalsField
from app.rates.exchange import Fill, Group

_CODE: Final = re.compile("[A-Za-z]{3}")
_NUMBER: Final = re.compile("[+-]?[0-9]+([.][0-9]*)?([eE][+-]?[0-9]{1,4})?")
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CODE_WANTED: Final = "a currency code of three letters, such as EUR"
MOST_TARGETS: Final = 50
"""Currencies to which one request converts."""
_SOURCE: Final = "currency-api"
_ATTRIBUTION: Final = None
_EXAMPLE_DAY: Final[JsonDict] = {
    "date": "2026-11-21",
    "age_days": 0,
    "source": _SOURCE,
    "attribution": _ATTRIBUTION,
    "fixed": None,
}


def _example(values: JsonDict) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


def _to_code(text: str) -> str:
    # Checked before upper(), which would make "ßa" a code: SSA.
    if not _CODE.fullmatch(text.strip()):
        raise ValueError(f"must be {_CODE_WANTED}")
    return text.strip().upper()


def _split_codes(text: str) -> list[str]:
    return [code.strip() for code in text.split(",")]


def _require_codes(text: str) -> str:
    for code in _split_codes(text):
        if not code:
            raise ValueError("must not have an empty value before or after a comma")
        if not _CODE.fullmatch(code):
            raise ValueError(f"{code[:20]!r} is not {_CODE_WANTED}")
    return text


def _require_targets(text: str) -> str:
    if len(_split_codes(text)) > MOST_TARGETS:
        raise ValueError(f"must have at most {MOST_TARGETS} currency codes")
    return text


def _require_day(text: object) -> object:
    # pydantic would also accept a number of seconds, or a date with a time.
    if isinstance(text, str) and (not _DAY.fullmatch(text) or text.startswith("0000")):
        raise ValueError("must be a day, such as 2026-11-21")
    return text


def _require_day_in_path(text: object) -> object:
    if isinstance(text, str) and not _DAY.fullmatch(text):
        raise ValueError("must be a day such as 2026-11-21, or a range such as 2026-11-01..2026-11-20")
    return text


def _require_plain_number(text: object) -> object:
    # Decimal would also accept underscores, blanks, and digits of other scripts.
    if isinstance(text, str) and not _NUMBER.fullmatch(text):
        raise ValueError("must be a number, such as 100 or 12.5")
    return text


def _require_bounds(amount: Decimal) -> Decimal:
    # 17 because a result has up to 17 digits, and may be converted again.
    if len(amount.normalize().as_tuple().digits) > 17 or 0 < amount < Decimal("1e-30"):
        raise ValueError("must have at most 17 digits, and be 0 or at least 1e-30")
    return abs(amount)  # -0 becomes 0


Day = Annotated[datetime.date, BeforeValidator(_require_day)]
DayInPath = Annotated[Day, BeforeValidator(_require_day_in_path)]
Code = Annotated[str, AfterValidator(_to_code), Field(json_schema_extra={"pattern": f"^{_CODE.pattern}$"})]
Codes = Annotated[
    str,
    Field(max_length=2000, json_schema_extra={"pattern": f"^{_CODE.pattern}(,{_CODE.pattern})*$"}),
    AfterValidator(_require_codes),
]
"""Codes separated by commas, in any case."""
Amount = Annotated[
    Decimal,
    BeforeValidator(_require_plain_number),
    Field(ge=0, le=10**15, allow_inf_nan=False),
    AfterValidator(_require_bounds),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 10**15}),
]
SourceField = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True)] | None,  # MariaDB ignores trailing blanks in comparisons
    Field(min_length=1, max_length=255, description="Use only this source, by the name in `source` of a response."),
]


class RatesQuery(BaseModel):
    """Parameters of a request for rates."""

    base: Code = Field(default="USD", description="Code of the base currency: rates are per one unit of it.")
    symbols: Codes | None = Field(
        default=None,
        description="Comma-separated codes of the currencies to return; all by default.",
        examples=["EUR,GBP,NGN"],
    )
    source: SourceField = None
    decimals: DecimalsField = Decimals.NUMBER
    format: Format | None = Field(default=None, description=FORMAT_DESCRIPTION)

    @property
    def wanted(self) -> list[str] | None:
        """The distinct codes of ``symbols``, sorted; None for all currencies."""
        return sorted({code.upper() for code in _split_codes(self.symbols)}) if self.symbols else None


class SeriesQuery(RatesQuery):
    """Parameters of a request for a series."""

    group: Group | None = Field(
        default=None, description="Average each week or month, dated by its first day, instead of single days."
    )
    fill: Fill | None = Field(
        default=None,
        description="`previous` gives each day without rates, such as those of a weekend, the last known rate, for up "
        "to seven days. Not together with `group`.",
    )


Attribution = Annotated[str | None, Field(description="Credit that the source asks to be shown with its rates.")]
AgeDays = Annotated[int, Field(ge=0, description="Days from `date` to the current day in UTC; 0 for a later `date`.")]
RateDate = Annotated[
    datetime.date,
    Field(description="Day of the rates, the oldest one that a conversion uses; may be before the requested one."),
]
FixedRates = Annotated[
    dict[str, DecimalNumber] | None,
    Field(
        description="Irrevocable euro rates that were used instead of quotes: units per euro, by the code of a "
        "currency that the euro has replaced. Null if there are none."
    ),
]


class RatesPublic(BaseModel):
    """One source's rates for one day, against one base."""

    model_config = _example(
        {"base": "USD", "older": {}, **_EXAMPLE_DAY, "rates": {"EUR": 0.8668, "NGN": 1445.21, "USD": 1}}
    )

    base: str
    date: RateDate
    age_days: AgeDays
    older: dict[str, datetime.date] = Field(
        description="Days of the rates that are older than `date`, by code: the source has no newer ones."
    )
    source: str
    attribution: Attribution
    fixed: FixedRates
    rates: dict[str, DecimalNumber] = Field(
        description="Units of each currency per unit of the base, to 20 significant digits; a number is the nearest "
        "double."
    )


class SeriesPublic(BaseModel):
    """Rates of a range of days, by currency."""

    model_config = _example(
        {
            "base": "USD",
            "from": "2026-11-16",
            "to": "2026-11-24",
            "group": "week",
            "fill": None,
            "source": _SOURCE,
            "attribution": _ATTRIBUTION,
            "fixed": None,
            "partial": ["2026-11-23"],
            "rates": {"EUR": {"2026-11-16": 0.8661, "2026-11-23": 0.8668}},
            "days": {"EUR": {"2026-11-16": 5, "2026-11-23": 2}},
        }
    )

    base: str
    first: datetime.date = Field(serialization_alias="from")
    last: datetime.date = Field(
        serialization_alias="to", description="For a range without an end, the newest day that the source has."
    )
    group: Group | None
    fill: Fill | None
    source: str
    attribution: Attribution
    fixed: FixedRates
    partial: list[datetime.date] | None = Field(
        description="First days of the weeks or months that the range cuts off or that are not over yet; null without "
        "`group`."
    )
    rates: dict[str, dict[datetime.date, DecimalNumber]] = Field(
        description="Units per unit of the base, by currency and day. Days without published rates are absent unless "
        "`fill` is given."
    )
    days: dict[str, dict[datetime.date, int]] | None = Field(
        description="Number of days of which each average is the mean, as in `rates`; null without `group`."
    )


class ConversionQuery(BaseModel):
    """Parameters of a conversion."""

    base: Code = Field(alias="from", description="Code of the amount's currency.", examples=["NGN"])
    to: Annotated[Codes, AfterValidator(_require_targets)] = Field(
        description=f"Code of the currency to convert to, or up to {MOST_TARGETS} codes, separated by commas: then the "
        "response is a list.",
        examples=["EUR"],
    )
    amount: Amount = Field(
        default_factory=lambda: Decimal(1),
        description="Amount to convert, at most 17 digits; 1 by default.",
        examples=[100],
    )
    on: Day | None = Field(
        default=None, alias="date", description="Use the rates in force on this day; the latest by default."
    )
    source: SourceField = None
    decimals: DecimalsField = Decimals.NUMBER

    @property
    def targets(self) -> list[str]:
        """The distinct codes of ``to``, in its order."""
        return list(dict.fromkeys(code.upper() for code in _split_codes(self.to)))


class Conversion(BaseModel):
    """An amount converted to another currency: `result` is exactly `amount` x `rate`."""

    model_config = _example(
        {
            "from": "NGN",
            "to": "EUR",
            "amount": 100,
            "result": 0.05997743995682289,
            "rounded": 0.06,
            "rate": 0.0005997743995682289,
            **_EXAMPLE_DAY,
        }
    )

    base: str = Field(serialization_alias="from")
    quote: str = Field(serialization_alias="to")
    amount: DecimalNumber
    result: DecimalNumber = Field(
        description="`amount` x `rate`, where the rate has 20 significant digits. A string has all digits of the "
        "product, at most 37; a number is the nearest double."
    )
    rounded: DecimalNumber | None = Field(
        description="`result` rounded half up to the target currency's minor unit; null if it has none."
    )
    rate: DecimalNumber = Field(description="Units of `to` per unit of `from`, to 20 significant digits.")
    date: RateDate
    age_days: AgeDays
    source: str
    attribution: Attribution
    fixed: FixedRates


class Conversions(RootModel[Conversion | list[Conversion]]):
    """One conversion or, if `to` has several codes, a list of them in the order of `to`."""
