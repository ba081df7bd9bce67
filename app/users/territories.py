"""Which countries an address may name."""

from functools import cache
from typing import Final

from babel import Locale

_NO_PLACES: Final = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})
"""Unions, remote islands as a group, test codes, and "unknown"."""


@cache
def territories() -> frozenset[str]:
    """The alpha-2 codes of CLDR's territories."""
    return frozenset(str(code) for code in Locale("en").territories if len(str(code)) == 2) - _NO_PLACES
