"""Exact arithmetic from stored rates to answers: cross rates, conversion, averages."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from itertools import groupby
from typing import Final

_EXACT: Final = Context(prec=50)
"""Digits in between: far more than the 17 of any stored rate or answer."""
_SHOWN: Final = Context(prec=12)
ONE: Final = Decimal(1)


def cross_rate(rates: Mapping[str, float], base: str, quote: str) -> Decimal:
    """How much of ``quote`` one ``base`` buys, through the base of the stored rates.

    Args:
        rates: Units of each currency for one of their common base; both currencies are among them.
        base: Code of a currency.
        quote: Code of a currency; the same one is exactly 1.
    """
    return cross(exact(rates[base]), exact(rates[quote]))


def convert(amount: Decimal, rates: Mapping[str, float], base: str, quote: str) -> Decimal:
    """Convert an amount; not by the rate that is shown, which is rounded."""
    if base == quote:
        return amount
    return _EXACT.divide(_EXACT.multiply(amount, exact(rates[quote])), exact(rates[base]))


def exact(rate: float) -> Decimal:
    """A stored rate as the decimal number that it was written as, not as the binary one beside it."""
    return Decimal(repr(rate))


def cross(base_rate: Decimal, quote_rate: Decimal) -> Decimal:
    """The quotient of two rates against the same base."""
    return _EXACT.divide(quote_rate, base_rate)


def shown(rate: Decimal) -> float:
    """A rate as answers have it: 12 significant digits, more than any source gives."""
    return float(_SHOWN.plus(rate))


def to_minor_unit(amount: Decimal, digits: int) -> float:
    """An amount of money as it can be paid: so many decimals, halves away from zero."""
    # By shifting: quantize() refuses results of more digits than its context has.
    return float(round_half_up(amount.scaleb(digits, _EXACT)).scaleb(-digits, _EXACT))


def round_half_up(number: Decimal) -> Decimal:
    """The nearest whole number."""
    return number.to_integral_value(ROUND_HALF_UP)


class Group(StrEnum):
    """Spans over which a series is averaged."""

    WEEK = "week"
    MONTH = "month"

    def first_day(self, day: date) -> date:
        """The first day of the span: Monday, or the first of the month."""
        return day - timedelta(days=day.weekday()) if self is Group.WEEK else day.replace(day=1)


def averages(series: Iterable[tuple[date, Decimal]], group: Group) -> Iterator[tuple[date, Decimal]]:
    """The mean of the known days of each week or month, under its first day; the days come in their order."""
    for first_day, days in groupby(series, key=lambda known: group.first_day(known[0])):
        total, number = Decimal(0), 0
        for _, rate in days:
            total, number = _EXACT.add(total, rate), number + 1
        yield first_day, _EXACT.divide(total, number)
