"""The shapes in which the known rate sources answer, recognised from the body."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from app.sources.chain import SourceFailed

_CODE: Final = re.compile(r"[A-Z]{3}")
SMALLEST_RATE: Final = 1e-12
LARGEST_RATE: Final = 1e15
OLDEST_DAY: Final = date(1999, 1, 4)
"""The first day of the euro's reference rates; before it, a day is a mistake such as 1970-01-01."""


@dataclass(frozen=True)
class Quotes:
    """The rates of one source for one day."""

    day: date
    rates: Mapping[str, float]
    """Units of each currency for one US dollar; three-letter codes, USD among them."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Code and reason of the rates that were not believed."""


def parse_quotes(body: Any, *, today: date) -> Quotes:
    """Recognise the shape of an answer and read it.

    Known are ExchangeRate-API (``base_code``, ``rates``), Frankfurter v1 and
    everything like it (``base``, ``rates``), Frankfurter v2 (a list of single
    quotes) and currency-api (``usd``). Codes that are not three letters are
    left out; rates that are no finite number in range are reported as skipped.

    Args:
        body: The parsed JSON document.
        today: The day in UTC, for sources that name none.

    Raises:
        SourceFailed: The shape is unknown, the base is not USD, the day lies in
            the future, or no rate is usable.
    """
    given_base, day, pairs = _recognise(body, today)
    base = _word(given_base, 10)
    if base.upper() != "USD":
        raise SourceFailed(f"answered with rates for {base!r} instead of USD")
    if not OLDEST_DAY <= day <= today + timedelta(days=1):
        raise SourceFailed(f"answered with rates of {day}, a day {'in the future' if day > today else 'long ago'}")
    rates, skipped = _usable(pairs)
    if rates.get("USD", 1.0) != 1.0:
        raise SourceFailed("answered with rates in which a US dollar is not a US dollar")
    if not rates.keys() - {"USD"}:
        raise SourceFailed("answered without a single usable rate")
    return Quotes(day, {**rates, "USD": 1.0}, tuple(skipped))


def _recognise(body: Any, today: date) -> tuple[object, date, Iterable[tuple[object, object]]]:
    if isinstance(body, list) and body and all(isinstance(row, dict) and "quote" in row for row in body):
        bases = {_word(row.get("base"), 10) for row in body}
        day = max(_day(row.get("date"), today) for row in body)
        return (
            (bases.pop() if len(bases) == 1 else "several currencies"),
            day,
            ((r["quote"], r.get("rate")) for r in body),
        )
    if isinstance(body, dict):
        if body.get("result", "success") != "success":
            raise SourceFailed(f"answered with the error {_word(body.get('error-type', 'without a name'), 40)!r}")
        if isinstance(body.get("rates"), dict):
            if body.get("amount", 1) != 1:
                raise SourceFailed("answered with rates for another amount than 1")
            seconds = body.get("time_last_update_unix")
            day = _unix_day(seconds) if seconds is not None else _day(body.get("date"), today)
            return body.get("base_code", body.get("base")), day, body["rates"].items()
        if isinstance(body.get("usd"), dict):
            return "USD", _day(body.get("date"), today), body["usd"].items()
    raise SourceFailed("answered in a shape that is not known")


def _word(value: object, longest: int) -> str:
    """The beginning of a text or number; of anything else only its type: Python can't show lists nested too deeply."""
    return (type(value).__name__ if isinstance(value, (list, dict)) else str(value))[:longest]


def _day(text: object, today: date) -> date:
    if text is None:
        return today
    try:
        return date.fromisoformat(_word(text, 10))
    except ValueError as error:
        raise SourceFailed(f"answered with {_word(text, 20)!r} where a day should be") from error


def _unix_day(seconds: object) -> date:
    try:
        return datetime.fromtimestamp(float(_word(seconds, 40)), UTC).date()
    except (ValueError, OverflowError, OSError) as error:
        raise SourceFailed("answered with a time of update that is no time") from error


def _usable(pairs: Iterable[tuple[object, object]]) -> tuple[dict[str, float], list[tuple[str, str]]]:
    rates: dict[str, float] = {}
    skipped: list[tuple[str, str]] = []
    for raw_code, raw_rate in pairs:
        code = _word(raw_code, 4).upper()
        if not _CODE.fullmatch(code):
            continue
        rate = as_number(raw_rate)
        if rate is None or not SMALLEST_RATE <= rate <= LARGEST_RATE:
            skipped.append((code, "its rate is not a number in range"))
        elif code in rates:
            skipped.append((code, "its rate is given twice"))
        else:
            rates[code] = rate
    return rates, skipped


def as_number(value: object) -> float | None:
    """A JSON number as a finite float; None for everything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
