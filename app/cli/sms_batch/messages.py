"""Messages for the batch client: generated, or read from a file one by one."""

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from app.core.errors import AppError, ValidationFailed, in_one_line
from app.core.problems import describe_invalid
from app.tracking.schemas import DocumentInput
from app.tracking.stream import LineSplitter, parse_line

SUFFIXES: Final = (".ndjson", ".jsonl", ".csv")
_CHUNK: Final = 65_536
"""Bytes to read at a time."""
LARGEST_COUNT: Final = 999_999_999
"""Generated ids are a letter and nine digits."""


class UnusableFile(AppError):
    """A file of messages cannot be used; the details name file, line and reason."""

    title = "Unusable file"


def generate_messages(count: int) -> Iterator[DocumentInput]:
    """Generate messages of one SMS each; always the same ones, so that a batch can be sent again."""
    for number in range(1, count + 1):
        data = {"to": f"+2332{number % 10**8:08d}", "text": f"Your parcel {number} is on its way."}
        yield DocumentInput(SMScount=1, uniqueId=f"A{number:09d}", data=data)


def read_messages(path: Path) -> Iterator[DocumentInput]:
    """Read a CSV file if its name ends in .csv, else NDJSON.

    CSV has the columns uniqueId and SMScount; all others become fields of data, as text.

    Raises:
        UnusableFile: A line is not a valid message, or the file cannot be read.
    """
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield from _read_csv(lines)
        else:
            with path.open("rb") as file:
                yield from _read_ndjson(file)
    except (UnusableFile, ValidationFailed) as error:
        raise UnusableFile(f"{path.name}, {in_one_line(error.details)}") from error
    except UnicodeDecodeError as error:
        raise UnusableFile(f"{path.name}: is not UTF-8") from error
    except OSError as error:
        raise UnusableFile(f"{path.name}: {error.strerror}") from error


def _read_ndjson(file: BinaryIO) -> Iterator[DocumentInput]:
    splitter, is_last = LineSplitter(), False
    while not is_last:
        chunk = file.read(_CHUNK)
        is_last = not chunk
        for number, line in splitter.feed(chunk, is_last=is_last):
            yield parse_line(number, line)


def _read_csv(lines: Iterable[str]) -> Iterator[DocumentInput]:
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, [])
        if not {"uniqueId", "SMScount"} <= set(header) or len(set(header)) != len(header):
            raise csv.Error("must name each column once, including uniqueId and SMScount")
        for row in filter(None, rows):
            if len(row) != len(header):
                raise csv.Error(f"has {len(row)} columns instead of {len(header)}")
            data = dict(zip(header, row, strict=True))
            unique_id, sms = data.pop("uniqueId"), data.pop("SMScount")
            # Anything that is not a number is left for the validation to report.
            count = int(sms) if re.fullmatch("-?[0-9]{1,10}", sms) else sms
            yield DocumentInput.model_validate({"uniqueId": unique_id, "SMScount": count, "data": data})
    except csv.Error as error:
        raise UnusableFile(f"line {rows.line_num}: {error}") from error
    except ValidationError as error:
        problems = describe_invalid(error, what="line")
        raise UnusableFile(f"line {rows.line_num}: {in_one_line(problems)}") from error
