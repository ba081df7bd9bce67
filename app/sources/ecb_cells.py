"""Checks the cells of the European Central Bank's files: days, currency codes and rates."""

import re
from datetime import date
from typing import Final, NamedTuple

from app.sources.ecb_lines import UnusableFile
from app.sources.rate_days import OLDEST_DAY
from app.sources.rate_shapes import LARGEST_RATE, SMALLEST_RATE

BASE: Final = "EUR"
_CODE: Final = re.compile("[A-Z]{3}")
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_IN_WORDS: Final = re.compile("([0-9]{1,2}) ([A-Za-z]+) ([0-9]{4})")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
UNKNOWN: Final = {"", "N/A", "NaN"}
"""What stands for a missing rate."""


class PastDay(NamedTuple):
    """The rates of one day."""

    day: date
    rates: dict[str, float]
    """Units of each currency for one euro; includes EUR, which is 1."""
    lines: dict[str, int]
    """Line number of each rate but that of EUR, from 1."""


def parse_code(number: int, text: str) -> str:
    """The code of a currency other than the euro; raises UnusableFile, which names the line, if it is not one."""
    if not _CODE.fullmatch(text):
        raise UnusableFile(f"line {number}: {text[:20]!r} is not a three-letter currency code")
    if text == BASE:
        raise UnusableFile(f"line {number}: {BASE} is the base")
    return text


def parse_day(number: int, text: str, today: date) -> date:
    """A day such as 2026-11-20, 20 November 2026 or 20 Nov 2026.

    Raises:
        UnusableFile: It is not a day, is before the euro's first rates, or after ``today``.
    """
    try:
        day = date.fromisoformat(text) if _DAY.fullmatch(text) else _day_in_words(text)
    except ValueError as error:
        raise UnusableFile(
            f"line {number}: {text[:20]!r} is not a date such as 2026-11-20 or 20 November 2026"
        ) from error
    if not OLDEST_DAY <= day <= today:
        problem = "is in the future" if day > today else f"is before {OLDEST_DAY}, the first day of the euro's rates"
        raise UnusableFile(f"line {number}: {day} {problem}")
    return day


def _day_in_words(text: str) -> date:
    found = _DAY_IN_WORDS.fullmatch(text)
    if found is None:
        raise ValueError
    name = found[2].lower()
    month = next((number for number, month in enumerate(_MONTHS, 1) if name in (month, month[:3])), 0)
    return date(int(found[3]), month, int(found[1]))


def parse_rate(number: int, code: str, text: str) -> float:
    """A rate that is not missing; raises UnusableFile if it is not a number in range."""
    rate = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not SMALLEST_RATE <= rate <= LARGEST_RATE:
        raise UnusableFile(
            f"line {number}: {code} is {text[:20]!r} instead of N/A or "
            f"a number from {SMALLEST_RATE:g} to {LARGEST_RATE:g}"
        )
    return rate
