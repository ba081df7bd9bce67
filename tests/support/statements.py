"""What a service asks of its database."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import TextClause, bindparam, event, text

from app.core.db.database import Database
from app.core.db.types import UTCDateTime
from app.models import metadata

_NAMES: Final = {name for table in metadata.tables.values() for name in (table.name, *table.columns.keys())}


class Statement(NamedTuple):
    """As it goes to the driver."""

    sql: str
    parameters: Any


@contextmanager
def recorded(database: Database) -> Iterator[list[Statement]]:
    """Every statement while the block runs; a bulk statement counts once, BEGIN and PRAGMA not at all."""
    statements: list[Statement] = []
    engine = database.engine.sync_engine

    def record(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if not sql.startswith(("BEGIN", "PRAGMA")):
            statements.append(Statement(sql, parameters))

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", record)


def raw(database: Database, sql: str, parameters: Mapping[str, Any] | None = None) -> TextClause:
    """SQL of a test, with names quoted where the engine reads something else, and times bound as the service does."""
    quote = database.engine.dialect.identifier_preparer.quote
    quoted = "|".join(name for name in _NAMES if quote(name) != name)
    spelt = re.sub(rf"(?<![:'\"`\w])(?:{quoted})\b", lambda found: quote(found[0]), sql) if quoted else sql
    times = [name for name, value in (parameters or {}).items() if isinstance(value, datetime) and f":{name}" in sql]
    return text(spelt).bindparams(*(bindparam(name, type_=UTCDateTime()) for name in times))


def tables_read(statements: list[Statement]) -> list[str]:
    """The first table of each query, in their order; those for the version of the data are left out."""
    read = [found[1] for each in statements if (found := re.search(r'FROM "?(\w+)', each.sql))]
    return [table for table in read if table != "summarycache"]


async def explained(database: Database, statement: Statement, table: str) -> str:
    """How the database would run a statement on a table, a line a step."""
    # An optimizer goes by statistics, which the server brings up to date when it has time.
    before, prefix = {
        "sqlite": ((), "EXPLAIN QUERY PLAN "),
        "mysql": ((f"ANALYZE TABLE {table}",), "EXPLAIN "),
        # As if the table were large: PostgreSQL reads a small one from end to end.
        "postgresql": ((f"ANALYZE {table}", "SET LOCAL enable_seqscan = off"), "EXPLAIN "),
    }[database.engine.dialect.name]
    async with database.engine.connect() as connection:
        for each in before:
            await connection.exec_driver_sql(each)
        rows = await connection.exec_driver_sql(prefix + statement.sql, statement.parameters)
        return "\n".join(" ".join(map(str, row)) for row in rows)
