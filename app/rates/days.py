"""Days in requests: which ones are refused, and whose rates can still change."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from app.core.errors import ValidationFailed

_LATEST_ARRIVAL: Final = timedelta(days=7)
"""How late a refresh may bring a day's rates: some sources pause over weekends and holidays."""


def refuse_future(days: Mapping[str, date], today: date) -> None:
    """Raise ValidationFailed if a day, by its parameter, is in the future."""
    # Sources may be a day ahead of UTC.
    problems = {name: "is in the future" for name, day in days.items() if day > today + timedelta(days=1)}
    if problems:
        raise ValidationFailed(problems)


def refuse_bad_range(first: date, last: date, today: date) -> None:
    """Raise ValidationFailed if a day is in the future, or the days are in the wrong order."""
    refuse_future({"from": first, "to": last}, today)
    if first > last:
        raise ValidationFailed({"from": "must not be after `to`"})


def is_settled(day: date, today: date, *, found: date | None = None) -> bool:
    """Whether refreshes can no longer change the rates in force on a day, those of the day ``found``.

    If ``found`` is long before the day, an import may still add the days in between.
    """
    return day < today - _LATEST_ARRIVAL and (found is None or day - found <= _LATEST_ARRIVAL)
