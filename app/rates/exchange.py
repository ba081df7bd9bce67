"""Exact arithmetic on stored rates: cross rates, conversion, averages."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from itertools import groupby
from typing import Final

_EXACT: Final = Context(prec=50)
"""Precision of intermediate results: far more than the 17 digits of a stored rate or result."""
_SHOWN: Final = Context(prec=12)


def cross_rate(rates: Mapping[str, float], base: str, quote: str) -> Decimal:
    """Units of ``quote`` per unit of ``base``; ``rates`` are of both per unit of their common base."""
    return cross(exact(rates[base]), exact(rates[quote]))


def convert(amount: Decimal, rates: Mapping[str, float], base: str, quote: str) -> Decimal:
    """Convert an amount by the unrounded cross rate."""
    if base == quote:
        return amount
    return _EXACT.divide(_EXACT.multiply(amount, exact(rates[quote])), exact(rates[base]))


def exact(rate: float) -> Decimal:
    """The decimal number that a stored rate was parsed from, rather than its binary approximation."""
    return Decimal(repr(rate))


def cross(base_rate: Decimal, quote_rate: Decimal) -> Decimal:
    """Divide two rates against the same base."""
    return _EXACT.divide(quote_rate, base_rate)


def shown(rate: Decimal) -> float:
    """Round a rate for a response, to 12 significant digits: more than any source publishes."""
    return float(_SHOWN.plus(rate))


def to_minor_unit(amount: Decimal, digits: int) -> float:
    """Round an amount half up to this many decimals."""
    # Shifted, because quantize() refuses results with more digits than its context has.
    shifted = amount.scaleb(digits, _EXACT).to_integral_value(ROUND_HALF_UP)
    return float(shifted.scaleb(-digits, _EXACT))


class Group(StrEnum):
    """Periods over which a series is averaged."""

    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """The first day of the period that contains a day: a Monday, or the first of a month."""
        return day - timedelta(days=day.weekday()) if self is Group.WEEK else day.replace(day=1)


def averages(series: Iterable[tuple[date, Decimal]], group: Group) -> Iterator[tuple[date, Decimal]]:
    """Average a series of ascending days by week or month, dated by its first day."""
    for first_day, days in groupby(series, key=lambda entry: group.first_day(entry[0])):
        total, number = Decimal(0), 0
        for _, rate in days:
            total, number = _EXACT.add(total, rate), number + 1
        yield first_day, _EXACT.divide(total, number)
