"""Days in requests: which ones are refused, and whose rates can still change."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from app.core.errors import ValidationFailed

_LATEST_ARRIVAL: Final = timedelta(days=7)
"""How late a refresh may bring a day's rates: some sources pause over weekends and holidays."""


def refuse_future(days: Mapping[str, date], today: date) -> None:
    """Check days of a request by the names of their parameters.

    Sources may be a day ahead of UTC, so tomorrow is allowed.

    Raises:
        ValidationFailed: A day is in the future.
    """
    problems = {name: "is in the future" for name, day in days.items() if day > today + timedelta(days=1)}
    if problems:
        raise ValidationFailed(problems)


def refuse_bad_range(first: date, last: date, today: date) -> None:
    """Check the days ``from`` and ``to`` of a request.

    Raises:
        ValidationFailed: One is in the future, or they are in the wrong order.
    """
    refuse_future({"from": first, "to": last}, today)
    if first > last:
        raise ValidationFailed({"from": "must not be after `to`"})


def is_settled(day: date, today: date, *, found: date | None = None) -> bool:
    """Whether refreshes no longer change the rates in force on a day; an import still can.

    Args:
        day: The day, or the last one of a range.
        today: In UTC.
        found: The day of the rates found for it. If it is long before ``day``, the days in between may still be
            imported.
    """
    return day < today - _LATEST_ARRIVAL and (found is None or day - found <= _LATEST_ARRIVAL)
