"""Bulk statements through a driver's executemany."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect

from app.core.db.dialects import ROWS_AT_ONCE


def bulk_inserts(insert: Any, columns: Mapping[str, Sequence[Any]], dialect: Dialect) -> list[tuple[str, Any]]:
    """SQL and parameters that insert rows, given as the values of each column; ``insert`` names none."""
    compiled = _compiled(insert, tuple(columns), dialect)
    rows = list(zip(*(columns[name] for name in compiled.positiontup), strict=True))
    return [(compiled.string, rows[at : at + ROWS_AT_ONCE]) for at in range(0, len(rows), ROWS_AT_ONCE)]


@lru_cache(maxsize=64)
def _compiled(insert: Any, names: tuple[str, ...], dialect: Dialect) -> Any:
    return insert.compile(dialect=dialect, column_keys=names)
