"""Upserts by the driver's own executemany: the speed that a service could reach at most."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table

from app.core.config.settings import Settings
from app.core.db.database import create_engine
from app.core.db.dialects import dialect_for


async def write_batches(
    url: str, table: Table, columns: Sequence[str], *, keys: int, batches: Iterable[Sequence[tuple[object, ...]]]
) -> float:
    """Write batches of rows, each in a transaction, over a connection with the service's settings.

    Args:
        url: The database, as DATABASE_URL.
        table: Where to write.
        columns: The columns of each row.
        keys: Number of columns at the start that are the key.
        batches: The rows.

    Returns:
        Seconds, without the time in which the rows were made.

    Raises:
        AssertionError: The driver takes the columns in another order.
    """
    engine, spent = create_engine(Settings(database_url=url)), 0.0
    async with engine.connect() as connection:
        upsert = dialect_for(connection.dialect).upsert_statement(table, columns[keys:], columns[:keys])
        compiled = upsert.compile(dialect=connection.dialect, column_keys=columns)
        if compiled.positiontup != list(columns):
            raise AssertionError(f"the columns are in another order: {compiled.positiontup}")
        driver: Any = (await connection.get_raw_connection()).driver_connection
        for rows in batches:
            started = time.perf_counter()
            cursor = await driver.cursor()
            await cursor.execute("BEGIN")
            await cursor.executemany(str(compiled), rows)
            await cursor.close()
            await driver.commit()
            spent += time.perf_counter() - started
    await engine.dispose()
    return spent
