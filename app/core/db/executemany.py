"""Bulk statements through a driver's executemany."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect


def bulk_inserts(insert: Any, columns: Mapping[str, Sequence[Any]], dialect: Dialect) -> Iterator[tuple[str, Any]]:
    """Generate SQL and parameters that insert rows, given as the values of each column; ``insert`` names none."""
    compiled = _compiled(insert, tuple(columns), dialect)
    yield compiled.string, list(zip(*(columns[name] for name in compiled.positiontup), strict=True))


@lru_cache(maxsize=64)
def _compiled(insert: Any, names: tuple[str, ...], dialect: Dialect) -> Any:
    return insert.compile(dialect=dialect, column_keys=names)
