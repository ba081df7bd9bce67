"""Column types and SQL constructs that all engines share."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, DateTime, Dialect, Integer, LargeBinary, Text, literal
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

TABLE_OPTIONS: Final = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
"""Of every table: text compares byte by byte, as in SQLite, whatever the server's defaults. PostgreSQL has no such
option for a table; its module adds the collation to each column."""
RowId: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit surrogate key; SQLite generates ids only in a column of type INTEGER."""
LongText: Final = Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
"""Text of up to 16 MiB; a plain TEXT ends at 64 KiB on MySQL."""
LongBlob: Final = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
"""Bytes, up to 16 MiB; a plain BLOB ends at 64 KiB on MySQL."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time in UTC with microseconds, which a bare DATETIME would drop."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql").with_variant(DateTime(timezone=True), "postgresql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; refuse a naive time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone can't be stored")
        has_zone = getattr(self.type_engine(dialect), "timezone", False)
        return value.astimezone(UTC) if has_zone else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time."""
        return None if value is None else value.replace(tzinfo=UTC)


class ServerNow(FunctionElement[datetime]):
    """The database's own clock, plus some seconds: one clock for all processes."""

    inherit_cache = True
    type = UTCDateTime()

    def __init__(self, plus_seconds: float = 0) -> None:
        # A parameter, so that the statement is compiled once.
        super().__init__(literal(round(plus_seconds * 1_000_000), BigInteger()))


class Contains(FunctionElement[bool]):
    """Whether one text has another in it, compared byte by byte.

    Not LIKE: SQLite's stops at a NUL, so that such a search would find everything.
    """

    inherit_cache = True
    type = Boolean()

    def __init__(self, text: Any, part: str) -> None:
        super().__init__(text, literal(part))


@compiles(Contains)
def _contains(element: Contains, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)}) > 0"
