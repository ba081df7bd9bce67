"""Many rows as one parameter: a JSON document that MySQL and MariaDB read as a table."""

import asyncio
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from functools import lru_cache, singledispatch
from math import isfinite
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Dialect, LargeBinary, bindparam, literal_column, select, text

from app.core.db.dialects import ROWS_AT_ONCE

LONGEST: Final = "bytes of rows as JSON"
"""Key in the ``info`` of a connection: bytes that a document may have; 0 if the server can't read one."""
_ENCODE: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode
_TEXT: Final = "LONGTEXT CHARACTER SET utf8mb4"
"""Type of all columns: the INSERT converts and checks text as it does a literal. MariaDB cuts off what is too long for
a column of the document, and MySQL may round a JSON number."""
PROBE: Final = (
    f"SELECT c0, LEAST({6 * 2**20}, @@max_allowed_packet DIV 3) "  # noqa: S608  # nothing from outside
    f"FROM JSON_TABLE('[[[\"x\"]],[[]]]', '$[*]' COLUMNS (c0 {_TEXT} PATH '$[0][0]' ERROR ON ERROR)) AS given"
)
"""Its rows are ("x", LONGEST) and (None, LONGEST): at most 6 MB, and a third of the largest statement, since the driver
puts a backslash before quotes. TiDB has the version number of a MySQL with JSON_TABLE, but not the function."""


def can_carry(rows: int, columns: Iterable[Column[Any]]) -> bool:
    """Whether a document is worth its statement and can carry these columns: JSON has no bytes."""
    return rows > 1 and not any(isinstance(column.type, LargeBinary) for column in columns)


async def bulk_inserts(
    insert: Any, columns: Mapping[str, Sequence[Any]], dialect: Dialect, longest: int
) -> list[tuple[str, Any]]:
    """SQL and parameters that insert rows, given as the values of each column; ``insert`` names none.

    Raises:
        TypeError: A value is of a type that a document can't carry, such as bytes.
        ValueError: A number is not finite, or a text has half of a surrogate pair.
    """
    same = {name: _as_text(values[0]) for name, values in columns.items() if len(set(map(id, values))) == 1}
    if len(same) == len(columns):
        same = {}
    varying = {name: values for name, values in columns.items() if name not in same}
    optional = frozenset(name for name, values in varying.items() if None in values)
    compiled = _compiled(insert, tuple(varying), optional, tuple(same), dialect)
    documents = await _documents(varying, optional, longest)
    given = ({**same, "given": document} for document in documents)
    return [(compiled.string, tuple(map(values.get, compiled.positiontup))) for values in given]


@lru_cache(maxsize=64)
def _compiled(
    insert: Any, varying: tuple[str, ...], optional: frozenset[str], same: tuple[str, ...], dialect: Dialect
) -> Any:
    paths = (f"$[{index}][0]" if name in optional else f"$[{index}]" for index, name in enumerate(varying))
    read = ", ".join(f"c{index} {_TEXT} PATH '{path}' ERROR ON ERROR" for index, path in enumerate(paths))
    values: list[ColumnElement[Any]] = [literal_column(f"c{index}") for index in range(len(varying))]
    values += map(bindparam, same)
    rows = select(*values).select_from(text(f"JSON_TABLE(:given, '$[*]' COLUMNS ({read})) AS given"))
    return insert.from_select([*varying, *same], rows, include_defaults=False).compile(dialect=dialect)


@singledispatch
def _as_text(value: object) -> str | None:
    """A value in a document, by its own type and with each digit: that of a column says little, as for AutoString."""
    if value is not None:
        raise TypeError(f"a value of type {type(value).__name__} can't be stored as JSON")
    return None


@_as_text.register
def _(value: float | Decimal) -> str:
    if not isfinite(value):
        raise ValueError(f"{value} can't be stored: it is not finite")
    return str(value)


_as_text.register(str, str.__str__)
_as_text.register(int, int.__repr__)  # of a bool too
_as_text.register(date, str)
_as_text.register(time, str)


def _parts(values: Sequence[Any], *, is_optional: bool) -> Sequence[Any]:
    """The values of one column in a document."""
    kinds = set(map(type, values))
    if kinds - {type(None)} != {str}:
        write = {kind: _as_text.dispatch(kind) for kind in kinds}
        values = [write[type(value)](value) for value in values]
    # Absent, since MySQL makes the text "null" of JSON's null.
    return [() if value is None else (value,) for value in values] if is_optional else values


async def _documents(columns: Mapping[str, Sequence[Any]], optional: Collection[str], longest: int) -> list[str]:
    """Documents that have at most ``longest`` bytes, or one row."""
    documents: list[list[str]] = []
    free = 0
    for first in range(0, len(next(iter(columns.values()))), ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        parts = [_parts(values[some], is_optional=name in optional) for name, values in columns.items()]
        for encoded, size in _encoded(list(zip(*parts, strict=True)), longest):
            if size > free:
                documents.append([])
                free = longest
            documents[-1].append(encoded)
            free -= size
        await asyncio.sleep(0)
    return [f"[{','.join(parts)}]" for parts in documents]


def _encoded(rows: Sequence[Any], longest: int) -> Iterator[tuple[str, int]]:
    encoded = _ENCODE(rows)[1:-1]
    size = len(encoded.encode()) + len("[],")  # refuses half of a surrogate pair, which would be sent as a byte
    if size <= longest or len(rows) == 1:
        yield encoded, size
    else:
        yield from _encoded(rows[: len(rows) // 2], longest)
        yield from _encoded(rows[len(rows) // 2 :], longest)
