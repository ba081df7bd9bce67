"""Reads the days of the European Central Bank's CSV, whose lines may come from a file or an answer.

These are the daily and the historic reference rates, with a column for each
currency, and the CSV of its data portal, with a line for each rate.
"""

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

from app.sources.ecb_cells import BASE, UNKNOWN, PastDay, parse_code, parse_day, parse_rate
from app.sources.ecb_lines import Line, UnusableFile, split_cells
from app.sources.ecb_portal import is_portal_header, read_series

_DELIMITERS: Final = (",", ";", "\t")
_IN_WORDS: Final = "TIME PERIOD"
"""The portal's tables have each day twice, the second time in words."""
_SERIES: Final = re.compile(r".*\(EXR\.D\.([A-Z]{3})\.EUR\.SP00\.A\)")
"""How the portal's tables name a currency, as in US dollar/Euro (EXR.D.USD.EUR.SP00.A)."""


def read_days(lines: Iterator[Line], *, today: date) -> Iterator[PastDay]:
    """Read and check the lines, whose days may ascend or descend; days without any rate are skipped.

    Raises:
        UnusableFile: A line is invalid.
    """
    header = next(lines, Line(1, ""))
    delimiter = max(_DELIMITERS, key=header.text.count)
    read = read_series if is_portal_header(split_cells(header, delimiter)) else _read_table
    yield from read(header, lines, delimiter, today)


def _read_table(header: Line, lines: Iterator[Line], delimiter: str, today: date) -> Iterator[PastDay]:
    names = split_cells(header, delimiter)
    if names[0].upper() != "DATE":
        raise UnusableFile(
            f"line {header.number}: must be Date and currency codes, as in Date,USD,JPY, or the columns of the data "
            "portal"
        )
    codes, ends_with_delimiter = _codes(header.number, names), names[-1] == ""
    before: date | None = None
    ascends: bool | None = None
    for line in lines:
        number, cells = line.number, split_cells(line, delimiter)
        day = parse_day(number, cells[0], today)
        if before is not None:
            ascends = _require_order(number, day, before, ascends=ascends)
        before = day
        rates = _rates(number, codes, cells[:-1] if ends_with_delimiter and cells[-1] == "" else cells)
        if rates:
            yield PastDay(day, {BASE: 1.0, **rates}, dict.fromkeys(rates, number))


def _codes(number: int, names: list[str]) -> list[str | None]:
    """The currency of each column, None for the day; empty columns at the end are left out."""
    last = max(position for position, name in enumerate(names) if name)
    codes: list[str | None] = [None]
    for name in names[1 : last + 1]:
        if name == _IN_WORDS:
            codes.append(None)
            continue
        of_series = _SERIES.fullmatch(name)
        code = parse_code(number, of_series[1] if of_series else name)
        if code in codes:
            raise UnusableFile(f"line {number}: {code} appears twice")
        codes.append(code)
    return codes


def _require_order(number: int, day: date, before: date, *, ascends: bool | None) -> bool:
    """Whether the days ascend; raises UnusableFile if this one changes the direction, or is the same."""
    if day == before:
        raise UnusableFile(f"line {number}: {day} appears twice")
    if ascends is not None and ascends != (day > before):
        order = "from the oldest to the newest" if ascends else "from the newest to the oldest"
        raise UnusableFile(f"line {number}: {day} follows {before}; before, the days go {order}")
    return day > before


def _rates(number: int, codes: list[str | None], cells: list[str]) -> dict[str, float]:
    if len(cells) < len(codes) or any(cells[len(codes) :]):
        raise UnusableFile(f"line {number}: has {len(cells)} columns instead of {len(codes)}")
    return {
        code: parse_rate(number, code, cell)
        for code, cell in zip(codes, cells, strict=False)
        if code is not None and cell not in UNKNOWN
    }
