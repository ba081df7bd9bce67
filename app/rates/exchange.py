"""Exact arithmetic on rates: cross rates, conversion, averages."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from itertools import groupby
from typing import Final

_RATE: Final = Context(prec=20)
"""Digits of a rate: three more than a double carries, and few enough that a client's decimals hold the results."""
_EXACT: Final = Context(prec=50)
"""Enough for all digits of a product: an amount has at most 17, a rate 20, a stored rate 17, a fixed one 6."""


def cross_rate(base_rate: Decimal, quote_rate: Decimal) -> Decimal:
    """Divide two rates against the same base, rounded to 20 significant digits."""
    return _RATE.divide(quote_rate, base_rate)


def convert(amount: Decimal, rate: Decimal) -> Decimal:
    """Multiply an amount of at most 17 digits by a rate, without rounding."""
    return _EXACT.multiply(amount, rate)


def to_minor_unit(amount: Decimal, digits: int) -> Decimal:
    """Round an amount half up to this many decimals."""
    # Shifted, because quantize() refuses results with more digits than its context has.
    shifted = amount.scaleb(digits, _EXACT).to_integral_value(ROUND_HALF_UP)
    return shifted.scaleb(-digits, _EXACT)


class Group(StrEnum):
    """Periods over which a series is averaged."""

    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """The first day of the period that contains a day: a Monday, or the first of a month."""
        return day - timedelta(days=day.weekday()) if self is Group.WEEK else day.replace(day=1)


def averages(series: Iterable[tuple[date, Decimal]], group: Group) -> Iterator[tuple[date, Decimal]]:
    """Average a series of ascending days by week or month, dated by its first day, to 20 significant digits."""
    for first_day, days in groupby(series, key=lambda entry: group.first_day(entry[0])):
        total, number = Decimal(0), 0
        for _, rate in days:
            total, number = _EXACT.add(total, rate), number + 1
        yield first_day, _RATE.divide(total, Decimal(number))
