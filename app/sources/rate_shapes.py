"""The formats of the rate sources, recognised from the body."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from app.sources.chain import SourceFailed

_CODE: Final = re.compile(r"[A-Z]{3}")
SMALLEST_RATE: Final = 1e-12
LARGEST_RATE: Final = 1e15
OLDEST_DAY: Final = date(1999, 1, 4)
"""The first day of the euro's reference rates; an earlier day is a mistake, such as 1970-01-01."""


@dataclass(frozen=True)
class Quotes:
    """The newest rates of one source."""

    day: date
    """The newest day of any rate."""
    rates: Mapping[str, float]
    """Units of each currency for one US dollar, by three-letter code; includes USD."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Code and reason of each rate that was rejected."""
    days: Mapping[str, date] = field(default_factory=dict)
    """Days of the rates that are older than ``day``, by code."""


def parse_quotes(body: Any, *, today: date) -> Quotes:
    """Recognise the format of an answer and parse it.

    Known formats are ExchangeRate-API (``base_code``, ``rates``), Frankfurter
    v1 and similar (``base``, ``rates``), Frankfurter v2 (a list of single
    quotes) and currency-api (``usd``). Codes that are not three letters are
    ignored; rates that are not finite numbers in range are reported as skipped.

    Args:
        body: The parsed JSON document.
        today: The day in UTC, for answers without a day.

    Raises:
        SourceFailed: The format is unknown, the base is not USD, the day is in
            the future or before 1999, or no rate is usable.
    """
    raw_base, day, pairs = _recognise(body, today)
    base = _word(raw_base, 10)
    if base.upper() != "USD":
        raise SourceFailed(f"answered with rates for {base!r} instead of USD")
    if not OLDEST_DAY <= day <= today + timedelta(days=1):
        raise SourceFailed(f"answered with rates of {day}, which is {'in the future' if day > today else 'too old'}")
    rates, skipped = _usable(pairs)
    if rates.get("USD", 1.0) != 1.0:
        raise SourceFailed("answered with a rate for USD that is not 1")
    if not rates.keys() - {"USD"}:
        raise SourceFailed("answered without a single usable rate")
    return Quotes(day, {**rates, "USD": 1.0}, tuple(skipped))


def _recognise(body: Any, today: date) -> tuple[object, date, Iterable[tuple[Any, Any]]]:
    if isinstance(body, list) and body and all(isinstance(row, dict) and "quote" in row for row in body):
        bases = {_word(row.get("base"), 10) for row in body}
        base = bases.pop() if len(bases) == 1 else "several currencies"
        day = max(_day(row.get("date"), today) for row in body)
        return base, day, ((row["quote"], row.get("rate")) for row in body)
    if isinstance(body, dict):
        if body.get("result", "success") != "success":
            raise SourceFailed(f"answered with the error {_word(body.get('error-type', 'without a name'), 40)!r}")
        if isinstance(body.get("rates"), dict):
            if body.get("amount", 1) != 1:
                raise SourceFailed("answered with rates for an amount other than 1")
            seconds = body.get("time_last_update_unix")
            day = _day(body.get("date"), today) if seconds is None else _unix_day(seconds)
            return body.get("base_code", body.get("base")), day, body["rates"].items()
        if isinstance(body.get("usd"), dict):
            return "USD", _day(body.get("date"), today), body["usd"].items()
    raise SourceFailed("answered in an unknown format")


def _word(value: object, longest: int) -> str:
    """The beginning of a text or number; the type of a list or object, which may be nested too deeply for ``str()``."""
    return (type(value).__name__ if isinstance(value, (list, dict)) else str(value))[:longest]


def _day(text: object, today: date) -> date:
    if text is None:
        return today
    try:
        return date.fromisoformat(_word(text, 10))
    except ValueError as error:
        raise SourceFailed(f"answered with {_word(text, 20)!r} instead of a date") from error


def _unix_day(seconds: object) -> date:
    try:
        return datetime.fromtimestamp(float(_word(seconds, 40)), UTC).date()
    except (ValueError, OverflowError, OSError) as error:
        raise SourceFailed("answered with an invalid update time") from error


def _usable(pairs: Iterable[tuple[Any, Any]]) -> tuple[dict[str, float], list[tuple[str, str]]]:
    rates: dict[str, float] = {}
    skipped: list[tuple[str, str]] = []
    for raw_code, raw_rate in pairs:
        code = _word(raw_code, 4).upper()
        if not _CODE.fullmatch(code):
            continue
        is_number = isinstance(raw_rate, (int, float)) and not isinstance(raw_rate, bool)
        if not is_number or not SMALLEST_RATE <= raw_rate <= LARGEST_RATE:
            skipped.append((code, "its rate is not a number in range"))
        elif code in rates:
            skipped.append((code, "its rate is given twice"))
        else:
            rates[code] = float(raw_rate)
    return rates, skipped
