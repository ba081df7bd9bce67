"""Many rows as one parameter: a JSON document that MySQL and MariaDB read as a table."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Dialect, LargeBinary, bindparam, literal_column, select, text

READ_BY_SERVER: Final = "reads rows from JSON"
"""Key in the ``info`` of a connection whose server has JSON_TABLE."""
_LONGEST: Final = 250_000
"""Characters of a document. Each takes at most 4 bytes of a statement, escaped or not: no more than a megabyte."""
_ENCODE: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode
_TEXT: Final = "LONGTEXT CHARACTER SET utf8mb4"
"""Type of all columns: the INSERT converts and checks text as it does a literal. MariaDB cuts off what is too long for
a column of the document, and MySQL may round a JSON number."""
PROBE: Final = (
    f"SELECT c0 FROM JSON_TABLE('[[[\"x\"]],[[]]]', '$[*]' "  # noqa: S608  # nothing from outside
    f"COLUMNS (c0 {_TEXT} PATH '$[0][0]' ERROR ON ERROR)) AS given"
)
"""Its rows are ("x",) and (None,). TiDB has the version number of a MySQL with JSON_TABLE, but not the function."""


def can_carry(rows: int, columns: Iterable[Column[Any]]) -> bool:
    """Whether a document is worth its statement and can carry these columns: JSON has no bytes."""
    return rows > 1 and not any(isinstance(column.type, LargeBinary) for column in columns)


def bulk_inserts(insert: Any, columns: Mapping[str, Sequence[Any]], dialect: Dialect) -> Iterator[tuple[str, Any]]:
    """Generate SQL and parameters that insert rows, given as the values of each column; ``insert`` names none."""
    same = {name: values[0] for name, values in columns.items() if len(set(map(id, values))) == 1}
    if len(same) == len(columns):
        same = {}
    varying = {name: values for name, values in columns.items() if name not in same}
    optional = frozenset(name for name, values in varying.items() if None in values)
    compiled = _compiled(insert, tuple(varying), optional, tuple(same), dialect)
    parts = [_parts(values, insert.table.columns[name], name in optional) for name, values in varying.items()]
    for document in _documents(list(zip(*parts, strict=True))):
        yield compiled.string, tuple({**same, "given": document}[name] for name in compiled.positiontup)


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


def _parts(values: Sequence[Any], column: Column[Any], is_optional: bool) -> Sequence[Any]:
    """The values of one column in a document: numbers with a point, times and dates as text, which keeps each digit."""
    write: Callable[[Any], Any] = (lambda value: value) if column.type.python_type in (str, int) else str
    # Absent, since MySQL makes the text "null" of JSON's null.
    return [() if value is None else (write(value),) for value in values] if is_optional else list(map(write, values))


def _documents(rows: Sequence[Any]) -> Iterator[str]:
    document = _ENCODE(rows)
    if len(document) <= _LONGEST or len(rows) == 1:
        document.encode()  # the driver would send half of a surrogate pair as a byte
        yield document
    else:
        yield from _documents(rows[: len(rows) // 2])
        yield from _documents(rows[len(rows) // 2 :])
