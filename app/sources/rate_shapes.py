"""The formats of the rate sources, recognised from the body."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Context, Decimal
from itertools import islice
from typing import Any, Final, NamedTuple

from app.sources.chain import SourceFailed
from app.sources.rate_days import LONGEST_PAUSE, day_of_answer, is_plausible, parse_day
from app.sources.source_errors import error_of

DOLLAR: Final = "USD"
_CODE: Final = re.compile("[A-Za-z]{3}")
_PLAIN_NUMBER: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
SMALLEST_RATE: Final = 1e-12
LARGEST_RATE: Final = 1e15
_EXACT: Final = Context(prec=40)
"""More digits than a float can tell apart."""
_FIELD: Final = re.compile("[A-Za-z_-]{1,20}")
_MOST_FIELDS: Final = 6
_NOT_IN_RANGE: Final = "its rate is not a number in range"


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


class _Quote(NamedTuple):
    """A rate as the source wrote it."""

    code: object
    rate: object
    day: date | None
    """None if the source's is unusable."""


class _Table(NamedTuple):
    base: str | None
    """The currency of which the rates are for one unit; None if the format does not name it."""
    quotes: Iterable[_Quote]


def parse_quotes(body: Any, *, today: date) -> Quotes:
    """Recognise the format of an answer and parse it.

    docs/sources.md lists the formats. Rates against another base are divided
    by the base's rate of the US dollar of the same day, or else of a day at
    most a week away; the day of the result is then the older of the two. Of
    several days of a currency the newest that has both rates counts. Codes that
    are not three letters are ignored; rates that are not finite numbers in
    range, without a usable day in a list that has days, or without a rate of
    the US dollar near their day, are reported as skipped.

    Args:
        body: The parsed JSON document.
        today: The day in UTC, for answers without a day.

    Raises:
        SourceFailed: The format is unknown, the answer reports an error, the
            base or its rate of the US dollar is missing, the day is unreadable,
            in the future or before 1999, or no rate is usable.
    """
    table = _recognise(body, today)
    found, skipped = _usable(table.quotes)
    return _per_dollar(table.base, found, skipped)


def _recognise(body: Any, today: date) -> _Table:
    if isinstance(body, list) and any(_is_quote(row) for row in body):
        return _from_rows(body, today)
    if reason := error_of(body):
        raise SourceFailed(reason)
    found = _find_rates(body) if isinstance(body, dict) else None
    if found is None:
        raise SourceFailed(f"answered in an unknown format{_seen(body)}")
    base, rates = found
    if body.get("amount", 1) != 1:
        raise SourceFailed("answered with rates for an amount other than 1")
    day = day_of_answer(body, today=today)
    return _Table(base, (_Quote(code, rate, day) for code, rate in rates.items()))


def _find_rates(body: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]] | None:
    """The base, and the rates by code, of an object in one of the known formats."""
    for name in ("rates", "conversion_rates"):
        if isinstance(body.get(name), dict):
            return _base(body.get("base_code", body.get("base"))), body[name]
    if isinstance(pairs := body.get("quotes"), dict):
        source = _base(body.get("source"))
        return source, {pair[3:]: rate for pair, rate in pairs.items() if pair[:3].upper() == source}
    if isinstance(data := body.get("data"), dict):
        if isinstance(data.get("rates"), dict):
            return _base(data.get("currency")), data["rates"]
        if any(_CODE.fullmatch(code) for code in data):
            return None, {code: rate.get("value") if isinstance(rate, dict) else rate for code, rate in data.items()}
    by_base = [name for name, rates in body.items() if isinstance(rates, dict) and _CODE.fullmatch(name)]
    return (by_base[0].upper(), body[by_base[0]]) if len(by_base) == 1 else None


def _is_quote(row: object) -> bool:
    return isinstance(row, dict) and "quote" in row


def _from_rows(rows: list[Any], today: date) -> _Table:
    bases = {_code(row.get("base")) for row in rows if _is_quote(row)}
    if len(bases) > 1:
        raise SourceFailed("answered with rates for several bases")
    has_days = any(_is_quote(row) and row.get("date") is not None for row in rows)

    def quotes() -> Iterator[_Quote]:
        for row in rows:
            if _is_quote(row):
                yield _Quote(row["quote"], row.get("rate"), _day_of_row(row, today) if has_days else today)

    return _Table(_base(bases.pop()), quotes())


