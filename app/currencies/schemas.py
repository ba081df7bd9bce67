"""Requests and responses about currencies."""

import datetime
import re
from collections.abc import Set
from typing import Annotated, Final, get_args

from pydantic import AfterValidator, BaseModel, Field, field_validator

from app.core.http.formats import FORMAT_DESCRIPTION, Format
from app.countries.schemas import example
from app.sources.reference import Kind

_CODE: Final = re.compile("[A-Za-z]{3,8}|[0-9]{3}")
_KINDS: Final = get_args(Kind)
_ALL: Final = "all"


def _to_code(text: str) -> str:
    # Checked before upper(), which would make "ßa" a code: SSA.
    if not _CODE.fullmatch(text.strip()):
        raise ValueError("must be a currency code, such as EUR or 978")
    return text.strip().upper()


CurrencyCode = Annotated[str, AfterValidator(_to_code), Field(json_schema_extra={"pattern": f"^({_CODE.pattern})$"})]
"""Three letters, or three digits of ISO 4217; some sources of countries have longer ones."""


class CurrencyFilters(BaseModel):
    """Parameters of the list of currencies."""

    kind: str = Field(
        default="current",
        max_length=100,
        description=f"Comma-separated kinds to list: {', '.join(_KINDS)}; or `{_ALL}`, which includes codes of unknown "
        "kind. A currency that a stored country uses counts as current. `historic` has those that a source has "
        "quoted and the 21 that the euro has replaced.",
        examples=["current,historic"],
        json_schema_extra={"pattern": "^{0}(,{0})*$".format(f"({'|'.join([*_KINDS, _ALL])})")},
    )
    format: Format | None = Field(default=None, description=FORMAT_DESCRIPTION)

    @field_validator("kind")
    @classmethod
    def _known_kinds(cls, value: str) -> str:
        for name in value.split(","):
            if name.strip() not in (*_KINDS, _ALL):
                raise ValueError(f"must be some of: {', '.join([*_KINDS, _ALL])}")
        return value

    @property
    def kinds(self) -> Set[str] | None:
        """The requested kinds; None for all currencies."""
        kinds = {name.strip() for name in self.kind.split(",")}
        return None if _ALL in kinds else kinds


class CurrencyPublic(BaseModel):
    """One currency; every field is always present, null if unknown."""

    model_config = example(
        code="HRK",
        numeric=None,
        name="Croatian Kuna",
        symbol="kn",
        kind="historic",
        minor_units=2,
        cash_decimals=2,
        used_until="2023-01-14",
        successor="EUR",
        countries=[],
        first_day="2005-04-01",
        last_day="2022-12-30",
    )

    code: str = Field(description="ISO 4217 code, or a source's code for anything else.")
    numeric: str | None = Field(description="Three digits of ISO 4217; null if the code is not in its current list.")
    name: str | None = Field(description="English name; null if only a source knows the code.")
    symbol: str = Field(
        description="English symbol, or else the local one, or else the code. Several currencies may share a symbol."
    )
    kind: Kind | None = Field(
        description="`current` money; `historic` money; `fund`: funds and units of account, such as XDR; `metal`; "
        "`crypto`. Null if only a source knows the code."
    )
    minor_units: int | None = Field(
        description="Decimal places by ISO 4217; of historic currencies by CLDR. Null for metals, cryptocurrencies and "
        "most units of account."
    )
    cash_decimals: int | None = Field(description="Decimal places of prices in cash, by CLDR; null like `minor_units`.")
    used_until: datetime.date | None = Field(
        description="Last day in use, of historic currencies, by CLDR or ISO 4217; it may be after the last day as "
        "legal tender. Null if unknown."
    )
    successor: str | None = Field(description="Code of the currency that replaced a historic one; null if unknown.")
    countries: list[str] = Field(
        description="Alpha-2 codes of the stored countries whose first currency it is; the name for one without a code."
    )
    first_day: datetime.date | None = Field(description="First day with a stored rate; null if there is none.")
    last_day: datetime.date | None = Field(description="Last day with a stored rate; null if there is none.")
