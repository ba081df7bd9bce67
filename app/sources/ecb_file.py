"""Reads a history of exchange rates as the European Central Bank publishes it, line by line, and checks each line."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zipfile import BadZipFile, ZipFile
from zlib import error as InvalidDeflate  # noqa: N812  # it is a class

from app.sources.rate_shapes import LARGEST_RATE, OLDEST_DAY, SMALLEST_RATE
from app.sources.rates import TENFOLD

SUFFIXES: Final = (".csv", ".zip")
BASE: Final = "EUR"
LONGEST_LINE: Final = 8192
"""Bytes; a line of today has some 300."""
_CODE: Final = re.compile("[A-Z]{3}")
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_UNKNOWN: Final = "N/A"
_BYTE_ORDER_MARK: Final = "\ufeff"


class UnusableFile(Exception):
    """A file of rates can't be used; the text says why, and names the line."""


class PastDay(NamedTuple):
    """The rates of one line."""

    line: int
    """Its number, from 1 on."""
    day: date
    rates: dict[str, float]
    """Units of each currency for one euro; the euro is among them, with 1."""


def check_history(path: Path, *, today: date, force: bool) -> dict[date, int]:
    """Read all of a file once and keep only how many rates each day has.

    Args:
        path: The file.
        today: The day in UTC; later ones are mistakes.
        force: Believe rates that moved more than tenfold.

    Raises:
        UnusableFile: A line is not as it should be, or a rate moved too far from the one of the next day.
    """
    sizes: dict[date, int] = {}
    newer: dict[str, float] = {}
    for past in read_history(path, today=today):
        if not force:
            check_moves(past, newer, "the next day in the file")
        newer.update(past.rates)  # where a currency has a hole, the last rate before it counts
        sizes[past.day] = len(past.rates)
    if not sizes:
        raise UnusableFile("has no rates")
    return sizes


def read_history(path: Path, *, today: date) -> Iterator[PastDay]:
    """Read a CSV file, or a zip archive with one in it, newest day first.

    Days of which no rate is known are left out.

    Raises:
        UnusableFile: A line is not as it should be, or the file can't be read.
    """
    try:
        with _opened(path) as file:
            yield from _read_days(_read_lines(file), today)
    except (BadZipFile, InvalidDeflate, EOFError, RuntimeError, NotImplementedError) as error:
        raise UnusableFile(f"can't be unpacked: {error}") from error
    except OSError as error:
        raise UnusableFile(f"can't be read: {error.strerror or error}") from error


def check_moves(past: PastDay, beside: Mapping[str, float], whose: str) -> None:
    """Compare a day's rates with those of a day beside it.

    Raises:
        UnusableFile: One of them is more than ten times the other.
    """
    for code, rate in past.rates.items():
        other = beside.get(code, rate)
        if not other / TENFOLD <= rate <= other * TENFOLD:
            raise UnusableFile(
                f"line {past.line}: {code} is {rate:g}, and {other:g} on {whose}, a move of more than tenfold; "
                "--force believes it"
            )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.suffix.lower() != ".zip":
        with path.open("rb") as file:
            yield file
        return
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        if len(names) != 1:
            raise UnusableFile(f"must have one file .csv in it, has {len(names)}")
        with archive.open(names[0]) as packed:
            yield packed  # type: ignore[misc]  # it reads bytes, line by line, which is all that is asked of it


def _read_lines(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is not blank, with its number."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UnusableFile(f"line {number}: must have at most {LONGEST_LINE} bytes")
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UnusableFile(f"line {number}: is not in UTF-8") from error
        text = text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
        if text:
            yield number, text.removesuffix(",").split(",")


def _read_days(lines: Iterator[tuple[int, list[str]]], today: date) -> Iterator[PastDay]:
    number, header = next(lines, (1, []))
    codes = _codes(number, header)
    newer = None
    for number, (text, *cells) in lines:
        day = _day(number, text, today)
        if newer is not None and day >= newer:
            problem = "is there twice" if day == newer else f"is behind {newer}; the newest day comes first"
            raise UnusableFile(f"line {number}: {day} {problem}")
        if len(cells) != len(codes):
            raise UnusableFile(f"line {number}: has {len(cells) + 1} columns instead of {len(codes) + 1}")
        pairs = zip(codes, cells, strict=True)
        rates = {code: _rate(number, code, cell) for code, cell in pairs if cell != _UNKNOWN}
        if rates:
            yield PastDay(number, day, {BASE: 1.0, **rates})
        newer = day


def _codes(number: int, header: list[str]) -> list[str]:
    first, *codes = header or [""]
    if first != "Date":
        raise UnusableFile(f"line {number}: must be Date and the codes of currencies, as in Date,USD,JPY,")
    for position, code in enumerate(codes):
        if not _CODE.fullmatch(code):
            raise UnusableFile(f"line {number}: {code[:20]!r} is no currency code of three capital letters")
        if code == BASE or code in codes[:position]:
            raise UnusableFile(f"line {number}: {code} is there twice{', it is the base' if code == BASE else ''}")
    return codes


def _day(number: int, text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError as error:
        raise UnusableFile(f"line {number}: {text[:20]!r} is no day such as 2026-11-20") from error
    if not OLDEST_DAY <= day <= today:
        problem = "lies in the future" if day > today else f"is before {OLDEST_DAY}, the first day of the euro's rates"
        raise UnusableFile(f"line {number}: {day} {problem}")
    return day


def _rate(number: int, code: str, text: str) -> float:
    rate = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not SMALLEST_RATE <= rate <= LARGEST_RATE:
        raise UnusableFile(
            f"line {number}: {code} is {text[:20]!r} instead of {_UNKNOWN} or "
            f"a number from {SMALLEST_RATE:g} to {LARGEST_RATE:g}"
        )
    return rate
