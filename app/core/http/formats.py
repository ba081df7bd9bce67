"""Tables in three formats: JSON, CSV and NDJSON, chosen by ``?format=`` or ``Accept``."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_json


class Format(StrEnum):
    """How a table is written."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        """For ``Content-Type``."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES: Final = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8",
    Format.NDJSON: "application/x-ndjson",
}
_BY_MEDIA_TYPE: Final = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "text/html": "html",
}
"""Values of the parameter ``format``."""
OTHER_FORMATS: Final[dict[str, Any]] = {
    "text/csv": {"schema": {"type": "string", "description": "A table with a line of names."}},
    "application/x-ndjson": {"schema": {"type": "string", "description": "One object a line."}},
}
"""Content of an answer besides JSON, for OpenAPI."""
FORMAT_DESCRIPTION: Final = "How the answer is written; without it, as the header Accept prefers, else JSON."

_BOM: Final = "\ufeff"
"""By this mark spreadsheets know that the text is UTF-8."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@lru_cache(maxsize=256)
def preferred_format(accept: bytes, offered: frozenset[str]) -> str:
    """Which of the formats that are offered the header ``Accept`` asks for; json where it asks for none of them.

    Where two are wanted alike, the one that is named first.
    """
    best, best_weight = "json", 0.0
    for entry in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = next((_weight(part[2:]) for part in parameters if part.startswith("q=")), 1.0)
        if _BY_MEDIA_TYPE.get(name) in offered and weight > best_weight:
            best, best_weight = _BY_MEDIA_TYPE[name], weight
    return best


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def write_table(format: Format, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:  # noqa: A002
    """Write a whole table; as JSON it is an array of objects."""
    if format is Format.JSON:
        return to_json([dict(zip(columns, row, strict=True)) for row in rows])
    return write_heading(format, columns) + write_rows(format, columns, rows)


def write_heading(format: Format, columns: Sequence[str]) -> bytes:  # noqa: A002  # as the parameter is called
    """What comes before the rows: the names of the columns in CSV, nothing in NDJSON."""
    return f"{_BOM}{','.join(columns)}\r\n".encode() if format is Format.CSV else b""


def write_rows(format: Format, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:  # noqa: A002
    """Write some rows, as RFC 4180 has it and spreadsheets open it, or as an object a line.

    Args:
        format: CSV or NDJSON.
        columns: Names, for NDJSON.
        rows: Texts, numbers, dates, times in UTC, and lists of texts, which share one cell; None is an empty cell, or
            null.
    """
    if format is Format.NDJSON:
        return b"".join(to_json(dict(zip(columns, row, strict=True))) + b"\n" for row in rows)
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: object) -> object:
    """A time is written as in JSON, and a list as one text; what a spreadsheet would calculate is marked as text."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        value = " ".join(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def answer_headers(format: Format, name: str) -> dict[str, str]:  # noqa: A002
    """Headers of an answer that has several formats; a browser keeps CSV under this name instead of showing it."""
    download = {"Content-Disposition": f'attachment; filename="{name}.csv"'} if format is Format.CSV else {}
    return {"Vary": "Accept", **download}
