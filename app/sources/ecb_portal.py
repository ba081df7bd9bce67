"""Reads the CSV of the European Central Bank's data portal, which has one line per currency and day."""

from array import array
from collections.abc import Iterator, Sequence
from datetime import date
from operator import itemgetter
from typing import Final, NamedTuple

from app.sources.ecb_cells import BASE, UNKNOWN, PastDay, parse_code, parse_day, parse_rate
from app.sources.ecb_lines import Line, UnusableFile, split_cells
from app.sources.rate_days import OLDEST_DAY

LARGEST_NUMBER: Final = 200
"""Maximum number of currencies, each of which takes about 160 kB of memory; the bank has quoted some 50."""
_EXPECTED: Final = {"FREQ": "D", "CURRENCY_DENOM": BASE, "EXR_TYPE": "SP00", "EXR_SUFFIX": "A"}
"""What marks the daily reference rates among the portal's other series."""
_KIND: Final = tuple(_EXPECTED.values())
_RATE: Final = ("CURRENCY", "TIME_PERIOD", "OBS_VALUE")


class _Series(NamedTuple):
    """The rates of one currency by day, from the first possible day to today."""

    rates: "array[float]"
    """0 for a day without a rate."""
    lines: "array[int]"


def is_portal_header(cells: Sequence[str]) -> bool:
    """Whether these are the column names of the portal."""
    return "TIME_PERIOD" in cells


def read_series(header: Line, lines: Iterator[Line], delimiter: str, today: date) -> Iterator[PastDay]:
    """Read all lines, in any order, and return the days, newest first.

    Raises:
        UnusableFile: A line is invalid, is not a daily reference rate, or repeats another one.
    """
    names = split_cells(header, delimiter)
    if missing := [name for name in (*_EXPECTED, *_RATE) if name not in names]:
        raise UnusableFile(f"line {header.number}: lacks the column {missing[0]} of the data portal")
    kind_of = itemgetter(*map(names.index, _EXPECTED))
    rate_of = itemgetter(*map(names.index, _RATE))
    days = (today - OLDEST_DAY).days + 1
    found: dict[str, _Series] = {}
    for line in lines:
        number, cells = line.number, split_cells(line, delimiter)
        if len(cells) != len(names):
            raise UnusableFile(f"line {number}: has {len(cells)} columns instead of {len(names)}")
        if kind_of(cells) != _KIND:
            raise UnusableFile(f"line {number}: {_unexpected(kind_of(cells))}")
        raw_code, raw_day, raw_rate = rate_of(cells)
        code, day = parse_code(number, raw_code), parse_day(number, raw_day, today)
        if raw_rate in UNKNOWN:
            continue
        if code not in found:
            if len(found) == LARGEST_NUMBER:
                raise UnusableFile(f"line {number}: {code} is one currency more than {LARGEST_NUMBER}")
            found[code] = _Series(array("d", bytes(8 * days)), array("Q", bytes(8 * days)))
        series, index = found[code], (day - OLDEST_DAY).days
        if series.rates[index]:
            raise UnusableFile(f"line {number}: {code} of {day} is on line {series.lines[index]} already")
        series.rates[index], series.lines[index] = parse_rate(number, code, raw_rate), number
    return _newest_first(found, days)


def _unexpected(kind: Sequence[str]) -> str:
    name, value = next((name, value) for name, value in zip(_EXPECTED, kind, strict=True) if value != _EXPECTED[name])
    return (
        f"{name} is {value[:20]!r} instead of {_EXPECTED[name]}; only daily reference rates against the euro can be "
        "imported, which have the key EXR/D..EUR.SP00.A"
    )


def _newest_first(found: dict[str, _Series], days: int) -> Iterator[PastDay]:
    for index in reversed(range(days)):
        quoted = [code for code, series in found.items() if series.rates[index]]
        if quoted:
            day = date.fromordinal(OLDEST_DAY.toordinal() + index)
            rates = {code: found[code].rates[index] for code in quoted}
            yield PastDay(day, {BASE: 1.0, **rates}, {code: found[code].lines[index] for code in quoted})
