"""Reads the European Central Bank's file of past exchange rates, and checks it line by line."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zipfile import BadZipFile, ZipFile
from zlib import error as InvalidDeflate  # noqa: N812  # it is a class

from app.core.errors import AppError
from app.sources.rate_shapes import LARGEST_RATE, OLDEST_DAY, SMALLEST_RATE
from app.sources.rates import TENFOLD

SUFFIXES: Final = (".csv", ".zip")
BASE: Final = "EUR"
LONGEST_LINE: Final = 8192
"""In bytes; the bank's lines have about 300."""
_CODE: Final = re.compile("[A-Z]{3}")
_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_UNKNOWN: Final = "N/A"
_BYTE_ORDER_MARK: Final = "\ufeff"


class UnusableFile(AppError):
    """A file of rates cannot be used; the details name line and reason."""

    title = "Unusable file"


class PastDay(NamedTuple):
    """The rates of one line."""

    line: int
    """Line number, from 1."""
    day: date
    rates: dict[str, float]
    """Units of each currency for one euro; includes EUR, which is 1."""


def check_history(path: Path, *, today: date, force: bool) -> dict[date, int]:
    """Read and check the whole file.

    Args:
        path: The file.
        today: The day in UTC; later days are an error.
        force: Accept rates that changed more than tenfold.

    Returns:
        The number of rates of each day.

    Raises:
        UnusableFile: A line is invalid, or a rate changed more than tenfold to the next day.
    """
    sizes: dict[date, int] = {}
    newer: dict[str, float] = {}
    for past in read_history(path, today=today):
        if not force:
            check_moves(past, newer, "the next day in the file")
        newer.update(past.rates)  # across a gap, compare with the last known rate
        sizes[past.day] = len(past.rates)
    if not sizes:
        raise UnusableFile("contains no rates")
    return sizes


def read_history(path: Path, *, today: date) -> Iterator[PastDay]:
    """Read a CSV file, or a zip archive with one in it, newest day first.

    Days without any rate are skipped.

    Raises:
        UnusableFile: A line is invalid, or the file cannot be read.
    """
    try:
        with _opened(path) as file:
            yield from _read_days(_read_lines(file), today)
    except (BadZipFile, InvalidDeflate, EOFError, RuntimeError, NotImplementedError) as error:
        raise UnusableFile(f"cannot be unzipped: {error}") from error
    except OSError as error:
        raise UnusableFile(f"cannot be read: {error.strerror or error}") from error


def check_moves(past: PastDay, neighbour: Mapping[str, float], when: str) -> None:
    """Compare a day's rates with those of a neighbouring day, which ``when`` names in the error.

    Raises:
        UnusableFile: A rate is more than ten times the other.
    """
    for code, rate in past.rates.items():
        other = neighbour.get(code, rate)
        if not other / TENFOLD <= rate <= other * TENFOLD:
            raise UnusableFile(
                f"line {past.line}: {code} is {rate:g}, and {other:g} on {when}, a change of more than tenfold; "
                "--force accepts it"
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
            raise UnusableFile(f"must contain exactly one .csv file, contains {len(names)}")
        with archive.open(names[0]) as packed:
            yield packed  # type: ignore[misc]  # only readline() is used


def _read_lines(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that is not blank."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UnusableFile(f"line {number}: is longer than {LONGEST_LINE} bytes")
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UnusableFile(f"line {number}: is not UTF-8") from error
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
            problem = "appears twice" if day == newer else f"comes after {newer}; the newest day must be first"
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
        raise UnusableFile(f"line {number}: must be Date and currency codes, as in Date,USD,JPY,")
    for position, code in enumerate(codes):
        if not _CODE.fullmatch(code):
            raise UnusableFile(f"line {number}: {code[:20]!r} is not a three-letter currency code")
        if code == BASE or code in codes[:position]:
            raise UnusableFile(f"line {number}: {code} {'is the base' if code == BASE else 'appears twice'}")
    return codes


def _day(number: int, text: str, today: date) -> date:
    try:
        day = date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError as error:
        raise UnusableFile(f"line {number}: {text[:20]!r} is not a date such as 2026-11-20") from error
    if not OLDEST_DAY <= day <= today:
        problem = "is in the future" if day > today else f"is before {OLDEST_DAY}, the first day of the euro's rates"
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
