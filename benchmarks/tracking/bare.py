"""Writes documents with the driver's own executemany, and prints the seconds: the most that a service could reach."""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.config.settings import Settings
from app.core.db.dialects import dialect_for
from app.core.db.engine import create_engine
from app.tracking.models import Document, Transfer
from benchmarks.tracking.rows import STATE, batches

COLUMNS = ("UBID", "uniqueId", "SMScount", "state", "when", "data")
UBID = "00000000-0000-4000-8000-000000000000"
WHEN = "2026-11-21 09:17:00.000000"


async def store(url: str, documents: int) -> float:
    """Write the documents over a connection as the service opens it, 5000 a transaction.

    Returns:
        Seconds, without those in which the rows were made.
    """
    engine, spent = create_engine(Settings(database_url=url)), 0.0
    async with engine.connect() as connection:
        statement = _statement(connection)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await _create_transfer(connection, documents)
        for batch in batches(documents):
            values = [(UBID, row.unique_id, row.sms_count, STATE, WHEN, row.data) for row in batch]
            started = time.perf_counter()
            await _write(driver, statement, values)
            spent += time.perf_counter() - started
    await engine.dispose()
    return spent


def _statement(connection: AsyncConnection) -> str:
    """The service's upsert as the driver takes it."""
    dialect = dialect_for(connection.dialect)
    upsert = dialect.upsert_statement(Document.__table__, COLUMNS[2:], COLUMNS[:2])  # type: ignore[attr-defined]
    compiled = upsert.compile(dialect=connection.dialect, column_keys=COLUMNS)
    if compiled.positiontup != list(COLUMNS):
        raise AssertionError(f"the columns are in another order: {compiled.positiontup}")
    return str(compiled)


async def _create_transfer(connection: AsyncConnection, documents: int) -> None:
    values = {"UBID": UBID, "SMScount": documents, "documents": documents, "fileName": "load", "origName": "load"}
    table = Transfer.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    await connection.execute(table.insert(), {**values, "fallbackCount": 0, "when": datetime.now(UTC), "state": STATE})
    await connection.commit()


async def _write(driver: Any, statement: str, values: Sequence[tuple[object, ...]]) -> None:
    """One transaction."""
    cursor = await driver.cursor()
    await cursor.execute("BEGIN")
    await cursor.executemany(statement, values)
    await cursor.close()
    await driver.commit()


if __name__ == "__main__":
    print(asyncio.run(store(sys.argv[1], int(sys.argv[2]))))
