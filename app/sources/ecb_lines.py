"""Reads the lines of a CSV file, or of a zip archive with one in it, with bounded memory."""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zipfile import BadZipFile, ZipFile
from zlib import error as InvalidDeflate  # noqa: N812  # it is a class

from app.core.errors import AppError

SUFFIXES: Final = (".csv", ".zip")
LONGEST_LINE: Final = 8192
"""In bytes; the longest lines of the European Central Bank have about 1,000."""
_BYTE_ORDER_MARK: Final = "\ufeff"
_BLANK: Final = " \t,;"
"""Spreadsheets write empty rows as delimiters."""
_MAC_FOLDER: Final = "__MACOSX/"
"""Where macOS puts a second, binary file for each file of an archive."""


class UnusableFile(AppError):
    """A file of rates cannot be used; the details name line and reason."""

    title = "Unusable file"


class Line(NamedTuple):
    """A line with at least one cell."""

    number: int
    """From 1."""
    text: str


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines that have a cell.

    Raises:
        UnusableFile: The file cannot be read, or a line is too long or not UTF-8.
    """
    try:
        with _opened(path) as file:
            yield from decode_lines(file)
    except (BadZipFile, InvalidDeflate, EOFError, RuntimeError, NotImplementedError) as error:
        raise UnusableFile(f"cannot be unzipped: {error}") from error
    except OSError as error:
        raise UnusableFile(f"cannot be read: {error.strerror or error}") from error


def split_cells(line: Line, delimiter: str) -> list[str]:
    """The cells of a line without quotes and surrounding blanks; at least one.

    Raises:
        UnusableFile: A quote is not closed, or followed by more text.
    """
    try:
        (cells,) = csv.reader([line.text], delimiter=delimiter, strict=True, skipinitialspace=True)
    except csv.Error as error:
        raise UnusableFile(f"line {line.number}: is not CSV: {error}") from error
    return [cell.strip() for cell in cells] or [""]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.suffix.lower() != ".zip":
        with path.open("rb") as file:
            yield file
        return
    with ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        names = [name for name in names if not name.startswith(_MAC_FOLDER)]
        if len(names) != 1:
            raise UnusableFile(f"must contain exactly one .csv file, contains {len(names)}")
        with archive.open(names[0]) as packed:
            yield packed  # type: ignore[misc]  # only readline() is used


def decode_lines(file: BinaryIO) -> Iterator[Line]:
    """Read the lines that have a cell from an open file.

    Raises:
        UnusableFile: A line is too long or not UTF-8.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1 and (line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in line):
            raise UnusableFile("line 1: is UTF-16 instead of UTF-8")
        if len(line) > LONGEST_LINE:
            raise UnusableFile(f"line {number}: is longer than {LONGEST_LINE} bytes")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise UnusableFile(f"line {number}: is not UTF-8") from error
        text = (text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text).rstrip("\r\n")
        if text.strip(_BLANK):
            yield Line(number, text)