def _day_of_row(row: Mapping[str, Any], today: date) -> date | None:
    try:
        day = parse_day(row.get("date"))
    except ValueError:
        return None
    return day if is_plausible(day, today=today) else None


def _base(value: object) -> str:
    if (code := _code(value)) is None:
        raise SourceFailed("answered with rates for an unknown base")
    return code


def _code(value: object) -> str | None:
    """A three-letter code in upper case; None for anything else."""
    return value.upper() if isinstance(value, str) and _CODE.fullmatch(value) else None


def _seen(body: object) -> str:
    """The first names in an object, or in the first object of a list: what the operator has to make sense of."""
    first = next((row for row in body if isinstance(row, dict)), {}) if isinstance(body, list) else body
    names = [name for name in islice(first, _MOST_FIELDS) if _FIELD.fullmatch(name)] if isinstance(first, dict) else []
    return f"; seen: {', '.join(names)}" if names else ""


_ByDay = dict[date, Decimal]
"""The rates of one currency."""


def _usable(quotes: Iterable[_Quote]) -> tuple[dict[str, _ByDay], list[tuple[str, str]]]:
    """The rates of each currency by day, and code and reason of those that were skipped."""
    found: dict[str, _ByDay] = {}
    skipped: list[tuple[str, str]] = []
    for raw_code, raw_rate, day in quotes:
        if (code := _code(raw_code)) is None:
            continue
        rate = _number(raw_rate)
        if rate is None:
            skipped.append((code, _NOT_IN_RANGE))
        elif day is None:
            skipped.append((code, "its day is not a day in range"))
        elif day in (by_day := found.setdefault(code, {})):
            skipped.append((code, "its rate is given twice"))
        else:
            by_day[day] = rate
    return found, skipped


def _number(raw: object) -> Decimal | None:
    """A rate in range, from a number or from text such as "0.9"; None for anything else."""
    if isinstance(raw, str):
        number = Decimal(raw) if _PLAIN_NUMBER.fullmatch(raw) else Decimal(0)
    elif isinstance(raw, (int, float)) and not isinstance(raw, bool):
        number = Decimal(repr(raw))
    else:
        return None
    return number if number.is_finite() and SMALLEST_RATE <= number <= LARGEST_RATE else None


def _per_dollar(base: str | None, found: Mapping[str, _ByDay], skipped: list[tuple[str, str]]) -> Quotes:
    """Turn rates for one unit of the base into rates for one US dollar."""
    one = Decimal(1)
    if base is not None and any(rate != one for rate in found.get(base, {}).values()):
        raise SourceFailed(f"answered with a rate for {base} that is not 1")
    is_dollar = base == DOLLAR
    dollars = {day: one for by_day in found.values() for day in by_day} if is_dollar else found.get(DOLLAR, {})
    if not dollars and not is_dollar:
        raise SourceFailed(f"answered with rates for {base or 'an unnamed base'}, but none for {DOLLAR}")
    others = {**found, **({base: dict.fromkeys(dollars, one)} if base else {})}
    others.pop(DOLLAR, None)
    rates: dict[str, float] = {}
    days: dict[str, date] = {}
    for code, by_day in others.items():
        day, its_day = _nearest_days(by_day, dollars)
        value = float(_EXACT.divide(by_day[day], dollars[its_day]))
        if abs(day - its_day) > LONGEST_PAUSE:
            skipped.append((code, f"its rate is of {day}, more than {LONGEST_PAUSE.days} days from any of {DOLLAR}"))
        elif SMALLEST_RATE <= value <= LARGEST_RATE:
            rates[code], days[code] = value, min(day, its_day)
        else:
            skipped.append((code, _NOT_IN_RANGE))
    if not rates:
        raise SourceFailed("answered without a single usable rate")
    newest = max(days.values())
    older = {code: day for code, day in days.items() if day < newest}
    return Quotes(newest, {**rates, DOLLAR: 1.0}, tuple(skipped), older)


def _nearest_days(by_day: _ByDay, dollars: _ByDay) -> tuple[date, date]:
    """The newest day that both have; if there is none, the newest of the first, and the nearest to it of the other."""
    if common := by_day.keys() & dollars.keys():
        return max(common), max(common)
    day = max(by_day)
    return day, min(dollars, key=lambda other: (abs(other - day), other))
