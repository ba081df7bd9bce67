"""Writes a history's rates with the driver's own executemany, and prints how many a second.

The rows are those of the import, in the same transactions; reading the file,
days, spans, version and audit trail are left out.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.config.settings import Settings
from app.core.db.dialects import dialect_for
from app.core.db.engine import create_engine
from app.rates.history import pieces
from app.rates.models import ExchangeRate
from app.sources.ecb_file import read_history
from app.sources.rates import ECB

COLUMNS = ("source", "quote", "day", "rate")


async def store(url: str, file: Path) -> float:
    """Write the rates over a connection as the service opens it.

    Returns:
        Rates a second, without the time in which the rows were made.
    """
    engine, spent, number = create_engine(Settings(database_url=url)), 0.0, 0
    async with engine.connect() as connection:
        statement = _statement(connection)
        driver: Any = (await connection.get_raw_connection()).driver_connection
        for days in pieces(read_history(file, today=datetime.now(UTC).date())):
            rows = sorted((ECB, code, str(day), rate) for day, rates in days.items() for code, rate in rates.items())
            started = time.perf_counter()
            cursor = await driver.cursor()
            await cursor.execute("BEGIN")
            await cursor.executemany(statement, rows)
            await cursor.close()
            await driver.commit()
            spent += time.perf_counter() - started
            number += len(rows)
    await engine.dispose()
    return number / spent


def _statement(connection: AsyncConnection) -> str:
    """The service's upsert as the driver takes it."""
    dialect = dialect_for(connection.dialect)
    upsert = dialect.upsert_statement(ExchangeRate.__table__, ["rate"], COLUMNS[:3])  # type: ignore[attr-defined]
    compiled = upsert.compile(dialect=connection.dialect, column_keys=COLUMNS)
    if compiled.positiontup != list(COLUMNS):
        raise AssertionError(f"the columns are in another order: {compiled.positiontup}")
    return str(compiled)


if __name__ == "__main__":
    print(asyncio.run(store(sys.argv[1], Path(sys.argv[2]))))
