"""Writes documents with the driver's own executemany, and prints the seconds."""

import asyncio
import sys
from datetime import UTC, datetime

from app.core.config.settings import Settings
from app.core.db.database import create_engine
from app.tracking.models import Document, Transfer
from benchmarks.base.executemany import write_batches
from benchmarks.tracking.rows import STATE, batches

COLUMNS = ("UBID", "uniqueId", "SMScount", "state", "when", "data")
UBID = "00000000-0000-4000-8000-000000000000"
WHEN = "2026-11-21 09:17:00.000000"


async def store(url: str, documents: int) -> float:
    """Write the documents, 5000 per transaction; returns the seconds."""
    await _create_transfer(url, documents)
    values = (
        [(UBID, row.unique_id, row.sms_count, STATE, WHEN, row.data) for row in batch] for batch in batches(documents)
    )
    table = Document.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    return await write_batches(url, table, COLUMNS, keys=2, batches=values)


async def _create_transfer(url: str, documents: int) -> None:
    values = {"UBID": UBID, "SMScount": documents, "documents": documents, "fileName": "load", "origName": "load"}
    table = Transfer.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    engine = create_engine(Settings(database_url=url))
    async with engine.begin() as connection:
        row = {**values, "fallbackCount": 0, "when": datetime.now(UTC), "state": STATE}
        await connection.execute(table.insert(), row)
    await engine.dispose()


if __name__ == "__main__":
    print(asyncio.run(store(sys.argv[1], int(sys.argv[2]))))
