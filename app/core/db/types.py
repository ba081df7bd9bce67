"""Column types and SQL constructs that all engines share."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    Text,
    literal,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

TABLE_OPTIONS: Final = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
"""For every table: text compares byte by byte, as SQLite does, whatever the server's defaults."""


RowId: Final = BigInteger().with_variant(Integer(), "sqlite")
"""64-bit surrogate key; SQLite numbers rows by itself only in a column that is called INTEGER."""


LongText: Final = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
"""Text of up to 16 MiB; a plain TEXT ends at 64 KiB on MySQL."""


LongBlob: Final = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
"""Bytes, up to 16 MiB; a plain BLOB ends at 64 KiB on MySQL."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware time in UTC with microseconds, which a bare DATETIME would drop."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ask MySQL and MariaDB for microseconds."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a naive time is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone can't be stored")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Hand out aware times only."""
        return None if value is None else value.replace(tzinfo=UTC)


class ServerNow(FunctionElement[datetime]):
    """The database's own clock, so many seconds from now: one clock for all processes."""

    inherit_cache = True
    type = UTCDateTime()

    def __init__(self, plus_seconds: float = 0) -> None:
        # A parameter, so that the statement is compiled once.
        super().__init__(literal(round(plus_seconds * 1_000_000)))


@compiles(ServerNow, "mysql")
@compiles(ServerNow, "mariadb")
def _mysql_now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    return f"UTC_TIMESTAMP(6) + INTERVAL {compiler.process(element.clauses, **options)} MICROSECOND"


@compiles(ServerNow, "sqlite")
def _sqlite_now(element: ServerNow, compiler: SQLCompiler, **options: Any) -> str:
    shift = f"({compiler.process(element.clauses, **options)} / 1000000.0) || ' seconds'"
    # SQLite counts milliseconds; the three zeros make it the form in which times are stored.
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', {shift}) || '000'"
