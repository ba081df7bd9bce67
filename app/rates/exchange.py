"""Exact arithmetic on rates: cross rates, conversion, averages, days without rates."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from itertools import chain, groupby, pairwise
from typing import Final

_RATE: Final = Context(prec=20)
"""Digits of a rate: three more than a double carries, and few enough that a client's decimals hold the results."""
_EXACT: Final = Context(prec=50)
"""Enough for all digits of a product: an amount has at most 17, a rate 20, a stored rate 17, a fixed one 6."""
_ONE_DAY: Final = timedelta(days=1)


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

    def last_day(self, day: date) -> date:
        """The last day of the period that contains a day."""
        # 31 days after the first of a month, or 7 after a Monday, is a day of the next period.
        return self.first_day(self.first_day(day) + timedelta(7 if self is Group.WEEK else 31)) - _ONE_DAY


class Fill(StrEnum):
    """What the days without rates get."""

    PREVIOUS = "previous"


def averages(series: Iterable[tuple[date, Decimal]], group: Group) -> Iterator[tuple[date, Decimal, int]]:
    """Average a series of ascending days by week or month.

    Returns:
        The first day of each period, the mean to 20 significant digits, and the number of days it is of.
    """
    for first_day, days in groupby(series, key=lambda entry: group.first_day(entry[0])):
        total, number = Decimal(0), 0
        for _, rate in days:
            total, number = _EXACT.add(total, rate), number + 1
        yield first_day, _RATE.divide(total, Decimal(number)), number


def fill_gaps(
    series: Iterable[tuple[date, Decimal]], last: date, *, longest: timedelta
) -> Iterator[tuple[date, Decimal]]:
    """Repeat each rate of ascending days until the next one or ``last``, but no longer than ``longest``."""
    for (day, rate), (after, _) in pairwise(chain(series, [(last + _ONE_DAY, Decimal(0))])):
        for number in range(min((after - day).days, longest.days + 1)):
            yield day + timedelta(number), rate
