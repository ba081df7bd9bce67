"""Writes a history's rates with the driver's own executemany, and prints the number per second.

The rows and transactions are those of the import. It leaves out reading the
file, days, spans, version and audit trail.
"""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.rates.history import pieces
from app.rates.models import ExchangeRate
from app.sources.ecb_file import read_history
from app.sources.rates import ECB
from benchmarks.base.executemany import write_batches

COLUMNS = ("source", "quote", "day", "rate")


async def store(url: str, file: Path) -> float:
    """Write the rates; returns the number per second."""
    number = 0

    def batches() -> Iterator[list[tuple[object, ...]]]:
        nonlocal number
        for days in pieces(read_history(file, today=datetime.now(UTC).date())):
            rows = sorted((ECB, code, str(day), rate) for day, rates in days.items() for code, rate in rates.items())
            number += len(rows)
            yield [*rows]

    table = ExchangeRate.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    seconds = await write_batches(url, table, COLUMNS, keys=3, batches=batches())
    return number / seconds


if __name__ == "__main__":
    print(asyncio.run(store(sys.argv[1], Path(sys.argv[2]))))
