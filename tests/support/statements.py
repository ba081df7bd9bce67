"""What a service asks of its database."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import event

from app.core.db.database import Database


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


def tables_read(statements: list[Statement]) -> list[str]:
    """The first table of each query, in their order; those for the version of the data are left out."""
    read = [found[1] for each in statements if (found := re.search(r"FROM (\w+)", each.sql))]
    return [table for table in read if table != "summarycache"]


async def explained(database: Database, statement: Statement, table: str) -> str:
    """How the database would run a statement on a table, a line a step."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    async with database.engine.connect() as connection:
        if not is_sqlite:  # its optimizer goes by statistics, which it brings up to date when it has time
            await connection.exec_driver_sql(f"ANALYZE TABLE {table}")
        prefix = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        rows = await connection.exec_driver_sql(prefix + statement.sql, statement.parameters)
        return "\n".join(" ".join(map(str, row)) for row in rows)
