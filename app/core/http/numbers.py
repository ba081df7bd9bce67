"""Integers in requests."""

from typing import Final

from pydantic import BeforeValidator


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
