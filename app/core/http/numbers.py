"""Numbers in requests and responses: integers, and decimals as JSON numbers or as strings."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BeforeValidator, Field


def integral_float_to_int(number: object) -> object:
    """Turn 3.0 into 3: JSON does not tell them apart, and some languages write every number like 3.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _refuse_underscores(text: object) -> object:
    # pydantic reads 1_0 as 10, as Python does; for a client it is a typing error.
    if isinstance(text, str) and "_" in text:
        raise ValueError("must be a whole number")
    return text


NO_UNDERSCORES: Final = BeforeValidator(_refuse_underscores)
"""For integers in paths and queries, after their bounds; fields of bodies are strict instead."""


class Decimals(StrEnum):
    """How amounts and rates are written."""

    NUMBER = "number"
    STRING = "string"


DecimalsField = Annotated[
    Decimals,
    Field(
        description='`string` writes amounts and rates as exact decimals without an exponent, such as `"0.05"`; '
        "`number` as the nearest double."
    ),
]
"""The parameter ``decimals``, with the default ``Decimals.NUMBER``."""
IN_TEXT: Final = Field(description="A string with `decimals=string`.")
"""For fields that are a number or a string."""
DecimalNumber = Annotated[float | str, IN_TEXT]
"""An amount or rate in a response, as :func:`write_decimal` returns it."""


def exact(number: float) -> Decimal:
    """The decimal number that a double was parsed from, rather than its binary approximation."""
    return Decimal(repr(number))


def write_decimal(number: Decimal, decimals: Decimals, *, places: int = 0) -> float | str:
    """Write an amount or rate: the nearest double, or text without an exponent and with no zeros at its end.

    ``places`` keeps as many decimal places in the text; the number must not have more of its own.
    """
    if decimals is Decimals.NUMBER:
        return float(number)
    if places:
        return f"{number:.{places}f}"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
