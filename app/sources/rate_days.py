"""The days that rate sources give: dates, times and Unix timestamps."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from app.sources.chain import SourceFailed

OLDEST_DAY: Final = date(1999, 1, 4)
"""The first day of the euro's reference rates; an earlier day is a mistake, such as 1970-01-01."""
LONGEST_PAUSE: Final = timedelta(days=7)
"""How long a currency may be missing before its source counts as having stopped quoting it.

Sources pause over weekends and holidays; the longest pause of the European Central Bank was five days.
"""
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.Z+-]{2,25}", re.ASCII)
_DIGITS: Final = re.compile(r"\d{1,12}", re.ASCII)
_WORDS: Final = re.compile(r"[A-Z][a-z]{2}, [\w :+-]{10,40}", re.ASCII)
"""How a time begins that is written as in HTTP and mail: Sat, 21 Nov 2026 00:02:31 +0000."""
_TIMES: Final = ("last_updated", "timestamp", "time_last_update_unix", "time_last_updated", "time_last_update_utc")
"""Fields with a time of any kind."""
_LIKE_A_DAY: Final = re.compile("date|time|updated", re.IGNORECASE)
_NOT_OF_RATES: Final = re.compile("next|eol", re.IGNORECASE)
_SHOWN_NAME: Final = re.compile("[A-Za-z_-]{1,40}")


def day_of_answer(body: Mapping[str, Any], *, today: date) -> date:
    """The day that an answer gives for all its rates, in UTC; today if it gives none.

    Raises:
        SourceFailed: The day is unreadable, in the future or before 1999, or the answer gives two that differ by more
            than a day.
    """
    meta = body.get("meta")
    try:
        # First what is a day already: a timestamp beside it may be of the evening before, in UTC.
        found = [parse_day(text) for text in (body.get("date"), _member(meta, "last_updated_at")) if text is not None]
    except ValueError as error:
        raise SourceFailed("answered with an invalid date") from error
    try:
        found += [_day_of_time(body[name]) for name in _TIMES if body.get(name) is not None]
    except (ValueError, OverflowError, OSError) as error:
        raise SourceFailed("answered with an invalid update time") from error
    if not found:
        _refuse_unknown_days(body)
        return today
    if max(found) - min(found) > timedelta(days=1):
        raise SourceFailed(f"answered with two different days, {min(found)} and {max(found)}")
    if not is_plausible(found[0], today=today):
        problem = "in the future" if found[0] > today else "too old"
        raise SourceFailed(f"answered with rates of {found[0]}, which is {problem}")
    return found[0]


def is_plausible(day: date, *, today: date) -> bool:
    """Whether rates can be of this day: since 1999, and not after tomorrow, which it is already somewhere."""
    return OLDEST_DAY <= day <= today + timedelta(days=1)


def parse_day(text: object) -> date:
    """Read ``2026-11-20``, or the day in UTC of a time such as ``2026-11-20T23:59:59Z``.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(text, str) and _DAY.fullmatch(text):
        return date.fromisoformat(text)
    if isinstance(text, str) and _TIME.fullmatch(text):
        moment = datetime.fromisoformat(text)
        # An offset of less than a day cannot leave the calendar, except in its first and last year.
        if moment.tzinfo is None or not 1 < moment.year < 9999:
            return moment.date()
        return moment.astimezone(UTC).date()
    raise ValueError


def _refuse_unknown_days(body: Mapping[str, Any]) -> None:
    """Refuse rates whose day is in a field that we cannot read: they are perhaps not today's."""
    for name, value in body.items():
        if value is not None and _LIKE_A_DAY.search(name) and not _NOT_OF_RATES.search(name):
            shown = name if _SHOWN_NAME.fullmatch(name) else "a field with an odd name"
            raise SourceFailed(f"answered with a day that cannot be read, in {shown}")


def _day_of_time(value: object) -> date:
    """The day in UTC of seconds since 1970, or of a time as in HTTP or in ISO 8601."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        return parsedate_to_datetime(value).astimezone(UTC).date() if _WORDS.fullmatch(value) else parse_day(value)
    return _unix_day(value)


def _unix_day(seconds: object) -> date:
    if isinstance(seconds, str) and _DIGITS.fullmatch(seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError
    return datetime.fromtimestamp(seconds, UTC).date()


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None
