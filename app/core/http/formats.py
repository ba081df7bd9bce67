"""Tables as JSON, CSV or NDJSON, chosen by ``?format=`` or ``Accept``."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from fastapi import Response
from pydantic_core import to_json


class Format(StrEnum):
    """How a table is written."""

    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


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
"""Values of the ``format`` parameter."""
OTHER_FORMATS: Final[dict[str, Any]] = {
    "text/csv": {"schema": {"type": "string", "description": "A table with a header row."}},
    "application/x-ndjson": {"schema": {"type": "string", "description": "One JSON object per line."}},
}
"""OpenAPI content of a table besides JSON."""
FORMAT_DESCRIPTION: Final = "Format of the response; by default as `Accept` prefers, or else JSON."

_BOM: Final = "\ufeff"
"""Spreadsheets need it to recognise UTF-8."""
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")
"""Spreadsheets take the full-width forms, which Japanese keyboards type, for the signs themselves."""


@lru_cache(maxsize=256)
def preferred_format(accept: bytes, offered: frozenset[str]) -> str:
    """The offered format that an ``Accept`` header prefers, the first of equals; json if it names none of them."""
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


def table_response(
    fmt: Format | None,
    name: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    json: object = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Respond with a table in the requested format, None for JSON.

    Browsers save CSV as ``name``. ``json`` is the JSON content if that is not an array with an object per row.
    """
    fmt = fmt or Format.JSON
    content = to_json(json) if json is not None and fmt is Format.JSON else write_table(fmt, columns, rows)
    return Response(content, headers={**table_headers(fmt, name), **(headers or {})})


def table_headers(fmt: Format, name: str) -> dict[str, str]:
    """Headers of a table; with them, browsers save CSV under this name instead of showing it."""
    download = {"Content-Disposition": f'attachment; filename="{name}.csv"'} if fmt is Format.CSV else {}
    return {"Content-Type": _MEDIA_TYPES[fmt], "Vary": "Accept", **download}


def write_table(fmt: Format, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Write a whole table; JSON is an array with an object per row."""
    if fmt is Format.JSON:
        return to_json([dict(zip(columns, row, strict=True)) for row in rows])
    return write_heading(fmt, columns) + write_rows(fmt, columns, rows)


def write_heading(fmt: Format, columns: Sequence[str]) -> bytes:
    """Write what precedes the rows: the names of the columns in CSV, nothing in NDJSON."""
    return f"{_BOM}{','.join(columns)}\r\n".encode() if fmt is Format.CSV else b""


def write_rows(fmt: Format, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Write rows as CSV (RFC 4180, safe to open in spreadsheets) or NDJSON.

    Args:
        fmt: CSV or NDJSON.
        columns: Keys of the NDJSON objects.
        rows: Strings, numbers, booleans, dates, UTC times, and lists of strings, which share one CSV cell. None is an
            empty cell or null.
    """
    if fmt is Format.NDJSON:
        return b"".join(to_json(dict(zip(columns, row, strict=True))) + b"\n" for row in rows)
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: object) -> object:
    """Write times and booleans as in JSON and lists as one string; quote what a spreadsheet would run as a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        value = " ".join(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
